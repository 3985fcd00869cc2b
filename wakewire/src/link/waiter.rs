//! Callers that wait for a link to change.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::lane::Lane;

/// Somebody who waits for `changed`; while there is none, nobody is told.
pub(super) struct Waiter<'a> {
    pub(super) shared: &'a Shared,
    /// A connection is wanted even if nothing is owed.
    connects: bool,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let mut lane = shared.lane.lock();
        lane.waiters += 1;
        if lane.awaits().is_some() && lane.parked {
            // The peer is to be told that somebody waits.
            lane.parked = false;
            drop(lane);
            shared.owed.notify_one();
        }
        Self {
            shared,
            connects: false,
        }
    }

    pub(super) fn connecting(shared: &'a Shared) -> Self {
        let mut lane = shared.lane.lock();
        lane.waiters += 1;
        lane.connects += 1;
        drop(lane);
        Self {
            shared,
            connects: true,
        }
    }

    /// Waits for the lane to be so, at most this long; returns whether it is.
    pub(super) async fn wait_until(&self, within: Duration, is_so: impl Fn(&Lane) -> bool) -> bool {
        let deadline = Instant::now().checked_add(within);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so(&self.shared.lane.lock()) {
                return true;
            }
            if !until(deadline, changed).await {
                return false;
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut lane = self.shared.lane.lock();
        lane.waiters -= 1;
        if self.connects {
            lane.connects -= 1;
        }
    }
}

/// Waits for the event until the deadline; returns whether it came. No deadline: for as long as it takes.
pub(super) async fn until(deadline: Option<Instant>, event: impl Future<Output = ()>) -> bool {
    match deadline {
        Some(deadline) => timeout_at(deadline, event).await.is_ok(),
        None => {
            event.await;
            true
        }
    }
}
