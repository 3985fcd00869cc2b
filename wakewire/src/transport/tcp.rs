//! TCP, with the options that make a dead peer noticed and a small message leave at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::NEAR_SEND_BUFFER;
use super::line::{Course, Line};
use super::race::{race, resolve};
use crate::endpoint::Authority;
use crate::error::Phase;

/// Opens a connection: the name is resolved anew, and its addresses are raced.
pub(super) async fn dial(authority: &Authority) -> io::Result<Line> {
    let mut course = Course::default();
    let mut since = Instant::now();
    let addresses = resolve(authority).await?;
    since = course.step(Phase::Resolve, since);
    let (stream, address) = race(addresses, connect).await?;
    course.step(Phase::Dial, since);
    Ok(Line {
        address: Some(address.ip()),
        course,
        ..Line::new(stream)
    })
}

async fn connect(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    if is_connected_to_itself(&stream) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    prepare(&stream, address.ip())?;
    Ok((stream, address))
}

/// A bound TCP port.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(super) async fn bind(authority: &Authority) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = resolve(authority).await?;
        // Tokio sets SO_REUSEADDR, so that connections of an earlier life do not block the port; a live
        // listener still does.
        TcpListener::bind(&addresses[..]).await.map(Self)
    }

    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = self.0.accept().await?;
        prepare(&stream, address.ip())?;
        Ok((stream, address))
    }
}

/// On loopback a dial of a free port from the ephemeral range can meet itself (simultaneous open): then it
/// would hold the very port that the listener wants.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Who the peer is is not asked of the stream: one that has gone already would be a failure, and whoever listens pauses
/// after those.
fn prepare(stream: &TcpStream, peer: IpAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    if is_on_one_machine(stream.local_addr()?.ip(), peer) {
        socket.set_send_buffer_size(NEAR_SEND_BUFFER)?;
    }
    Ok(())
}

fn is_on_one_machine(ours: IpAddr, theirs: IpAddr) -> bool {
    ours.to_canonical() == theirs.to_canonical() || theirs.to_canonical().is_loopback()
}

/// Keepalive behind the protocol's own pings, for a peer that is stopped rather than gone.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Unacknowledged bytes for this long end the connection; Linux's own limit is about 15 minutes.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    async fn listener() -> (Listener, SocketAddr) {
        let authority = Authority {
            host: "127.0.0.1".to_owned(),
            port: 0,
        };
        let listener = Listener::bind(&authority).await.unwrap();
        let address = listener.0.local_addr().unwrap();
        (listener, address)
    }

    async fn both_ends() -> [TcpStream; 2] {
        let (listener, address) = listener().await;
        let (dialled, accepted) = tokio::join!(connect(address), listener.accept());
        [dialled.unwrap().0, accepted.unwrap().0]
    }

    #[tokio::test]
    async fn small_frames_leave_at_once_and_a_dead_peer_is_noticed() {
        for stream in both_ends().await {
            assert!(stream.nodelay().unwrap());
            assert!(SockRef::from(&stream).keepalive().unwrap());
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn over_loopback_the_system_holds_a_fixed_amount() {
        for stream in both_ends().await {
            let held = SockRef::from(&stream).send_buffer_size().unwrap() / 1024;
            // Twice what is asked for, or twice 208 KiB where nobody may ask for more.
            assert!((416..=512).contains(&held), "{held} KiB");
        }
    }

    #[tokio::test]
    async fn who_has_gone_before_he_was_accepted_is_no_failure_to_accept() {
        let (listener, address) = listener().await;
        let newcomer = std::net::TcpStream::connect(address).unwrap();
        // Closed so, it is reset at once.
        SockRef::from(&newcomer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(newcomer);
        let accepted = listener.accept().await;
        assert!(accepted.is_ok(), "{accepted:?}");
    }

    #[test]
    fn a_machine_knows_itself_by_any_of_its_addresses() {
        let is_here = |ours: &str, theirs: &str| {
            is_on_one_machine(ours.parse().unwrap(), theirs.parse().unwrap())
        };
        assert!(is_here("127.0.0.1", "127.0.0.1"));
        assert!(is_here("127.0.0.1", "127.0.0.2"));
        assert!(is_here("::1", "::1"));
        assert!(is_here("::ffff:127.0.0.1", "::ffff:127.0.0.3"));
        assert!(is_here("192.0.2.7", "192.0.2.7"));
        assert!(is_here("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(!is_here("192.0.2.7", "192.0.2.8"));
        assert!(!is_here("2001:db8::1", "2001:db8::2"));
    }

    #[tokio::test]
    async fn an_ipv6_literal_is_dialled_and_listened_at() {
        if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
            println!("NOT TESTED: this machine has no IPv6 loopback: {error}");
            return;
        }
        let bound = std::net::TcpListener::bind("[::1]:0").unwrap();
        let authority = Authority {
            host: "::1".to_owned(),
            port: bound.local_addr().unwrap().port(),
        };
        drop(bound);
        let listener = Listener::bind(&authority).await.unwrap();
        let (dialled, accepted) = tokio::join!(dial(&authority), listener.accept());
        let loopback = std::net::Ipv6Addr::LOCALHOST;
        assert_eq!(dialled.unwrap().address, Some(loopback.into()));
        assert_eq!(accepted.unwrap().1.ip(), loopback);
        drop(listener);
        let error = dial(&authority).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            error.to_string().starts_with(&format!("{authority}: ")),
            "{error}"
        );
    }
}
