//! The outbox against a model that keeps every message by its number.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Appended, Dropped, Fate, Ledger, Limits, Outbox};
use crate::delivery::{Delivery, WhenFull};
use crate::message::Message;
use crate::wire::SessionId;
use crate::wire::frame::{encode_message, encoded_length};
use crate::wire::run::Run;
use crate::wire::scan::{Piece, Scanner};

/// Where a numbered message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waiting,
    /// Written at most once, by the write of this index.
    Doubt(usize),
    Delivered,
    Dropped,
    Undelivered,
}

/// The same rules, told the long way.
#[derive(Debug)]
struct Model {
    limits: Limits,
    /// By sequence − 1.
    places: Vec<Place>,
    frames: Vec<Bytes>,
    /// Accepted, but given up before it had a number.
    unnumbered: Dropped,
    /// The next to be handed out.
    cursor: u64,
    sent: u64,
    /// What the peer may name: everything sent or given up.
    passed: u64,
    /// The last sequence of each write, and whether it may still be confirmed.
    writes: Vec<(u64, bool)>,
    /// The highest acknowledgement heard.
    heard: u64,
    /// What those who wait have been told, by number: once, and never otherwise.
    told: BTreeMap<u64, Fate>,
}

#[derive(Clone, Debug)]
enum Action {
    Append(usize),
    Take(usize),
    Acknowledge(Which),
    Welcome(Which, Which),
    Disconnect,
    Written,
    GiveUp,
    Shrink,
}

