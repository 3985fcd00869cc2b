//! What a relay's disk has of its log (S1–S4): a cursor on it, as a consumer has. No I/O, no clock.
//!
//! * S1: what is on the disk is acknowledged to its producer, whether a consumer has had it or not.
//! * S2: it is in the log all the same, so that it is sent, and leaves, as R5 and R6 say; the disk is told.
//! * S3: the disk is told how far everybody has come, so that what is read from it begins there.
//! * S4: a producer may owe only what comes after a loss of the disk. What is left before it is still delivered.
#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;

use super::effects::{Chunk, HubConfig, Wake};
use super::hub::{Hub, note_producer};
use crate::spool::format::Name;
use crate::spool::shared::Kept;
use crate::wire::frame::stamp_origin;
use crate::wire::run::{Run, frame_length};

/// What the disk has of the log.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The position of the next run to be written.
    cursor: u64,
    /// Everybody has had everything before this position.
    settled: u64,
    /// What the log had in the beginning: with what was processed and not noted, perhaps more than its bound.
    #[cfg(test)]
    pub(super) restored: usize,
}

impl Hub {
    /// Makes the hub of a relay that stores, with what its disk has kept. The runs get the first positions of the log.
    pub(crate) fn storing(config: HubConfig, kept: Kept) -> Self {
        let mut hub = Self::new(config);
        // Whoever is on the disk had a place before.
        hub.sessions.most = hub.sessions.most.max(kept.sessions.len());
        let mut origins = Vec::with_capacity(kept.sessions.len());
        for one in &kept.sessions {
            let origin = hub.sessions.enter(one.id).unwrap_or_default();
            if let Some(session) = hub.sessions.get_mut(origin) {
                session.known = true;
                (session.have, session.acked) = (one.have, one.acked);
                (session.stored, session.noted) = (one.have, one.acked);
                hub.sessions.strangers -= 1;
            }
            origins.push(origin);
        }
        for mut run in kept.runs {
            let Some(&origin) = origins.get(run.of) else {
                continue;
            };
            let mut rest = &mut run.bytes[..];
            while !rest.is_empty() {
                stamp_origin(rest, origin);
                let length = frame_length(rest).min(rest.len());
                rest = &mut rest[length..];
            }
            if let Some(session) = hub.sessions.get_mut(origin) {
                session.restored(run.first);
                hub.log
                    .push(origin, Run::new(run.first, run.last, run.bytes.freeze()));
            }
        }
        hub.keeping = Some(Keeping {
            cursor: hub.log.end(),
            settled: 0,
            #[cfg(test)]
            restored: hub.log.bytes(),
        });
        hub
    }

    /// Returns whether anything is written to a disk at all.
    pub(super) const fn has_to_store(&self) -> bool {
        self.keeping.is_some()
    }

    /// Gives the disk what comes next: up to `most` bytes, but at least one run. With `notes` also, or only, how far
    /// everybody has come. What everybody has had needs no disk.
    pub(crate) fn poll_store(&mut self, most: usize, notes: bool) -> Option<Chunk> {
        let keeping = self.keeping.as_mut()?;
        keeping.settled = keeping.settled.max(self.log.base());
        let (log, sessions) = (&self.log, &mut self.sessions);
        let is_done = |origin, last| sessions.get(origin).is_none_or(|s| s.acked >= last);
        while let Some(entry) = log.get(keeping.settled)
            && is_done(entry.origin, entry.run.last)
        {
            keeping.settled += 1;
        }
        keeping.cursor = keeping.cursor.max(keeping.settled);
        let from = keeping.cursor;
        let (mut runs, mut spent) = (Vec::new(), 0);
        let mut origins = BTreeSet::new();
        while let Some(entry) = log.get(keeping.cursor) {
            if !is_done(entry.origin, entry.run.last) {
                if spent > 0 && spent + entry.run.bytes.len() > most {
                    break;
                }
                spent += entry.run.bytes.len();
                origins.insert(entry.origin);
                runs.push((entry.origin, entry.run.clone()));
            }
            keeping.cursor += 1;
        }
        let mut names = Vec::new();
        let mut name = |origin, session: &mut super::sessions::Session| {
            session.noted = session.acked;
            names.push(Name {
                origin,
                session: session.id,
                acked: session.acked,
            });
        };
        if notes {
            let behind = sessions
                .iter_mut()
                .filter(|(_, s)| s.noted < s.acked.min(s.stored));
            behind.for_each(|(origin, session)| {
                origins.remove(&origin);
                name(origin, session);
            });
        }
        for origin in origins {
            if let Some(session) = sessions.get_mut(origin) {
                name(origin, session);
            }
        }
        (!names.is_empty()).then_some(Chunk {
            names,
            runs,
            from,
            upto: keeping.cursor,
            settled: keeping.settled,
        })
    }

