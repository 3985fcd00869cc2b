//! What became of every message: lost, twice, out of order, damaged. No I/O, no clock.
//!
//! A sender logs the number that it is about to send and the number that was accepted; a receiver logs what it was
//! handed before it asks for more. Accepted and never received is lost; intended and not accepted may go either way.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ranges::Ranges;
use crate::record::{Mark, Record};

/// What is demanded of a run, beside that nothing comes twice in one life of a receiver, out of order or damaged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    /// Nothing is owed: what is lost is counted, and no fault.
    pub(crate) may_lose: bool,
    /// Receivers have a durable cursor: nothing that one has confirmed comes to its next life.
    pub(crate) has_cursor: bool,
    /// The relay acknowledges what it has on its disk, so that what is acknowledged need not be processed.
    pub(crate) has_store: bool,
}

/// Takes the logs of all processes, in pieces as they grow.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    demands: Demands,
    origins: BTreeMap<u64, Mark>,
    receivers: BTreeMap<String, Receiver>,
}

/// One receiver, over all its lives.
#[derive(Debug, Default)]
struct Receiver {
    lives: u64,
    /// What is the last entry of this life's log so far: asked for nothing after it, nothing of it is confirmed.
    in_hand: Option<(u64, u64, u64)>,
    seen: BTreeMap<u64, Seen>,
    count: Count,
}

/// What a receiver has had of one origin.
#[derive(Debug, Default)]
struct Seen {
    ever: Ranges,
    /// In the life with this number.
    life: u64,
    here: Ranges,
    /// Of these, how many a life before it had.
    again: u64,
    /// Its sender knew before this life that these were processed.
    floor: u64,
    /// It has confirmed these itself, by asking for more.
    confirmed: u64,
}

/// What was counted for one receiver. All but the first five are faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) lives: u64,
    pub(crate) received: u64,
    /// Received again by a later life, which is what it costs to have no durable cursor.
    pub(crate) redelivered: u64,
    /// The most of one sender that came again to one life.
    pub(crate) redelivered_most: u64,
    /// Of senders that were killed without a spool: accepted, not acknowledged, and not received.
    pub(crate) forfeited: u64,
    pub(crate) lost: u64,
    /// Twice in one life, or again after it was acknowledged.
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Later messages were received in one life without these.
    pub(crate) passed_over: u64,
    /// Not as it was made, or never made.
    pub(crate) corrupted: u64,
    /// The library said that these will not come.
    pub(crate) missed: u64,
}

impl Checker {
    pub(crate) fn new(demands: Demands) -> Self {
        Self {
            demands,
            ..Self::default()
        }
    }

    /// A new life of this receiver begins; what comes next is of it.
    pub(crate) fn born(&mut self, receiver: &str) {
        let receiver = self.receivers.entry(receiver.to_owned()).or_default();
        receiver.lives += 1;
        receiver.in_hand = None;
    }

    /// Takes the next entry of a receiver's log.
    pub(crate) fn take(&mut self, receiver: &str, record: Record) {
        let receiver = self.receivers.entry(receiver.to_owned()).or_default();
        match record {
            Record::Run {
                origin,
                first,
                last,
            } => receiver.run(origin, first, last, self.demands.has_cursor),
            Record::Floor { .. } if self.demands.has_store => {}
            Record::Floor { origin, acked } => receiver.seen(origin).floor = acked,
            Record::Damaged { count } => receiver.count.corrupted += count,
            Record::Missed { count } => receiver.count.missed += count,
        }
    }

    /// Takes what a sender has logged, again whenever it may have changed.
    pub(crate) fn sender(&mut self, origin: u64, mark: Mark) {
        self.origins.insert(origin, mark);
    }

    /// Returns how many messages this receiver was handed so far.
    pub(crate) fn received(&self, receiver: &str) -> u64 {
        let receiver = self.receivers.get(receiver);
        receiver.map_or(0, |receiver| receiver.count.received)
    }

    /// Returns what all senders that were ever seen have accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.origins.values().map(|mark| mark.accepted).sum()
    }

    /// Counts, for each receiver, when nothing further comes.
    pub(crate) fn counts(&self) -> BTreeMap<String, Count> {
        let counted = |(name, receiver): (&String, &Receiver)| {
            (name.clone(), receiver.counted(&self.origins))
        };
        self.receivers.iter().map(counted).collect()
    }

    /// Returns whether something has not come yet that must.
    pub(crate) fn is_owed(&self) -> bool {
        self.counts().values().any(|count| count.lost > 0)
    }

    /// Returns everything that is not as it was promised, one sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, count) in self.counts() {
            let owed = !self.demands.may_lose;
            let wrong = [
                (count.lost, "lost", owed),
                (count.duplicated, "duplicated", true),
                (count.reordered, "out of order", true),
                (count.passed_over, "passed over", owed),
                (count.corrupted, "corrupted", true),
                (count.missed, "declared missed", owed),
            ];
            let wrong = wrong.into_iter().filter(|(n, _, is)| *n > 0 && *is);
            faults.extend(wrong.map(|(n, what, _)| format!("{name}: {n} {what}")));
        }
        faults
    }
}

