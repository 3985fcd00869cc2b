//! A journal on a disk that fails, against a model that knows what was promised.

pub(crate) mod disk;
mod many;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use self::disk::{Faults, Memory};
use super::arbitrary;
use super::format::{Boot, Contents, MARK, OPENING, Opening, Record, encode_mark, record};
use super::journal::{Journal, Terms, Unopened};
use super::recovery::{Part, Recovered, recover};
use crate::message::Message;
use crate::wire::SessionId;
use crate::wire::frame::encode_message;
use crate::wire::run::frame_length;

#[derive(Clone, Debug)]
enum Act {
    /// So many messages of about this size.
    Append(u64, usize),
    /// The disk takes so many bytes of them; whether they can be cut off again, and then there is room.
    Full(u64, usize, usize, bool),
    NoFile,
    /// This share of what was sent, in percent.
    Acknowledge(u64),
    Rest,
    Sync,
    /// And whether the file can be cut.
    BadSync(bool),
    Kill,
    /// While so many messages are written, after so many bytes.
    KillWhile(u64, usize, usize),
    PowerLoss(u64),
    Flip(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    let (count, size, bytes) = (1..6_u64, 0..120_usize, 0..500_usize);
    prop_oneof![
        12 => (count.clone(), size.clone()).prop_map(|(count, size)| Act::Append(count, size)),
        3 => (count.clone(), size.clone(), bytes.clone(), any::<bool>())
            .prop_map(|(count, size, room, cuts)| Act::Full(count, size, room, cuts)),
        1 => Just(Act::NoFile),
        5 => (0..=100_u64).prop_map(Act::Acknowledge),
        1 => Just(Act::Rest),
        4 => Just(Act::Sync),
        1 => any::<bool>().prop_map(Act::BadSync),
        2 => Just(Act::Kill),
        2 => (count, size, bytes).prop_map(|(count, size, room)| Act::KillWhile(count, size, room)),
        2 => any::<u64>().prop_map(Act::PowerLoss),
        1 => any::<u64>().prop_map(Act::Flip),
    ]
}

/// A journal, and what it has promised.
struct World {
    disk: Memory,
    journal: Journal,
    terms: Terms,
    session: SessionId,
    /// What may stand under each number: what was refused may be there when it could not be cut off.
    written: BTreeMap<u64, BTreeSet<Bytes>>,
    /// What was taken, by its number.
    taken: BTreeMap<u64, Bytes>,
    next: u64,
    acked: u64,
    /// Sent or not, no further than this.
    sent: u64,
    /// Refused messages may be left at the end.
    residue: bool,
    serial: u64,
}

impl World {
    fn new(segment_bytes: u64, holds_back: bool) -> Self {
        let disk = Memory::default();
        let terms = Terms {
            contents: Contents::OneSession,
            segment_bytes,
            syncs: true,
            holds_back,
            boot: Boot(1),
            fresh: SessionId(rand::random()),
        };
        let (journal, recovered) = Journal::open(Arc::new(disk.clone()), terms).unwrap();
        assert_eq!(
            (recovered.next, recovered.acked, recovered.epoch),
            (1, 0, 1)
        );
        Self {
            disk,
            journal,
            terms,
            session: terms.fresh,
            written: BTreeMap::new(),
            taken: BTreeMap::new(),
            next: 1,
            acked: 0,
            sent: 0,
            residue: false,
            serial: 0,
        }
    }

    /// Encodes further messages, and notes that they may be found.
    fn frames(&mut self, count: u64, size: usize) -> (Vec<Bytes>, Bytes) {
        let mut all = BytesMut::new();
        let mut frames = Vec::new();
        for number in self.next..self.next + count {
            self.serial += 1;
            let mut payload = self.serial.to_le_bytes().to_vec();
            payload.resize(8 + size, 7);
            let mut frame = BytesMut::new();
            encode_message(&Message::new(payload), number, true, &mut frame);
            all.extend_from_slice(&frame);
            let frame = frame.freeze();
            self.written
                .entry(number)
                .or_default()
                .insert(frame.clone());
            frames.push(frame);
        }
        (frames, all.freeze())
    }

    fn append(&mut self, count: u64, size: usize) {
        let (frames, bytes) = self.frames(count, size);
        let next = self.next + count;
        let writes = self.disk.writes();
        match self.journal.append(next, &bytes) {
            Ok(()) => {
                assert!(
                    self.disk.writes() <= writes + 3,
                    "one write, and one for each new file"
                );
                self.taken.extend((self.next..next).zip(frames));
                self.next = next;
                self.residue = false;
            }
            Err(_) => self.residue = true,
        }
    }

