//! TLS 1.3 around a byte stream, for whoever dials and for whoever listens.

mod client;
mod fault;
mod files;
mod kept;
mod server;
mod subject;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

pub(crate) use self::fault::refusal;
use self::kept::Kept;
use super::line::Line;
use super::unreached::Unreached;
use crate::endpoint::Endpoint;
use crate::error::Phase;
use crate::security::Security;

/// Whether this build speaks TLS.
pub(crate) const IS_BUILT_IN: bool = true;

/// The certificates and keys of one service: read when they are first needed, and again when a file of them has
/// changed. Connections that are open keep what they began with.
pub(crate) struct Keys {
    security: Arc<Security>,
    alpn: Alpn,
    client: Kept<ClientConfig>,
    server: Kept<ServerConfig>,
}

impl Keys {
    /// Makes those of an endpoint; reads nothing yet.
    pub(crate) fn new(endpoint: &Endpoint, security: &Arc<Security>) -> Self {
        let Security {
            ca,
            cert,
            key,
            client_ca,
            ..
        } = &**security;
        Self {
            alpn: Alpn::of(endpoint),
            client: Kept::of([ca, cert, key]),
            server: Kept::of([cert, key, client_ca]),
            security: Arc::clone(security),
        }
    }

    /// Encrypts a connection that we have dialled. The peer must prove that it is `host`, and nothing but the
    /// handshake is sent before it has.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection is closed.
    pub(crate) async fn connect(&self, line: Line, host: &str) -> Result<Line, Unreached> {
        let config = self
            .client
            .get(|| client::config(&self.security, self.alpn))
            .map_err(Unusable::unreached)?;
        client::connect(config, self.alpn, line, host).await
    }

    /// Encrypts a connection that we have taken. Where `client_ca` is set, the peer must show a certificate, and
    /// is known by it from here on.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection is closed.
    pub(crate) async fn accept(&self, line: Line) -> Result<Line, Unreached> {
        let config = self.serving().map_err(Unusable::unreached)?;
        server::accept(config, self.alpn, line).await
    }

    /// Returns whether there is what it takes to be dialled with TLS.
    pub(crate) fn can_serve(&self) -> bool {
        self.security.cert.is_some() && self.security.key.is_some()
    }

    /// Reads what it takes to be dialled with TLS, so that a fault is known before anybody comes.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.serving() {
            Ok(_) => Ok(()),
            Err(Unusable { what, hint }) => {
                let what = format!("{what}: {hint}");
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
        }
    }

    fn serving(&self) -> Result<Arc<ServerConfig>, Unusable> {
        self.server
            .get(|| server::config(&self.security, self.alpn))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("alpn", &self.alpn)
            .finish_non_exhaustive()
    }
}

/// What is spoken inside, as both sides say in their handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpn {
    /// Frames. A peer that does not say so is another protocol's, and is refused.
    Wakewire,
    /// HTTP, for a WebSocket. Plain HTTP servers often do not say anything.
    Http,
}

impl Alpn {
    const fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::WebSocket { .. } => Self::Http,
            _ => Self::Wakewire,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Wakewire => "wakewire/1",
            Self::Http => "http/1.1",
        }
    }

    fn offered(self) -> Vec<Vec<u8>> {
        vec![self.name().as_bytes().to_vec()]
    }

    /// Returns whether a peer that chose this one, or none, can be talked to.
    fn is_met_by(self, chosen: Option<&[u8]>) -> bool {
        match chosen {
            Some(name) => name == self.name().as_bytes(),
            None => self == Self::Http,
        }
    }
}

/// Why no TLS can be done with this configuration.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Unusable {
    what: String,
    hint: &'static str,
}

impl Unusable {
    fn new(what: impl Into<String>, hint: &'static str) -> Self {
        Self {
            what: what.into(),
            hint,
        }
    }

    fn unreached(self) -> Unreached {
        let hint = self.hint;
        Unreached::misconfigured(Phase::Tls, self).hint(hint)
    }
}

impl From<rustls::Error> for Unusable {
    fn from(error: rustls::Error) -> Self {
        Self::new(error.to_string(), "are `cert` and `key` of each other?")
    }
}

/// Named here and nowhere else, so that no other part of the process decides which cryptography we use.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
