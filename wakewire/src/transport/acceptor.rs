//! Takes connections at an endpoint; what a newcomer must do before it can be talked to is done apart.

use std::io;
use std::net::IpAddr;

use super::line::Line;
use super::not_built_in;
#[cfg(feature = "tcp")]
use super::tcp;
#[cfg(feature = "udp")]
use super::udp;
#[cfg(all(feature = "unix", unix))]
use super::unix;
use super::unreached::Unreached;
use crate::endpoint::Endpoint;
use crate::security::Security;

/// A bound endpoint; it is free again when this is dropped.
pub(crate) enum Acceptor {
    #[cfg(all(feature = "unix", unix))]
    Unix(unix::Listener),
    #[cfg(feature = "tcp")]
    Tcp(tcp::Listener),
    #[cfg(feature = "udp")]
    Udp(udp::Listener),
    /// No transport is built in; cannot be made.
    #[cfg(not(any(all(feature = "unix", unix), feature = "tcp")))]
    #[expect(dead_code, reason = "it cannot be made")]
    None(std::convert::Infallible),
}

/// A connection that was just taken.
pub(crate) enum Arrival {
    #[cfg(all(feature = "unix", unix))]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "tcp")]
    Tcp(tokio::net::TcpStream, IpAddr),
    #[cfg(feature = "udp")]
    Udp(Box<udp::Channel>, IpAddr),
}

impl Acceptor {
    /// Binds the endpoint.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub(crate) async fn bind(endpoint: &Endpoint, security: &Security) -> io::Result<Self> {
        match endpoint {
            #[cfg(all(feature = "unix", unix))]
            Endpoint::Unix(path) => unix::Listener::bind(path, !security.allow_uids.is_empty())
                .await
                .map(Self::Unix),
            #[cfg(feature = "tcp")]
            Endpoint::Tcp(authority) => tcp::Listener::bind(authority).await.map(Self::Tcp),
            #[cfg(feature = "udp")]
            Endpoint::Udp(authority) => {
                udp::allowed(security)?;
                udp::Listener::bind(authority).await.map(Self::Udp)
            }
            other => Err(not_built_in(other.scheme())),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        match self {
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(listener) => listener.accept().await.map(Arrival::Unix),
            #[cfg(feature = "tcp")]
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Arrival::Tcp(stream, address.ip()))
            }
            #[cfg(feature = "udp")]
            Self::Udp(listener) => {
                let (channel, address) = listener.accept().await?;
                Ok(Arrival::Udp(Box::new(channel), address.ip()))
            }
            #[cfg(not(any(all(feature = "unix", unix), feature = "tcp")))]
            Self::None(never) => match *never {},
        }
    }
}

impl Arrival {
    /// Returns from where it comes; none on this machine's own sockets.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(_) => None,
            #[cfg(feature = "tcp")]
            Self::Tcp(_, address) => Some(*address),
            #[cfg(feature = "udp")]
            Self::Udp(_, address) => Some(*address),
        }
    }

    /// Does what the transport asks for before the first frame.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection is closed.
    pub(crate) async fn open(self, security: &Security) -> Result<Line, Unreached> {
        match self {
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(stream) => unix::admit(stream, &security.allow_uids),
            #[cfg(feature = "tcp")]
            Self::Tcp(stream, address) => Ok(Line {
                address: Some(address),
                ..Line::new(stream)
            }),
            #[cfg(feature = "udp")]
            Self::Udp(channel, address) => Ok(Line {
                address: Some(address),
                course: udp::chosen(),
                ..Line::new(*channel)
            }),
        }
    }
}
