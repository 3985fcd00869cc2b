//! What the receiving side knows of every session: *have* and *processed* (rules K1–K4, R1, R3). No I/O, no clock.
#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use minicbor::{Decode, Encode};

use super::frame::SEQUENCE_LIMIT;
use super::{ProtocolError, SessionId};

/// How many sessions one side remembers; a peer that invents sessions cannot make it hold more.
pub(crate) const MOST_SESSIONS: usize = 65_536;

/// What one side says about one session: two numbers, never one (the starred rule of *acked* and *have*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode, Encode)]
#[cbor(array)]
pub(crate) struct Position {
    #[n(0)]
    pub(crate) session: SessionId,
    /// The application is done with everything up to here; only this makes *acked* move.
    #[n(1)]
    pub(crate) processed: u64,
    /// Everything up to here has arrived, perhaps it still waits in the local queue: need not be sent again.
    #[n(2)]
    pub(crate) have: u64,
}

/// What to do with the frames `first..=last` that have just arrived (K2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The first frame to deliver; beyond `last` when all of them were here before. Then somebody has not heard
    /// how far this side is: acknowledge again (K4).
    pub(crate) drop_before: u64,
    /// Numbers that will never come: the application is told, before the frames are delivered.
    pub(crate) missed: Option<RangeInclusive<u64>>,
}

/// What a `Gap` meant (K3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Numbers that will never come: the application is told.
    pub(crate) missed: Option<RangeInclusive<u64>>,
    /// Frames of the session may still be queued: a mark goes into the queue behind them, and when the application
    /// passes it, [`Positions::processed`] is called with the `after` of the gap. Otherwise that is already done.
    pub(crate) mark: bool,
}

/// What a listener answers to a producer's `Hello` (R1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) acked: u64,
    pub(crate) have: u64,
    /// Numbers that the producer no longer owes and that never came here: the application is told.
    pub(crate) missed: Option<RangeInclusive<u64>>,
}

/// Who this side is to those who send it `Data`: decides what a hole means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A consumer of a relay: a hole was missed, and is told (K2).
    Consumer,
    /// A listener of an `at_least_once` service: a producer leaves no holes (R3).
    Listener,
    /// A listener of an `at_most_once` service: what was lost with a connection is a hole, and is told.
    LossyListener,
}

/// *Have* and *processed* per session, bounded; survives reconnects together with the local queue (K1).
#[derive(Debug)]
pub(crate) struct Positions {
    side: Side,
    most: usize,
    sessions: HashMap<SessionId, Known>,
    /// Sessions by when they were last used, for forgetting.
    order: BTreeMap<u64, SessionId>,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    have: u64,
    processed: u64,
    used: u64,
}

