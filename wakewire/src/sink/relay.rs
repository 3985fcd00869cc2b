//! A sink whose messages a relay spreads to its consumers.

use super::backed::{self, link_backed};
use crate::error::SinkError;
use crate::link::Link;
use crate::outbox::Ledger;
use crate::security::Security;

/// Sends to a relay, which hands each message on to every consumer.
///
/// `send` is `Ok` when the message is in the buffer. From then on it is owed: it leaves the buffer when the
/// consumers that are waited for have processed it, whatever happens to relay and connection meanwhile.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use wakewire::{Message, MessageSink, RelaySink};
///
/// let sink = RelaySink::new("unix:///tmp/no-relay-yet.sock", 10_000)?;
/// sink.send(Message::new("tick")).await?; // accepted: the relay may come later
/// assert_eq!(sink.ledger().waiting, 1);
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct RelaySink {
    link: Link,
}

impl RelaySink {
    /// Makes a sleeping sink for the relay at this endpoint (a URL, or a bare absolute path),
    /// with room for so many messages; the default of `services.toml` is 10,000. The endpoint is its name.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when that is no endpoint that can be reached, or no room.
    pub fn new(endpoint: &str, buffer_size: usize) -> Result<Self, SinkError> {
        Self::secured(endpoint, buffer_size, Security::default())
    }

    /// Makes a sleeping sink like [`new`](Self::new), for a relay that is encrypted, shows or demands
    /// certificates, or asks for a password. What is required and cannot be had is an error of the first
    /// connection; nothing is then sent, and a password never goes over a connection that others may read.
    ///
    /// ```
    /// use wakewire::{Password, RelaySink, Security};
    ///
    /// let security = Security {
    ///     username: Some("feed".to_owned()),
    ///     password: Some(Password::Env("FEED_PASSWORD".to_owned())),
    ///     ..Security::default()
    /// };
    /// let sink = RelaySink::secured("unix:///tmp/no-relay-yet.sock", 10_000, security)?;
    /// # drop(sink);
    /// # Ok::<(), wakewire::SinkError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and when TLS is required in a build without it.
    pub fn secured(
        endpoint: &str,
        buffer_size: usize,
        security: Security,
    ) -> Result<Self, SinkError> {
        backed::link(endpoint, buffer_size, security).map(Self::from_link)
    }

    pub(crate) const fn from_link(link: Link) -> Self {
        Self { link }
    }

    /// Returns where every accepted message is.
    pub fn ledger(&self) -> Ledger {
        self.link.ledger()
    }
}

link_backed!(RelaySink, "relay");
