//! Connections within one process, over memory: for tests without sockets, in which time may be paused.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::line::Line;

/// Who takes connections, by name.
static BOUND: Mutex<BTreeMap<(Side, String), Bound>> = Mutex::new(BTreeMap::new());

/// Where one takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// In front of whoever listens: it is dialled instead.
    Front,
    Back,
}

#[derive(Clone)]
struct Bound {
    dialled: mpsc::Sender<DuplexStream>,
    /// Bytes on the way in either direction, as in a socket's buffer.
    buffer: usize,
}

/// Takes connections at a name, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    place: (Side, String),
    accepted: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
}

impl Listener {
    /// Listens at a name.
    pub(super) fn bind(name: &str) -> io::Result<Self> {
        Self::at(Side::Back, name, BUFFER)
    }

    /// Takes the connections that are meant for who listens at a name, and may dial that one past it.
    #[cfg(feature = "test-kit")]
    pub(crate) fn in_front_of(name: &str, buffer: usize) -> io::Result<Self> {
        Self::at(Side::Front, name, buffer)
    }

    fn at(side: Side, name: &str, buffer: usize) -> io::Result<Self> {
        let place = (side, name.to_owned());
        let (dialled, accepted) = mpsc::channel(BACKLOG);
        let mut bound = BOUND.lock();
        if bound.contains_key(&place) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        bound.insert(place.clone(), Bound { dialled, buffer });
        Ok(Self {
            place,
            accepted: tokio::sync::Mutex::new(accepted),
        })
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<DuplexStream> {
        let accepted = self.accepted.lock().await.recv().await;
        accepted.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        BOUND.lock().remove(&self.place);
    }
}

/// Dials a name.
pub(super) async fn dial(name: &str) -> io::Result<Line> {
    let bound = {
        let all = BOUND.lock();
        let at = |side| all.get(&(side, name.to_owned())).cloned();
        at(Side::Front).or_else(|| at(Side::Back))
    };
    connect(bound, None).await.map(admit)
}

/// Dials who listens at a name, past what is in front of it.
#[cfg(feature = "test-kit")]
pub(crate) async fn dial_past(name: &str, buffer: usize) -> io::Result<DuplexStream> {
    let bound = BOUND.lock().get(&(Side::Back, name.to_owned())).cloned();
    connect(bound, Some(buffer)).await
}

async fn connect(bound: Option<Bound>, buffer: Option<usize>) -> io::Result<DuplexStream> {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let Bound {
        dialled,
        buffer: usual,
    } = bound.ok_or_else(refused)?;
    let (ours, theirs) = duplex(buffer.unwrap_or(usual));
    dialled.send(theirs).await.map_err(|_| refused())?;
    Ok(ours)
}

/// Takes a connection in; nobody else can read it.
pub(super) fn admit(stream: DuplexStream) -> Line {
    Line {
        is_private: true,
        ..Line::new(stream)
    }
}

/// Returns the pulse of a connection that is not used.
#[cfg(test)]
pub(crate) fn pulse() -> super::pulse::Pulse {
    super::pulse::Pulse::new(std::sync::Arc::default())
}

/// What is on the way in either direction; less than sockets have, so that tests get to where it is full.
const BUFFER: usize = 16 * 1024;

/// Connections that nobody has taken yet.
const BACKLOG: usize = 128;