impl Positions {
    /// Makes positions that know nothing (K1).
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            most: MOST_SESSIONS,
            sessions: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
        }
    }

    /// The same for so many sessions.
    #[cfg(test)]
    pub(crate) fn bounded(side: Side, most: usize) -> Self {
        Self {
            most,
            ..Self::new(side)
        }
    }

    /// Returns who this side is.
    pub(crate) const fn side(&self) -> Side {
        self.side
    }

    /// Takes a stored cursor: have := processed := what is stored (K1). For a start, before any data.
    pub(crate) fn restore(&mut self, session: SessionId, cursor: u64) {
        self.insert(session, cursor, cursor);
    }

    /// Answers a producer's `Hello` where it ends in this process (R1): an unknown session starts at what is owed,
    /// of a known one is kept what is known.
    ///
    /// A producer that owes nothing up to `first_owed − 1` will never send it: a known session that is behind that
    /// jumps there, and what lies between was missed.
    pub(crate) fn hello(&mut self, session: SessionId, first_owed: u64) -> Greeting {
        let before = first_owed.saturating_sub(1);
        let Some(known) = self.touch(session) else {
            self.insert(session, before, before);
            return Greeting {
                acked: before,
                have: before,
                missed: None,
            };
        };
        let mut missed = None;
        if known.have < before {
            missed = Some(known.have + 1..=before);
            known.have = before;
            known.processed = before;
        }
        Greeting {
            acked: known.processed,
            have: known.have,
            missed,
        }
    }

    /// Judges the frames `first..=last` that have arrived (K2, R3), and moves *have* to `last`.
    ///
    /// # Errors
    ///
    /// `Hole` where the producer may not leave one.
    pub(crate) fn data(
        &mut self,
        session: SessionId,
        first: u64,
        last: u64,
    ) -> Result<Verdict, ProtocolError> {
        if let Some(verdict) = self.data_of_known(session, first, last)? {
            return Ok(verdict);
        }
        // Not heard of: the first number is the baseline. Nothing is claimed about what came before it.
        self.insert(session, last, 0);
        Ok(Verdict {
            drop_before: first,
            missed: None,
        })
    }

    /// The same if the session is known; none, and nothing is changed, if it is not.
    ///
    /// # Errors
    ///
    /// As [`data`](Self::data).
    pub(crate) fn data_of_known(
        &mut self,
        session: SessionId,
        first: u64,
        last: u64,
    ) -> Result<Option<Verdict>, ProtocolError> {
        let side = self.side;
        let Some(known) = self.touch(session) else {
            return Ok(None);
        };
        let have = known.have;
        let mut missed = None;
        if first > have + 1 {
            match side {
                Side::Listener => return Err(ProtocolError::Hole { have, got: first }),
                Side::Consumer | Side::LossyListener => missed = Some(have + 1..=first - 1),
            }
        }
        known.have = have.max(last);
        Ok(Some(Verdict {
            drop_before: first.max(have + 1),
            missed,
        }))
    }

    /// Takes a `Gap` (K3): nothing up to `after` will come on this connection. ✱ It counts as processed once the
    /// application has passed what was queued before it: everybody who had to be waited for has had it.
    pub(crate) fn gap(&mut self, session: SessionId, after: u64, filtered: bool) -> Passed {
        let Some(known) = self.touch(session) else {
            // A baseline. Of a session never heard of, nothing can be queued before it.
            self.insert(session, after, after);
            return Passed::default();
        };
        if after <= known.have {
            return Passed::default();
        }
        let missed = (!filtered).then_some(known.have + 1..=after);
        let mark = known.processed < known.have;
        known.have = after;
        if !mark {
            known.processed = after;
        }
        Passed { missed, mark }
    }

    /// Notes that the application is done with everything up to `sequence` (K4); going back is ignored.
    pub(crate) fn processed(&mut self, session: SessionId, sequence: u64) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.processed = known.processed.max(sequence.min(known.have));
        }
    }

    /// Returns what is known of a session.
    pub(crate) fn get(&self, session: SessionId) -> Option<Position> {
        self.sessions.get(&session).map(|known| Position {
            session,
            processed: known.processed,
            have: known.have,
        })
    }

    /// Returns everything known, least recently used first, for the next `Hello` (C1, K4).
    pub(crate) fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.order.values().filter_map(|&session| self.get(session))
    }

    /// Makes room for one session more: forgets the least recently used ones that have nothing waiting for the
    /// application, which has processed as much of each as is known here, or as much as `processed` says. When each has
    /// something waiting, none is forgotten: then the bounded local queue is what bounds them. A relay that still
    /// keeps frames of a forgotten session for others sends them again after a reconnect: the price of the bound.
    /// Returns those that are forgotten.
    pub(crate) fn make_room(&mut self, processed: impl Fn(SessionId) -> u64) -> Vec<SessionId> {
        let mut forgotten = Vec::new();
        while self.sessions.len() >= self.most {
            let oldest = self.order.iter().find_map(|(&used, &session)| {
                let known = self.sessions.get(&session)?;
                let is_done = known.processed.max(processed(session)) >= known.have;
                is_done.then_some((used, session))
            });
            let Some((used, session)) = oldest else {
                break;
            };
            self.order.remove(&used);
            self.sessions.remove(&session);
            forgotten.push(session);
        }
        forgotten
    }

    /// Finds a session and makes it the most recently used.
    fn touch(&mut self, session: SessionId) -> Option<&mut Known> {
        let known = self.sessions.get_mut(&session)?;
        // Often the same session again: nothing to reorder then.
        if known.used != self.clock {
            self.order.remove(&known.used);
            self.clock += 1;
            known.used = self.clock;
            self.order.insert(self.clock, session);
        }
        Some(known)
    }

    fn insert(&mut self, session: SessionId, have: u64, processed: u64) {
        if let Some(known) = self.touch(session) {
            known.have = have;
            known.processed = processed;
            return;
        }
        self.make_room(|_| 0);
        self.clock += 1;
        let used = self.clock;
        let known = Known {
            have,
            processed,
            used,
        };
        self.sessions.insert(session, known);
        self.order.insert(used, session);
    }
}

