//! Takes connections at an endpoint; what a newcomer must do before it can be talked to is done apart.

use std::io;
use std::net::IpAddr;

use super::budget::Share;
use super::dial::Target;
use super::line::Line;
#[cfg(feature = "memory")]
use super::memory;
#[cfg(feature = "tcp")]
use super::negotiation;
use super::not_built_in;
#[cfg(feature = "turmoil")]
use super::simulated;
#[cfg(feature = "tcp")]
use super::tcp;
#[cfg(feature = "udp")]
use super::udp;
#[cfg(all(feature = "unix", unix))]
use super::unix;
use super::unreached::Unreached;
#[cfg(feature = "ws")]
use super::ws;
#[cfg(feature = "tcp")]
use crate::endpoint::Authority;
#[cfg(any(all(feature = "unix", unix), feature = "tcp", feature = "memory"))]
use crate::endpoint::Endpoint;
#[cfg(feature = "tcp")]
use crate::security::TlsMode;

/// A bound endpoint; it is free again when this is dropped.
pub(crate) enum Acceptor {
    #[cfg(feature = "memory")]
    Memory(memory::Listener),
    #[cfg(all(feature = "unix", unix))]
    Unix(unix::Listener),
    #[cfg(feature = "tcp")]
    Tcp(tcp::Listener),
    #[cfg(feature = "turmoil")]
    Simulated(simulated::Listener),
    #[cfg(feature = "udp")]
    Udp(udp::Listener),
    /// No transport is built in; cannot be made.
    #[cfg(not(any(all(feature = "unix", unix), feature = "tcp", feature = "memory")))]
    #[expect(dead_code, reason = "it cannot be made")]
    None(std::convert::Infallible),
}

/// A connection that was just taken.
pub(crate) enum Arrival {
    #[cfg(feature = "memory")]
    Memory(tokio::io::DuplexStream),
    #[cfg(all(feature = "unix", unix))]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "tcp")]
    Tcp(tokio::net::TcpStream, IpAddr),
    #[cfg(feature = "turmoil")]
    Simulated(turmoil::net::TcpStream, IpAddr),
    #[cfg(feature = "udp")]
    Udp(Box<udp::Channel>, IpAddr),
    #[cfg(not(any(all(feature = "unix", unix), feature = "tcp", feature = "memory")))]
    #[expect(dead_code, reason = "it cannot be made")]
    None(std::convert::Infallible),
}

impl Acceptor {
    /// Binds the endpoint.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub(crate) async fn bind(target: &Target) -> io::Result<Self> {
        match target.endpoint() {
            #[cfg(all(feature = "unix", unix))]
            Endpoint::Unix(path) => {
                let for_others = !target.security().allow_uids.is_empty();
                unix::Listener::bind(path, for_others).await.map(Self::Unix)
            }
            #[cfg(feature = "tcp")]
            Endpoint::Tcp(authority) => {
                let keys = target.keys();
                match target.security().tls {
                    TlsMode::Require => keys.check()?,
                    TlsMode::Prefer if keys.can_serve() => keys.check()?,
                    TlsMode::Prefer | TlsMode::Off => {}
                }
                Self::tcp(authority).await
            }
            #[cfg(feature = "udp")]
            Endpoint::Udp(authority) => {
                let bound = udp::Listener::bind(authority, target.limits()).await?;
                Ok(Self::Udp(bound))
            }
            #[cfg(feature = "tls")]
            Endpoint::Tls(authority) => {
                target.keys().check()?;
                Self::tcp(authority).await
            }
            #[cfg(feature = "ws")]
            Endpoint::WebSocket {
                secure, authority, ..
            } => {
                if *secure {
                    target.keys().check()?;
                }
                Self::tcp(authority).await
            }
            #[cfg(feature = "memory")]
            Endpoint::Memory(name) => memory::Listener::bind(name).map(Self::Memory),
            #[allow(unreachable_patterns, reason = "with every transport nothing is left")]
            other => Err(not_built_in(other.scheme())),
        }
    }

    /// Binds a TCP port: a simulated one in a simulation.
    #[cfg(feature = "tcp")]
    async fn tcp(authority: &Authority) -> io::Result<Self> {
        #[cfg(feature = "turmoil")]
        if simulated::is_running() {
            return simulated::Listener::bind(authority)
                .await
                .map(Self::Simulated);
        }
        tcp::Listener::bind(authority).await.map(Self::Tcp)
    }

    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(listener) => listener.accept().await.map(Arrival::Memory),
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(listener) => listener.accept().await.map(Arrival::Unix),
            #[cfg(feature = "tcp")]
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Arrival::Tcp(stream, address.ip()))
            }
            #[cfg(feature = "turmoil")]
            Self::Simulated(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Arrival::Simulated(stream, address.ip()))
            }
            #[cfg(feature = "udp")]
            Self::Udp(listener) => {
                let (channel, address) = listener.accept().await?;
                Ok(Arrival::Udp(Box::new(channel), address.ip()))
            }
            #[cfg(not(any(all(feature = "unix", unix), feature = "tcp", feature = "memory")))]
            Self::None(never) => match *never {},
        }
    }
}

