//! What stands before a node and does to those who come what broken nodes and networks do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How the node behaves, to those who come and to those who are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Hands on everything.
    Well,
    /// Nobody listens.
    Refuses,
    /// Accepts and hangs up.
    Closes,
    /// Accepts, hears everything, says nothing.
    Silent,
    /// Hands on what it is told, and breaks off in the middle of the next answer.
    Breaks,
}

/// Listens before a node, counts, and behaves as it is told; ends with its value.
pub(super) struct Front {
    pub(super) url: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    place: Where,
    target: Where,
    mood: watch::Sender<Mood>,
    dials: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    /// Ends every connection there is.
    severed: Notify,
}

#[derive(Clone, Debug)]
enum Where {
    Unix(PathBuf),
    Tcp(u16),
}

impl Front {
    /// Listens at a Unix socket before this endpoint.
    pub(super) async fn unix(path: &Path, target: &str) -> Self {
        let url = format!("unix://{}", path.display());
        Self::start(Where::Unix(path.to_owned()), url, target).await
    }

    /// Listens at a port of its own before this endpoint.
    #[cfg(feature = "tls")]
    pub(super) async fn tcp(target: &str) -> Self {
        let port = crate::support::free_port();
        let url = format!("tcp://127.0.0.1:{port}");
        Self::start(Where::Tcp(port), url, target).await
    }

    async fn start(place: Where, url: String, target: &str) -> Self {
        let listener = Listener::bind(&place).await;
        let shared = Arc::new(Shared {
            place,
            target: Where::of(target),
            mood: watch::Sender::new(Mood::Well),
            dials: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            severed: Notify::new(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Self { url, shared, task }
    }

    #[cfg(feature = "tls")]
    pub(super) fn port(&self) -> u16 {
        match self.shared.place {
            Where::Tcp(port) => port,
            Where::Unix(_) => panic!("a path has no port"),
        }
    }

    /// From now on it behaves like this; those who are there stay, unless they are hung up on.
    pub(super) async fn becomes(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
        let severs = matches!(mood, Mood::Refuses | Mood::Closes);
        if severs {
            self.sever();
        }
        let is_so = || match &self.shared.place {
            Where::Unix(path) => path.exists() != (mood == Mood::Refuses),
            Where::Tcp(_) => true,
        };
        // A connection that is only about to be cut may hand on one more request, and its answer.
        let is_cut = || !severs || self.open() == 0;
        crate::support::eventually("the socket comes or goes", || is_so() && is_cut()).await;
    }

    /// Cuts every connection there is.
    pub(super) fn sever(&self) {
        self.shared.severed.notify_waiters();
    }

    /// Returns how many were accepted so far.
    pub(super) fn dials(&self) -> usize {
        self.shared.dials.load(SeqCst)
    }

    /// Returns how many are open now.
    pub(super) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Returns how many were open at the same time, at most.
    pub(super) fn most(&self) -> usize {
        self.shared.most.load(SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: Listener, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut mood = shared.mood.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let is_absent = *mood.borrow_and_update() == Mood::Refuses;
        if is_absent {
            listener = None;
            if let Where::Unix(path) = &shared.place {
                std::fs::remove_file(path).unwrap();
            }
            mood.wait_for(|mood| *mood != Mood::Refuses).await.unwrap();
        }
        let bound = match listener.take() {
            Some(bound) => bound,
            None => Listener::bind(&shared.place).await,
        };
        tokio::select! {
            stream = bound.accept() => {
                shared.dials.fetch_add(1, SeqCst);
                connections.spawn(visit(stream, Arc::clone(&shared)));
            }
            changed = mood.changed() => changed.unwrap(),
        }
        listener = Some(bound);
    }
}

/// The existence of a connection.
struct Visit(Arc<Shared>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn visit(mut stream: Box<dyn Stream>, shared: Arc<Shared>) {
    let severed = shared.severed.notified();
    let visit = Visit(Arc::clone(&shared));
    shared
        .most
        .fetch_max(shared.open.fetch_add(1, SeqCst) + 1, SeqCst);
    if *shared.mood.borrow() == Mood::Closes {
        return;
    }
    let Some(mut node) = shared.target.dial().await else {
        return;
    };
    tokio::select! {
        () = carry(&mut *stream, &mut *node, &shared) => {}
        () = severed => {}
    }
    // The socket first, then its count.
    drop((stream, node));
    drop(visit);
}

/// Hands on, one piece at a time, until one side ends or the mood is to.
async fn carry(dialer: &mut dyn Stream, node: &mut dyn Stream, shared: &Shared) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let (length, is_up) = tokio::select! {
            read = dialer.read(&mut up) => (read, true),
            read = node.read(&mut down) => (read, false),
        };
        let Ok(length @ 1..) = length else {
            return;
        };
        let mood = *shared.mood.borrow();
        let written = match (mood, is_up) {
            (Mood::Silent, _) => continue,
            (Mood::Breaks, false) => {
                dialer.write_all(&down[..length / 2]).await.ok();
                return;
            }
            (_, true) => node.write_all(&up[..length]).await,
            (_, false) => dialer.write_all(&down[..length]).await,
        };
        if written.is_err() {
            return;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn bind(place: &Where) -> Self {
        match place {
            Where::Unix(path) => Self::Unix(UnixListener::bind(path).unwrap()),
            Where::Tcp(port) => Self::Tcp(TcpListener::bind(("127.0.0.1", *port)).await.unwrap()),
        }
    }

    async fn accept(&self) -> Box<dyn Stream> {
        match self {
            Self::Unix(listener) => Box::new(listener.accept().await.unwrap().0),
            Self::Tcp(listener) => Box::new(listener.accept().await.unwrap().0),
        }
    }
}

impl Where {
    fn of(url: &str) -> Self {
        match url.split_once("://").unwrap() {
            ("unix", path) => Self::Unix(path.into()),
            (_, authority) => Self::Tcp(authority.rsplit_once(':').unwrap().1.parse().unwrap()),
        }
    }

    /// Connects; nothing when nobody is there.
    async fn dial(&self) -> Option<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Some(Box::new(UnixStream::connect(path).await.ok()?)),
            Self::Tcp(port) => {
                let dialed = TcpStream::connect(("127.0.0.1", *port)).await;
                Some(Box::new(dialed.ok()?))
            }
        }
    }
}
