//! What a relay shows of itself, for logs and `top`. No I/O, no clock.

use super::effects::ConsumerKey;
use super::hub::Hub;
use crate::wire::SessionId;

/// A relay at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) log_bytes: usize,
    pub(crate) log_limit: usize,
    pub(crate) log_runs: usize,
    /// How many producers wait for room (R4).
    pub(crate) blocked: usize,
    pub(crate) sessions: Vec<SessionView>,
    pub(crate) consumers: Vec<ConsumerView>,
}

/// A session at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SessionView {
    pub(crate) session: SessionId,
    pub(crate) origin: u32,
    pub(crate) connected: bool,
    pub(crate) have: u64,
    pub(crate) acked: u64,
    pub(crate) runs: usize,
}

/// A consumer at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerView {
    pub(crate) key: ConsumerKey,
    pub(crate) attached: bool,
    pub(crate) at_most_once: bool,
    /// It is waited for, attached or not.
    pub(crate) named: bool,
    /// Messages that the relay has and it has not been sent.
    pub(crate) unsent: u64,
    /// Messages that the relay has and it has not acknowledged; 0 for `at_most_once` consumers.
    pub(crate) unacknowledged: u64,
}

impl Hub {
    /// Returns a picture of the relay; costs a pass over all sessions for each consumer.
    pub(crate) fn view(&self) -> View {
        let known = || self.sessions.iter().filter(|(_, session)| session.known);
        let sessions = known().map(|(origin, session)| SessionView {
            session: session.id,
            origin,
            connected: session.connection.is_some(),
            have: session.have,
            acked: session.acked,
            runs: session.runs,
        });
        let consumers = self.roster.iter().map(|(slot, consumer)| {
            let mut view = ConsumerView {
                key: consumer.key.clone(),
                attached: consumer.connection.is_some(),
                at_most_once: consumer.at_most_once,
                named: self.roster.is_named(slot),
                unsent: 0,
                unacknowledged: 0,
            };
            for (_, session) in known() {
                let place = session.place(slot);
                // What has left the log is neither: it was acknowledged, and a gap tells of it.
                let kept = session.kept();
                view.unsent += session.have.saturating_sub(place.sent.max(kept));
                if !consumer.at_most_once {
                    view.unacknowledged += session.have.saturating_sub(place.level.max(kept));
                }
            }
            view
        });
        View {
            log_bytes: self.log.bytes(),
            log_limit: self.log.limit(),
            log_runs: self.log.len(),
            blocked: self.blocked.len(),
            sessions: sessions.collect(),
            consumers: consumers.collect(),
        }
    }
}

#[cfg(test)]
impl Hub {
    /// Checks what must hold after every call.
    pub(super) fn check_invariants(&self) {
        let mut runs = std::collections::BTreeMap::new();
        let mut bytes = 0;
        for entry in self.log.iter() {
            let seen: &mut (usize, u64, u64) =
                runs.entry(entry.origin)
                    .or_insert((0, entry.run.first - 1, 0));
            assert!(entry.run.first > seen.2, "order in the log");
            assert!(entry.run.first <= entry.run.last);
            *seen = (seen.0 + 1, seen.1, entry.run.last);
            bytes += super::log::cost(&entry.run);
        }
        assert_eq!(bytes, self.log.bytes());
        assert!(
            bytes <= self.log.limit() || self.log.len() == 1,
            "log bound"
        );
        assert_eq!(self.full_since.is_some(), !self.blocked.is_empty());
        for (origin, session) in self.sessions.iter() {
            assert!(session.acked <= session.have, "acked ≤ have");
            assert!(session.told <= session.acked);
            let (count, before, last) = runs.remove(&origin).unwrap_or((0, session.have, 0));
            assert_eq!(count, session.runs);
            assert!(last <= session.have);
            if self.config.at_least_once {
                assert_eq!(before, session.kept());
            }
            // What has left the log was acknowledged.
            assert!(session.kept() <= session.acked, "R6");
            for &slot in self.roster.attached() {
                let place = session.place(slot);
                let consumer = self.roster.get(slot).unwrap();
                assert!(!session.known || place.announced || place.gap_due, "C2");
                assert_eq!(place.gap_due, consumer.gaps.contains(&origin));
                assert!(!(consumer.dry && place.gap_due), "a gap nobody wakes for");
            }
        }
        assert!(runs.is_empty(), "frames of a forgotten session");
        for (slot, consumer) in self.roster.iter() {
            let attached = self.roster.attached().contains(&slot);
            assert_eq!(attached, consumer.connection.is_some());
            let behind = consumer.cursor < self.log.end();
            assert!(
                !(attached && consumer.dry && behind),
                "a run nobody wakes for"
            );
        }
    }
}