impl Arrival {
    /// Returns from where it comes; none on this machine's own sockets.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => None,
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(_) => None,
            #[cfg(feature = "tcp")]
            Self::Tcp(_, address) => Some(*address),
            #[cfg(feature = "turmoil")]
            Self::Simulated(_, address) => Some(*address),
            #[cfg(feature = "udp")]
            Self::Udp(_, address) => Some(*address),
            #[cfg(not(any(all(feature = "unix", unix), feature = "tcp", feature = "memory")))]
            Self::None(never) => match *never {},
        }
    }

    /// Does what the transport asks for before the first frame. `share` is for what a transport itself holds of
    /// frames that are not whole.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection is closed.
    pub(super) async fn open(
        self,
        #[cfg_attr(
            not(feature = "tcp"),
            expect(unused_variables, reason = "a Unix socket has nothing to agree on")
        )]
        target: &Target,
        #[cfg_attr(
            not(feature = "tcp"),
            expect(unused_variables, reason = "the others hold nothing")
        )]
        share: Share,
    ) -> Result<Line, Unreached> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(stream) => Ok(memory::admit(stream)),
            #[cfg(all(feature = "unix", unix))]
            Self::Unix(stream) => Ok(unix::admit(stream)?),
            #[cfg(feature = "tcp")]
            Self::Tcp(stream, address) => over_tcp(Line::new(stream), address, target, share).await,
            #[cfg(feature = "turmoil")]
            Self::Simulated(stream, address) => {
                over_tcp(Line::new(stream), address, target, share).await
            }
            #[cfg(feature = "udp")]
            Self::Udp(channel, address) => Ok(Line {
                address: Some(address),
                course: udp::chosen(),
                ..Line::of_datagrams(*channel)
            }),
            #[cfg(not(any(all(feature = "unix", unix), feature = "tcp", feature = "memory")))]
            Self::None(never) => match never {},
        }
    }
}

/// Does what an endpoint over TCP asks for.
#[cfg(feature = "tcp")]
async fn over_tcp(
    line: Line,
    address: IpAddr,
    target: &Target,
    #[cfg_attr(
        not(feature = "ws"),
        expect(unused_variables, reason = "the others hold nothing")
    )]
    share: Share,
) -> Result<Line, Unreached> {
    let line = Line {
        address: Some(address),
        ..line
    };
    match target.endpoint() {
        Endpoint::Tls(_) => target.keys().accept(line).await,
        #[cfg(feature = "ws")]
        Endpoint::WebSocket { secure, .. } => {
            let line = if *secure {
                target.keys().accept(line).await?
            } else {
                line
            };
            ws::accept(line, target.endpoint(), share).await
        }
        _ => negotiation::accept(line, target.security().tls, target.keys()).await,
    }
}
