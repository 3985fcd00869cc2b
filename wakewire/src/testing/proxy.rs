//! Stands between two endpoints and does to connections what networks and peers do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink, split};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::sleep;

use super::faults::{Course, Faults, Next};
use crate::transport::line::Duplex;
use crate::transport::memory;

/// What becomes of one connection to a [`Proxy`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each connection"
)]
pub enum Plan {
    /// It is carried to the target, with these faults on the way there and back.
    Carry {
        /// Towards the target.
        up: Faults,
        /// Back.
        down: Faults,
    },
    /// It is accepted and closed at once.
    Close,
    /// It is accepted and everything is read; nothing is ever said.
    Silent,
    /// It is accepted and nothing is ever read.
    Deaf,
}

impl Plan {
    /// Carries everything as it is.
    pub fn pass() -> Self {
        Self::carry(Faults::none(), Faults::none())
    }

    /// Carries with faults towards the target, and back.
    pub const fn carry(up: Faults, down: Faults) -> Self {
        Self::Carry { up, down }
    }
}

/// Forwards connections and does to them what a script says: the peer that refuses, accepts and closes, is silent, reads
/// nothing; the wire that is cut after a byte, stalls one way, is slow, flips, doubles or swaps bytes. TLS and WebSocket
/// pass through it as the bytes they are.
///
/// It lives on the runtime in which it was made and ends with its value.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use wakewire::testing::{Faults, Network, Plan};
/// use wakewire::{Message, MessageSink};
///
/// let network = Network::new();
/// let factory = network.factory("[services.orders]\ntype = 'direct'\nendpoint = 'tcp://orders:7000'\nlazy.retry_delay_ms = 1")?;
/// let proxy = network.proxy("orders")?;
/// proxy.by(|connection| match connection {
///     0 => Plan::Close,
///     1 => Plan::carry(Faults::none().cut_after(100), Faults::none()),
///     _ => Plan::pass(),
/// });
///
/// let mut source = factory.create_source("orders").await?;
/// let sink = factory.create_sink("orders").await?;
/// sink.send(Message::new("buy")).await?;
/// assert_eq!(source.recv().await?.expect("not closed").payload, "buy"); // all the same
/// assert_eq!(proxy.connections(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Proxy {
    shared: Arc<Shared>,
    task: AbortHandle,
}

type Script = Box<dyn FnMut(u64) -> Plan + Send>;

struct Shared {
    at: Address,
    target: Address,
    script: Mutex<Script>,
    refuses: AtomicBool,
    connections: AtomicU64,
    /// Of the connection that came last.
    carried: Mutex<Arc<Carried>>,
    /// Goes up when everything there is must end, or somebody must look again at `refuses`.
    severed: watch::Sender<()>,
    changed: watch::Sender<()>,
}

/// Bytes carried over one connection.
#[derive(Default)]
struct Carried {
    up: AtomicU64,
    down: AtomicU64,
}

impl Proxy {
    /// Listens at a socket path and carries to another one.
    ///
    /// # Errors
    ///
    /// The path cannot be bound, or there is no tokio runtime.
    #[cfg(unix)]
    pub fn unix(at: impl Into<PathBuf>, target: impl Into<PathBuf>) -> io::Result<Self> {
        let (at, target) = (Address::Unix(at.into()), Address::Unix(target.into()));
        Self::start(at, target)
    }

    /// Listens at a free loopback port, which [`port`](Self::port) tells, and carries to this address.
    ///
    /// # Errors
    ///
    /// No port can be bound, or there is no tokio runtime.
    pub fn tcp(target: SocketAddr) -> io::Result<Self> {
        Self::start(
            Address::Tcp(([127, 0, 0, 1], 0).into()),
            Address::Tcp(target),
        )
    }

    /// Takes the connections that are meant for a name in memory; `buffer` bytes are on the way at most.
    pub(super) fn memory(name: &str, buffer: usize) -> io::Result<Self> {
        let address = || Address::Memory(name.to_owned(), buffer);
        Self::start(address(), address())
    }

