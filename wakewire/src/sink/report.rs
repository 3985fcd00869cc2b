//! What was delivered and what was not. No I/O, no clock.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::outbox::Ledger;

/// What was delivered and what was not, over one sink or many.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Acknowledged since the sink was made.
    pub delivered: u64,
    /// Written at most once and not confirmed.
    pub in_doubt: u64,
    /// Given up.
    pub undelivered: u64,
    /// Still owed; of a closed sink what its spool keeps.
    pub waiting: u64,
    /// The same by sink, with the whole ledger.
    pub per_sink: Vec<SinkReport>,
}

/// The part of a [`Report`] that concerns one sink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SinkReport {
    /// The sink's name.
    pub name: String,
    /// Where its messages are.
    pub ledger: Ledger,
    /// Why something is not delivered, where that is known.
    pub last_error: Option<String>,
    /// The directory of its spool: what waits there is kept when the sink is closed, and sent by its next life.
    pub kept_in: Option<PathBuf>,
    /// Connections made since the sink was made: each wake that succeeds and each heal is one.
    pub connects: u64,
    /// Times that a message, or `connect()`, woke the sink from its sleep.
    pub wakes: u64,
}

impl SinkReport {
    /// Makes the report of one sink.
    pub fn new(name: impl Into<String>, ledger: Ledger, last_error: Option<String>) -> Self {
        Self {
            name: name.into(),
            ledger,
            last_error,
            kept_in: None,
            connects: 0,
            wakes: 0,
        }
    }
}

impl Report {
    /// Makes the report over these sinks; of several with one name the first counts.
    pub fn over(per_sink: impl IntoIterator<Item = SinkReport>) -> Self {
        let mut report = Self::default();
        let mut names = HashSet::new();
        for sink in per_sink {
            // Not by `add`, which compares with each: there may be 100,000.
            if names.insert(sink.name.clone()) {
                report.count(sink);
            }
        }
        report
    }

    /// Adds one sink; a sink of the same name that is already there is not counted twice.
    pub fn add(&mut self, sink: SinkReport) {
        if self.per_sink.iter().any(|known| known.name == sink.name) {
            return;
        }
        self.count(sink);
    }

    fn count(&mut self, sink: SinkReport) {
        self.delivered += sink.ledger.delivered;
        self.in_doubt += sink.ledger.in_doubt;
        self.undelivered += sink.ledger.undelivered;
        self.waiting += sink.ledger.waiting;
        self.per_sink.push(sink);
    }

    /// Returns whether everything that was accepted has been delivered.
    pub const fn is_complete(&self) -> bool {
        self.in_doubt == 0 && self.undelivered == 0 && self.waiting == 0
    }
}
