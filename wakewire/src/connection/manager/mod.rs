//! Many nodes: which are well, which gets the next request, and what happens when it fails.

mod checks;
mod dispatch;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::Balance;
use super::channel::Connection;
use super::clock;
use super::config::ConnectionConfig;
use super::health::{Cluster, NodeHealth, NodeId};
use super::node::NodeConnection;
use super::pool::{self, ConnectionPool, PoolStatistics, PooledConnection};
use super::report::DisconnectReport;
use super::retry::Retrier;
use super::task::Task;
use crate::endpoint::Endpoint;
use crate::error::SinkError;

/// A client of a cluster: a pool for each node, their health, and a balance between those that are well.
///
/// A node is taken for healthy until something else is known. It is put out when five requests to it failed in a row,
/// or when a [check](Self::health_check_all_nodes) found it silent, and gets no request until a ping shows that it is
/// back: at first after some 5 s, and twice as long, up to 300 s, each time that it fails again soon. Failed requests
/// never put out the last healthy node. When checks have put out all of them, the one that is allowed back first is
/// used nevertheless. A node that [`mark_node_unhealthy`](Self::mark_node_unhealthy) put out gets nothing in any case,
/// until [`mark_node_healthy`](Self::mark_node_healthy).
///
/// Nothing is opened before the first request. One task checks the nodes that are out, while there are any.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let url = format!("unix://{}", directory.join("manager.sock").display());
/// use std::time::Duration;
/// use wakewire::Message;
/// use wakewire::connection::{ConnectionConfig, ConnectionManager};
/// use wakewire::source::serve;
///
/// let server = serve(url.as_str(), |request| async move { Ok(request.message) }).start().await?;
///
/// let manager = ConnectionManager::new(&ConnectionConfig {
///     hosts: vec![url],
///     ..ConnectionConfig::default()
/// })?;
/// let answer = manager
///     .execute(|connection| async move { connection.send_request(Message::new("ping")).await })
///     .await?;
/// assert_eq!(&answer.payload[..], b"ping");
///
/// assert!(manager.disconnect(Duration::from_secs(1)).await.finished);
/// server.close(Duration::from_secs(1)).await;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct ConnectionManager<C: NodeConnection = Connection> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: NodeConnection> {
    nodes: Vec<Node<C>>,
    standing: Mutex<Standing>,
    retrier: Retrier,
    timeout: Duration,
    turn: AtomicUsize,
    /// Health has changed; for the task.
    changed: Notify,
    /// For checks that are under way when the manager is closed.
    ended: Notify,
    task: Task,
}

struct Node<C: NodeConnection> {
    id: NodeId,
    pool: ConnectionPool<C>,
}

struct Standing {
    cluster: Cluster,
    balance: Balance,
    closed: bool,
    /// Whether the task runs.
    checking: bool,
}

impl ConnectionManager {
    /// Makes a manager of the nodes that the configuration names. Opens nothing yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, as [`ConnectionConfig::validate`].
    pub fn new(config: &ConnectionConfig) -> Result<Self, SinkError> {
        let settings = config.settings();
        Self::with_opener(config, move |endpoint| {
            Connection::open(endpoint, settings.clone())
        })
    }
}

impl<C: NodeConnection> ConnectionManager<C> {
    /// Makes a manager of the nodes that the configuration names; `open` opens a connection to one. Opens nothing yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, as [`ConnectionConfig::validate`].
    pub fn with_opener<F, Fut>(config: &ConnectionConfig, open: F) -> Result<Self, SinkError>
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, SinkError>> + Send + 'static,
    {
        let open = Arc::new(open);
        let mut nodes = Vec::new();
        for endpoint in config.endpoints()? {
            let open = Arc::clone(&open);
            let name: Arc<str> = endpoint.to_string().into();
            let id = NodeId::from(Arc::clone(&name));
            let open = move || open(endpoint.clone());
            let pool = ConnectionPool::new(name, config.pool_config.clone(), open)?;
            nodes.push(Node { id, pool });
        }
        Ok(Self {
            shared: Arc::new(Shared {
                standing: Mutex::new(Standing {
                    cluster: Cluster::new(nodes.len()),
                    balance: Balance::default(),
                    closed: false,
                    checking: false,
                }),
                nodes,
                retrier: Retrier::new(config.retry_config.clone()),
                timeout: config.timeout(),
                turn: AtomicUsize::new(0),
                changed: Notify::new(),
                ended: Notify::new(),
                task: Task::default(),
            }),
        })
    }

