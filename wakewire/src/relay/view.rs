//! What a relay shows of itself, for logs and `top`. No I/O, no clock.

use std::path::PathBuf;

use super::effects::ConsumerKey;
use super::hub::Hub;

/// What a relay holds and whom it serves, at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Bytes in the log, an overhead per piece included.
    pub log_bytes: usize,
    /// What the log may hold.
    pub log_limit: usize,
    /// Producers that are connected.
    pub producers: usize,
    /// Producers that wait for room in the log.
    pub blocked: usize,
    /// Messages in the log that not everybody who is waited for has processed. Their producers keep them, unless they
    /// are on the relay's disk.
    pub unacknowledged: u64,
    /// Consumers that are attached or waited for.
    pub consumers: Vec<RelayConsumer>,
    /// Its disk, if it stores what it takes.
    pub store: Option<RelayStore>,
}

/// A relay's disk, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayStore {
    /// Where its files are.
    pub directory: PathBuf,
    /// Why the disk takes nothing at the moment: then only what consumers have processed is acknowledged.
    pub fault: Option<String>,
}

/// One consumer of a relay, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayConsumer {
    /// The name it is known by; none for an unnamed one.
    pub name: Option<String>,
    /// Whether it is connected.
    pub attached: bool,
    /// Whether it is waited for also while it is away.
    pub waited_for: bool,
    /// Messages that the relay has and it has not been sent.
    pub unsent: u64,
    /// Messages that the relay has and it has not acknowledged; 0 for one that is not waited for.
    pub unacknowledged: u64,
}

impl Hub {
    /// Returns a picture of the relay; costs a pass over all sessions for each consumer.
    pub(super) fn status(&self) -> RelayStatus {
        let known = || {
            self.sessions
                .iter()
                .map(|(_, session)| session)
                .filter(|session| session.known)
        };
        let consumers = self.roster.iter().map(|(slot, consumer)| {
            let mut view = RelayConsumer {
                name: match &consumer.key {
                    ConsumerKey::Name(name) => Some(name.clone()),
                    ConsumerKey::Id(_) => None,
                },
                attached: consumer.connection.is_some(),
                waited_for: self.roster.is_named(slot),
                unsent: 0,
                unacknowledged: 0,
            };
            for session in known() {
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
        RelayStatus {
            log_bytes: self.log.bytes(),
            log_limit: self.log.limit(),
            producers: known()
                .filter(|session| session.connection.is_some())
                .count(),
            blocked: self.blocked.len(),
            unacknowledged: known().map(|session| session.have - session.acked).sum(),
            consumers: consumers.collect(),
            store: None,
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
        let restored = self.keeping.as_ref().map_or(0, |keeping| keeping.restored);
        assert!(
            bytes <= self.log.limit().max(restored) || self.log.len() == 1,
            "log bound"
        );
        assert_eq!(self.full_since.is_some(), !self.blocked.is_empty());
        for (origin, session) in self.sessions.iter() {
            assert!(session.acked <= session.have, "acked ≤ have");
            assert!(session.told <= session.safe());
            assert!(session.stored <= session.have);
            let (count, before, last) = runs.remove(&origin).unwrap_or((0, session.have, 0));
            assert_eq!(count, session.runs);
            assert!(last <= session.have);
            if self.config.at_least_once && self.keeping.is_none() {
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
        let strangers = self.sessions.iter().filter(|(_, one)| !one.known);
        assert_eq!(strangers.count(), self.sessions.strangers);
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
