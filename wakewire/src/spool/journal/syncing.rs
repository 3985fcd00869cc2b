//! When what a journal has written is on the disk itself, and what becomes of it when that fails.

use std::io;
use std::sync::Arc;

use super::{Journal, Segment};
use crate::spool::disk::{Disk, Tape};

/// What is to be synced, outside of any lock.
#[derive(Debug)]
pub(crate) struct Unsynced {
    disk: Arc<dyn Disk>,
    tapes: Vec<(String, Arc<dyn Tape>, u64, u64)>,
    names: bool,
    changes: u64,
    last: u64,
}

impl Unsynced {
    /// Returns when it is on the disk itself. Blocks.
    pub(crate) fn sync(&self) -> io::Result<()> {
        for (_, tape, ..) in &self.tapes {
            tape.sync()?;
        }
        if self.names { self.disk.sync() } else { Ok(()) }
    }

    /// Returns the highest number in it.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }
}

impl Journal {
    /// Returns what is not on the disk itself, if anything.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        let is_open =
            |segment: &Segment| segment.tape.is_some() && segment.synced_next < segment.next;
        self.segments
            .iter()
            .any(is_open)
            .then(|| self.unsynced_now())
    }

    fn unsynced_now(&self) -> Unsynced {
        let open = self.segments.iter().filter_map(|segment| {
            let tape = Arc::clone(segment.tape.as_ref()?);
            Some((segment.name.clone(), tape, segment.next, segment.bytes))
        });
        Unsynced {
            disk: Arc::clone(&self.disk),
            tapes: open.collect(),
            names: self.unnamed,
            changes: self.changes,
            last: self.next - 1,
        }
    }

    /// It is on the disk itself.
    pub(crate) fn has_synced(&mut self, done: &Unsynced) {
        for (name, _, next, bytes) in &done.tapes {
            if let Some(segment) = self
                .segments
                .iter_mut()
                .find(|segment| segment.name == *name)
            {
                segment.synced_next = *next;
                segment.synced_bytes = *bytes;
            }
        }
        let open = usize::from(self.appends);
        let closed = self.segments.len() - open;
        for segment in self.segments.iter_mut().take(closed) {
            if segment.synced_next == segment.next {
                segment.tape = None;
            }
        }
        // Whatever was made or removed meanwhile is for the next time.
        self.unnamed &= !done.names || self.changes != done.changes;
        if self.acked >= self.suspect {
            self.synced = self.synced.max(done.last);
        }
    }

    /// It could not be synced. What the system makes of it from here on is not known, so that the files are left and
    /// a new one begins. What was not on the disk is taken back, or else is owed as before and suspect.
    pub(crate) fn has_not_synced(&mut self) {
        self.appends = false;
        if !self.terms.holds_back {
            self.suspect = self.next - 1;
            self.segments
                .iter_mut()
                .for_each(|segment| segment.tape = None);
            return;
        }
        while self.segments.len() > 1
            && let Some(last) = self.segments.back()
            && last.synced_next == last.first
            && last.first > self.synced
        {
            self.forget(&last.name);
            self.segments.pop_back();
        }
        if let Some(last) = self.segments.back_mut() {
            if let Some(tape) = last.tape.take()
                && let Err(error) = tape.cut(last.synced_bytes)
            {
                // The next file says that it does not count.
                tracing::warn!(%error, file = last.name, "not cut");
            }
            (last.next, last.bytes) = (last.synced_next, last.synced_bytes);
        }
        self.next = self.synced + 1;
    }
}