/// A number to be acknowledged: a share of what was sent, or so many beyond it.
#[derive(Clone, Debug)]
enum Which {
    Within(prop::sample::Index),
    Beyond(u64),
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: Vec::new(),
            frames: Vec::new(),
            unnumbered: Dropped::default(),
            cursor: 1,
            sent: 0,
            passed: 0,
            writes: Vec::new(),
            heard: 0,
            told: BTreeMap::new(),
        }
    }

    fn forgets(&self) -> bool {
        self.limits.delivery == Delivery::AtMostOnce
    }

    fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        (1..)
            .zip(&self.places)
            .filter(|(_, place)| **place == Place::Waiting)
            .map(|(sequence, _)| sequence)
    }

    fn place(&mut self, sequence: u64, place: Place) {
        self.places[usize::try_from(sequence).unwrap() - 1] = place;
    }

    fn frame(&self, sequence: u64) -> &Bytes {
        &self.frames[usize::try_from(sequence).unwrap() - 1]
    }

    fn count(&self, is_so: impl Fn(Place) -> bool) -> u64 {
        self.places.iter().filter(|place| is_so(**place)).count() as u64
    }

    fn ledger(&self) -> Ledger {
        let Dropped { newest, oldest } = self.unnumbered;
        let oldest = oldest + self.count(|place| place == Place::Dropped);
        Ledger {
            accepted: self.places.len() as u64 + self.unnumbered.total(),
            delivered: self.count(|place| place == Place::Delivered),
            in_doubt: self.count(|place| matches!(place, Place::Doubt(_))),
            dropped: Dropped { newest, oldest },
            undelivered: self.count(|place| place == Place::Undelivered),
            waiting: self.waiting().count() as u64,
        }
    }

    /// Bytes of what waits, and of what shares a piece of memory with it (`kept`).
    fn has_room(&self, length: usize, kept: usize) -> bool {
        let bytes: usize = self.waiting().map(|s| self.frame(s).len()).sum();
        let held = self.waiting().count();
        held == 0 || (held < self.limits.messages && bytes + kept + length <= self.limits.bytes)
    }

    fn append(&mut self, message: &Message, kept: usize) -> Appended {
        let length = encoded_length(message);
        let mut outcome = Appended::Accepted;
        if !self.has_room(length, kept) {
            match self.limits.when_full {
                WhenFull::Block | WhenFull::Reject => return Appended::Full,
                WhenFull::DropNewest => {
                    self.unnumbered.newest += 1;
                    return Appended::Dropped;
                }
                WhenFull::DropOldest => {
                    outcome = Appended::Dropped;
                    while !self.has_room(length, kept) {
                        let Some(oldest) = self.waiting().find(|s| *s >= self.cursor) else {
                            self.unnumbered.oldest += 1;
                            return outcome;
                        };
                        self.place(oldest, Place::Dropped);
                        self.cursor = oldest + 1;
                    }
                }
            }
        }
        let mut frame = BytesMut::new();
        let sequence = self.frames.len() as u64 + 1;
        encode_message(message, sequence, self.limits.checksummed, &mut frame);
        self.frames.push(frame.freeze());
        self.places.push(Place::Waiting);
        outcome
    }

    /// Notes what was handed out: the next frames, in order, without a hole that no overflow rule made.
    fn taken(&mut self, limit: usize, bytes: &[u8]) {
        let mut at = 0;
        let owed: Vec<u64> = if self.forgets() {
            self.waiting().filter(|s| *s >= self.cursor).collect()
        } else {
            (self.cursor..=self.frames.len() as u64).collect()
        };
        let mut owed = owed.into_iter();
        while at < bytes.len() {
            let sequence = owed.next().expect("no more than is owed");
            let frame = self.frame(sequence);
            assert!(
                bytes[at..].starts_with(frame),
                "frame {sequence} comes next"
            );
            at += frame.len();
            (self.cursor, self.sent) = (sequence + 1, self.sent.max(sequence));
            self.passed = self.passed.max(sequence);
        }
        assert!(at >= limit || owed.next().is_none(), "as much as asked for");
    }

    fn number(&self, which: &Which) -> u64 {
        match which {
            Which::Within(share) => share.index(usize::try_from(self.sent).unwrap() + 1) as u64,
            Which::Beyond(further) => self.sent + further,
        }
    }

    /// Returns how many frames leave the log.
    fn acknowledged(&mut self, sequence: u64) -> u64 {
        self.heard = self.heard.max(sequence);
        if self.forgets() {
            self.confirm();
            return 0;
        }
        let freed: Vec<u64> = self.waiting().take_while(|s| *s <= sequence).collect();
        for &freed in &freed {
            self.place(freed, Place::Delivered);
        }
        self.cursor = self.cursor.max(sequence + 1);
        freed.len() as u64
    }

    fn confirm(&mut self) {
        for place in &mut self.places {
            if let Place::Doubt(write) = *place
                && self.writes[write].1
                && self.writes[write].0 <= self.heard
            {
                *place = Place::Delivered;
            }
        }
    }

    fn written(&mut self) {
        if self.forgets() {
            let write = self.writes.len();
            self.writes.push((self.sent, true));
            let under_way: Vec<u64> = self.waiting().take_while(|s| *s <= self.sent).collect();
            for sequence in under_way {
                self.place(sequence, Place::Doubt(write));
            }
            self.confirm();
        }
    }

    fn disconnected(&mut self) {
        self.written();
        self.tell(false);
        for write in &mut self.writes {
            write.1 = false;
        }
        self.tell(false);
    }

    /// Tells whoever has not been told, and can be. One message is confirmed by its own number, not by whole writes.
    fn tell(&mut self, is_given_up: bool) {
        for (number, place) in (1..).zip(&self.places) {
            let fate = match *place {
                Place::Delivered => Fate::Delivered,
                Place::Dropped => Fate::Dropped,
                Place::Waiting | Place::Doubt(_) if self.forgets() && number <= self.heard => {
                    Fate::Delivered
                }
                Place::Doubt(write) if is_given_up || !self.writes[write].1 => Fate::InDoubt,
                Place::Undelivered => Fate::Undelivered {
                    sent: number <= self.sent,
                },
                Place::Waiting | Place::Doubt(_) => continue,
            };
            self.told.entry(number).or_insert(fate);
        }
    }

    fn is_settled(&self, sequence: u64) -> bool {
        (1..).zip(&self.places).all(|(number, place)| {
            number > sequence
                || match *place {
                    Place::Waiting => false,
                    Place::Doubt(write) => !self.writes[write].1,
                    Place::Delivered | Place::Dropped | Place::Undelivered => true,
                }
        })
    }
}

