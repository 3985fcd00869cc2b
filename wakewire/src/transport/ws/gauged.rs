//! A byte stream whose reading half is measured before a WebSocket is read from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gauge::{Excess, Gauge};

/// A stream that ends with an error at what is too much.
#[derive(Debug)]
pub(super) struct Gauged<S> {
    io: S,
    /// What was read together with the head of the greeting.
    ahead: BytesMut,
    pub(super) gauge: Gauge,
    excess: Option<Excess>,
}

impl<S> Gauged<S> {
    pub(super) const fn new(io: S, ahead: BytesMut, gauge: Gauge) -> Self {
        Self {
            io,
            ahead,
            gauge,
            excess: None,
        }
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
            _ => Poll::Ready(Ok(())),
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
