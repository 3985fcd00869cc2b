//! How a connection behaves. No I/O, no clock.

use std::time::Duration;

use crate::security::Security;

/// How a [`Connection`](super::Connection) behaves.
///
/// ```
/// use std::time::Duration;
/// use wakewire::connection::ConnectionSettings;
///
/// let patient = ConnectionSettings {
///     timeout: Duration::from_secs(30),
///     ..ConnectionSettings::default()
/// };
/// assert_eq!(patient.in_flight, 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal over a default"
)]
pub struct ConnectionSettings {
    /// The name of the service that must be served there; empty for whichever is. Default empty.
    pub service: String,
    /// How the connection is protected, and what we show the peer.
    pub security: Security,
    /// How long one operation may take: opening, sending, a request with its answer. Default 5 s.
    pub timeout: Duration,
    /// How many requests may be open at a time; further ones wait. The peer may allow fewer: a server of ours 256.
    /// Default 1024.
    pub in_flight: u32,
    /// The largest payload that the peer may send. Default 1 MiB; over `udp` no peer can send more than 64,000 bytes.
    pub max_message_bytes: usize,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            service: String::new(),
            security: Security::default(),
            timeout: Duration::from_secs(5),
            in_flight: 1024,
            max_message_bytes: 1 << 20,
        }
    }
}