/// Refuses a sequence on which arithmetic could overflow.
pub(crate) const fn check_sequence(sequence: u64) -> Result<u64, ProtocolError> {
    if sequence < SEQUENCE_LIMIT {
        Ok(sequence)
    } else {
        Err(ProtocolError::Sequence(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn verdict(drop_before: u64, missed: Option<RangeInclusive<u64>>) -> Verdict {
        Verdict {
            drop_before,
            missed,
        }
    }

    #[test]
    fn old_frames_are_dropped_and_holes_are_told_to_a_consumer() {
        let mut positions = Positions::new(Side::Consumer);
        assert_eq!(positions.gap(A, 4, false), Passed::default());
        assert_eq!(positions.data(A, 5, 7), Ok(verdict(5, None)));
        assert_eq!(positions.data(A, 6, 9), Ok(verdict(8, None)));
        assert_eq!(positions.data(A, 3, 9), Ok(verdict(10, None)));
        assert_eq!(positions.data(A, 12, 12), Ok(verdict(12, Some(10..=11))));
        let position = positions.get(A).unwrap();
        assert_eq!((position.processed, position.have), (4, 12));
    }

    #[test]
    fn the_first_number_of_an_unknown_session_is_its_baseline() {
        let mut positions = Positions::new(Side::Consumer);
        assert_eq!(positions.data(A, 8, 9), Ok(verdict(8, None)));
        assert_eq!(positions.get(A).unwrap().have, 9);
    }

    #[test]
    fn a_hole_from_a_producer_ends_the_connection_unless_it_may_lose() {
        let mut positions = Positions::new(Side::Listener);
        positions.hello(A, 1);
        assert_eq!(
            positions.data(A, 2, 2),
            Err(ProtocolError::Hole { have: 0, got: 2 })
        );
        assert_eq!(positions.get(A).unwrap().have, 0);
        let mut positions = Positions::new(Side::LossyListener);
        positions.hello(A, 1);
        assert_eq!(positions.data(A, 2, 2), Ok(verdict(2, Some(1..=1))));
    }

    #[test]
    fn what_a_producer_owes_no_more_is_not_processed_by_that_where_it_has_come() {
        let mut positions = Positions::new(Side::Listener);
        positions.hello(A, 1);
        positions.data(A, 1, 3).unwrap();
        let known = Greeting {
            acked: 0,
            have: 3,
            missed: None,
        };
        assert_eq!(positions.hello(A, 4), known);
        let behind = Greeting {
            acked: 5,
            have: 5,
            missed: Some(4..=5),
        };
        assert_eq!(positions.hello(A, 6), behind, "this will never come");
    }

    #[test]
    fn a_gap_is_past_at_once_or_behind_what_is_queued() {
        let mut positions = Positions::new(Side::Consumer);
        positions.gap(A, 4, false);
        assert_eq!(positions.get(A).unwrap().processed, 4);
        let missed = Some(5..=6);
        assert_eq!(
            positions.gap(A, 6, false),
            Passed {
                missed,
                mark: false
            }
        );
        assert_eq!(positions.get(A).unwrap().processed, 6);
        positions.data(A, 7, 8).unwrap();
        let passed = positions.gap(A, 9, true);
        assert_eq!(
            passed,
            Passed {
                missed: None,
                mark: true
            }
        );
        assert_eq!(positions.get(A).unwrap().processed, 6);
        positions.processed(A, 8);
        positions.processed(A, 9);
        assert_eq!(positions.get(A).unwrap().processed, 9);
        assert_eq!(positions.gap(A, 3, false), Passed::default());
    }

    #[test]
    fn a_listener_keeps_what_it_knows_and_jumps_when_the_producer_moved_on() {
        let mut positions = Positions::new(Side::Listener);
        let greeting = |acked, have, missed| Greeting {
            acked,
            have,
            missed,
        };
        assert_eq!(positions.hello(A, 3), greeting(2, 2, None));
        positions.data(A, 3, 6).unwrap();
        positions.processed(A, 4);
        assert_eq!(positions.hello(A, 3), greeting(4, 6, None));
        assert_eq!(positions.hello(A, 9), greeting(8, 8, Some(7..=8)));
        // what was still queued moves nothing back
        positions.processed(A, 6);
        assert_eq!(positions.get(A).unwrap().processed, 8);
    }

    #[test]
    fn the_least_recently_used_session_with_nothing_waiting_is_forgotten() {
        let mut positions = Positions::bounded(Side::Consumer, 3);
        positions.gap(A, 1, false);
        positions.data(A, 2, 2).unwrap(); // waits for the application
        positions.gap(B, 1, false);
        positions.gap(SessionId(3), 1, false);
        positions.gap(B, 1, false); // used again
        positions.gap(SessionId(4), 1, false);
        let kept: Vec<_> = positions.iter().map(|p| p.session.0).collect();
        assert_eq!(kept, [1, 2, 4]);
    }

    #[test]
    fn nothing_processed_counts_beyond_what_is_here() {
        let mut positions = Positions::new(Side::Consumer);
        positions.restore(A, 5);
        positions.processed(A, 100);
        positions.processed(B, 100);
        let all: Vec<_> = positions.iter().collect();
        assert_eq!(
            all,
            [Position {
                session: A,
                processed: 5,
                have: 5
            }]
        );
        assert!(check_sequence(SEQUENCE_LIMIT).is_err());
    }
}