/// What the outbox keeps beyond what is owed: acknowledged frames that share their memory with owed ones.
fn kept(outbox: &Outbox, model: &Model) -> usize {
    outbox.sealed.front().map_or(0, |front| {
        (front.run_first()..front.first_owed())
            .map(|sequence| model.frame(sequence).len())
            .sum()
    })
}

fn run(limits: Limits, actions: &[Action]) {
    let (mut outbox, mut model) = (Outbox::new(SessionId(1), limits), Model::new(limits));
    let told = Arc::new(Mutex::new(BTreeMap::new()));
    for action in actions {
        match action {
            Action::Append(length) => {
                let message = Message::new(vec![1; *length]);
                let was_empty = outbox.is_empty();
                let before = outbox.last();
                let outcome = outbox.append(&message);
                if outbox.last() > before {
                    let (told, number) = (Arc::clone(&told), outbox.last());
                    outbox.await_last(Box::new(move |fate| {
                        assert_eq!(told.lock().insert(number, fate), None, "told twice");
                    }));
                }
                let kept = kept(&outbox, &model);
                assert_eq!(outcome, model.append(&message, kept), "{action:?}");
                assert!(!was_empty || outcome == Appended::Accepted);
            }
            Action::Take(limit) => {
                let mut pieces = Vec::new();
                let had_unsent = outbox.has_unsent();
                let took = outbox.take(*limit, &mut pieces);
                assert_eq!(took, had_unsent && *limit > 0);
                assert_eq!(took, !pieces.is_empty());
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                model.taken(*limit, &pieces.concat());
            }
            Action::Acknowledge(which) => {
                let sequence = model.number(which);
                let outcome = outbox.acknowledged(sequence);
                if sequence > model.passed {
                    assert!(outcome.is_err(), "{sequence} was not sent");
                } else {
                    assert_eq!(outcome, Ok(model.acknowledged(sequence)));
                }
            }
            Action::Welcome(acked, have) => {
                // A peer answers a new connection, so the old one is over.
                outbox.disconnected();
                model.disconnected();
                let first_owed = outbox.first_owed();
                let (acked, have) = (model.number(acked), model.number(have));
                let outcome = outbox.welcomed(acked, have);
                if acked.max(have) > model.passed {
                    assert!(outcome.is_err(), "{acked} or {have} was not sent");
                    continue;
                }
                assert_eq!(outcome, Ok(()));
                model.acknowledged(acked);
                if !model.forgets() {
                    model.cursor = acked.max(have).max(first_owed - 1) + 1;
                }
            }
            Action::Disconnect => {
                outbox.disconnected();
                model.disconnected();
            }
            Action::Written => {
                outbox.written();
                model.written();
            }
            Action::GiveUp => {
                model.written();
                model.tell(true);
                let owed: Vec<u64> = model.waiting().collect();
                assert_eq!(outbox.give_up(), owed.len() as u64);
                for sequence in owed {
                    model.place(sequence, Place::Undelivered);
                }
                model.passed = model.frames.len() as u64;
                model.cursor = model.passed + 1;
            }
            Action::Shrink => outbox.shrink(),
        }
        compare(&outbox, &model);
        model.tell(false);
        assert_eq!(*told.lock(), model.told, "{action:?}");
    }
}

