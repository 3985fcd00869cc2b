//! A cursor's file in memory: written as [`Cursor`](crate::Cursor) writes it, and torn on command.

use super::{Entry, Log, RECORD};
use crate::cursor::Position;
use crate::wire::SessionId;
use crate::wire::session::MOST_SESSIONS;

#[derive(Debug)]
pub(crate) struct InMemory {
    log: Log,
    file: Vec<u8>,
}

impl InMemory {
    /// The length of a record.
    pub(crate) const RECORD: usize = RECORD;

    /// Makes an empty one that holds so many sessions, or as many as a file.
    pub(crate) fn new(most: Option<usize>) -> Self {
        let mut log = Log::new();
        log.most = most.unwrap_or(MOST_SESSIONS);
        let (file, log) = log.compacted();
        Self { log, file }
    }

    /// Writes that everything up to here is processed, unless it is known.
    pub(crate) fn advance(&mut self, session: SessionId, sequence: u64) {
        let entry = entry(session, sequence);
        if let Some(news) = self.log.news(&entry) {
            self.file.extend_from_slice(&self.log.record(&news));
            self.log.wrote(&news);
        }
    }

    /// The same by a process that dies when so many bytes of the record are written.
    pub(crate) fn advance_torn(&mut self, session: SessionId, sequence: u64, bytes: usize) {
        let record = self.log.record(&entry(session, sequence));
        self.file.extend_from_slice(&record[..bytes]);
    }

    /// Puts a file in its place that says the same and no more.
    pub(crate) fn write_anew(&mut self) {
        (self.file, self.log) = self.log.compacted();
    }

    /// The next life reads it.
    pub(crate) fn recover(&mut self) {
        self.log = Log::recover_most(&self.file, self.log.most).expect("a torn end is no damage");
        self.file
            .truncate(usize::try_from(self.log.length()).unwrap());
    }

    /// Returns up to where each session is processed, in the order of their numbers.
    pub(crate) fn positions(&self) -> Vec<(SessionId, u64)> {
        let positions = self.log.positions();
        let mut positions: Vec<_> = positions
            .map(|position| (position.session_id(), position.sequence()))
            .collect();
        positions.sort_unstable_by_key(|(session, _)| session.0);
        positions
    }
}

fn entry(session: SessionId, sequence: u64) -> Entry {
    Entry {
        position: Some(Position::new(session, sequence)),
        mark: None,
    }
}
