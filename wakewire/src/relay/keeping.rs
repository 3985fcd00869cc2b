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
