//! The one task of a pool: opens, retires and closes, as the stock plans it.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, error::Elapsed, sleep_until, timeout};

use super::stock::Plan;
use super::{PooledConnection, Shared};
use crate::connection::clock;
use crate::connection::node::Pooled;
use crate::error::{Failure, Phase, SinkError};
use crate::randomness::random;

/// Whoever waits for a connection.
pub(super) type Waiter<C> = oneshot::Sender<Result<PooledConnection<C>, SinkError>>;

/// What an attempt to open one came to: of the task, in time, by itself.
type Opened<C> = Result<Result<Result<C, SinkError>, Elapsed>, JoinError>;

/// The task's hold on the pool. However it ends, a dead runtime included, nobody waits for it for ever.
pub(super) struct Keeper<C: Pooled> {
    shared: Arc<Shared<C>>,
    done: bool,
}

impl<C: Pooled> Keeper<C> {
    /// Takes over the pool; the stock must say already that it is kept.
    pub(super) const fn new(shared: Arc<Shared<C>>) -> Self {
        Self {
            shared,
            done: false,
        }
    }

    /// Works until nothing is left to do.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut opening = JoinSet::new();
        let mut closing = JoinSet::new();
        loop {
            let plan = shared.plan(closing.is_empty());
            self.done = plan.done;
            if plan.done {
                return;
            }
            for connection in plan.closing {
                connection.close();
                let limit = shared.config.connection_timeout();
                closing.spawn(async move {
                    // One that does not come to its end is ended by being dropped.
                    drop(timeout(limit, connection.closed()).await);
                });
            }
            for _ in 0..plan.open {
                let shared = Arc::clone(&shared);
                let limit = shared.config.connection_timeout();
                opening.spawn(async move { timeout(limit, (shared.open)()).await });
            }
            if shared.stock.lock().is_closed() {
                opening.abort_all();
            }
            tokio::select! {
                Some(opened) = opening.join_next() => shared.opened(opened),
                Some(_) = closing.join_next() => {}
                () = shared.owed.notified() => {}
                () = sleep_until(plan.wake.map_or_else(Instant::now, Instant::from_std)),
                    if plan.wake.is_some() => {}
            }
        }
    }
}

impl<C: Pooled> Drop for Keeper<C> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (waiters, closing) = {
            let mut stock = self.shared.stock.lock();
            (stock.abandoned(), stock.closing())
        };
        for connection in closing {
            connection.close();
        }
        for waiter in waiters {
            // Nobody waits any more, then.
            drop(waiter.send(Err(
                self.shared.no_runtime("the runtime of the pool has ended"),
            )));
        }
    }
}

impl<C: Pooled> Shared<C> {
    /// Asks the stock what to do.
    fn plan(&self, nothing_is_closing: bool) -> Plan<Arc<C>> {
        let mut stock = self.stock.lock();
        let mut plan = stock.plan(clock::now(), random(), |connection| connection.is_open());
        if plan.done && !nothing_is_closing {
            // What is being closed is part of the pool until it is closed.
            plan.done = false;
            stock.kept = true;
        }
        plan
    }

    /// Brings in what was opened, or tells who waits why nothing was.
    fn opened(self: &Arc<Self>, opened: Opened<C>) {
        let now = clock::now();
        let error = match opened {
            Ok(Ok(Ok(connection))) if connection.is_open() => {
                let announced = connection.announced_idle();
                let connection = Arc::new(connection);
                let granted = self
                    .stock
                    .lock()
                    .opened(connection, announced, now, random());
                return self.grant(granted);
            }
            Ok(Ok(Ok(_))) => SinkError::ConnectionFailed(
                self.failure(Phase::Handshake)
                    .because("the peer closed the connection at once"),
            ),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => self.too_slow(),
            Err(error) if error.is_panic() => {
                SinkError::ConnectionFailed(self.failure(Phase::Dial).because(error))
            }
            Err(_) => self.closed(),
        };
        tracing::debug!(node = %self.node, %error, "no connection for the pool");
        let waiter = self.stock.lock().open_failed(error.clone(), now, random());
        if let Some(waiter) = waiter {
            drop(waiter.send(Err(error)));
        }
    }

    fn too_slow(&self) -> SinkError {
        let limit = self.config.connection_timeout();
        let text = format!("no connection within {limit:?}");
        SinkError::ConnectionFailed(
            self.failure(Phase::Dial)
                .because(io::Error::new(io::ErrorKind::TimedOut, text))
                .hint("is the node overloaded? `connection_timeout_ms` bounds one attempt"),
        )
    }

    pub(super) fn failure(&self, phase: Phase) -> Failure {
        Failure::new("").endpoint(self.node.clone()).phase(phase)
    }
}
