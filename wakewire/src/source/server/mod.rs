//! The serving end of connections: a handler that turns requests into answers.

mod connection;
mod handling;
mod request;
mod tally;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub use self::request::{HandlerError, Peer, Request};
pub use self::tally::DrainReport;
use self::tally::Tally;
use super::config::listen_error;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::{Failure, Phase, SinkError};
use crate::message::Message;
use crate::randomness::random;
use crate::security::{ListenLimits, Security};
use crate::transport::dial::Target;
use crate::transport::door::Door;
use crate::wire::SessionId;
use crate::wire::frame::frame_limit;

type Answer = Pin<Box<dyn Future<Output = Result<Message, HandlerError>> + Send>>;

/// Answers requests at an endpoint with this function; nothing is opened before [`run`](Server::run) or
/// [`start`](Server::start).
///
/// The handler is called for each request, as they come, and many at a time. Its future is dropped when the requester
/// does not want the answer any more, or at the request's deadline. One that panics fails that request only.
///
/// Over `udp` a request is one datagram, and so is its answer. It is processed at most once, also when the network
/// doubles it; what is lost is not known here.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let url = format!("unix://{}", directory.join("serve.sock").display());
/// use std::time::Duration;
/// use wakewire::Message;
/// use wakewire::connection::{Connection, ConnectionSettings};
/// use wakewire::source::serve;
///
/// let server = serve(url.as_str(), |request| async move {
///     match &request.message.payload[..] {
///         b"ping" => Ok(Message::new("pong")),
///         _ => Err("not a ping".into()),
///     }
/// });
/// let server = server.with_max_in_flight(16).start().await?;
///
/// let connection = Connection::open(url.as_str(), ConnectionSettings::default()).await?;
/// let answer = connection.send_request(Message::new("ping")).await?;
/// assert_eq!(&answer.payload[..], b"pong");
/// let error = connection.send_request(Message::new("pang")).await.unwrap_err();
/// assert!(error.to_string().contains("not a ping"));
///
/// let report = server.close(Duration::from_secs(1)).await;
/// assert_eq!(report.cancelled, 0);
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub fn serve<E, H, F>(endpoint: E, handler: H) -> Server
where
    E: TryInto<Endpoint>,
    EndpointError: From<E::Error>,
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Message, HandlerError>> + Send + 'static,
{
    Server {
        endpoint: endpoint.try_into().map_err(EndpointError::from),
        handler: Arc::new(move |request| Box::pin(handler(request))),
        service: String::new(),
        security: Security::default(),
        limits: ListenLimits::default(),
        max_in_flight: 256,
        max_per_connection: 256,
        max_message_bytes: None,
        idle_timeout: Some(Duration::from_secs(120)),
    }
}

/// A server that is not started yet; made by [`serve`].
///
/// ```
/// use std::time::Duration;
/// use wakewire::source::serve;
/// use wakewire::{Security, TlsMode};
///
/// let server = serve("tcp://0.0.0.0:7000", |request| async move { Ok(request.message) })
///     .named("prices")
///     .with_security(Security {
///         tls: TlsMode::Require,
///         cert: Some("/etc/wakewire/prices.pem".into()),
///         key: Some("/etc/wakewire/prices.key".into()),
///         ..Security::default()
///     })
///     .with_max_in_flight(64)
///     .with_max_message_bytes(64 * 1024)
///     .with_idle_timeout(Some(Duration::from_secs(300)));
/// # drop(server);
/// ```
#[must_use = "it serves nobody before `run` or `start`"]
pub struct Server {
    endpoint: Result<Endpoint, EndpointError>,
    handler: Arc<dyn Fn(Request) -> Answer + Send + Sync>,
    service: String,
    security: Security,
    limits: ListenLimits,
    max_in_flight: usize,
    max_per_connection: usize,
    max_message_bytes: Option<usize>,
    idle_timeout: Option<Duration>,
}

