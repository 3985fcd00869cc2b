//! TCP, with the options that make a dead peer noticed and a small message leave at once.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::Instant;

use super::line::{Course, Line};
use crate::endpoint::Authority;
use crate::error::Phase;

/// Opens a connection: the name is resolved anew, and its addresses are tried in turn.
pub(super) async fn dial(authority: &Authority) -> io::Result<Line> {
    let mut course = Course::default();
    let mut since = Instant::now();
    let addresses = resolve(authority).await?;
    since = course.step(Phase::Resolve, since);
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                if is_connected_to_itself(&stream) {
                    last = Some(io::ErrorKind::ConnectionRefused.into());
                    continue;
                }
                prepare(&stream)?;
                course.step(Phase::Dial, since);
                return Ok(Line {
                    address: Some(address.ip()),
                    course,
                    ..Line::new(stream)
                });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("`{}` has no address", authority.host),
        )
    }))
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
        prepare(&stream)?;
        Ok((stream, address))
    }
}

async fn resolve(authority: &Authority) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((authority.host.as_str(), authority.port))
        .await?
        .collect())
}

/// On loopback a dial of a free port from the ephemeral range can meet itself (simultaneous open): then it
/// would hold the very port that the listener wants.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
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
    Ok(())
}

/// Keepalive behind the protocol's own pings, for a peer that is stopped rather than gone.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// Unacknowledged bytes for this long end the connection; Linux's own limit is about 15 minutes.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);