fn compare(outbox: &Outbox, model: &Model) {
    let ledger = outbox.ledger();
    assert!(ledger.adds_up(), "{ledger}");
    assert_eq!(ledger, model.ledger());
    assert_eq!(outbox.is_empty(), ledger.waiting == 0);
    assert_eq!(outbox.last(), model.frames.len() as u64);
    let unsent = model.waiting().any(|s| s >= model.cursor)
        || (!model.forgets() && model.cursor <= outbox.last());
    assert_eq!(outbox.has_unsent(), unsent);
    // A peer that knows nothing of the session takes it to have everything before this.
    assert!(outbox.first_owed() <= model.passed + 1);
    assert!(model.waiting().all(|s| s >= outbox.first_owed()));
    for sequence in 0..=outbox.last() {
        assert_eq!(
            outbox.is_settled(sequence),
            model.is_settled(sequence),
            "settled up to {sequence}"
        );
    }
    let bytes: usize = model.waiting().map(|s| model.frame(s).len()).sum();
    let held = usize::try_from(ledger.waiting).unwrap();
    assert!(held <= model.limits.messages.max(1));
    assert!(bytes <= model.limits.bytes || held == 1);
    assert_eq!(
        outbox.sealed_bytes + outbox.tail.len(),
        bytes + kept(outbox, model)
    );
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        9 => any::<prop::sample::Index>().prop_map(Which::Within),
        1 => (1_u64..4).prop_map(Which::Beyond),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => prop_oneof![4 => 0_usize..60, 1 => 0_usize..2_000].prop_map(Action::Append),
        8 => prop_oneof![
            4 => 1_usize..300,
            2 => Just(usize::MAX),
            1 => Just(0),
        ].prop_map(Action::Take),
        4 => which().prop_map(Action::Acknowledge),
        2 => (which(), which()).prop_map(|(acked, have)| Action::Welcome(acked, have)),
        1 => Just(Action::Disconnect),
        4 => Just(Action::Written),
        1 => Just(Action::Shrink),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let rules = prop_oneof![
        Just((Delivery::AtLeastOnce, WhenFull::Block)),
        Just((Delivery::AtLeastOnce, WhenFull::Reject)),
        Just((Delivery::AtMostOnce, WhenFull::Block)),
        Just((Delivery::AtMostOnce, WhenFull::Reject)),
        Just((Delivery::AtMostOnce, WhenFull::DropNewest)),
        Just((Delivery::AtMostOnce, WhenFull::DropOldest)),
    ];
    let bytes = prop_oneof![60_usize..1_000, 1_000_usize..20_000];
    (1_usize..12, bytes, rules, any::<bool>()).prop_map(
        |(messages, bytes, (delivery, when_full), checksummed)| Limits {
            messages,
            bytes,
            delivery,
            when_full,
            checksummed,
            loses_frames: false,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_outbox_does_what_the_rules_say(
        limits in limits(),
        actions in vec(action(), 0..60),
        ending in vec(prop_oneof![2 => action(), 1 => Just(Action::GiveUp)], 0..4),
    ) {
        run(limits, &[actions, ending].concat());
    }
}

fn outbox(messages: usize, delivery: Delivery, when_full: WhenFull) -> Outbox {
    let limits = Limits {
        messages,
        bytes: 1_000_000,
        delivery,
        when_full,
        checksummed: false,
        loses_frames: false,
    };
    Outbox::new(SessionId(1), limits)
}

fn append(outbox: &mut Outbox, count: usize) {
    for _ in 0..count {
        outbox.append(&Message::new("x"));
    }
}

/// Takes everything and returns the numbers.
fn take(outbox: &mut Outbox) -> Vec<u64> {
    let mut pieces = Vec::new();
    outbox.take(usize::MAX, &mut pieces);
    let mut stream = BytesMut::from(&pieces.concat()[..]);
    let mut numbers = Vec::new();
    while let Some(Piece::Run { run, .. }) = Scanner::new(false).next(&mut stream).unwrap() {
        numbers.extend(run.first..=run.last);
    }
    numbers
}

#[test]
fn what_was_dropped_behind_frames_under_way_was_not_written() {
    let mut outbox = outbox(5, Delivery::AtMostOnce, WhenFull::DropOldest);
    append(&mut outbox, 3);
    assert_eq!(take(&mut outbox), [1, 2, 3]);
    // 4 and 5 find room, 6 and 7 push them out.
    append(&mut outbox, 4);
    outbox.written();
    assert_eq!(outbox.first_owed(), 4, "no more than was sent is behind us");
    outbox.acknowledged(3).unwrap();
    assert_eq!(outbox.ledger().delivered, 3);
    // A peer that does not know the session answers with what the hello said.
    outbox.disconnected();
    outbox.welcomed(3, 3).unwrap();
    assert_eq!(take(&mut outbox), [6, 7]);
}

#[test]
fn a_number_in_the_middle_of_an_unconfirmed_write_is_not_settled() {
    let mut outbox = outbox(9, Delivery::AtMostOnce, WhenFull::Block);
    append(&mut outbox, 4);
    take(&mut outbox);
    outbox.written();
    assert!(!outbox.is_settled(2));
    outbox.acknowledged(4).unwrap();
    assert!(outbox.is_settled(2));
}

#[test]
fn an_acknowledgement_may_overtake_the_end_of_the_write() {
    let mut outbox = outbox(9, Delivery::AtMostOnce, WhenFull::Block);
    append(&mut outbox, 4);
    take(&mut outbox);
    outbox.acknowledged(4).unwrap();
    outbox.written();
    assert_eq!(outbox.ledger().delivered, 4);
    assert!(outbox.is_settled(4));
}

#[test]
fn what_is_under_way_when_an_outbox_is_given_up_is_in_doubt() {
    let mut outbox = outbox(9, Delivery::AtMostOnce, WhenFull::Block);
    append(&mut outbox, 2);
    take(&mut outbox);
    append(&mut outbox, 3);
    assert_eq!(outbox.give_up(), 3);
    let ledger = outbox.ledger();
    assert_eq!((ledger.in_doubt, ledger.undelivered), (2, 3));
}

#[test]
fn a_peer_that_never_confirms_costs_no_memory() {
    let mut outbox = outbox(9, Delivery::AtMostOnce, WhenFull::Block);
    for _ in 0..50_000 {
        append(&mut outbox, 1);
        take(&mut outbox);
        outbox.written();
    }
    assert!(
        outbox
            .doubt
            .as_ref()
            .is_some_and(|doubt| doubt.writes() <= 1024)
    );
    assert_eq!(outbox.ledger().in_doubt, 50_000);
    outbox.acknowledged(10).unwrap();
    assert_eq!(
        outbox.ledger().delivered,
        10,
        "the old ones are still told apart"
    );
    outbox.acknowledged(50_000).unwrap();
    assert_eq!(outbox.ledger().delivered, 50_000);
}

#[test]
fn a_message_larger_than_the_bound_is_taken_by_an_empty_outbox_only() {
    let limits = Limits {
        messages: 9,
        bytes: 100,
        delivery: Delivery::AtLeastOnce,
        when_full: WhenFull::Reject,
        checksummed: true,
        loses_frames: false,
    };
    let mut outbox = Outbox::new(SessionId(1), limits);
    let large = Message::new(vec![0; 1000]);
    assert_eq!(outbox.append(&large), Appended::Accepted);
    assert_eq!(outbox.append(&Message::default()), Appended::Full);
    assert_eq!(outbox.largest_frame(), encoded_length(&large));
    take(&mut outbox);
    assert_eq!(outbox.acknowledged(1), Ok(1));
    assert_eq!(outbox.append(&large), Appended::Accepted);
}

#[test]
fn every_frame_that_is_handed_out_has_its_checksum() {
    let limits = Limits {
        messages: 9999,
        bytes: 1 << 24,
        delivery: Delivery::AtLeastOnce,
        when_full: WhenFull::Block,
        checksummed: true,
        loses_frames: false,
    };
    let mut outbox = Outbox::new(SessionId(1), limits);
    let (mut expected, mut sequence) = (BytesMut::new(), 0);
    let mut pieces = Vec::new();
    // Around what is summed up at once, around the sizes of the pieces, with what is taken in between, and in runs.
    for size in [
        1, 8100, 8160, 8161, 1, 200_000, 1, 4000, 130_000, 8160, 1, 1,
    ] {
        for taken in [false, true] {
            let message = Message::new(vec![7; size]);
            let run = [message.clone(), message.clone()];
            outbox.append(&message);
            let (count, bytes) = outbox.append_run(&run);
            for _ in 0..=count {
                sequence += 1;
                encode_message(&message, sequence, true, &mut expected);
            }
            assert_eq!(outbox.newest(bytes), &expected[expected.len() - bytes..]);
            if taken {
                outbox.take(usize::MAX, &mut pieces);
                assert_eq!(pieces.concat(), expected, "{size}");
            }
        }
    }
}

#[test]
fn where_frames_get_lost_a_confirmation_ends_the_doubt_for_flush_and_not_for_the_ledger() {
    for loses in [false, true] {
        let mut doubt = super::doubt::Doubt::new(loses);
        assert_eq!(doubt.wrote(1, 3, 3), 0);
        assert!(doubt.is_open(3));
        assert_eq!(doubt.confirm(3), if loses { 0 } else { 3 });
        assert!(!doubt.is_open(3));
        doubt.confirm(5);
        assert_eq!(doubt.wrote(4, 5, 2), if loses { 0 } else { 2 });
        assert!(!doubt.is_open(5));
    }
}

/// Frames `first..=last` as an earlier life wrote them.
fn written(first: u64, last: u64) -> Run {
    let mut bytes = BytesMut::new();
    for sequence in first..=last {
        encode_message(&Message::new("x"), sequence, false, &mut bytes);
    }
    Run::new(first, last, bytes.freeze())
}

#[test]
fn the_log_grows_by_pieces_twice_as_large_which_it_fills() {
    let mut outbox = outbox(9999, Delivery::AtLeastOnce, WhenFull::Block);
    let overhead = encoded_length(&Message::default());
    let message = Message::new(vec![0; 64 - overhead]);
    for _ in 0..(4 + 8 + 16) * 1024 / 64 {
        outbox.append(&message);
    }
    let mut pieces = Vec::new();
    outbox.take(usize::MAX, &mut pieces);
    let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [4 * 1024, 8 * 1024, 16 * 1024]);
}

#[test]
fn a_recovered_outbox_owes_what_an_earlier_life_wrote_and_goes_on_behind_it() {
    let length = encoded_length(&Message::new("x"));
    let limits = Limits {
        messages: 9,
        bytes: 4 * length,
        delivery: Delivery::AtLeastOnce,
        when_full: WhenFull::Block,
        checksummed: false,
        loses_frames: false,
    };
    let runs = vec![written(3, 4), written(5, 5)];
    let mut outbox = Outbox::recovered(SessionId(1), limits, (2, 6), runs);
    assert_eq!((outbox.first_owed(), outbox.last()), (3, 5));
    assert_eq!(outbox.largest_frame(), length);
    let ledger = outbox.ledger();
    assert_eq!((ledger.accepted, ledger.waiting), (3, 3));
    assert_eq!(take(&mut outbox), [3, 4, 5]);
    append(&mut outbox, 1);
    assert_eq!(outbox.append(&Message::new("x")), Appended::Full, "bytes");
    assert_eq!(take(&mut outbox), [6]);
    assert_eq!(outbox.acknowledged(6), Ok(4));
}

#[test]
fn a_peer_may_acknowledge_what_an_earlier_life_sent() {
    let limits = outbox(9, Delivery::AtLeastOnce, WhenFull::Block).limits;
    let mut outbox = Outbox::recovered(SessionId(1), limits, (2, 5), vec![written(3, 4)]);
    assert!(outbox.welcomed(3, 5).is_err());
    outbox.welcomed(3, 4).unwrap();
    assert_eq!(outbox.first_owed(), 4);
    assert!(!outbox.has_unsent());
}

#[test]
fn of_many_messages_those_are_taken_over_for_which_there_is_room() {
    let mut outbox = outbox(5, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 2);
    let messages = vec![Message::new("x"); 9];
    let length = encoded_length(&messages[0]);
    assert_eq!(outbox.append_run(&messages), (3, 3 * length));
    assert_eq!(outbox.newest(3 * length), written(3, 5).bytes);
    assert_eq!(outbox.append_run(&messages), (0, 0));
    assert_eq!(take(&mut outbox), [1, 2, 3, 4, 5]);
}

#[test]
fn messages_that_are_taken_over_together_lie_in_one_piece_of_memory() {
    let mut outbox = outbox(99, Delivery::AtLeastOnce, WhenFull::Block);
    let overhead = encoded_length(&Message::default());
    // The first piece of memory has 4 KiB: three of these go into it, and seven more do not, nor one of them.
    let kilobyte = vec![Message::new(vec![0; 1024 - overhead]); 7];
    assert_eq!(outbox.append_run(&kilobyte[..1]), (1, 1024));
    assert_eq!(outbox.append_run(&kilobyte[..2]), (2, 2 * 1024));
    assert_eq!(outbox.append_run(&kilobyte), (7, 7 * 1024));
    assert_eq!(outbox.newest(7 * 1024).len(), 7 * 1024);
    let large = vec![Message::new(vec![0; 64 * 1024 - overhead]); 4];
    assert_eq!(outbox.append_run(&large), (2, 128 * 1024), "and no more");
    let mut pieces = Vec::new();
    outbox.take(usize::MAX, &mut pieces);
    let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [3 * 1024, 7 * 1024, 128 * 1024]);
}

