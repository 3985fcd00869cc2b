//! Signs of life of a connection, seen where its bytes pass: below TLS and WebSocket, which show only what is whole.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has passed over one connection; counted by the call of the system, so that no clock is read for it.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    heard: AtomicU64,
    said: AtomicU64,
}

impl Signs {
    /// Returns a number that changes with every sign of life of the peer.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

    /// Returns a number that changes with everything that the system takes from us.
    pub(super) fn said(&self) -> u64 {
        self.said.load(Relaxed)
    }
}

/// A byte stream that counts its signs.
#[derive(Debug)]
pub(super) struct Signed<S> {
    io: S,
    signs: Arc<Signs>,
    /// The system takes no more until the peer has taken something; not so where it drops what nobody takes.
    is_held: bool,
    /// A write waits for that.
    waits: bool,
}

impl<S> Signed<S> {
    pub(super) const fn new(io: S, signs: Arc<Signs>, is_held: bool) -> Self {
        Self {
            io,
            signs,
            is_held,
            waits: false,
        }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.waits = self.is_held,
            Poll::Ready(Ok(bytes)) if *bytes > 0 => {
                self.signs.said.fetch_add(1, Relaxed);
                if std::mem::take(&mut self.waits) {
                    // Room only comes from the peer: it takes what we say, so it lives.
                    self.signs.heard.fetch_add(1, Relaxed);
                }
            }
            Poll::Ready(_) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Signed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if into.filled().len() > before {
            self.signs.heard.fetch_add(1, Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Signed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
