//! Where the two processes meet: a Unix socket, or TCP on the loopback interface. Nothing else.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// How the two processes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Unix,
    Tcp,
    #[cfg(feature = "tls")]
    Tls,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix => "Unix socket",
            Self::Tcp => "TCP loopback",
            #[cfg(feature = "tls")]
            Self::Tls => "TLS loopback",
        })
    }
}

impl Transport {
    /// Returns what a receiver binds: a file in this directory, or a port that the system chooses.
    pub fn address_in(self, directory: &Path) -> Address {
        match self {
            Self::Unix => Address::Unix(directory.join("socket")),
            Self::Tcp => Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            #[cfg(feature = "tls")]
            Self::Tls => Address::Tls((Ipv4Addr::LOCALHOST, 0).into(), directory.into()),
        }
    }
}

/// Where the receiver listens; written as wakewire's endpoints are, `unix:///path` and `tcp://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// With the directory where certificate and key are.
    #[cfg(feature = "tls")]
    Tls(SocketAddr, PathBuf),
}

impl Address {
    /// Returns the address with a port in it that was free a moment ago, for a contestant that must name
    /// its port beforehand.
    pub fn with_port(&self) -> Result<Self> {
        match self {
            Self::Tcp(address) if address.port() == 0 => {
                Ok(Self::Tcp(TcpListener::bind(address)?.local_addr()?))
            }
            #[cfg(feature = "tls")]
            Self::Tls(address, directory) if address.port() == 0 => {
                let address = TcpListener::bind(address)?.local_addr()?;
                Ok(Self::Tls(address, directory.clone()))
            }
            settled => Ok(settled.clone()),
        }
    }
}

impl Address {
    /// Returns the address as others write it, behind what they begin with.
    #[cfg(feature = "peers")]
    pub fn behind(&self, unix: &str, tcp: &str) -> Result<String> {
        match self {
            Self::Unix(path) => Ok(format!("{unix}{}", path.display())),
            Self::Tcp(address) => Ok(format!("{tcp}{address}")),
            Self::Tls(..) => bail!("not over TLS"),
        }
    }

    /// Returns another address at the same place, for what goes back.
    pub fn beside(&self) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(path.with_extension("back")),
            Self::Tcp(address) => Self::Tcp((address.ip(), 0).into()),
            #[cfg(feature = "tls")]
            Self::Tls(address, directory) => Self::Tls((address.ip(), 0).into(), directory.clone()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            #[cfg(feature = "tls")]
            Self::Tls(address, directory) => {
                write!(f, "tls://{address}{}", directory.display())
            }
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        #[cfg(feature = "tls")]
        if let Some(rest) = text.strip_prefix("tls://") {
            let (address, directory) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            return Ok(Self::Tls(loopback(address)?, directory.into()));
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            bail!("{text:?} is neither unix:///path nor tcp://address:port");
        };
        Ok(Self::Tcp(loopback(address)?))
    }
}

fn loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text.parse().with_context(|| format!("in {text:?}"))?;
    if !address.ip().is_loopback() {
        bail!("{address} is not on the loopback interface");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["unix:///tmp/a socket", "tcp://127.0.0.1:7000"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn leaves_the_machine_never() {
        assert!("tcp://192.0.2.1:7000".parse::<Address>().is_err());
    }

    #[test]
    fn settles_on_a_port() {
        let any = Transport::Tcp.address_in(Path::new("/"));
        assert_ne!(any.with_port().unwrap(), any);
    }
}
