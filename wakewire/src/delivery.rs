//! What is promised about a message, and what gives way when the buffer is full. No I/O, no clock.

use std::fmt;

use crate::endpoint::Scheme;

/// When a message leaves the sender's buffer, and with it what can be lost or doubled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a message is kept until confirmed, or it is not"
)]
pub enum Delivery {
    /// Kept until those who are waited for have processed it; sent again after a lost connection. The
    /// default between wakewire peers.
    #[default]
    AtLeastOnce,
    /// Gone once written: lost when the connection breaks under it, then counted as `in_doubt`. The
    /// default over datagrams and to foreign WebSocket peers, which confirm nothing.
    AtMostOnce,
}

impl Delivery {
    /// Both, the safer one first.
    pub const ALL: [Self; 2] = [Self::AtLeastOnce, Self::AtMostOnce];

    /// Returns what is promised over such endpoints where nothing else is said: at most once over datagrams,
    /// which are lost, and over `ws` and `wss`, whose peer may be anybody's.
    pub(crate) const fn usual_over(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Unix | Scheme::Tcp | Scheme::Tls | Scheme::Memory => Self::AtLeastOnce,
            Scheme::Udp | Scheme::Ws | Scheme::Wss => Self::AtMostOnce,
        }
    }

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::AtMostOnce => "at_most_once",
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What gives way when the buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The sender waits for room, up to `wait_timeout`; then the message comes back. The default.
    #[default]
    Block,
    /// The message comes back at once.
    Reject,
    /// The new message is dropped and counted. Only with [`Delivery::AtMostOnce`].
    DropNewest,
    /// The oldest waiting message is dropped and counted. Only with [`Delivery::AtMostOnce`].
    DropOldest,
}

impl WhenFull {
    /// Every rule, those that lose nothing first.
    pub const ALL: [Self; 4] = [
        Self::Block,
        Self::Reject,
        Self::DropNewest,
        Self::DropOldest,
    ];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Reject => "reject",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
        }
    }

    /// Returns whether it drops messages that were accepted, or that the sender takes for accepted.
    pub const fn is_lossy(self) -> bool {
        matches!(self, Self::DropNewest | Self::DropOldest)
    }
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When what is written to a spool is on the disk itself: what a loss of power can take. That a process is killed
/// takes nothing, whichever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fsync {
    /// When the system sees fit, on Linux some 30 s later: a loss of power takes what was accepted since.
    Never,
    /// A second later: a loss of power takes at most what was accepted in the last second or two. The default, since
    /// it costs the senders nothing.
    #[default]
    Interval,
    /// Before it is accepted: a loss of power takes nothing. All who wait share one syncing, which takes from a
    /// tenth of a millisecond to tens of them, by the disk. A send that is dropped while it waits for the disk may
    /// have been accepted.
    BeforeAccept,
}

impl Fsync {
    /// All of them, the safest last.
    pub const ALL: [Self; 3] = [Self::Never, Self::Interval, Self::BeforeAccept];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Interval => "interval",
            Self::BeforeAccept => "before_accept",
        }
    }
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
