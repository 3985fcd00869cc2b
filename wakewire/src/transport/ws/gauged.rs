//! A byte stream whose reading half is measured before a WebSocket is read from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gauge::{Excess, Gauge};
use crate::transport::budget::Share;

/// A stream that ends with an error at what is too much.
#[derive(Debug)]
pub(super) struct Gauged<S> {
    io: S,
    /// What was read together with the head of the greeting.
    ahead: BytesMut,
    pub(super) gauge: Gauge,
    excess: Option<Excess>,
    share: Option<Share>,
}

impl<S> Gauged<S> {
    pub(super) const fn new(io: S, ahead: BytesMut, gauge: Gauge) -> Self {
        Self {
            io,
            ahead,
            gauge,
            excess: None,
            share: None,
        }
    }
}

impl<S> Gauged<S> {
    /// Shares memory with the other connections of a listener.
    pub(super) fn share(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// Holds what has come of a message, if there is room for it.
    fn hold(&mut self) -> io::Result<()> {
        let Some(share) = &mut self.share else {
            return Ok(());
        };
        let unfinished = usize::try_from(self.gauge.unfinished()).unwrap_or(usize::MAX);
        if share.try_hold(unfinished) {
            return Ok(());
        }
        let what = "too much that was received is unfinished, see `max_inbound_bytes`";
        Err(io::Error::new(io::ErrorKind::OutOfMemory, what))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gauged<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(excess) = this.excess {
            return Poll::Ready(Err(refused(excess)));
        }
        let before = into.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, into))?;
        } else {
            let length = this.ahead.len().min(into.remaining());
            into.put_slice(&this.ahead.split_to(length));
        }
        let news = into.filled().get(before..).unwrap_or_default();
        let (passed, excess) = this.gauge.pass(news);
        into.set_filled(before + passed);
        this.excess = excess;
        match excess {
            // Reading nothing would mean the end.
            Some(excess) if passed == 0 => Poll::Ready(Err(refused(excess))),
            _ => Poll::Ready(this.hold()),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gauged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn refused(excess: Excess) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, excess)
}
