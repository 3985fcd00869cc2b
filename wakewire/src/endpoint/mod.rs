//! Where a service is, parsed once from what the configuration says. No I/O, no clock.

mod scheme;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use self::scheme::Scheme;

/// Where a service is.
///
/// ```
/// use wakewire::{Endpoint, Scheme};
///
/// let relay: Endpoint = "unix:///run/market_data.sock".parse().unwrap();
/// assert_eq!(relay, "/run/market_data.sock".parse().unwrap());
/// assert_eq!(relay.scheme(), Scheme::Unix);
/// assert!("tcp://localhost".parse::<Endpoint>().is_err()); // no port
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A Unix socket: `unix:///path`, or a bare absolute path.
    Unix(PathBuf),
    /// A TCP address: `tcp://host:port`; `[::1]:7000` for IPv6.
    Tcp(Authority),
    /// TLS over TCP: `tls://host:port`.
    Tls(Authority),
    /// Datagrams: `udp://host:port`.
    Udp(Authority),
    /// A WebSocket URL: `ws://host[:port][/path]`, or `wss://`.
    WebSocket {
        /// Whether it is `wss`.
        secure: bool,
        /// Host and port; 80 or 443 when not written.
        authority: Authority,
        /// The rest of the URL, starting with `/`.
        path: String,
    },
    /// A place within this process: `memory://name`. For tests without sockets.
    Memory(String),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Authority {
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// From 1 to 65535.
    pub port: u16,
}

impl Endpoint {
    /// Returns how it is reached.
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Unix(_) => Scheme::Unix,
            Self::Tcp(_) => Scheme::Tcp,
            Self::Tls(_) => Scheme::Tls,
            Self::Udp(_) => Scheme::Udp,
            Self::WebSocket { secure: false, .. } => Scheme::Ws,
            Self::WebSocket { secure: true, .. } => Scheme::Wss,
            Self::Memory(_) => Scheme::Memory,
        }
    }

    /// Returns whether frames carry a CRC-32C on it: where neither the kernel nor TLS vouches for the bytes. In memory
    /// they do, since tests damage them there.
    pub const fn is_checksummed(&self) -> bool {
        matches!(
            self,
            Self::Tcp(_) | Self::Udp(_) | Self::WebSocket { secure: false, .. } | Self::Memory(_)
        )
    }

    /// Returns whether single frames may be lost on it while the connection goes on.
    pub(crate) const fn loses_frames(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Returns the default `max_message_bytes`: 1 MiB, NATS's; over UDP what fits with our header into a datagram
    /// that every path of IPv6 carries whole (1280 bytes, RFC 8200 §5).
    pub(crate) const fn usual_message(&self) -> usize {
        match self {
            Self::Udp(_) => 1200,
            Self::Unix(_)
            | Self::Tcp(_)
            | Self::Tls(_)
            | Self::WebSocket { .. }
            | Self::Memory(_) => 1 << 20,
        }
    }

    /// Returns the most that `max_message_bytes` may be. A datagram carries 65,507 bytes (UDP over IPv4), of which
    /// header and extensions of a message take up to 1,056; the rest is rounded down.
    pub(crate) const fn largest_message(&self) -> usize {
        match self {
            Self::Udp(_) => 64_000,
            Self::Unix(_)
            | Self::Tcp(_)
            | Self::Tls(_)
            | Self::WebSocket { .. }
            | Self::Memory(_) => usize::MAX,
        }
    }
}

/// Why a text is not an endpoint; says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct EndpointError {
    what: String,
    hint: String,
}

