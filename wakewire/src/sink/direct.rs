//! A sink that one process listens to.

use super::backed::{self, link_backed};
use crate::error::SinkError;
use crate::link::Link;
use crate::outbox::Ledger;
use crate::security::Security;

/// Sends to the one process that listens at an endpoint.
///
/// `send` is `Ok` when the message is in the buffer. From then on it is owed: it leaves the buffer when the
/// receiver has processed it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use wakewire::{DirectSink, MessageSink};
///
/// let sink = DirectSink::tcp("127.0.0.1:7000")?;
/// assert_eq!(sink.metadata().sink_type, "direct");
/// assert!(!sink.is_connected()); // nothing is opened before the first message
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct DirectSink {
    link: Link,
}

impl DirectSink {
    /// Makes a sleeping sink for the Unix socket at this absolute path, with or without `unix://`.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when the path cannot be a socket's.
    pub fn unix(path: &str) -> Result<Self, SinkError> {
        Self::at("unix://", path)
    }

    /// Makes a sleeping sink for this `host:port`, with or without `tcp://`.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when that is no host and port.
    pub fn tcp(address: &str) -> Result<Self, SinkError> {
        Self::at("tcp://", address)
    }

    /// Makes a sleeping sink for this `ws://` or `wss://` URL; without a scheme it is `ws://`. It promises
    /// `at_most_once`, since the server may be anybody's: one that does not speak wakewire is sent each payload
    /// as a binary message, and confirms nothing.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when that is no such URL, or when the feature `ws` (for `wss` also `tls`) is
    /// not built in.
    pub fn websocket(url: &str) -> Result<Self, SinkError> {
        Self::at("ws://", url)
    }

    /// Makes a sleeping sink for this endpoint, for a peer that is encrypted, shows or demands certificates,
    /// or asks for a password. What is required and cannot be had is an error of the first connection; nothing
    /// is then sent, and a password never goes over a connection that others may read.
    ///
    /// ```
    /// use wakewire::{DirectSink, Password, Security};
    ///
    /// let security = Security {
    ///     username: Some("feed".to_owned()),
    ///     password: Some(Password::File("/run/secrets/feed".into())),
    ///     ..Security::default()
    /// };
    /// let sink = DirectSink::secured("unix:///tmp/nobody-yet.sock", security)?;
    /// # drop(sink);
    /// # Ok::<(), wakewire::SinkError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when that is no endpoint that this build can reach, also when TLS is
    /// required in a build without it.
    pub fn secured(endpoint: &str, security: Security) -> Result<Self, SinkError> {
        backed::link(endpoint, BUFFER_SIZE, security).map(Self::from_link)
    }

    pub(crate) const fn from_link(link: Link) -> Self {
        Self { link }
    }

    /// Returns where every accepted message is.
    pub fn ledger(&self) -> Ledger {
        self.link.ledger()
    }

    fn at(scheme: &str, address: &str) -> Result<Self, SinkError> {
        let endpoint = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{scheme}{address}")
        };
        Self::secured(&endpoint, Security::default())
    }
}

link_backed!(DirectSink, "direct");

/// The default `buffer_size`.
const BUFFER_SIZE: usize = 10_000;