    /// Sets how requests are spread over the healthy nodes; [`Balance::LeastLoaded`] by default.
    #[must_use]
    pub fn with_balance(self, balance: Balance) -> Self {
        self.shared.standing.lock().balance = balance;
        self
    }

    /// Returns a connection to a node that is well. When it cannot be opened, the next node is tried.
    ///
    /// What is done with it tells the manager nothing about the node, except when it cannot be opened;
    /// [`execute`](Self::execute) does.
    ///
    /// # Errors
    ///
    /// The last error when no node can be reached; `Timeout` when all connections are in use; `ConnectionFailed` when
    /// every node was marked unhealthy; `Closed`; `NoRuntime`. Takes at most `connection_timeout_ms` for each node.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is leaked.
    pub async fn get_connection(&self) -> Result<PooledConnection<C>, SinkError> {
        let (_, connection) = self.shared.connect(None).await?;
        Ok(connection)
    }

    /// Does something on a connection to a node that is well, and repeats it, on another node if there is one, when
    /// it was certainly not processed.
    ///
    /// It is called anew for each attempt. It has the connection for itself, and may keep it only as long as its future
    /// lives: at most `max_connections` operations are under way at one node. A connection that breaks or goes silent
    /// under it is not used again.
    ///
    /// Its error decides, about the node's health too: let it be one request, or several that may be repeated together,
    /// and return what the connection said. There is no limit over all attempts; a timeout around it is one.
    ///
    /// ```no_run
    /// # use wakewire::connection::{ConnectionConfig, ConnectionManager};
    /// # #[tokio::main] async fn main() {
    /// # let manager = ConnectionManager::new(&ConnectionConfig::default()).unwrap();
    /// use wakewire::Message;
    ///
    /// let order = &Message::new("buy 7");
    /// let answer = manager
    ///     .execute(|connection| async move { connection.send_request(order).await })
    ///     .await;
    /// match answer {
    ///     Ok(answer) => println!("{} bytes", answer.payload.len()),
    ///     Err(error) if error.failure().message().is_some() => println!("nobody has it: {error}"),
    ///     Err(error) => println!("somebody may have it: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last error, of `operation` or of [`get_connection`](Self::get_connection).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection goes back; what `operation` promises holds.
    pub async fn execute<T, F, Fut>(&self, operation: F) -> Result<T, SinkError>
    where
        F: Fn(Arc<C>) -> Fut,
        Fut: Future<Output = Result<T, SinkError>>,
    {
        self.shared.execute(&self.shared.retrier, operation).await
    }

    /// The same for something that does no harm when it is processed twice: it is repeated as well when the
    /// connection broke, or the time ran out, after it was written.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Self::execute).
    pub async fn execute_idempotent<T, F, Fut>(&self, operation: F) -> Result<T, SinkError>
    where
        F: Fn(Arc<C>) -> Fut,
        Fut: Future<Output = Result<T, SinkError>>,
    {
        let retrier = self.shared.retrier.clone().idempotent();
        self.shared.execute(&retrier, operation).await
    }