impl EndpointError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// The text is not echoed: it may hold a password.
    fn credentials(scheme: &str) -> Self {
        Self::new(
            "an endpoint takes no user or password",
            format!("write `{scheme}://host:port`"),
        )
    }

    /// Returns what to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(EndpointError::new(
                format!("the endpoint contains the control character {control:?}"),
                "write it without",
            ));
        }
        if text.starts_with('/') {
            return unix(text);
        }
        let (before, _) = text.split_once("://").unwrap_or((text, ""));
        if before.contains('@') {
            return Err(EndpointError::credentials("scheme"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(EndpointError::new(
                format!("`{text}` is no endpoint"),
                "write `unix:///path/to/socket` or `tcp://host:port`",
            ));
        };
        match scheme {
            "unix" => unix(rest),
            "tcp" => Ok(Self::Tcp(authority(scheme, rest, None)?)),
            "tls" => Ok(Self::Tls(authority(scheme, rest, None)?)),
            "udp" => Ok(Self::Udp(authority(scheme, rest, None)?)),
            "ws" => web_socket(scheme, rest, false, 80),
            "wss" => web_socket(scheme, rest, true, 443),
            "memory" => memory(rest),
            _ => {
                let known: Vec<_> = Scheme::ALL.iter().map(|scheme| scheme.name()).collect();
                Err(EndpointError::new(
                    format!("`{scheme}` is no scheme that wakewire knows"),
                    format!("one of {}", known.join(", ")),
                ))
            }
        }
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

/// So that what is an endpoint already can be given where text can.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme().name();
        match self {
            Self::Unix(path) => {
                f.write_str(scheme)?;
                f.write_str("://")?;
                match path.to_str() {
                    Some(path) => f.write_str(path),
                    None => write!(f, "{}", path.display()),
                }
            }
            Self::Tcp(authority) | Self::Tls(authority) | Self::Udp(authority) => {
                write!(f, "{scheme}://{authority}")
            }
            Self::WebSocket {
                authority, path, ..
            } => write!(f, "{scheme}://{authority}{path}"),
            Self::Memory(name) => write!(f, "{scheme}://{name}"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn unix(path: &str) -> Result<Endpoint, EndpointError> {
    if !path.starts_with('/') {
        return Err(EndpointError::new(
            format!("the socket path `{path}` is not absolute"),
            "write three slashes, `unix:///path/to/socket`",
        ));
    }
    if path.len() > UNIX_PATH_LIMIT {
        return Err(EndpointError::new(
            format!(
                "the socket path has {} bytes, the system allows {UNIX_PATH_LIMIT}",
                path.len()
            ),
            "use a shorter path, such as one under /run or /tmp",
        ));
    }
    if path.ends_with('/') || Path::new(path).file_name().is_none() {
        return Err(EndpointError::new(
            format!("the socket path `{path}` names a directory"),
            "add a file name, such as `relay.sock`",
        ));
    }
    // Where it leads would depend on what else is a link on the way.
    if path.split('/').any(|part| part == "..") {
        return Err(EndpointError::new(
            format!("the socket path `{path}` goes up again with `..`"),
            "write the path without `..`",
        ));
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn memory(name: &str) -> Result<Endpoint, EndpointError> {
    if name.is_empty() || name.contains(['/', '@', ' ']) {
        return Err(EndpointError::new(
            "a place in memory has one name, of one part",
            "write `memory://name`",
        ));
    }
    Ok(Endpoint::Memory(name.to_owned()))
}

fn authority(
    scheme: &str,
    text: &str,
    default_port: Option<u16>,
) -> Result<Authority, EndpointError> {
    let example = format!("write `{scheme}://host:port`, such as `{scheme}://127.0.0.1:7000`");
    if text.contains('@') {
        return Err(EndpointError::credentials(scheme));
    }
    if text.contains(['/', '?', '#', ' ']) {
        return Err(EndpointError::new(
            format!("`{text}` is not a host and a port"),
            example,
        ));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((host, after)) = rest.split_once(']') else {
                return Err(EndpointError::new(
                    format!("`{text}` lacks the closing bracket"),
                    example,
                ));
            };
            if host.parse::<core::net::Ipv6Addr>().is_err() {
                return Err(EndpointError::new(
                    format!("`{host}` is no IPv6 address"),
                    example,
                ));
            }
            match (after.strip_prefix(':'), after.is_empty()) {
                (Some(port), _) => (host, Some(port)),
                (None, true) => (host, None),
                (None, false) => {
                    return Err(EndpointError::new(
                        format!("`{text}` is not a host and a port"),
                        example,
                    ));
                }
            }
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(EndpointError::new(
                    format!("`{text}` is an IPv6 address without brackets"),
                    format!("write `{scheme}://[{text}]:port`"),
                ));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(EndpointError::new("the endpoint has no host", example));
    }
    let port = match port {
        None => default_port
            .ok_or_else(|| EndpointError::new(format!("`{text}` has no port"), example.clone()))?,
        Some(port) => port.parse::<u16>().map_err(|_| {
            EndpointError::new(
                format!("`{port}` is no port"),
                "a port is a number from 1 to 65535",
            )
        })?,
    };
    if port == 0 {
        return Err(EndpointError::new(
            "port 0 cannot be connected to",
            "a port is a number from 1 to 65535",
        ));
    }
    Ok(Authority {
        host: host.to_owned(),
        port,
    })
}

fn web_socket(
    scheme: &str,
    rest: &str,
    secure: bool,
    port: u16,
) -> Result<Endpoint, EndpointError> {
    let (host, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let authority = authority(scheme, host, Some(port)).map_err(|error| {
        // A password with a slash in it looks like a host, a bad port and a path.
        if rest.contains('@') {
            EndpointError::credentials(scheme)
        } else {
            error
        }
    })?;
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok(Endpoint::WebSocket {
        secure,
        authority,
        path,
    })
}

/// `sun_path` holds 108 bytes, one of them the final zero.
const UNIX_PATH_LIMIT: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_goes_down_only() {
        for path in [
            "/run/../etc/x",
            "/..",
            "unix:///tmp/a/..",
            "/run/../../x.sock",
        ] {
            let error = path.parse::<Endpoint>().unwrap_err();
            assert!(!error.hint().is_empty(), "{error}");
        }
        for path in ["/run/a..b", "/run/..x/s", "unix:///tmp/..."] {
            assert!(path.parse::<Endpoint>().is_ok(), "{path}");
        }
    }
}