impl Receiver {
    /// What it has had of an origin, ready for this life.
    fn seen(&mut self, origin: u64) -> &mut Seen {
        let seen = self.seen.entry(origin).or_default();
        if seen.life != self.lives {
            seen.life = self.lives;
            seen.here.clear();
            seen.again = 0;
            seen.floor = 0;
        }
        seen
    }

    fn run(&mut self, origin: u64, first: u64, last: u64, has_cursor: bool) {
        // Whoever asks for more has confirmed what he had.
        if let Some((origin, first, last)) = self.in_hand.replace((origin, first, last)) {
            let seen = self.seen(origin);
            if first <= seen.confirmed + 1 {
                seen.confirmed = seen.confirmed.max(last);
            }
        }
        let seen = self.seen(origin);
        let (here, ever) = (seen.here.highest(), seen.ever.highest());
        let due = if here == 0 { ever } else { here } + 1;
        let twice = seen.here.within(first, last);
        let again = seen.ever.within(first, last) - twice;
        // Behind a later one of the same life, and new to it.
        let late = (last.min(here) + 1).saturating_sub(first) - twice;
        let settled = if has_cursor {
            seen.floor.max(seen.confirmed)
        } else {
            seen.floor
        };
        let recalled = seen.ever.within(first.max(here + 1), last.min(settled));
        seen.again += again;
        seen.here.add(first, last);
        seen.ever.add(first, last);
        let most = seen.again;
        let count = &mut self.count;
        count.received += last + 1 - first;
        count.redelivered += again - recalled;
        count.redelivered_most = count.redelivered_most.max(most);
        count.duplicated += twice + recalled;
        count.reordered += late;
        count.passed_over += first.saturating_sub(due);
    }

