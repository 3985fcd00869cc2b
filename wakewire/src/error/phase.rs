//! Where on its way something failed. No I/O, no clock.

use std::fmt;

/// Where on its way something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Finding the service or its address.
    Resolve,
    /// Taking the message over, before anything was sent.
    Accept,
    /// Opening the files of a sender's spool.
    Spool,
    /// Binding the endpoint to listen.
    Listen,
    /// Opening the connection.
    Dial,
    /// Agreeing on encryption.
    Tls,
    /// Greeting the peer.
    Handshake,
    /// Writing to the connection.
    Write,
    /// Reading from the connection.
    Read,
    /// Waiting for the acknowledgement.
    Ack,
    /// Draining and closing.
    Close,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving",
            Self::Accept => "accepting the message",
            Self::Spool => "opening its spool",
            Self::Listen => "binding the endpoint",
            Self::Dial => "dialing",
            Self::Tls => "agreeing on encryption",
            Self::Handshake => "greeting the peer",
            Self::Write => "writing",
            Self::Read => "reading",
            Self::Ack => "waiting for the acknowledgement",
            Self::Close => "closing",
        })
    }
}
