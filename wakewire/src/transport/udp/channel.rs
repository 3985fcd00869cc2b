//! One virtual connection: datagrams behind the face of a byte stream.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;
use tokio::time::{Sleep, sleep};

use super::listener::{Hall, Inlet};
use super::opening::{Fate, Opening};
use super::table::gone;
use super::{DATAGRAM, FIRST_PAUSE, longer, sound};
use crate::wire::cutter::Cutter;

/// A virtual connection. Reading gives one frame at a time; what is written is sent as whole frames, one a datagram.
pub(crate) struct Channel {
    opening: Opening,
    nonce: u64,
    outlet: Outlet,
    source: Source,
    /// When to repeat the greeting; until it is answered.
    again: Option<(Pin<Box<Sleep>>, Duration)>,
    /// What is left of a frame that was larger than the reader's buffer.
    unread: Bytes,
    /// The peer has said that the connection is over.
    ended: bool,
}

/// Where frames come from.
enum Source {
    /// A socket of our own.
    Socket { buffer: Box<[u8]> },
    /// The socket of a listener, which hands us what is ours.
    Hall { hall: Arc<Hall>, inlet: Inlet },
}

/// Where frames go.
struct Outlet {
    socket: Arc<UdpSocket>,
    /// None if the socket is connected.
    peer: Option<SocketAddr>,
    cutter: Cutter,
    /// The next frame to be sent.
    next: Option<Bytes>,
    /// The socket is full: this ends when it is not.
    writable: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl Channel {
    /// Makes the one of a dialer whose connected socket has heard this cookie.
    pub(super) fn dialed(socket: Arc<UdpSocket>, nonce: u64, value: u64) -> Self {
        let opening = Opening::dialed(nonce, value);
        let mut outlet = Outlet::new(socket, None);
        outlet.next = opening.kept().first().cloned();
        Self {
            nonce,
            opening,
            outlet,
            source: Source::Socket {
                buffer: vec![0; DATAGRAM].into_boxed_slice(),
            },
            again: Some((Box::pin(sleep(FIRST_PAUSE)), FIRST_PAUSE)),
            unread: Bytes::new(),
            ended: false,
        }
    }

    /// Makes the one of a listener to whom this address has proved itself.
    pub(super) fn accepted(hall: Arc<Hall>, peer: SocketAddr, nonce: u64, inlet: Inlet) -> Self {
        Self {
            nonce,
            opening: Opening::accepted(),
            outlet: Outlet::new(Arc::clone(hall.socket()), Some(peer)),
            source: Source::Hall { hall, inlet },
            again: None,
            unread: Bytes::new(),
            ended: false,
        }
    }

    /// Returns where the peer is, on the side that listens.
    pub(super) const fn peer(&self) -> Option<SocketAddr> {
        self.outlet.peer
    }

    /// Sends again what the opening keeps; the more of it is lost, the more often that happens.
    fn repeat(&self) {
        for frame in self.opening.kept() {
            self.outlet.toss(frame);
        }
    }

    fn poll_again(&mut self, cx: &mut Context<'_>) {
        if !self.opening.is_waiting() {
            self.again = None;
        }
        while let Some((timer, pause)) = &mut self.again {
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            *pause = longer(*pause);
            *timer = Box::pin(sleep(*pause));
            self.repeat();
        }
    }

    /// Returns the next frame that concerns those above, or none when the peer has ended the connection.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.poll_again(cx);
        while !self.ended {
            let Some(frame) = ready!(self.poll_datagram(cx))? else {
                self.ended = true;
                break;
            };
            let Some(header) = sound(&frame) else {
                continue;
            };
            match self.opening.received(&header, &frame) {
                Fate::Pass => return Poll::Ready(Ok(Some(frame))),
                Fate::Drop => {}
                Fate::Repeat => self.repeat(),
                Fate::Ended => self.ended = true,
                Fate::Unknown => {
                    self.ended = true;
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the peer knows nothing of this connection: it was started anew",
                    )));
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match &mut self.source {
            Source::Hall { inlet, .. } => inlet.poll(cx).map(Ok),
            Source::Socket { buffer } => {
                let mut read = ReadBuf::new(buffer);
                ready!(self.outlet.socket.poll_recv(cx, &mut read))?;
                Poll::Ready(Ok(Some(Bytes::copy_from_slice(read.filled()))))
            }
        }
    }

    /// Sends every whole frame that was written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            outlet, opening, ..
        } = self;
        loop {
            if outlet.next.is_none() {
                outlet.next = outlet.cutter.next().inspect(|frame| opening.sent(frame));
            }
            let Some(frame) = &outlet.next else {
                return Poll::Ready(Ok(()));
            };
            if let Some(writable) = &mut outlet.writable {
                let writable = ready!(writable.as_mut().poll(cx));
                outlet.writable = None;
                writable?;
            }
            match outlet.try_send(frame) {
                Ok(_) => outlet.next = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let socket = Arc::clone(&outlet.socket);
                    outlet.writable = Some(Box::pin(async move { socket.writable().await }));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            let Some(frame) = ready!(self.poll_frame(cx))? else {
                return Poll::Ready(Ok(()));
            };
            self.unread = frame;
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What was taken before goes first, so that never more than one piece is held.
        ready!(self.poll_send(cx))?;
        let piece = buf.get(..PIECE).unwrap_or(buf);
        self.outlet.cutter.push(piece);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest goes with the next call.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(piece.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let is_ours = match &self.source {
            Source::Socket { .. } => true,
            Source::Hall { hall, .. } => {
                self.outlet.peer.is_some_and(|p| hall.leave(p, self.nonce))
            }
        };
        if is_ours && !self.ended {
            // If it is lost, the peer finds out by silence.
            self.outlet.toss(&gone(self.nonce));
        }
    }
}

impl Outlet {
    fn new(socket: Arc<UdpSocket>, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            peer,
            cutter: Cutter::default(),
            next: None,
            writable: None,
        }
    }

    fn try_send(&self, frame: &[u8]) -> io::Result<usize> {
        match self.peer {
            Some(peer) => self.socket.try_send_to(frame, peer),
            None => self.socket.try_send(frame),
        }
    }

    /// Sends what may as well be lost.
    fn toss(&self, frame: &[u8]) {
        if let Err(error) = self.try_send(frame) {
            tracing::trace!(%error, "a datagram was not sent");
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("peer", &self.outlet.peer)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// What is taken of a write at once.
const PIECE: usize = 64 * 1024;