    fn counted(&self, origins: &BTreeMap<u64, Mark>) -> Count {
        let mut count = self.count.clone();
        count.lives = self.lives;
        for (origin, seen) in &self.seen {
            let intended = origins.get(origin).map_or(0, |mark| mark.intended);
            let all = seen.ever.within(1, u64::MAX - 1);
            count.corrupted += all - seen.ever.within(1, intended);
        }
        let none = Ranges::default();
        for (origin, mark) in origins {
            let ever = self.seen.get(origin).map_or(&none, |seen| &seen.ever);
            let owed = if mark.is_gone {
                mark.acked.max(ever.highest()).min(mark.accepted)
            } else {
                mark.accepted
            };
            count.lost += owed - ever.within(1, owed);
            count.forfeited += mark.accepted - owed;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: u64 = 7;

    fn run(first: u64, last: u64) -> Record {
        Record::Run {
            origin: ORIGIN,
            first,
            last,
        }
    }

    fn mark(accepted: u64) -> Mark {
        Mark {
            intended: accepted + 1,
            accepted,
            acked: accepted,
            ..Mark::default()
        }
    }

    /// One receiver, a log for each of its lives, and a sender of ten messages.
    fn checked(demands: Demands, mark: Mark, lives: &[&[Record]]) -> (Count, Vec<String>) {
        let mut checker = Checker::new(demands);
        checker.sender(ORIGIN, mark);
        for life in lives {
            checker.born("r");
            for record in *life {
                checker.take("r", *record);
            }
        }
        (checker.counts()["r"].clone(), checker.faults())
    }

    fn of_ten(lives: &[&[Record]]) -> (Count, Vec<String>) {
        checked(Demands::default(), mark(10), lives)
    }

    /// These counts and no others, in words.
    #[track_caller]
    fn is(found: &(Count, Vec<String>), faults: &[&str]) {
        assert_eq!(found.1, faults, "{:?}", found.0);
    }

    #[test]
    fn what_comes_once_and_in_order_is_right_however_it_is_cut() {
        is(&of_ten(&[&[run(1, 10)]]), &[]);
        is(&of_ten(&[&[run(1, 1), run(2, 9), run(10, 10)]]), &[]);
        is(&of_ten(&[&[run(1, 4)], &[], &[run(5, 10)]]), &[]);
    }

    #[test]
    fn what_is_lost_is_reported() {
        is(&of_ten(&[&[run(1, 9)]]), &["r: 1 lost"]);
        is(&of_ten(&[&[]]), &["r: 10 lost"]);
        let hole = of_ten(&[&[run(1, 4), run(7, 10)]]);
        is(&hole, &["r: 2 lost", "r: 2 passed over"]);
        let hole = of_ten(&[&[run(1, 4)], &[run(6, 10)]]);
        is(&hole, &["r: 1 lost", "r: 1 passed over"]);
        is(
            &of_ten(&[&[run(2, 10)]]),
            &["r: 1 lost", "r: 1 passed over"],
        );
    }

    #[test]
    fn what_comes_twice_in_one_life_is_reported() {
        is(&of_ten(&[&[run(1, 10), run(10, 10)]]), &["r: 1 duplicated"]);
        is(&of_ten(&[&[run(1, 5), run(3, 10)]]), &["r: 3 duplicated"]);
    }

    #[test]
    fn what_comes_again_to_a_later_life_is_counted_and_no_fault() {
        let again = of_ten(&[&[run(1, 6)], &[run(3, 8)], &[run(7, 10)]]);
        is(&again, &[]);
        let count = again.0;
        assert_eq!((count.redelivered, count.redelivered_most), (4 + 2, 4));
        assert_eq!((count.lives, count.received), (3, 16));
    }

    #[test]
    fn what_was_acknowledged_must_not_come_again() {
        let floor = Record::Floor {
            origin: ORIGIN,
            acked: 4,
        };
        is(&of_ten(&[&[run(1, 6)], &[floor, run(5, 10)]]), &[]);
        let recalled = of_ten(&[&[run(1, 6)], &[floor, run(4, 10)]]);
        is(&recalled, &["r: 1 duplicated"]);
        // It holds for the life before which it was known.
        is(
            &of_ten(&[&[run(1, 6)], &[floor, run(5, 6)], &[run(2, 10)]]),
            &[],
        );
    }

    #[test]
    fn with_a_cursor_only_what_was_in_hand_may_come_again() {
        let cursor = Demands {
            has_cursor: true,
            ..Demands::default()
        };
        let lives: &[&[Record]] = &[&[run(1, 3), run(4, 6)], &[run(4, 10)]];
        is(&checked(cursor, mark(10), lives), &[]);
        let lives: &[&[Record]] = &[&[run(1, 3), run(4, 6)], &[run(3, 10)]];
        is(&checked(cursor, mark(10), lives), &["r: 1 duplicated"]);
        is(&of_ten(lives), &[]);
    }

    #[test]
    fn what_is_out_of_order_is_reported() {
        let swapped = of_ten(&[&[run(1, 4), run(6, 6), run(5, 5), run(7, 10)]]);
        is(&swapped, &["r: 1 out of order", "r: 1 passed over"]);
    }

    #[test]
    fn what_was_never_made_or_is_damaged_is_reported() {
        let invented = of_ten(&[&[run(1, 12)]]);
        is(&invented, &["r: 1 corrupted"]); // 11 was intended
        let stranger = Record::Run {
            origin: 8,
            first: 1,
            last: 2,
        };
        is(&of_ten(&[&[run(1, 10), stranger]]), &["r: 2 corrupted"]);
        let damaged = Record::Damaged { count: 3 };
        is(&of_ten(&[&[run(1, 10), damaged]]), &["r: 3 corrupted"]);
        let missed = Record::Missed { count: 4 };
        is(&of_ten(&[&[run(1, 10), missed]]), &["r: 4 declared missed"]);
    }

    #[test]
    fn a_sender_that_died_forfeits_its_end_and_nothing_else() {
        let gone = Mark {
            acked: 4,
            is_gone: true,
            ..mark(10)
        };
        let ended = checked(Demands::default(), gone, &[&[run(1, 7)]]);
        is(&ended, &[]);
        assert_eq!(ended.0.forfeited, 3);
        let acked = checked(Demands::default(), gone, &[&[run(1, 3)]]);
        is(&acked, &["r: 1 lost"]);
        let hole = checked(Demands::default(), gone, &[&[run(1, 4), run(6, 7)]]);
        is(&hole, &["r: 1 lost", "r: 1 passed over"]);
    }

    #[test]
    fn where_nothing_is_owed_what_is_lost_is_counted_and_order_still_holds() {
        let may_lose = Demands {
            may_lose: true,
            ..Demands::default()
        };
        let lossy = checked(may_lose, mark(10), &[&[run(2, 4), run(7, 9)]]);
        is(&lossy, &[]);
        assert_eq!(lossy.0.lost, 4);
        let wrong = checked(may_lose, mark(10), &[&[run(2, 4), run(7, 9), run(4, 5)]]);
        is(&wrong, &["r: 1 duplicated", "r: 1 out of order"]);
    }
}
