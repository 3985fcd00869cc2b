//! A journal of many sessions on a disk that fails, against a model that knows what was promised.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cases;
use super::disk::{Faults, Memory};
use crate::message::Message;
use crate::spool::arbitrary;
use crate::spool::format::{Boot, Contents, Name};
use crate::spool::journal::{Journal, Terms, Unopened};
use crate::spool::recovery::{Part, recover};
use crate::spool::shared::{Kept, encode, sort_out};
use crate::wire::SessionId;
use crate::wire::frame::{encode_message, stamp_origin};
use crate::wire::run::Run;

const SESSIONS: usize = 3;

#[derive(Clone, Debug)]
enum Act {
    /// At once: so many messages of each of these sessions.
    Append(Vec<(usize, u64)>),
    /// The disk takes so many bytes; whether they can be cut off again.
    Full(Vec<(usize, u64)>, usize, bool),
    NoFile(usize),
    /// This share of what is there, in percent, of a session.
    Acknowledge(usize, u64),
    /// Says how far all sessions have come, without a message.
    Note,
    /// What everybody has processed may go.
    Release,
    Sync,
    BadSync(bool),
    Kill,
    KillWhile(Vec<(usize, u64)>, usize),
    PowerLoss(u64),
    Flip(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    let runs = || vec((0..SESSIONS, 1..4_u64), 1..4);
    prop_oneof![
        12 => runs().prop_map(Act::Append),
        2 => (runs(), 0..500_usize, any::<bool>()).prop_map(|(runs, room, cuts)| Act::Full(runs, room, cuts)),
        1 => (0..SESSIONS).prop_map(Act::NoFile),
        6 => (0..SESSIONS, 0..=100_u64).prop_map(|(of, percent)| Act::Acknowledge(of, percent)),
        2 => Just(Act::Note),
        4 => Just(Act::Release),
        4 => Just(Act::Sync),
        1 => any::<bool>().prop_map(Act::BadSync),
        2 => Just(Act::Kill),
        2 => (runs(), 0..500_usize).prop_map(|(runs, room)| Act::KillWhile(runs, room)),
        2 => any::<u64>().prop_map(Act::PowerLoss),
        1 => any::<u64>().prop_map(Act::Flip),
    ]
}

fn id(of: usize) -> SessionId {
    SessionId(of as u128 + 7)
}

/// A message says whose it is and its number; one in three is longer than others.
fn frame(of: usize, sequence: u64, origin: u32, checksummed: bool) -> Bytes {
    let mut payload = sequence.to_le_bytes().to_vec();
    payload.push(u8::try_from(of).unwrap());
    payload.resize(9 + usize::from(sequence.is_multiple_of(3)) * 90, 7);
    let mut bytes = BytesMut::new();
    encode_message(&Message::new(payload), sequence, checksummed, &mut bytes);
    stamp_origin(&mut bytes, origin);
    bytes.freeze()
}

struct World {
    disk: Memory,
    journal: Journal,
    terms: Terms,
    next: u64,
    /// What stands under which number, as far as it was taken.
    taken: BTreeSet<(u64, usize, u64)>,
    have: [u64; SESSIONS],
    acked: [u64; SESSIONS],
    /// How often it was opened again.
    origins: u32,
}

impl World {
    fn new(segment_bytes: u64, holds_back: bool) -> Self {
        let disk = Memory::default();
        let terms = Terms {
            contents: Contents::ManySessions,
            segment_bytes,
            syncs: true,
            holds_back,
            boot: Boot(1),
            fresh: SessionId(rand::random()),
        };
        let (journal, _) = Journal::open(Arc::new(disk.clone()), terms).unwrap();
        Self {
            disk,
            journal,
            terms,
            next: 1,
            taken: BTreeSet::new(),
            have: [0; SESSIONS],
            acked: [0; SESSIONS],
            origins: 0,
        }
    }

    /// In each life a session has another origin.
    fn origin(&self, of: usize) -> u32 {
        let of = u32::try_from(of).unwrap();
        (of + self.origins) % 3 + 1
    }

    /// Appends; returns what stands where then.
    fn append(&mut self, runs: &[(usize, u64)]) -> Option<Vec<(u64, usize, u64)>> {
        let (mut have, mut number) = (self.have, self.next);
        let (mut frames, mut places) = (Vec::new(), Vec::new());
        for &(of, count) in runs {
            let first = have[of] + 1;
            let mut bytes = BytesMut::new();
            for sequence in first..first + count {
                // Half of them come without a checksum, as over TLS.
                bytes.extend_from_slice(&frame(of, sequence, self.origin(of), number % 2 == 0));
                places.push((number, of, sequence));
                number += 1;
            }
            have[of] += count;
            frames.push(Run::new(first, have[of], bytes.freeze()));
        }
        let mut buffer = BytesMut::new();
        let named: BTreeSet<_> = runs.iter().map(|(of, _)| *of).collect();
        encode(&self.names(named), frames.iter(), &mut buffer);
        self.journal.append(number, &buffer).ok()?;
        self.taken.extend(&places);
        (self.have, self.next) = (have, number);
        Some(places)
    }

