//! How many handlers run, have finished, were dropped.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// What became of the requests that were open when a server began to close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// How many handlers ran to their end.
    pub finished: usize,
    /// How many were dropped before: at the deadline, or because nobody wanted the answer any more.
    pub cancelled: usize,
}

/// Counts handlers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    running: AtomicUsize,
    finished: AtomicUsize,
    cancelled: AtomicUsize,
    changed: Notify,
}

impl Tally {
    pub(super) fn started(&self) {
        self.running.fetch_add(1, SeqCst);
    }

    pub(super) fn ended(&self, finished: bool) {
        let counter = if finished {
            &self.finished
        } else {
            &self.cancelled
        };
        counter.fetch_add(1, SeqCst);
        self.running.fetch_sub(1, SeqCst);
        self.changed.notify_waiters();
    }

    /// Returns what has ended so far, of all times.
    pub(super) fn report(&self) -> DrainReport {
        DrainReport {
            finished: self.finished.load(SeqCst),
            cancelled: self.cancelled.load(SeqCst),
        }
    }

    /// Waits until no handler runs.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub(super) async fn rests(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.running.load(SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}
