//! Plain stream sockets over either transport, blocking or under tokio. Nagle's algorithm is off on TCP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(feature = "tls")]
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
#[cfg(feature = "tls")]
use crate::tls;

/// A stream that blocks.
pub trait Duplex: Read + Write + Send {}
impl<S: Read + Write + Send> Duplex for S {}

/// A stream under tokio.
pub trait AsyncDuplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> AsyncDuplex for S {}

/// A socket that waits for the sender.
pub enum Listener {
    Unix(UnixListener, Address),
    Tcp(TcpListener),
    #[cfg(feature = "tls")]
    Tls(TcpListener, PathBuf),
}

impl Listener {
    pub fn bind(address: &Address) -> Result<Self> {
        let listener = match address {
            Address::Unix(path) => {
                UnixListener::bind(path).map(|listener| Self::Unix(listener, address.clone()))
            }
            Address::Tcp(address) => TcpListener::bind(address).map(Self::Tcp),
            #[cfg(feature = "tls")]
            Address::Tls(address, directory) => {
                TcpListener::bind(address).map(|listener| Self::Tls(listener, directory.clone()))
            }
        };
        listener.with_context(|| format!("cannot listen on {address}"))
    }

    /// Returns where it listens, with the port that the system chose.
    pub fn address(&self) -> Result<Address> {
        match self {
            Self::Unix(_, address) => Ok(address.clone()),
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            #[cfg(feature = "tls")]
            Self::Tls(listener, directory) => {
                Ok(Address::Tls(listener.local_addr()?, directory.clone()))
            }
        }
    }

    /// Waits for the sender.
    pub fn accept(&self) -> Result<Connection> {
        match self {
            Self::Unix(listener, _) => Ok(Connection::Unix(listener.accept()?.0)),
            Self::Tcp(listener) => Connection::tcp(listener.accept()?.0),
            #[cfg(feature = "tls")]
            Self::Tls(listener, directory) => {
                tls::accepted(listener.accept()?.0, directory).map(Connection::Tls)
            }
        }
    }
}

/// A connection, before it is known how it will be used.
pub enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<dyn Duplex>),
}

impl Connection {
    pub fn open(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
            Address::Tcp(address) => Self::tcp(TcpStream::connect(address)?),
            #[cfg(feature = "tls")]
            Address::Tls(address, directory) => {
                tls::connected(TcpStream::connect(address)?, directory).map(Self::Tls)
            }
        }
    }

    fn tcp(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Uses it blocking.
    pub fn blocking(self) -> Box<dyn Duplex> {
        match self {
            Self::Unix(stream) => Box::new(stream),
            Self::Tcp(stream) => Box::new(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream,
        }
    }

    /// Uses it under tokio; must be called inside a runtime.
    pub fn under_tokio(self) -> Result<Box<dyn AsyncDuplex>> {
        match self {
            Self::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Box::new(tokio::net::UnixStream::from_std(stream)?))
            }
            Self::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Ok(Box::new(tokio::net::TcpStream::from_std(stream)?))
            }
            #[cfg(feature = "tls")]
            Self::Tls(_) => anyhow::bail!("only blocking over TLS"),
        }
    }
}