    fn names(&self, of: impl IntoIterator<Item = usize>) -> Vec<Name> {
        let name = |of: usize| Name {
            origin: self.origin(of),
            session: id(of),
            acked: self.acked[of],
        };
        of.into_iter().map(name).collect()
    }

    /// The disk fails so, and then no more.
    fn append_with(&mut self, runs: &[(usize, u64)], faults: Faults) -> bool {
        self.disk.fails(faults);
        let taken = self.append(runs).is_some();
        self.disk.fails(Faults::default());
        taken
    }

    fn run(&mut self, act: Act) {
        let faults = Faults::default();
        match act {
            Act::Append(runs) => drop(self.append(&runs)),
            Act::Full(runs, room, cuts) => {
                let room = Some(room);
                let cut = !cuts;
                self.append_with(
                    &runs,
                    Faults {
                        room,
                        cut,
                        ..faults
                    },
                );
            }
            Act::NoFile(of) => {
                let create = true;
                self.append_with(&[(of, 1)], Faults { create, ..faults });
            }
            Act::Acknowledge(of, percent) => {
                self.acked[of] = self.acked[of].max(self.have[of] * percent / 100);
            }
            Act::Note => {
                let mut buffer = BytesMut::new();
                encode(&self.names(0..SESSIONS), [].iter(), &mut buffer);
                self.journal.append(self.next, &buffer).unwrap();
            }
            Act::Release => {
                let open = |(_, of, sequence): &&(u64, usize, u64)| *sequence > self.acked[*of];
                let first = self.taken.iter().find(open).map_or(self.next, |one| one.0);
                // What is not synced may be taken back.
                let most = if self.terms.holds_back {
                    self.journal.synced()
                } else {
                    self.next - 1
                };
                self.journal.acknowledged(most.min(first - 1));
                self.journal.rest();
            }
            Act::Sync => {
                if let Some(unsynced) = self.journal.unsynced() {
                    unsynced.sync().unwrap();
                    self.journal.has_synced(&unsynced);
                }
            }
            Act::BadSync(cuts) => self.bad_sync(cuts),
            Act::Kill => self.reopens(u64::MAX),
            Act::KillWhile(runs, room) => {
                let (before, cut, room) = (self.next, true, Some(room));
                let taken = self.append_with(
                    &runs,
                    Faults {
                        room,
                        cut,
                        ..faults
                    },
                );
                self.reopens(if taken { u64::MAX } else { before - 1 });
            }
            Act::PowerLoss(seed) => {
                let mut random = SmallRng::seed_from_u64(seed);
                let promised = self.journal.synced();
                self.disk.loses_power(|below| random.random_range(0..below));
                self.terms.boot = Boot(self.terms.boot.0 + 1);
                self.reopens(promised);
            }
            Act::Flip(seed) => self.is_damaged(seed),
        }
    }

    fn bad_sync(&mut self, cuts: bool) {
        let Some(unsynced) = self.journal.unsynced() else {
            return;
        };
        self.disk.fails(Faults {
            sync: true,
            cut: !cuts,
            ..Faults::default()
        });
        assert!(unsynced.sync().is_err());
        let synced = self.journal.synced();
        self.journal.has_not_synced();
        self.disk.fails(Faults::default());
        if self.terms.holds_back {
            // It is written again, as the log has it.
            let back = self.taken.split_off(&(synced + 1, 0, 0));
            for (_, of, sequence) in back {
                self.have[of] = self.have[of].min(sequence - 1);
            }
            self.next = synced + 1;
        }
    }