    /// Pings every node, all at once, and returns what is known then.
    ///
    /// A node that does not answer within `timeout_ms`, asked up to three times, is unhealthy from now on: one that
    /// refuses, one that accepts and closes, one that accepts and is silent. One that answers twice is healthy again,
    /// unless it has been put out repeatedly and its time is not over. Nodes that no connection is open to are dialled.
    /// Outside of a runtime nothing is asked.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some nodes were checked and some were not.
    pub async fn health_check_all_nodes(&self) -> Vec<NodeHealth> {
        let shared = &self.shared;
        if let Ok(runtime) = Handle::try_current()
            && !shared.standing.lock().closed
        {
            let all = (0..shared.nodes.len()).collect();
            checks::check_all(shared, all, shared.timeout, &runtime).await;
        }
        self.node_health()
    }

    /// Returns what is known of every node, in the order of the configuration.
    pub fn node_health(&self) -> Vec<NodeHealth> {
        let standing = self.shared.standing.lock();
        let nodes = self.shared.nodes.iter().enumerate();
        nodes
            .filter_map(|(index, node)| standing.cluster.health(index, node.id.clone()))
            .collect()
    }

    /// Puts a node out by hand: it gets no request, whatever checks say, until it is marked healthy again. What is under
    /// way there goes on. Returns whether there is such a node: the id is the one in [`node_health`](Self::node_health).
    pub fn mark_node_unhealthy(&self, node_id: &NodeId) -> bool {
        let Some(index) = self.shared.index(node_id) else {
            return false;
        };
        self.shared.standing.lock().cluster.hold(index);
        self.shared.changed.notify_one();
        self.shared.rest(index);
        true
    }

    /// Takes a node back by hand, whatever is known of it. Returns whether there is such a node.
    pub fn mark_node_healthy(&self, node_id: &NodeId) -> bool {
        let Some(index) = self.shared.index(node_id) else {
            return false;
        };
        let now = clock::now();
        self.shared.standing.lock().cluster.release(index, now);
        self.shared.changed.notify_one();
        true
    }

    /// Returns how many connections are open to all nodes.
    pub fn total_connections(&self) -> usize {
        self.shared
            .pools()
            .map(ConnectionPool::total_connections)
            .sum()
    }

    /// Returns what the pool of every node counted, in the order of the configuration.
    pub fn statistics(&self) -> Vec<(NodeId, PoolStatistics)> {
        let nodes = self.shared.nodes.iter();
        nodes
            .map(|node| (node.id.clone(), node.pool.statistics()))
            .collect()
    }

    /// Closes everything for good, within this time, and always returns by then.
    ///
    /// Whoever waits gets `Closed`. What lies idle is closed at once, with a goodbye; what is in use when it comes back,
    /// at the latest when three quarters of the time are over. Afterwards no task and no connection is left, and every
    /// call gets `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the manager is closed; dropped later, what is in use is closed when it comes back.
    pub async fn disconnect(&self, within: Duration) -> DisconnectReport {
        let shared = &self.shared;
        let start = Instant::now();
        shared.shut();
        let mut report = pool::close_all(shared.pools(), within).await;
        if Handle::try_current().is_ok() {
            let deadline = start.checked_add(within).unwrap_or(start);
            report.finished &= shared.task.ended(deadline).await;
        }
        shared.task.abort();
        report
    }
}

impl<C: NodeConnection> Drop for ConnectionManager<C> {
    fn drop(&mut self) {
        self.shared.shut();
        self.shared.pools().for_each(ConnectionPool::shut);
    }
}

impl<C: NodeConnection> fmt::Debug for ConnectionManager<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionManager")
            .field("health", &self.node_health())
            .finish_non_exhaustive()
    }
}

impl<C: NodeConnection> Shared<C> {
    fn rest(&self, index: usize) {
        if let Some(node) = self.nodes.get(index) {
            node.pool.rest();
        }
    }

    fn shut(&self) {
        self.standing.lock().closed = true;
        self.changed.notify_one();
        self.ended.notify_waiters();
    }

    fn index(&self, node_id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *node_id)
    }

    fn pools(&self) -> impl Iterator<Item = &ConnectionPool<C>> + Clone {
        self.nodes.iter().map(|node| &node.pool)
    }
}