impl Server {
    /// Names the service: who asks for another one is refused. Without a name, the default, everybody is served.
    pub fn named(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Says who may come in, and how private it must be. By default whoever can connect: over a Unix socket our own
    /// user and root, over TCP everybody.
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// Says how many may connect, and how fast; [`ListenLimits::default`] by default.
    pub fn with_limits(mut self, limits: ListenLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Bounds the handlers that run at a time, over all connections; at least 1, 256 by default. A request beyond
    /// that is refused at once, unprocessed; a one-way message holds up its connection.
    pub fn with_max_in_flight(mut self, most: usize) -> Self {
        self.max_in_flight = most.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Bounds the requests that one connection has open, which its peer is told; at least 1, 256 by default. Ours waits
    /// for its turn; what another sends beyond it is refused, unprocessed.
    pub fn with_max_per_connection(mut self, most: usize) -> Self {
        self.max_per_connection = most.max(1);
        self
    }

    /// Bounds the payload of a request; 1 MiB by default. Over `udp`, where each is one datagram, 1200 bytes by
    /// default, which every path takes in one piece; nobody can send more than 64,000.
    pub fn with_max_message_bytes(mut self, most: usize) -> Self {
        self.max_message_bytes = Some(most);
        self
    }

    /// Closes a connection without requests after this long, and says so in the greeting, so that clients leave
    /// first (a pool does at 0.8 of it); 120 s by default, none for never.
    pub fn with_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, every connection and handler is dropped; for a graceful end use [`start`](Self::start).
    pub async fn run(self) -> Result<(), SinkError> {
        let mut server = self.start().await?;
        // It ends only when it is told to, or with its runtime.
        (&mut server.task).await.ok();
        Ok(())
    }

    /// Binds the endpoint and serves in the background.
    ///
    /// # Errors
    ///
    /// `Io` when the endpoint cannot be bound; `InvalidConfig` when it is none, is to be protected in a way that it
    /// cannot be, or when a certificate cannot be read; `NoRuntime` outside of tokio.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub async fn start(self) -> Result<ServerHandle, SinkError> {
        let failure = Failure::new(self.service.as_str());
        let endpoint = self.endpoint.map_err(|error| {
            let hint = error.hint().to_owned();
            let failure = failure.clone().phase(Phase::Listen).because(error);
            SinkError::InvalidConfig(failure.hint(hint))
        })?;
        let failure = failure.endpoint(endpoint.to_string());
        let runtime = Handle::try_current().map_err(|error| {
            let failure = failure.clone().because(error);
            SinkError::NoRuntime(failure.hint("serve inside a tokio runtime"))
        })?;
        let checksummed = endpoint.is_checksummed();
        let over_datagrams = endpoint.loses_frames();
        let usual = endpoint.usual_message();
        let largest = frame_limit(endpoint.largest_message());
        let target = Target::new(endpoint, self.security, self.limits)
            .sound()
            .map_err(|unreached| unreached.error(failure.clone()))?;
        let door = Door::open(&target, &self.service)
            .await
            .map_err(|error| listen_error(failure.clone(), error))?;
        tracing::info!(service = %self.service, endpoint = %target.endpoint(), "serving");
        let (drain, leaving) = watch::channel(false);
        let house = Arc::new(House {
            handler: self.handler,
            service: self.service.into(),
            max_per_connection: self.max_per_connection,
            limit: frame_limit(self.max_message_bytes.unwrap_or(usual)),
            largest,
            idle_timeout: self.idle_timeout,
            checksummed,
            over_datagrams,
            slots: Arc::new(Semaphore::new(self.max_in_flight)),
            tally: Tally::default(),
            node: SessionId(random()),
            visitors: AtomicU64::new(1),
            leaving,
        });
        let task = runtime.spawn(accept(Arc::clone(&house), door));
        Ok(ServerHandle { house, drain, task })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("service", &self.service)
            .field("endpoint", &self.endpoint)
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}

/// What the connections of one server share.
struct House {
    handler: Arc<dyn Fn(Request) -> Answer + Send + Sync>,
    service: Arc<str>,
    max_per_connection: usize,
    /// The most bytes after a header that we take, and the most that we can send.
    limit: u32,
    largest: u32,
    idle_timeout: Option<Duration>,
    checksummed: bool,
    /// What comes may come twice.
    over_datagrams: bool,
    slots: Arc<Semaphore>,
    tally: Tally,
    node: SessionId,
    visitors: AtomicU64,
    /// Whether no further requests are taken.
    leaving: watch::Receiver<bool>,
}

impl House {
    fn next_visitor(&self) -> u64 {
        self.visitors.fetch_add(1, Relaxed)
    }
}

/// A server that runs. Dropping it drops every connection and every handler; [`close`](Self::close) lets them finish.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let url = format!("unix://{}", directory.join("handle.sock").display());
/// use std::time::Duration;
/// use wakewire::source::serve;
///
/// let server = serve(url, |request| async move { Ok(request.message) }).start().await?;
/// // Until somebody says that it is over, such as `tokio::signal::ctrl_c().await`.
/// let report = server.close(Duration::from_secs(5)).await;
/// println!("{} answered, {} given up", report.finished, report.cancelled);
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[must_use = "dropping it ends the server"]
pub struct ServerHandle {
    house: Arc<House>,
    drain: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Takes no further connections and requests, tells the peers so, and lets the handlers finish, as long as this;
    /// then drops what is left. Says what became of the requests that were open.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, every connection and every handler is dropped.
    pub async fn close(mut self, within: Duration) -> DrainReport {
        let before = self.house.tally.report();
        self.drain.send_replace(true);
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            (&mut self.task).await.ok();
        }
        // A dropped task drops its handlers a moment later.
        if timeout(ABORT_WITHIN, self.house.tally.rests())
            .await
            .is_err()
        {
            tracing::warn!(service = %self.house.service, "a handler does not end: does it block its thread?");
        }
        let after = self.house.tally.report();
        DrainReport {
            finished: after.finished - before.finished,
            cancelled: after.cancelled - before.cancelled,
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("service", &self.house.service)
            .finish_non_exhaustive()
    }
}

/// Takes connections until it is told to leave, and waits for the last one.
async fn accept(house: Arc<House>, mut door: Door) {
    let mut connections = JoinSet::new();
    let mut leaving = house.leaving.clone();
    loop {
        tokio::select! {
            visitor = door.next() => {
                connections.spawn(connection::serve(Arc::clone(&house), visitor));
            }
            Some(_) = connections.join_next() => {}
            () = connection::told(&mut leaving) => break,
        }
    }
    drop(door);
    while connections.join_next().await.is_some() {}
}

/// More than a runtime needs to drop a task that waits.
const ABORT_WITHIN: Duration = Duration::from_millis(100);