    /// Nothing is forgotten that was not processed, nothing is there that was not written, each is once and in its
    /// place, and all with numbers up to `promised` are there.
    fn holds(&self, kept: &Kept, promised: u64) {
        let mut found = BTreeSet::new();
        let mut levels: Vec<_> = kept.sessions.iter().map(|session| session.acked).collect();
        for run in &kept.runs {
            let of = usize::try_from(kept.sessions[run.of].id.0).unwrap() - 7;
            let mut rest = Run::new(run.first, run.last, run.bytes.clone().freeze());
            assert!(run.first > levels[run.of], "once, and in order");
            levels[run.of] = run.last;
            for sequence in run.first..=run.last {
                let mut bytes = BytesMut::from(rest.pop().unwrap());
                stamp_origin(&mut bytes, 0);
                assert_eq!(bytes, frame(of, sequence, 0, true));
                assert!(found.insert((of, sequence)));
            }
            assert!(rest.bytes.is_empty());
        }
        for session in &kept.sessions {
            let of = usize::try_from(session.id.0).unwrap() - 7;
            assert!(
                session.acked <= self.acked[of],
                "forgotten though not processed"
            );
        }
        for &(number, of, sequence) in &self.taken {
            if number <= promised && sequence > self.acked[of] {
                assert!(found.contains(&(of, sequence)), "{of}:{sequence} is lost");
            }
        }
    }

    fn reopens(&mut self, promised: u64) {
        let terms = Terms {
            fresh: SessionId(rand::random()),
            ..self.terms
        };
        let (journal, recovered) = Journal::open(Arc::new(self.disk.clone()), terms).unwrap();
        let kept = sort_out(&recovered);
        self.holds(&kept, promised);
        self.journal = journal;
        self.next = recovered.next;
        self.origins += 1;
        self.taken.clear();
        self.have = self.acked;
        // No lower than this; in front of it is the run before.
        let mut number = recovered.acked + 1;
        for run in &kept.runs {
            let of = usize::try_from(kept.sessions[run.of].id.0).unwrap() - 7;
            let all = (run.first..=run.last).map(|sequence| (number, of, sequence));
            self.taken.extend(all);
            self.have[of] = self.have[of].max(run.last);
            number = run.next;
        }
    }

    /// A bit turns: that is found, or else it was nothing that is needed.
    fn is_damaged(&mut self, seed: u64) {
        let before = self.disk.files();
        let mut random = SmallRng::seed_from_u64(seed);
        if !self.disk.flip(|below| random.random_range(0..below)) {
            return;
        }
        let files = self.disk.files().into_iter();
        let parts: Vec<_> = files
            .map(|(name, content)| Part {
                name,
                bytes: content.bytes.into(),
            })
            .collect();
        let later = Boot(self.terms.boot.0 + 1);
        if let Ok(recovered) = recover(&parts, Contents::ManySessions, later) {
            self.holds(&sort_out(&recovered), 0);
        }
        match recover(&parts, Contents::ManySessions, self.terms.boot) {
            Ok(recovered) => self.holds(&sort_out(&recovered), 0),
            Err(damage) => {
                let opened = Journal::open(Arc::new(self.disk.clone()), self.terms);
                assert!(matches!(opened, Err(Unopened::Damage(again)) if again == damage));
            }
        }
        self.disk.restore(before);
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_promised_to_many_is_recovered_whatever_fails(
        segment_bytes in 100..2500_u64,
        holds_back: bool,
        acts in vec(acts(), 1..40),
    ) {
        let mut world = World::new(segment_bytes, holds_back);
        for act in acts {
            world.run(act);
        }
        world.reopens(u64::MAX);
    }

    #[test]
    fn any_bytes_of_many_are_recovered_in_order_or_are_damage(seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut bytes = left_behind(&mut random);
        super::spoil(&mut bytes, &mut random);
        arbitrary::files_of_many(&bytes);
    }
}

/// Files as two lives leave them, written as [`arbitrary::files_of_many`] reads them.
fn left_behind(random: &mut SmallRng) -> Vec<u8> {
    let mut world = World::new(600, random.random_range(0..2) == 0);
    for _ in 0..random.random_range(1..12) {
        let of = random.random_range(0..SESSIONS);
        world.run(match random.random_range(0..6) {
            0 => Act::Sync,
            1 => Act::Acknowledge(of, random.random_range(0..100)),
            2 => Act::Kill,
            3 => Act::Note,
            _ => Act::Append(vec![(of, random.random_range(1..4)), (0, 1)]),
        });
    }
    super::as_input(random.random_range(1..3), &world.disk)
}

/// A sender's spool is not a relay's, and the other way round.
#[test]
fn whose_files_these_are_is_told_by_their_first_bytes() {
    let mut world = World::new(10_000, true);
    world.append(&[(0, 3)]).unwrap();
    let terms = Terms {
        contents: Contents::OneSession,
        ..world.terms
    };
    let opened = Journal::open(Arc::new(world.disk.clone()), terms);
    let Err(Unopened::Damage(damage)) = opened else {
        panic!("taken for a sender's");
    };
    assert!(damage.what.contains("not the file of such a spool"));
}
