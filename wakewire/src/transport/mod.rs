//! Byte streams to and from an endpoint. One file a transport; nothing above knows which one it is.

pub(crate) mod door;
pub(crate) mod greeting;
pub(crate) mod pulse;
pub(crate) mod reader;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(all(feature = "unix", unix))]
mod unix;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::endpoint::{Endpoint, Scheme};

/// A connection in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A future that owns what it needs.
pub(crate) struct Opening<T>(Pin<Box<dyn Future<Output = io::Result<T>> + Send>>);

impl<T> Opening<T> {
    pub(crate) fn new(future: impl Future<Output = io::Result<T>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<T> Future for Opening<T> {
    type Output = io::Result<T>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Where connections come from: an endpoint, or a simulation.
pub(crate) trait Dial: Send + Sync {
    /// Opens one connection.
    fn dial(&self) -> Opening<Box<dyn Duplex>>;
}

impl Dial for Endpoint {
    fn dial(&self) -> Opening<Box<dyn Duplex>> {
        match self {
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(path) => unix::dial(path.clone()),
            #[cfg(feature = "tcp")]
            Self::Tcp(authority) => tcp::dial(authority.clone()),
            other => {
                let scheme = other.scheme();
                Opening::new(async move { Err(not_built_in(scheme)) })
            }
        }
    }
}

/// Takes connections at an endpoint; the endpoint is free again when it is dropped.
pub(crate) enum Acceptor {
    #[cfg(all(feature = "unix", unix))]
    Unix(unix::Listener),
    #[cfg(feature = "tcp")]
    Tcp(tcp::Listener),
    /// No transport is built in; cannot be made.
    #[cfg(not(any(all(feature = "unix", unix), feature = "tcp")))]
    #[expect(dead_code, reason = "it cannot be made")]
    None(std::convert::Infallible),
}

impl Acceptor {
    /// Binds the endpoint.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub(crate) async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            #[cfg(all(feature = "unix", unix))]
            Endpoint::Unix(path) => unix::Listener::bind(path).await.map(Self::Unix),
            #[cfg(feature = "tcp")]
            Endpoint::Tcp(authority) => tcp::Listener::bind(authority).await.map(Self::Tcp),
            other => Err(not_built_in(other.scheme())),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        match self {
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(listener) => listener.accept().await,
            #[cfg(feature = "tcp")]
            Self::Tcp(listener) => listener.accept().await,
            #[cfg(not(any(all(feature = "unix", unix), feature = "tcp")))]
            Self::None(never) => match *never {},
        }
    }
}

fn not_built_in(scheme: Scheme) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("`{}` is not built into this version", scheme.name()),
    )
}

/// Writes all of these pieces, in order, in as few system calls as they allow; leaves `pieces` empty.
///
/// # Cancel safety
///
/// Not cancel safe: dropped early, part of a frame may be on the wire, and the connection must be closed.
pub(crate) async fn write_pieces<W: AsyncWrite + Unpin>(
    io: &mut W,
    pieces: &mut Vec<Bytes>,
) -> io::Result<()> {
    let mut first = 0;
    while first < pieces.len() {
        let written = if let [piece] = &pieces[first..] {
            io.write(piece).await?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = SLICES.min(pieces.len() - first);
            for (slice, piece) in slices.iter_mut().zip(&pieces[first..]) {
                *slice = IoSlice::new(piece);
            }
            io.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut left = written;
        while left > 0 {
            let step = left.min(pieces[first].len());
            pieces[first].advance(step);
            left -= step;
            if pieces[first].is_empty() {
                first += 1;
            }
        }
        while pieces.get(first).is_some_and(Bytes::is_empty) {
            first += 1;
        }
    }
    pieces.clear();
    Ok(())
}

/// Pieces per system call; more than a busy sink ever has.
const SLICES: usize = 32;