    fn start(mut at: Address, target: Address) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let front = at.listen()?;
        if let (Address::Tcp(at), Front::Tcp(listener)) = (&mut at, &front) {
            *at = listener.local_addr()?;
        }
        let shared = Arc::new(Shared {
            at,
            target,
            script: Mutex::new(Box::new(|_| Plan::pass())),
            refuses: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            carried: Mutex::default(),
            severed: watch::Sender::default(),
            changed: watch::Sender::default(),
        });
        let task = runtime.spawn(serve(front, Arc::clone(&shared)));
        let task = task.abort_handle();
        Ok(Self { shared, task })
    }

    /// Does this to each connection from the next one on.
    pub fn plan(&self, plan: Plan) {
        self.by(move |_| plan.clone());
    }

    /// Does to each connection from the next one on what the script says; it is given the connection's number, counted
    /// from 0.
    pub fn by(&self, script: impl FnMut(u64) -> Plan + Send + 'static) {
        *self.shared.script.lock() = Box::new(script);
        self.listen(true);
    }

    /// Listens no more, until there is a new plan: whoever dials is refused. What is connected stays.
    pub fn refuse(&self) {
        self.listen(false);
    }

    fn listen(&self, listens: bool) {
        self.shared.refuses.store(!listens, Relaxed);
        self.shared.changed.send_replace(());
    }

    /// Cuts every connection there is.
    pub fn sever(&self) {
        self.shared.severed.send_replace(());
    }

    /// Returns how many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Relaxed)
    }

    /// Returns how many bytes the last connection has carried towards the target, and back.
    pub fn carried(&self) -> (u64, u64) {
        let carried = self.shared.carried.lock();
        (carried.up.load(Relaxed), carried.down.load(Relaxed))
    }

    /// Returns the port at which it listens; 0 if it is none of TCP.
    pub fn port(&self) -> u16 {
        match &self.shared.at {
            Address::Tcp(at) => at.port(),
            _ => 0,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("at", &self.shared.at)
            .field("target", &self.shared.target)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Where it listens, or where it carries to.
#[derive(Clone, Debug)]
enum Address {
    #[cfg(unix)]
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// A name, and how many bytes are on the way.
    Memory(String, usize),
}

enum Front {
    #[cfg(unix)]
    /// Its path is free again afterwards.
    Unix(tokio::net::UnixListener, PathBuf),
    Tcp(tokio::net::TcpListener),
    Memory(memory::Listener),
}

impl Drop for Front {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Self::Unix(_, path) = self {
            std::fs::remove_file(path).ok();
        }
    }
}

impl Address {
    fn listen(&self) -> io::Result<Front> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(path) => Front::Unix(tokio::net::UnixListener::bind(path)?, path.clone()),
            Self::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Front::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Self::Memory(name, buffer) => {
                Front::Memory(memory::Listener::in_front_of(name, *buffer)?)
            }
        })
    }

    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
            Self::Tcp(address) => {
                let stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Memory(name, buffer) => Box::new(memory::dial_past(name, *buffer).await?),
        })
    }
}

impl Front {
    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            #[cfg(unix)]
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Memory(listener) => Box::new(listener.accept().await?),
        })
    }
}

async fn serve(front: Front, shared: Arc<Shared>) {
    let mut front = Some(front);
    let mut changed = shared.changed.subscribe();
    let mut connections = JoinSet::new();
    loop {
        if shared.refuses.load(Relaxed) {
            front = None;
        } else if front.is_none() {
            match shared.at.listen() {
                Ok(anew) => front = Some(anew),
                Err(error) => return tracing::error!(%error, at = ?shared.at, "cannot listen"),
            }
        }
        let accepting = async {
            match &front {
                Some(front) => front.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = changed.changed() => {}
            Some(_) = connections.join_next() => {}
            Ok(stream) = accepting => {
                let number = shared.connections.fetch_add(1, Relaxed);
                let plan = (*shared.script.lock())(number);
                let carried = Arc::default();
                *shared.carried.lock() = Arc::clone(&carried);
                let mut severed = shared.severed.subscribe();
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    tokio::select! {
                        () = attend(stream, plan, &shared.target, &carried) => {}
                        _ = severed.changed() => {}
                    }
                });
            }
        }
    }
}

async fn attend(mut near: Box<dyn Duplex>, plan: Plan, target: &Address, carried: &Carried) {
    match plan {
        Plan::Close => {}
        Plan::Deaf => std::future::pending().await,
        Plan::Silent => {
            copy(&mut near, &mut sink()).await.ok();
        }
        Plan::Carry { up, down } => {
            let Ok(far) = target.dial().await else {
                return;
            };
            let ((near_read, near_write), (far_read, far_write)) = (split(near), split(far));
            // A direction that ends by itself leaves the other one alone; one that is cut ends both.
            let ended = tokio::try_join!(
                carry(near_read, far_write, up, &carried.up),
                carry(far_read, near_write, down, &carried.down),
            );
            if let Err(error) = ended {
                tracing::trace!(%error, "a connection was cut");
            }
        }
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    faults: Faults,
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut course = Course::new(faults);
    loop {
        let most = match course.next() {
            Next::Read(most) => most,
            Next::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
            Next::Stall => std::future::pending().await,
        };
        let mut chunk = Vec::with_capacity(most);
        let read = (&mut from).take(most as u64).read_buf(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let (held, pause) = course.pass(&mut chunk);
        sleep_unless_zero(held).await;
        to.write_all(&chunk).await?;
        to.flush().await?;
        carried.fetch_add(read as u64, Relaxed);
        sleep_unless_zero(pause).await;
        // So that slices are not read together.
        yield_now().await;
    }
}

async fn sleep_unless_zero(time: std::time::Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