#[test]
fn what_is_held_back_is_handed_out_when_it_is_ready_and_not_before() {
    let mut outbox = outbox(9, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 1);
    outbox.hold_back();
    append(&mut outbox, 2);
    assert_eq!(outbox.closed_up(), 3);
    append(&mut outbox, 1);
    assert_eq!(take(&mut outbox), [], "1 lies in one piece with 3");
    outbox.ready(3);
    outbox.ready(2);
    assert_eq!(take(&mut outbox), [1, 2, 3]);
    assert!(!outbox.has_unsent());
    outbox.ready(4);
    assert_eq!(take(&mut outbox), [4]);
}

#[test]
fn what_is_taken_back_was_never_accepted() {
    let mut outbox = outbox(9, Delivery::AtLeastOnce, WhenFull::Block);
    let told = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..6 {
        append(&mut outbox, 1);
        let (sequence, told) = (outbox.last(), Arc::clone(&told));
        outbox.await_last(Box::new(move |fate| told.lock().push((sequence, fate))));
        if outbox.last() == 4 {
            outbox.closed_up();
        }
    }
    // The whole piece 5..=6, then the half of 1..=4.
    outbox.retract(4);
    assert_eq!(outbox.sealed_bytes, written(1, 4).bytes.len());
    outbox.retract(2);
    assert_eq!(outbox.last(), 2);
    assert_eq!(outbox.ledger().accepted, 2);
    assert_eq!(outbox.sealed_bytes, written(1, 2).bytes.len());
    outbox.retract(2);
    append(&mut outbox, 1);
    assert_eq!(take(&mut outbox), [1, 2, 3]);
    assert_eq!(outbox.acknowledged(3), Ok(3));
    let delivered = [(1, Fate::Delivered), (2, Fate::Delivered)];
    assert_eq!(*told.lock(), delivered, "and nobody is told of it here");
    assert!(outbox.is_empty());
    assert_eq!(outbox.sealed_bytes, 0);
}

