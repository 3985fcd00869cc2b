//! Connections to one node, kept for the next use.
//!
//! The rules are in [`stock`]; here are the clock, the locks and the one task, the [`keeper`]. No caller opens a
//! connection itself: one who goes away while it is opened would take it along, and the next would start again.

mod guard;
mod keeper;
mod kept;
#[cfg(test)]
mod model;
mod statistics;
mod stock;
#[cfg(test)]
mod tests;
mod warmth;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub use self::guard::PooledConnection;
pub use self::statistics::{ClosedConnections, PoolStatistics};

use self::guard::Waiting;
use self::keeper::{Keeper, Waiter};
use self::kept::Lease;
use self::stock::Stock;
use super::channel::Connection;
use super::clock;
use super::config::PoolConfig;
use super::node::{Open, Opening, Pooled};
use super::report::DisconnectReport;
use super::task::Task;
use crate::error::{Failure, Phase, SinkError};

/// Connections to one node, kept for the next use.
///
/// Nothing is opened before the first [`get_connection`](Self::get_connection). From then on `min_connections` are kept
/// open, until [`close`](Self::close); there are never more than `max_connections`, those being opened included. The
/// connection used last is used first, so that the others may grow old and go; callers that wait are served in the
/// order of coming. Whoever asks for a connection while one is opened for him, and it cannot be opened, gets the error
/// at once: whether to ask again is for the caller, or a [`Retrier`](super::Retrier).
///
/// Unused, a pool has no task; while it holds anything it has one, and one for each connection that is being opened or
/// closed.
///
/// A [`ConnectionManager`](super::ConnectionManager) has one for each node. By itself a pool is for a single node, or
/// for connections of another kind: whatever is [`Pooled`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let url = format!("unix://{}", directory.join("pool.sock").display());
/// use std::time::Duration;
/// use wakewire::Message;
/// use wakewire::connection::{Connection, ConnectionPool, ConnectionSettings, PoolConfig};
/// use wakewire::source::serve;
///
/// let server = serve(url.as_str(), |request| async move { Ok(request.message) }).start().await?;
///
/// let config = PoolConfig { min_connections: 0, max_connections: 2, ..PoolConfig::default() };
/// let pool = ConnectionPool::new(url.as_str(), config, {
///     let url = url.clone();
///     move || Connection::open(url.clone(), ConnectionSettings::default())
/// })?;
/// for _ in 0..10 {
///     let connection = pool.get_connection().await?; // goes back when it is dropped
///     connection.send_request(Message::new("ping")).await?;
/// }
/// assert_eq!(pool.statistics().opened, 1);
///
/// let report = pool.close(Duration::from_secs(1)).await;
/// assert_eq!((report.closed, report.finished), (1, true));
/// server.close(Duration::from_secs(1)).await;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct ConnectionPool<C: Pooled = Connection> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: Pooled> {
    /// The node's endpoint, for errors.
    node: Arc<str>,
    config: PoolConfig,
    open: Open<C>,
    stock: Mutex<Stock<Arc<C>, Waiter<C>>>,
    /// There is something for the keeper to do.
    owed: Notify,
    task: Task,
}

impl<C: Pooled> ConnectionPool<C> {
    /// Makes an empty pool; `open` is called whenever a connection is needed, and given `connection_timeout_ms`.
    ///
    /// `node` says in errors and logs which node it is: its endpoint.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, as [`PoolConfig::validate`].
    pub fn new<F, Fut>(
        node: impl Into<Arc<str>>,
        config: PoolConfig,
        open: F,
    ) -> Result<Self, SinkError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, SinkError>> + Send + 'static,
    {
        config.validate()?;
        let open = Box::new(move || -> Opening<C> { Box::pin(open()) });
        Ok(Self {
            shared: Arc::new(Shared {
                node: node.into(),
                stock: Mutex::new(Stock::new(config.clone())),
                config,
                open,
                owed: Notify::new(),
                task: Task::default(),
            }),
        })
    }

    /// Returns a connection that nobody else uses; it returns itself when it is dropped.
    ///
    /// # Errors
    ///
    /// What opening it failed with; after `connection_timeout_ms` `Timeout` when all connections are in use, and
    /// `ConnectionFailed` when one was still being opened, with the counts; `Closed`; `NoRuntime` outside of tokio.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is leaked: the place in the queue is given up, a connection that was granted in the same
    /// moment goes to the next, and one that is being opened will lie idle.
    pub async fn get_connection(&self) -> Result<PooledConnection<C>, SinkError> {
        self.get(true).await
    }

