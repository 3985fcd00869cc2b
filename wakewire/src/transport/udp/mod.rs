//! Datagrams: one frame each, for services that may lose messages.
//!
//! Everything above sees a stream of frames. A virtual connection begins when the dialer has proved its address with a
//! [`mod@cookie`], and the [`opening`] gets the greeting through whatever is lost of it. After that nothing is repeated:
//! what is lost is missed, what is late is dropped, and a peer that is gone is noticed by its silence, or by the
//! answer of whoever is there now.

mod channel;
mod cookie;
mod listener;
mod opening;
mod table;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

pub(crate) use self::channel::Channel;
use self::cookie::{Cookie, Step};
pub(crate) use self::listener::Listener;
use super::line::{Course, Line};
use super::race::{race, resolve};
use crate::endpoint::Authority;
use crate::error::Phase;
use crate::wire::frame::{HEADER, Header, Kind};
use crate::wire::scan::Scanner;

/// Opens a virtual connection: the name is resolved anew, its addresses are raced, and we prove our own.
pub(super) async fn dial(authority: &Authority) -> io::Result<Line> {
    let mut course = chosen();
    let mut since = Instant::now();
    let addresses = resolve(authority).await?;
    since = course.step(Phase::Resolve, since);
    let (channel, address) = race(addresses, connect).await?;
    course.step(Phase::Dial, since);
    Ok(Line {
        address: Some(address.ip()),
        course,
        ..Line::of_datagrams(channel)
    })
}

/// How a connection came about of which nothing else is known.
pub(super) fn chosen() -> Course {
    Course {
        chosen: "UDP, as the endpoint says".to_owned(),
        ..Course::default()
    }
}

/// Asks until the listener has said a cookie; how long is the dialer's business.
async fn connect(address: SocketAddr) -> io::Result<(Channel, SocketAddr)> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    if socket.local_addr()? == address {
        // The system gave us the very port that we want to reach.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let nonce = rand::random::<u64>().max(1);
    let ask = Cookie {
        step: Step::Ask,
        nonce,
        value: 0,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        socket.send(&ask.encode()).await?;
        if let Ok(heard) = timeout(pause, cookie(&socket, nonce)).await {
            return Ok((Channel::dialed(Arc::new(socket), nonce, heard?), address));
        }
        pause = longer(pause);
    }
}

/// Waits for the listener's answer.
async fn cookie(socket: &UdpSocket, nonce: u64) -> io::Result<u64> {
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let frame = buffer.get(..length).unwrap_or_default();
        let Some(header) = sound(frame).filter(|header| header.kind == Kind::Cookie) else {
            continue;
        };
        let cookie = frame.get(HEADER..);
        match cookie.and_then(|body| Cookie::decode(&header, body)) {
            Some(cookie) if cookie.step == Step::Answer && cookie.nonce == nonce => {
                return Ok(cookie.value);
            }
            _ => {}
        }
    }
}

/// Reads the header of a datagram that is one whole frame and nothing else, with a checksum that matches. Anything
/// else is dropped without a word: it may be anybody's.
fn sound(datagram: &[u8]) -> Option<Header> {
    let scanner = Scanner {
        limit: u32::MAX,
        ..Scanner::new(true)
    };
    scanner.sole_frame(datagram)
}

/// Returns how long to wait before what was not answered is said the next time.
fn longer(pause: Duration) -> Duration {
    (pause * 3 / 2).min(LONGEST_PAUSE)
}

/// After this long without an answer it is said again: several round trips across a continent.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Several attempts fit into the 5 s of a dial, whatever is lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The largest datagram there can be, with room to notice a larger one.
const DATAGRAM: usize = 64 * 1024;