#[test]
fn what_a_spool_keeps_is_told_as_kept() {
    let mut outbox = outbox(9, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 1);
    let told = Arc::new(Mutex::new(None));
    let teller = Arc::clone(&told);
    outbox.await_last(Box::new(move |fate| *teller.lock() = Some(fate)));
    outbox.settle_as_kept();
    assert_eq!(*told.lock(), Some(Fate::Kept));
}

#[test]
fn as_many_may_wait_as_there_may_be_messages() {
    let mut outbox = outbox(2, Delivery::AtLeastOnce, WhenFull::Block);
    for enough in [false, true] {
        append(&mut outbox, 1);
        assert!(!outbox.has_enough_awaited());
        outbox.await_last(Box::new(|_| ()));
        assert_eq!(outbox.has_enough_awaited(), enough);
    }
}

#[test]
fn what_was_acknowledged_while_it_was_to_be_sent_again_is_not_sent_again() {
    let mut outbox = outbox(9, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 3);
    take(&mut outbox);
    outbox.welcomed(0, 0).unwrap();
    outbox.acknowledged(3).unwrap();
    assert!(!outbox.has_unsent());
    append(&mut outbox, 1);
    assert_eq!(take(&mut outbox), [4]);
}

#[test]
fn an_outbox_that_goes_to_sleep_empty_keeps_no_memory() {
    let mut outbox = outbox(9999, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 999);
    outbox.shrink();
    assert_eq!(take(&mut outbox).len(), 999, "it is not empty");
    outbox.acknowledged(999).unwrap();
    append(&mut outbox, 1);
    take(&mut outbox);
    outbox.acknowledged(1000).unwrap();
    outbox.shrink();
    assert_eq!((outbox.tail.capacity(), outbox.sealed.capacity()), (0, 0));
    append(&mut outbox, 1);
    assert!(outbox.tail.capacity() < 2 * super::SMALLEST_TAIL);
}

