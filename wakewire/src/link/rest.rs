//! How a link comes to rest: for now, or for good.

use std::time::Duration;

use super::Link;
use super::lane::Lane;
use super::waiter::Waiter;
use crate::error::{self, SinkError};

impl Link {
    /// Delivers what is owed, as long as `drain_timeout` allows, closes the connection and sleeps.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection stays as it is.
    pub(crate) async fn disconnect(&self) -> Result<(), SinkError> {
        let shared = &self.shared;
        let within = shared.config.drain_timeout;
        let drained = self.flush(within - goodbye(within)).await;
        shared.lane.lock().ask_to_rest();
        self.stop(goodbye(within)).await;
        let lane = shared.lane.lock();
        // What was written at most once and never confirmed is in doubt, but no longer owed.
        if drained || lane.outbox.is_empty() {
            return Ok(());
        }
        let waiting = lane.outbox.ledger().waiting;
        let failure = shared.failure().phase(error::Phase::Close);
        let failure = match &lane.last_error {
            Some(error) => failure.because(format!(
                "{waiting} messages still wait; last error: {error}"
            )),
            None => failure.because(format!("{waiting} messages still wait")),
        };
        Err(SinkError::Timeout(failure.hint(
            "they are kept; the next send or `connect()` goes on with them",
        )))
    }

    /// Delivers what is owed, as long as this allows, and closes for good; the rest is given up and counted.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the link takes no further messages but goes on delivering.
    pub(crate) async fn close(&self, within: Duration) {
        self.shared.lane.lock().closing = true;
        self.shared.changed.notify_waiters();
        self.flush(within.saturating_sub(2 * goodbye(within))).await;
        self.shared.lane.lock().ask_to_rest();
        self.stop(goodbye(within)).await;
        self.shared.sync_spool(goodbye(within)).await;
        self.shared.leave();
        self.shared.changed.notify_waiters();
    }

    /// Waits for the driver to say goodbye, and ends it if it does not.
    async fn stop(&self, within: Duration) {
        let waiter = Waiter::new(&self.shared);
        self.shared.owed.notify_one();
        let has_stopped = |lane: &Lane| !lane.running || lane.rest.is_none();
        if !waiter.wait_until(within, has_stopped).await {
            self.shared.abort();
            // An aborted task ends at its next await, which is at once.
            waiter.wait_until(ABORT_WITHIN, |lane| !lane.running).await;
        }
    }
}

/// More than a runtime needs to drop a task that waits.
const ABORT_WITHIN: Duration = Duration::from_millis(100);

/// The part of a deadline that is kept for saying goodbye to the peer.
fn goodbye(within: Duration) -> Duration {
    (within / 10).min(Duration::from_millis(100))
}