    /// The same; for a check, which is no use, `min_connections` are not opened.
    pub(super) async fn get(&self, is_use: bool) -> Result<PooledConnection<C>, SinkError> {
        let shared = &self.shared;
        let Ok(runtime) = Handle::try_current() else {
            return Err(shared.no_runtime("a pool works on a tokio runtime"));
        };
        let start = Instant::now();
        shared.stock.lock().asked(is_use);
        let mut ticket = None;
        loop {
            let connection = match shared.take(ticket, &runtime)? {
                Ok(connection) => connection,
                Err(waiting) => {
                    ticket = Some(waiting.ticket);
                    let limit = shared.config.connection_timeout();
                    waiting
                        .answer(limit.saturating_sub(start.elapsed()))
                        .await?
                }
            };
            // The peer may have closed it on its way to us.
            if connection.is_open() {
                return Ok(connection);
            }
        }
    }

    /// Gives a connection back; the same as dropping it.
    pub fn return_connection(&self, connection: PooledConnection<C>) {
        drop(connection);
    }

    /// Returns how many connections are open, idle or in use; one that its peer has closed is not counted any more.
    pub fn total_connections(&self) -> usize {
        let mut stock = self.shared.stock.lock();
        stock.sweep(clock::now(), |connection| connection.is_open());
        let count = stock.alive(|connection| connection.is_open());
        self.shared.put_away(stock);
        count
    }

    /// Returns what was counted, and what there is now.
    pub fn statistics(&self) -> PoolStatistics {
        self.shared.stock.lock().statistics()
    }

    /// Returns how many callers use a connection or wait for one.
    pub(super) fn load(&self) -> usize {
        self.shared.stock.lock().load()
    }

    /// Returns a connection that is in use, for a ping beside what it does.
    pub(super) fn any_in_use(&self) -> Option<Arc<C>> {
        let stock = self.shared.stock.lock();
        stock.any_in_use(|connection| connection.is_open())
    }

    /// Closes what lies idle and opens nothing until the next use.
    pub(super) fn rest(&self) {
        let mut stock = self.shared.stock.lock();
        stock.rest(clock::now());
        self.shared.put_away(stock);
    }

    /// Closes the pool for good, within this time.
    ///
    /// Whoever waits gets `Closed`, and so does every later call. What lies idle is closed at once, what is in use when
    /// it comes back, at the latest when three quarters of the time are over: the rest is for closing. Afterwards
    /// nothing is left of the pool, no task and no connection.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the pool is closed; dropped later, what is in use is closed when it comes back.
    pub async fn close(&self, within: Duration) -> DisconnectReport {
        close_all(std::iter::once(self), within).await
    }

    /// Closes the pool without waiting for anything.
    pub(super) fn shut(&self) {
        let shared = &self.shared;
        let mut stock = shared.stock.lock();
        let waiters = stock.shut(clock::now());
        shared.put_away(stock);
        for waiter in waiters {
            // Nobody waits any more, then.
            drop(waiter.send(Err(shared.closed())));
        }
    }

    /// Closes what is still in use.
    fn cut(&self) {
        let mut stock = self.shared.stock.lock();
        stock.cut(clock::now());
        self.shared.put_away(stock);
    }
}

/// Closes several pools together, within this time.
pub(super) async fn close_all<'a, C: Pooled>(
    pools: impl Iterator<Item = &'a ConnectionPool<C>> + Clone + Send,
    within: Duration,
) -> DisconnectReport {
    let start = Instant::now();
    let at = |part| start.checked_add(part).unwrap_or(start);
    pools.clone().for_each(ConnectionPool::shut);
    // Outside of a runtime there is nobody to wait with.
    if Handle::try_current().is_ok() {
        for pool in pools.clone() {
            pool.shared.task.ended(at(within / 4 * 3)).await;
        }
        pools.clone().for_each(ConnectionPool::cut);
        for pool in pools.clone() {
            pool.shared.task.ended(at(within / 16 * 15)).await;
        }
    }
    pools.clone().for_each(ConnectionPool::cut);
    let mut report = DisconnectReport {
        finished: true,
        ..DisconnectReport::default()
    };
    for pool in pools.clone() {
        let finished = !pool.shared.stock.lock().kept;
        pool.shared.task.abort();
        let closed = pool.statistics().closed;
        report = report.and(DisconnectReport {
            closed: closed.shut,
            interrupted: closed.cut,
            finished,
        });
    }
    if Handle::try_current().is_ok() {
        for pool in pools {
            pool.shared.task.ended(at(within)).await;
        }
    }
    report
}

