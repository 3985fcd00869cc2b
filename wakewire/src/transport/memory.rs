//! Slow connections over memory, for tests with paused time: Unix sockets below `/memory` are none.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::line::Line;
use super::pulse::Pulse;
use crate::endpoint::Endpoint;

static BOUND: Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>> = Mutex::new(BTreeMap::new());

/// Takes connections.
pub(crate) struct Listener(tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>);

impl Listener {
    /// Binds it, if it is one in memory.
    pub(super) fn bind(endpoint: &Endpoint) -> Option<Self> {
        let name = name(endpoint)?;
        let (dialled, accepted) = mpsc::channel(16);
        BOUND.lock().insert(name, dialled);
        Some(Self(tokio::sync::Mutex::new(accepted)))
    }

    pub(super) async fn accept(&self) -> DuplexStream {
        self.0.lock().await.recv().await.expect("it stays bound")
    }
}

/// Dials one, if it is one in memory.
pub(super) async fn dial(endpoint: &Endpoint) -> Option<io::Result<Line>> {
    let name = name(endpoint)?;
    let listener = BOUND.lock().get(&name).cloned();
    let (ours, theirs) = duplex(BUFFER);
    let Some(Ok(())) = (match listener {
        Some(listener) => Some(listener.send(theirs).await),
        None => None,
    }) else {
        return Some(Err(io::ErrorKind::NotFound.into()));
    };
    Some(Ok(Line::new(Slow::new(ours))))
}

/// Returns the pulse of a connection that is not used.
pub(crate) fn pulse() -> Pulse {
    Pulse::new(std::sync::Arc::default())
}

fn name(endpoint: &Endpoint) -> Option<String> {
    let Endpoint::Unix(path) = endpoint else {
        return None;
    };
    path.starts_with("/memory")
        .then(|| path.display().to_string())
}

/// The dialler's end: 50 kB/s in either direction.
pub(crate) struct Slow {
    io: DuplexStream,
    reads: Option<Pin<Box<Sleep>>>,
    writes: Option<Pin<Box<Sleep>>>,
}

impl Slow {
    pub(crate) const fn new(io: DuplexStream) -> Self {
        Self {
            io,
            reads: None,
            writes: None,
        }
    }
}

fn wait(until: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(sleep) = until {
        ready!(sleep.as_mut().poll(cx));
        *until = None;
    }
    Poll::Ready(())
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(wait(&mut self.reads, cx));
        let mut part = [0; PART];
        let room = into.remaining().min(PART);
        let mut part = ReadBuf::new(&mut part[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        into.put_slice(part.filled());
        self.reads = Some(Box::pin(sleep(PAUSE)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(wait(&mut self.writes, cx));
        let part = bytes.get(..PART).unwrap_or(bytes);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, part))?;
        self.writes = Some(Box::pin(sleep(PAUSE)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What is on the way in either direction, as in a socket's buffer.
const BUFFER: usize = 16 * 1024;

/// So much …
const PART: usize = 1000;

/// … each.
const PAUSE: Duration = Duration::from_millis(20);
