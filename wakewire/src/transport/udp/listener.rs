//! One socket, many virtual connections: sorts what comes by where it comes from.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::channel::Channel;
use super::table::{Table, Verdict};
use super::{DATAGRAM, resolve, sound};
use crate::endpoint::Authority;
use crate::security::ListenLimits;

/// A bound port. Connections that were accepted go on without it.
#[derive(Debug)]
pub(crate) struct Listener {
    arrivals: Mutex<mpsc::Receiver<Channel>>,
    _hall: Arc<Hall>,
}

impl Listener {
    pub(crate) async fn bind(authority: &Authority, limits: ListenLimits) -> io::Result<Self> {
        let addresses = resolve(authority).await?;
        let socket = Arc::new(UdpSocket::bind(&addresses[..]).await?);
        if let Err(error) = SockRef::from(&*socket).set_recv_buffer_size(RECEIVE_BUFFER) {
            tracing::debug!(%error, "the system's receive buffer stays as it is");
        }
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        let hall = Arc::new_cyclic(|hall| {
            let mut sorting = JoinSet::new();
            sorting.spawn(sort(Weak::clone(hall), Arc::clone(&socket), sender));
            Hall {
                socket,
                // Those who are greeting, and those who have.
                table: Mutex::new(Table::new(
                    limits.connections.saturating_add(limits.handshakes),
                )),
                held: Arc::new(AtomicUsize::new(0)),
                most_held: limits.inbound_bytes,
                dropped: AtomicU64::new(0),
                _sorting: sorting,
            }
        });
        Ok(Self {
            arrivals: Mutex::new(arrivals),
            _hall: hall,
        })
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<(Channel, SocketAddr)> {
        let channel = poll_fn(|cx| self.arrivals.lock().poll_recv(cx)).await;
        channel
            .and_then(|channel| Some((channel.peer()?, channel)))
            .map(|(peer, channel)| (channel, peer))
            .ok_or_else(|| io::Error::other("nobody reads the socket any more"))
    }
}

/// What the connections of one socket share; the port is free when the last of them is gone.
pub(super) struct Hall {
    socket: Arc<UdpSocket>,
    table: Mutex<Table<Mailbox>>,
    /// What all connections together have not read yet, and how much that may be.
    held: Arc<AtomicUsize>,
    most_held: usize,
    /// Datagrams that were no frame, or found no room.
    dropped: AtomicU64,
    _sorting: JoinSet<()>,
}

impl Hall {
    pub(super) fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    /// Forgets a connection; says whether it was still there.
    pub(super) fn leave(&self, peer: SocketAddr, nonce: u64) -> bool {
        self.table.lock().leave(peer, nonce)
    }

    /// Deals with one datagram; returns what to answer.
    fn sort(
        self: &Arc<Self>,
        from: SocketAddr,
        datagram: &[u8],
        elapsed: Duration,
        arrivals: &mpsc::Sender<Channel>,
    ) -> Option<Bytes> {
        let Some(header) = sound(datagram) else {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        };
        let mut table = self.table.lock();
        match table.judge(from, &header, datagram, elapsed) {
            Verdict::Drop => {}
            Verdict::Answer(answer) => return Some(answer),
            Verdict::Deliver(mailbox) => {
                if self.held.load(Relaxed) >= self.most_held || !mailbox.put(datagram) {
                    self.dropped.fetch_add(1, Relaxed);
                }
            }
            Verdict::Open { nonce } => {
                // If there is no room, or nobody accepts any more, the dialer asks again.
                let room = arrivals.try_reserve().ok()?;
                let (mailbox, inlet) = mailbox(&self.held);
                table.enter(from, nonce, mailbox);
                drop(table);
                room.send(Channel::accepted(Arc::clone(self), from, nonce, inlet));
            }
        }
        None
    }
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hall")
            .field("socket", &self.socket)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// Reads the socket as long as somebody needs it.
async fn sort(hall: Weak<Hall>, socket: Arc<UdpSocket>, arrivals: mpsc::Sender<Channel>) {
    let start = Instant::now();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "no datagram was received");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(hall) = hall.upgrade() else {
            return;
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = hall.sort(from, datagram, start.elapsed(), &arrivals)
            && let Err(error) = socket.try_send_to(&answer, from)
        {
            tracing::trace!(%error, "a datagram was not sent");
        }
    }
}

/// Where the datagrams of one connection are put; full, it takes no further ones.
#[derive(Debug)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Bytes>,
    held: Arc<Held>,
}

/// Where they are taken from.
#[derive(Debug)]
pub(super) struct Inlet {
    receiver: mpsc::Receiver<Bytes>,
    held: Arc<Held>,
}

/// What one connection has not read yet, in bytes; part of what all have.
#[derive(Debug)]
struct Held {
    own: AtomicUsize,
    all: Arc<AtomicUsize>,
}

fn mailbox(all: &Arc<AtomicUsize>) -> (Mailbox, Inlet) {
    let (sender, receiver) = mpsc::channel(MAILBOX_DATAGRAMS);
    let held = Arc::new(Held {
        own: AtomicUsize::new(0),
        all: Arc::clone(all),
    });
    let mailbox = Mailbox {
        sender,
        held: Arc::clone(&held),
    };
    (mailbox, Inlet { receiver, held })
}

impl Mailbox {
    fn put(&self, datagram: &[u8]) -> bool {
        // Only this side adds, so it cannot grow between the look and the addition.
        if self.held.own.load(Relaxed) >= MAILBOX_BYTES {
            return false;
        }
        let Ok(room) = self.sender.try_reserve() else {
            return false;
        };
        self.held.own.fetch_add(datagram.len(), Relaxed);
        self.held.all.fetch_add(datagram.len(), Relaxed);
        room.send(Bytes::copy_from_slice(datagram));
        true
    }
}

impl Inlet {
    /// Returns the next datagram; none when the connection was ended by its peer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receiver.poll_recv(cx).map(|datagram| {
            let datagram = datagram?;
            self.held.own.fetch_sub(datagram.len(), Relaxed);
            self.held.all.fetch_sub(datagram.len(), Relaxed);
            Some(datagram)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(*self.own.get_mut(), Relaxed);
    }
}

/// Connections that were opened and not yet accepted.
const BACKLOG: usize = 128;

/// What one connection may hold unread: as much as a system's socket usually does.
const MAILBOX_BYTES: usize = 256 * 1024;
const MAILBOX_DATAGRAMS: usize = 4096;

/// What is asked of the system for all connections together; it gives what it allows.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// After an error of the socket, which is no datagram's.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_holds_so_much_and_gives_it_back() {
        let all = Arc::new(AtomicUsize::new(0));
        let (mailbox, mut inlet) = mailbox(&all);
        let datagram = [7; MAILBOX_BYTES / 4];
        for _ in 0..4 {
            assert!(mailbox.put(&datagram));
        }
        assert!(!mailbox.put(&[7]), "one past it");
        assert_eq!(all.load(Relaxed), MAILBOX_BYTES);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(inlet.poll(&mut cx).is_ready());
        assert_eq!(all.load(Relaxed), MAILBOX_BYTES / 4 * 3);
        assert!(mailbox.put(&datagram));
        drop(inlet);
        assert!(!mailbox.put(&datagram), "nobody reads it");
        drop(mailbox);
        assert_eq!(all.load(Relaxed), 0);
    }

    #[test]
    fn a_mailbox_holds_so_many_however_small() {
        let (mailbox, _inlet) = mailbox(&Arc::default());
        let taken = (0..).take_while(|_| mailbox.put(&[7])).count();
        assert_eq!(taken, MAILBOX_DATAGRAMS);
    }
}