    /// The disk has it (S1).
    pub(crate) fn stored(&mut self, chunk: &Chunk, wake: &mut Wake) {
        for (origin, run) in &chunk.runs {
            if let Some(session) = self.sessions.get_mut(*origin) {
                session.stored = session.stored.max(run.last);
                note_producer(session, wake);
            }
        }
    }

    /// The disk does not have it: it is to be written again.
    pub(crate) fn not_stored(&mut self, chunk: &Chunk) {
        if let Some(keeping) = &mut self.keeping {
            keeping.cursor = chunk.from;
        }
        for name in &chunk.names {
            if let Some(session) = self.sessions.get_mut(name.origin) {
                session.noted = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::BytesMut;

    use super::*;
    use crate::message::Message;
    use crate::relay::effects::{
        ConnectionId, ConsumerHello, ConsumerKey, Offered, Outgoing, ProducerNews,
    };
    use crate::spool::shared::{KeptRun, KeptSession};
    use crate::wire::SessionId;
    use crate::wire::frame::encode_message;
    use crate::wire::hello::Start;

    const A: SessionId = SessionId(0xA);
    const SENDER: ConnectionId = ConnectionId(1);
    const CONSUMER: ConnectionId = ConnectionId(2);

    struct Relay {
        hub: Hub,
        wake: Wake,
        now: Instant,
    }

    fn frames(first: u64, last: u64) -> BytesMut {
        let mut bytes = BytesMut::new();
        for sequence in first..=last {
            encode_message(&Message::new("x"), sequence, true, &mut bytes);
        }
        bytes
    }

    impl Relay {
        fn with(kept: Kept) -> Self {
            let config = HubConfig {
                named: Vec::new(),
                hold: true,
                at_least_once: true,
                log_bytes: 10_000,
                unnamed_deadline: Duration::from_secs(1),
                named_deadline: None,
            };
            Self {
                hub: Hub::storing(config, kept),
                wake: Wake::default(),
                now: Instant::now(),
            }
        }

        /// With messages of one session on its disk.
        fn with_kept(first: u64, last: u64) -> Self {
            let session = KeptSession {
                id: A,
                acked: first - 1,
                have: last,
            };
            let run = KeptRun {
                of: 0,
                first,
                last,
                bytes: frames(first, last),
                next: last + 1,
            };
            Self::with(Kept {
                sessions: vec![session],
                runs: vec![run],
            })
        }

        /// Says hello; returns what the relay says it has.
        fn sender(&mut self, first_owed: u64) -> (u64, u64) {
            let greeted = self
                .hub
                .producer_hello(A, first_owed, SENDER, &mut self.wake);
            let welcome = greeted.unwrap();
            (welcome.acked, welcome.have)
        }

        fn data(&mut self, first: u64, last: u64) {
            let run = Run::new(first, last, frames(first, last).freeze());
            let offered = self.hub.data(SENDER, run, self.now, &mut self.wake);
            assert!(matches!(offered, Ok(Offered::Taken)));
            self.hub.check_invariants();
        }

        fn told(&mut self) -> Option<u64> {
            let news: Option<ProducerNews> = self.hub.poll_producer(SENDER);
            news.map(|news| news.acked)
        }

        fn consumer(&mut self) {
            let hello = ConsumerHello {
                key: ConsumerKey::Name("c".to_owned()),
                at_most_once: false,
                start: Start::Owed,
                positions: Vec::new(),
            };
            let attached = self
                .hub
                .consumer_hello(hello, CONSUMER, self.now, &mut self.wake);
            attached.unwrap();
        }

        /// Returns the messages that the consumer is sent.
        fn sent(&mut self) -> Vec<u64> {
            let mut out = Vec::new();
            let wake = &mut self.wake;
            assert!(!self.hub.poll_consumer(CONSUMER, usize::MAX, &mut out, wake));
            let runs = out.into_iter().filter_map(|one| match one {
                Outgoing::Data { run, .. } => Some(run.first..=run.last),
                Outgoing::Gap { .. } => None,
            });
            runs.flatten().collect()
        }

        fn processed(&mut self, sequence: u64) {
            let acknowledged =
                self.hub
                    .acknowledge(CONSUMER, 1, sequence, self.now, &mut self.wake);
            acknowledged.unwrap();
            self.hub.check_invariants();
        }

        fn stores(&mut self) -> Chunk {
            self.hub.poll_store(usize::MAX, false).unwrap()
        }
    }

    #[test]
    fn what_is_on_the_disk_is_acknowledged_and_still_sent_s1_s2() {
        let mut relay = Relay::with(Kept::default());
        assert_eq!(relay.sender(1), (0, 0));
        relay.data(1, 3);
        assert!(std::mem::take(&mut relay.wake.store), "the disk is called");
        let chunk = relay.stores();
        relay.data(4, 4);
        assert_eq!(
            relay.told(),
            None,
            "nothing is acknowledged before it is there"
        );
        relay.hub.stored(&chunk, &mut relay.wake);
        assert_eq!(relay.told(), Some(3));
        relay.hub.check_invariants();
        relay.consumer();
        assert_eq!(relay.sent(), [1, 2, 3, 4]);
        relay.processed(4);
        assert_eq!(relay.told(), Some(4), "as without a disk");
        assert!(
            relay.hub.poll_store(usize::MAX, false).is_none(),
            "needless now"
        );
    }

    #[test]
    fn what_the_disk_did_not_take_is_offered_again() {
        let mut relay = Relay::with(Kept::default());
        relay.sender(1);
        relay.data(1, 2);
        let chunk = relay.stores();
        relay.hub.not_stored(&chunk);
        relay.data(3, 3);
        assert_eq!(relay.told(), None);
        let again = relay.stores();
        assert_eq!((again.from, again.upto, again.runs.len()), (0, 2, 2));
        relay.hub.stored(&again, &mut relay.wake);
        assert_eq!(relay.told(), Some(3));
    }

    #[test]
    fn the_disk_is_told_how_far_everybody_has_come_s3() {
        let mut relay = Relay::with_kept(1, 5);
        relay.consumer();
        assert_eq!(relay.sent(), [1, 2, 3, 4, 5]);
        assert!(relay.hub.poll_store(usize::MAX, true).is_none());
        relay.wake.store = false;
        relay.processed(3);
        assert!(relay.wake.store);
        assert!(relay.hub.poll_store(usize::MAX, false).is_none());
        let chunk = relay.hub.poll_store(usize::MAX, true).unwrap();
        let name = Name {
            origin: 1,
            session: A,
            acked: 3,
        };
        assert_eq!(
            (chunk.names, chunk.runs.len(), chunk.settled),
            (vec![name], 0, 0)
        );
        relay.processed(5);
        assert_eq!(relay.hub.poll_store(usize::MAX, true).unwrap().settled, 1);
    }

    #[test]
    fn a_disk_that_has_lost_something_costs_nothing_else_s4() {
        let mut relay = Relay::with_kept(1, 3);
        // It was told that 4 to 6 are safe, which they were not.
        assert_eq!(relay.sender(7), (6, 6));
        relay.consumer();
        assert_eq!(relay.sent(), [1, 2, 3], "what is left is still owed");
        relay.processed(2);
        assert_eq!(relay.hub.status().unacknowledged, 4);
        relay.processed(3);
        assert_eq!(
            relay.hub.status().unacknowledged,
            0,
            "nothing else will come"
        );
        relay.data(7, 7);
        assert_eq!(relay.sent(), [7]);
        relay.processed(7);
        assert_eq!(relay.told(), Some(7));
        // When nothing is left it is as without a disk.
        assert_eq!(relay.sender(10), (9, 9));
    }
}