impl<C: Pooled> Drop for ConnectionPool<C> {
    fn drop(&mut self) {
        self.shut();
        self.shared.task.abort();
        // The task may never run again.
        let closing = self.shared.stock.lock().closing();
        for connection in closing {
            connection.close();
        }
    }
}

impl<C: Pooled> fmt::Debug for ConnectionPool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPool")
            .field("node", &self.shared.node)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

impl<C: Pooled> Shared<C> {
    /// Returns a connection that lies idle, or a place in the queue: the one of the ticket, if there is one.
    fn take(
        self: &Arc<Self>,
        ticket: Option<u64>,
        runtime: &Handle,
    ) -> Result<Result<PooledConnection<C>, Waiting<'_, C>>, SinkError> {
        let mut stock = self.stock.lock();
        if stock.is_closed() {
            return Err(self.closed());
        }
        let found = match stock.take(clock::now(), |connection| connection.is_open()) {
            Some(lease) => Ok(PooledConnection::new(self, lease)),
            None => {
                let (sender, answer) = oneshot::channel();
                Err(Waiting {
                    shared: self,
                    ticket: stock.wait(ticket, sender),
                    answer,
                })
            }
        };
        let unkept = !std::mem::replace(&mut stock.kept, true);
        drop(stock);
        if unkept {
            self.keep(runtime);
        }
        self.owed.notify_one();
        Ok(found)
    }

    /// Starts the task; the stock says already that it is kept.
    fn keep(self: &Arc<Self>, runtime: &Handle) {
        let keeper = Keeper::new(Arc::clone(self));
        // Not under the stock's lock: a runtime that is ending drops the keeper at once, and that takes the lock.
        self.task.start(runtime, keeper.run());
    }

    /// Releases the stock and sees that what left it is closed: by the keeper, or here when there is none.
    fn put_away(&self, mut stock: parking_lot::MutexGuard<'_, Stock<Arc<C>, Waiter<C>>>) {
        let orphans = if stock.kept {
            Vec::new()
        } else {
            stock.closing()
        };
        drop(stock);
        self.owed.notify_one();
        for connection in orphans {
            connection.close();
        }
    }

    /// Hands a connection to who waited for it. If he has gone, it is dropped here, and so returned.
    fn grant(self: &Arc<Self>, granted: Option<(Waiter<C>, Lease<Arc<C>>)>) {
        if let Some((waiter, lease)) = granted {
            drop(waiter.send(Ok(PooledConnection::new(self, lease))));
        }
    }

    fn closed(&self) -> SinkError {
        SinkError::Closed(Failure::new("").endpoint(self.node.clone()))
    }

    fn no_runtime(&self, why: &'static str) -> SinkError {
        let failure = Failure::new("").endpoint(self.node.clone()).because(why);
        SinkError::NoRuntime(failure.hint("call it inside of a tokio runtime with its timer on"))
    }

    fn timed_out(&self) -> SinkError {
        let (statistics, last) = {
            let mut stock = self.stock.lock();
            stock.timed_out();
            (stock.statistics(), stock.last_error())
        };
        let mut text = format!(
            "no connection within {:?}: of {} there are {} in use, {} idle, {} being opened; {} callers wait",
            self.config.connection_timeout(),
            self.config.max_connections,
            statistics.in_use,
            statistics.idle,
            statistics.opening,
            statistics.waiting,
        );
        if let Some(last) = last {
            text = format!("{text}; the last that could not be opened: {last}");
        }
        if statistics.opening > 0 {
            let failure = self.failure(Phase::Dial).because(text);
            return SinkError::ConnectionFailed(failure.hint("is the node overloaded?"));
        }
        let failure = self.failure(Phase::Accept).because(text);
        SinkError::Timeout(failure.hint("raise `max_connections`, or hold connections shorter"))
    }
}