#[test]
fn a_ledger_adds_up_with_another_and_says_where_messages_are() {
    let one = Ledger {
        accepted: 127,
        delivered: 1,
        in_doubt: 2,
        dropped: Dropped {
            newest: 4,
            oldest: 8,
        },
        undelivered: 16,
        waiting: 96,
    };
    assert!(one.adds_up() && !one.is_complete());
    let missing = Ledger {
        delivered: 0,
        ..one
    };
    assert!(!missing.adds_up());
    let mut two = one;
    two += one;
    two += Ledger::default();
    assert!(two.adds_up());
    assert_eq!(
        two.to_string(),
        "accepted 254 = delivered 2 + in doubt 4 + dropped 24 + undelivered 32 + waiting 192"
    );
    assert_eq!((two.dropped.newest, two.dropped.oldest), (8, 16));
    let complete = Ledger {
        accepted: 3,
        delivered: 3,
        ..Ledger::default()
    };
    assert!(complete.adds_up() && complete.is_complete());
}

#[test]
fn nothing_is_owed_after_a_life_that_was_wholly_acknowledged() {
    let limits = outbox(9, Delivery::AtLeastOnce, WhenFull::Block).limits;
    let mut outbox = Outbox::recovered(SessionId(1), limits, (2, 3), Vec::new());
    assert!(outbox.is_empty() && !outbox.has_unsent());
    append(&mut outbox, 1);
    assert_eq!(take(&mut outbox), [3]);
}

#[test]
fn only_who_asked_for_it_is_refused_at_once() {
    let rejects = |when_full| outbox(9, Delivery::AtLeastOnce, when_full).rejects();
    assert!(rejects(WhenFull::Reject));
    assert!(!rejects(WhenFull::Block) && !rejects(WhenFull::DropNewest));
}

#[test]
fn what_comes_after_the_last_before_it_is_held_back() {
    let mut outbox = outbox(9, Delivery::AtLeastOnce, WhenFull::Block);
    append(&mut outbox, 1);
    outbox.closed_up();
    outbox.hold_back();
    append(&mut outbox, 1);
    outbox.closed_up();
    assert_eq!(take(&mut outbox), [1]);
}
