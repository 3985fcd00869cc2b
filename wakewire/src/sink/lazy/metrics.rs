//! What a lazy sink counted. No I/O, no clock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::tally::Tally;

/// What a [`LazyMessageSink`](super::LazyMessageSink) counted since it was made, at one moment.
///
/// ```
/// use wakewire::LazyMetrics;
///
/// let untouched = LazyMetrics::default();
/// assert_eq!((untouched.attempts, untouched.messages_sent), (0, 0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LazyMetrics {
    /// Attempts that led to a connection.
    pub successful_connects: u64,
    /// Attempts that failed or took longer than `connect_timeout`.
    pub failed_connects: u64,
    /// Messages that the inner sink took with `Ok`.
    pub messages_sent: u64,
    /// Messages that were answered with an error; those in doubt are among them.
    pub messages_failed: u64,
    /// Attempts begun: the successful, the failed, and those that were given up on the way.
    pub attempts: u64,
    /// Connections opened after an earlier one was lost or closed.
    pub reconnects: u64,
    /// Sends that were not taken at once, but waited for a connection or for the inner sink.
    pub waits: u64,
    /// How often the state of the connection changed.
    pub state_changes: u64,
    /// Messages that may or may not have arrived: the inner sink failed and did not give them back.
    pub in_doubt: u64,
    /// The last thing that went wrong, as text; stays after it went right again.
    pub last_error: Option<String>,
}

/// The counters underneath. Each is independent, so relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) successful_connects: Counter,
    pub(super) failed_connects: Counter,
    pub(super) messages_sent: Tally,
    pub(super) messages_failed: Counter,
    pub(super) attempts: Counter,
    pub(super) reconnects: Counter,
    pub(super) waits: Counter,
    pub(super) state_changes: Counter,
    pub(super) in_doubt: Counter,
}

impl Counters {
    pub(super) fn snapshot(&self, last_error: Option<String>) -> LazyMetrics {
        LazyMetrics {
            successful_connects: self.successful_connects.read(),
            failed_connects: self.failed_connects.read(),
            messages_sent: self.messages_sent.read(),
            messages_failed: self.messages_failed.read(),
            attempts: self.attempts.read(),
            reconnects: self.reconnects.read(),
            waits: self.waits.read(),
            state_changes: self.state_changes.read(),
            in_doubt: self.in_doubt.read(),
            last_error,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