    fn run(&mut self, act: Act) {
        match act {
            Act::Append(count, size) => self.append(count, size),
            Act::Full(count, size, room, cuts) => {
                self.disk.fails(Faults {
                    room: Some(room),
                    cut: !cuts,
                    ..Faults::default()
                });
                self.append(count, size);
                self.disk.fails(Faults::default());
            }
            Act::NoFile => {
                self.disk.fails(Faults {
                    create: true,
                    ..Faults::default()
                });
                self.append(1, 1);
                self.disk.fails(Faults::default());
            }
            Act::Acknowledge(percent) => {
                let sent = if self.terms.holds_back {
                    self.journal.synced()
                } else {
                    self.next - 1
                };
                self.sent = self.sent.max(sent);
                self.acked = self.acked.max(sent * percent / 100);
                self.journal.acknowledged(self.acked);
                self.is_bounded();
            }
            Act::Rest => self.journal.rest(),
            Act::Sync => {
                if let Some(unsynced) = self.journal.unsynced() {
                    unsynced.sync().unwrap();
                    self.journal.has_synced(&unsynced);
                }
            }
            Act::BadSync(cuts) => self.bad_sync(cuts),
            Act::Kill => self.reopens_after_kill(self.next),
            Act::KillWhile(count, size, room) => {
                let (frames, bytes) = self.frames(count, size);
                self.disk.fails(Faults {
                    room: Some(room),
                    cut: true,
                    ..Faults::default()
                });
                let next = self.next + count;
                let all = self.journal.append(next, &bytes).is_ok();
                self.disk.fails(Faults::default());
                self.taken.extend((self.next..next).zip(frames));
                if all {
                    self.next = next;
                }
                self.reopens_after_kill(next);
            }
            Act::PowerLoss(seed) => self.loses_power(seed),
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
        assert_eq!(self.journal.synced(), synced);
        if self.terms.holds_back {
            self.taken.split_off(&(synced + 1));
            self.next = synced + 1;
            self.residue = true;
        }
    }

    /// The files are not more than what is owed, and two more.
    fn is_bounded(&self) {
        let owed: usize = self
            .taken
            .range(self.acked + 1..)
            .map(|(_, frame)| frame.len())
            .sum();
        let (_, bytes) = self.journal.size();
        let files = self.terms.segment_bytes + 1000;
        // Twice: small files are mostly opening and marks.
        assert!(
            bytes <= 2 * owed as u64 + 4 * files,
            "{bytes} bytes for {owed}"
        );
    }

    fn open(&self) -> Result<(Journal, Recovered), Unopened> {
        let terms = Terms {
            fresh: SessionId(rand::random()),
            ..self.terms
        };
        Journal::open(Arc::new(self.disk.clone()), terms)
    }

    /// What was found has no hole and nothing that was not written, and lacks nothing from `acked` to `least`.
    fn holds(&self, recovered: &Recovered, least: u64) {
        assert!(
            recovered.acked <= self.acked,
            "nothing is forgotten that was not acknowledged"
        );
        assert!(recovered.next > least, "{} of {least}", recovered.next - 1);
        let mut expected = recovered.acked + 1;
        for run in &recovered.runs {
            assert_eq!(run.first, expected);
            let mut run = run.clone();
            while let Some(frame) = run.pop() {
                let taken = self.taken.get(&expected).filter(|_| expected <= least);
                let may_be = &self.written[&expected];
                assert!(taken.map_or_else(|| may_be.contains(&frame), |taken| *taken == frame));
                expected += 1;
            }
            assert!(run.bytes.is_empty());
        }
        assert_eq!(expected, recovered.next, "nothing is missing at the end");
    }

    fn goes_on(&mut self, journal: Journal, recovered: &Recovered) {
        self.journal = journal;
        self.next = recovered.next;
        self.taken.clear();
        for run in &recovered.runs {
            let mut run = run.clone();
            while let Some(frame) = run.pop() {
                self.taken.insert(run.first - 1, frame);
            }
        }
        // What it does not know as acknowledged is sent again.
        self.acked = recovered.acked;
        if recovered.session != Some(self.session) {
            // Nothing of the new session yet.
            self.sent = 0;
        }
        self.sent = self.sent.max(self.journal.synced());
        self.residue = false;
        self.session = recovered.session.unwrap();
    }

    fn reopens_after_kill(&mut self, most: u64) {
        let (journal, recovered) = self.open().unwrap();
        self.holds(&recovered, self.next - 1);
        if !self.residue {
            assert!(recovered.next <= most, "what was refused is not there");
        }
        assert_eq!(recovered.session, Some(self.session));
        self.goes_on(journal, &recovered);
    }

    fn loses_power(&mut self, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let promised = self.journal.synced();
        self.disk.loses_power(|below| random.random_range(0..below));
        self.terms.boot = Boot(self.terms.boot.0 + 1);
        let (journal, recovered) = self.open().unwrap();
        // What is acknowledged may be forgotten.
        self.holds(&recovered, if promised > self.acked { promised } else { 0 });
        // Within a session no number stands for two messages.
        let is_new = recovered.session != Some(self.session);
        assert!(is_new || (self.terms.holds_back && recovered.next > self.sent));
        self.goes_on(journal, &recovered);
    }

    /// A bit turns: that is found, or else it was nothing that is needed.
    fn is_damaged(&mut self, seed: u64) {
        let before = self.disk.files();
        let mut random = SmallRng::seed_from_u64(seed);
        if !self.disk.flip(|below| random.random_range(0..below)) {
            return;
        }
        let parts: Vec<_> = self
            .disk
            .files()
            .into_iter()
            .map(|(name, content)| Part {
                name,
                bytes: content.bytes.into(),
            })
            .collect();
        let later = Boot(self.terms.boot.0 + 1);
        if let Ok(recovered) = recover(&parts, self.terms.contents, later) {
            self.holds(&recovered, self.journal.synced().min(recovered.next - 1));
        }
        match recover(&parts, self.terms.contents, self.terms.boot) {
            Ok(recovered) => {
                self.holds(&recovered, 0);
                let is_used = parts.iter().any(|part| part.bytes.len() > OPENING);
                if is_used && recovered.next < self.next {
                    // Only a length that leads beyond the end looks like a write that was cut off.
                    let tail = recovered.tail.unwrap();
                    let part = parts.iter().find(|part| part.name == tail.name).unwrap();
                    let left =
                        &part.bytes[part.bytes.len() - usize::try_from(tail.bytes).unwrap()..];
                    assert!(frame_length(left) > left.len(), "damage is no tail");
                }
            }
            Err(damage) => {
                assert!(parts.iter().any(|part| part.name == damage.name));
                assert!(matches!(self.open(), Err(Unopened::Damage(again)) if again == damage));
            }
        }
        self.disk.restore(before);
    }
}

/// Ten thousand, or more by `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig::with_cases(usual.cases.max(10_000))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_was_promised_is_recovered_whatever_fails(
        segment_bytes in 100..1500_u64,
        holds_back: bool,
        acts in vec(acts(), 1..40),
    ) {
        let mut world = World::new(segment_bytes, holds_back);
        for act in acts {
            world.run(act);
        }
        world.reopens_after_kill(world.next);
    }
}

