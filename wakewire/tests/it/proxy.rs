//! A proxy that does to connections what networks do: cuts them after so many bytes, or holds them up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// Forwards connections from one Unix socket to another; ends with its value.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    target: PathBuf,
    /// What each connection may carry towards the target, and back, before it is cut.
    up: AtomicUsize,
    down: AtomicUsize,
    connections: AtomicU64,
    /// Ends every connection there is.
    severed: Notify,
}

impl Proxy {
    /// Listens at `path` and forwards to `target`; cuts nothing yet.
    pub(crate) fn start(path: &Path, target: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            up: AtomicUsize::new(usize::MAX),
            down: AtomicUsize::new(usize::MAX),
            connections: AtomicU64::new(0),
            severed: Notify::new(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Self { shared, task }
    }

    /// From the next connection on, each is cut after so many bytes up and down, counted together from its start.
    pub(crate) fn cut_after(&self, up: usize, down: usize) {
        self.shared.up.store(up, SeqCst);
        self.shared.down.store(down, SeqCst);
    }

    /// Cuts every connection there is, right now.
    pub(crate) fn sever(&self) {
        self.shared.severed.notify_waiters();
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (from, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, SeqCst);
        let shared = Arc::clone(&shared);
        let (up, down) = (shared.up.load(SeqCst), shared.down.load(SeqCst));
        connections.spawn(async move {
            let severed = shared.severed.notified();
            let Ok(to) = UnixStream::connect(&shared.target).await else {
                return;
            };
            let (from_read, from_write) = from.into_split();
            let (to_read, to_write) = to.into_split();
            // Whichever direction ends first ends both: the halves are dropped together.
            tokio::select! {
                () = carry(from_read, to_write, up) => {}
                () = carry(to_read, from_write, down) => {}
                () = severed => {}
            }
        });
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut allowed: usize,
) {
    let mut bytes = vec![0; 64 * 1024];
    while allowed > 0 {
        let Ok(read) = from.read(&mut bytes).await else {
            return;
        };
        let passed = read.min(allowed);
        allowed -= passed;
        if read == 0 || to.write_all(&bytes[..passed]).await.is_err() {
            return;
        }
    }
}
