//! Consumers that die, with a cursor that may be torn, and go on where it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Consumer, Fault, Setup, World};
use crate::cursor::InMemory;
use crate::wire::SessionId;

/// What a consumer with a cursor has said, in any of its lives.
#[derive(Default)]
pub(super) struct Said {
    /// What comes up to here would come again.
    confirmed: BTreeMap<SessionId, u64>,
    /// It died between the effect and the cursor: the only messages that may come again.
    uncertain: BTreeSet<(SessionId, u64)>,
    /// With [`Fault::AckBeforeCursor`]: what is not in the cursor yet.
    late: Option<(SessionId, u64)>,
}

impl Said {
    pub(super) fn confirmed(&self, session: SessionId) -> u64 {
        self.confirmed.get(&session).copied().unwrap_or(0)
    }

    /// Returns whether it may come once more.
    pub(super) fn is_uncertain(&mut self, session: SessionId, q: u64) -> bool {
        self.uncertain.remove(&(session, q))
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        self.confirmed.remove(&session);
    }
}

impl Setup {
    pub(super) fn cursor(&self) -> Option<InMemory> {
        self.durable.then(|| InMemory::new(self.most))
    }
}

impl Consumer {
    /// The application is past this: first that is in the cursor, then it may be acknowledged.
    pub(super) fn confirms(&mut self, session: SessionId, q: u64, fault: Fault) {
        if let Some(cursor) = &mut self.cursor {
            let written = match fault {
                Fault::AckBeforeCursor => self.said.late.replace((session, q)),
                _ => Some((session, q)),
            };
            if let Some((session, q)) = written {
                cursor.advance(session, q);
            }
            if fault != Fault::CursorBeforeEffect {
                let confirmed = self.said.confirmed.entry(session).or_default();
                *confirmed = q.max(*confirmed);
            }
        }
        self.positions.processed(session, q);
        let progress = self.progress.entry(session).or_default();
        *progress = q.max(*progress);
    }
}

impl World {
    /// It dies: with a message in hand, behind its effect, within the cursor's record, or behind that.
    pub(super) fn dies_with_a_cursor(&mut self, k: usize) {
        let (moment, bytes) = (self.rng.below(4), self.rng.below(InMemory::RECORD));
        let consumer = &mut self.consumers[k];
        if self.rng.below(3) == 0
            && let Some(cursor) = &mut consumer.cursor
        {
            cursor.write_anew();
        }
        let Some((session, q)) = consumer.hand.take().filter(|_| moment > 0) else {
            return;
        };
        self.seen.again += u64::from(consumer.takes(session, q));
        let Some(cursor) = &mut consumer.cursor else {
            return;
        };
        match moment {
            1 => {}
            2 => {
                cursor.advance_torn(session, q, bytes);
                self.seen.torn += 1;
            }
            _ => return consumer.confirms(session, q, self.fault),
        }
        consumer.said.uncertain.insert((session, q));
        self.seen.uncertain += 1;
    }

    /// It goes on where its cursor is.
    pub(super) fn resumes(&mut self, k: usize) {
        let consumer = &mut self.consumers[k];
        consumer.said.late = None;
        let Some(cursor) = &mut consumer.cursor else {
            return;
        };
        cursor.recover();
        let positions = cursor.positions();
        for &(session, processed) in &positions {
            consumer.positions.restore(session, processed);
        }
        if self.setup.most.is_some() {
            // What the cursor has forgotten may come again, as if it had been forgotten in this life.
            let confirmed: Vec<_> = consumer.said.confirmed.keys().copied().collect();
            consumer.known.extend(confirmed);
            self.consumer_forgets(k);
        }
    }
}
