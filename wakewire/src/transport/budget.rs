//! Memory for what was received and is not whole yet, shared by all connections of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Bytes that the connections of a listener may hold together.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Some was given back.
    freed: Notify,
}

/// The part of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Returns whether newcomers are better refused: 98 % is used (the pattern is Envoy's overload manager).
    pub(super) fn is_exhausted(&self) -> bool {
        self.used.load(Relaxed) >= self.limit / 50 * 49
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            budget: Arc::clone(self),
            held: 0,
        }
    }
}

impl Share {
    /// Holds so much from now on instead of what it held.
    pub(super) fn hold(&mut self, bytes: usize) {
        if bytes > self.held {
            self.budget.used.fetch_add(bytes - self.held, Relaxed);
        } else if bytes < self.held {
            self.budget.used.fetch_sub(self.held - bytes, Relaxed);
            self.budget.freed.notify_waiters();
        }
        self.held = bytes;
    }

    /// Holds so much from now on, unless the others leave no room for it: where waiting would not be heard of.
    #[cfg(feature = "ws")]
    pub(super) fn try_hold(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.held);
        let fits =
            more == 0 || self.budget.used.load(Relaxed) + more <= self.budget.limit / 20 * 19;
        if fits {
            self.hold(bytes);
        }
        fits
    }

    /// Waits until this share may grow to so many bytes: until then nothing is read.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing was taken.
    pub(super) async fn room(&self, bytes: usize) {
        let more = bytes.saturating_sub(self.held);
        loop {
            let freed = self.budget.freed.notified();
            tokio::pin!(freed);
            // Heard from here on: nothing that is freed in between is missed.
            freed.as_mut().enable();
            if more == 0 || self.budget.used.load(Relaxed) + more <= self.budget.limit / 20 * 19 {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_grows_up_to_95_percent_and_waits_for_others_to_end() {
        let budget = Budget::new(1000);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.room(950).await;
        one.hold(950);
        other.room(0).await;
        {
            let waits = other.room(1);
            tokio::pin!(waits);
            let waited = timeout(Duration::from_secs(1), waits.as_mut()).await;
            assert!(waited.is_err(), "one past it");
            one.hold(949);
            waits.await;
        }
        other.hold(30);
        assert!(!budget.is_exhausted());
        other.hold(31);
        assert!(budget.is_exhausted(), "98 %");
        drop(one);
        assert!(!budget.is_exhausted());
        drop(other);
        assert_eq!(budget.used.load(Relaxed), 0);
    }
}