/// Files as two lives leave them, written as [`arbitrary::files`] reads them.
fn left_behind(random: &mut SmallRng) -> Vec<u8> {
    let mut world = World::new(300, random.random_range(0..2) == 0);
    for _ in 0..random.random_range(1..12) {
        world.run(match random.random_range(0..5) {
            0 => Act::Sync,
            1 => Act::Acknowledge(random.random_range(0..100)),
            2 => Act::Kill,
            _ => Act::Append(random.random_range(1..4), random.random_range(0..60)),
        });
    }
    as_input(random.random_range(1..3), &world.disk)
}

/// Writes the files of a disk as [`arbitrary`] reads them.
fn as_input(boot: u8, disk: &Memory) -> Vec<u8> {
    let mut bytes = vec![boot];
    for content in disk.files().into_values() {
        bytes.extend_from_slice(&u16::try_from(content.bytes.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&content.bytes);
    }
    bytes
}

/// Changes, removes, adds and repeats bytes.
fn spoil(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..bytes.len().max(1));
        if at >= bytes.len() {
            break;
        }
        match random.random_range(0..4) {
            0 => bytes[at] = random.random_range(0..=255),
            1 => drop(bytes.drain(at..(at + random.random_range(0..200)).min(bytes.len()))),
            2 => bytes.insert(at, 0),
            _ => bytes.extend_from_within(at..),
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes_are_recovered_without_a_hole_or_are_damage(seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut bytes = left_behind(&mut random);
        spoil(&mut bytes, &mut random);
        arbitrary::files(&bytes);
    }
}

/// Nothing was sent that the disk has lost, or something may have been.
#[test]
fn after_a_loss_of_power_a_sender_that_waited_for_its_disk_is_the_same_and_others_are_new() {
    for holds_back in [true, false] {
        let mut world = World::new(10_000, holds_back);
        world.append(3, 10);
        world.run(Act::Sync);
        world.append(2, 10);
        world.disk.loses_power(|_| 0);
        world.terms.boot = Boot(2);
        let (_, recovered) = world.open().unwrap();
        assert_eq!(
            (recovered.acked, recovered.next, recovered.epoch),
            (0, 4, 2)
        );
        assert_eq!(recovered.session == Some(world.session), holds_back);
    }
}

/// The bytes of a spool do not change from one version to the next without being told apart.
#[test]
fn the_format_is_as_it_is_written_down() {
    let opening = Opening {
        epoch: 2,
        session: SessionId(0x0102),
        boot: Boot(0x0304),
        first: 5,
        before: 4,
        acked: 3,
        synced: 4,
        holds_back: true,
    };
    let bytes = opening.encode(Contents::OneSession);
    assert_eq!(&bytes[..10], b"wwspool1\x02\0");
    assert_eq!((bytes[16], bytes[17], bytes[32], bytes[48]), (2, 1, 4, 5));
    assert_eq!((bytes[56], bytes[64], bytes[72], bytes[80]), (3, 4, 4, 1));
    assert_eq!(Opening::parse(&bytes, Contents::OneSession), Ok(opening));
    let mark = encode_mark(SessionId(7), 8, 9, 10);
    assert_eq!(
        (mark[4], mark[8], mark[16], mark[32], mark[48]),
        (5, 8, 9, 7, 10)
    );
    let read = Record::Mark {
        acked: 8,
        synced: 9,
        next: 10,
    };
    assert_eq!(
        record(&mark, Contents::OneSession, SessionId(7)),
        Ok(Some((read, mark.len())))
    );
    assert!(
        record(&mark, Contents::OneSession, SessionId(8)).is_err(),
        "a mark of another session"
    );
}

/// A message that looks like the inside of a spool vouches for nothing.
#[test]
fn a_message_cannot_pass_for_a_mark() {
    let mut world = World::new(10_000, false);
    let forged = encode_mark(SessionId(0), 100, 100, 100);
    let mut frame = BytesMut::new();
    encode_message(&Message::new(forged.to_vec()), 1, true, &mut frame);
    world.journal.append(2, &frame).unwrap();
    let (_, recovered) = world.open().unwrap();
    assert_eq!((recovered.acked, recovered.next), (0, 2));
}

/// What was refused and could not be cut off is void by what the next file says: no bit of that may make it count.
#[test]
fn what_was_refused_does_not_count_whichever_bit_of_the_next_opening_turns() {
    let mut world = World::new(10_000, false);
    world.append(1, 0);
    world.run(Act::Full(3, 20, 150, false));
    world.append(2, 30);
    world.run(Act::Sync);
    let files = world.disk.files();
    let (last, content) = files.last_key_value().unwrap();
    assert!(content.bytes.len() > OPENING);
    let before = files.values().rev().nth(1).unwrap();
    let whole = Record::Frame {
        origin: 0,
        sequence: 2,
    };
    let refused = OPENING + MARK + frame_length(&before.bytes[OPENING + MARK..]);
    let found = record(
        &before.bytes[refused..],
        Contents::OneSession,
        world.session,
    );
    assert!(matches!(found, Ok(Some((found, _))) if found == whole));
    for bit in 0..OPENING * 8 {
        let parts: Vec<_> = (files.iter())
            .map(|(name, content)| {
                let mut bytes = content.bytes.clone();
                if name == last {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                let (name, bytes) = (name.clone(), bytes.into());
                Part { name, bytes }
            })
            .collect();
        let same = recover(&parts, Contents::OneSession, Boot(1));
        assert!(same.is_err(), "bit {bit} was whole once");
        if let Ok(recovered) = recover(&parts, Contents::OneSession, Boot(2)) {
            assert_eq!(recovered.next, 2, "bit {bit}");
            world.holds(&recovered, 1);
        }
    }
}
