//! What a service promises of its messages, and what happens when there is no room. No I/O, no clock.

use std::fmt;

/// When a message may be forgotten by its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// When those who are waited for have processed it and said so. The default between wakewire peers:
    /// nothing accepted is lost while its sender lives.
    #[default]
    AtLeastOnce,
    /// When it was written. What was under way when a connection breaks is counted as in doubt.
    AtMostOnce,
}

impl Delivery {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::AtLeastOnce, Self::AtMostOnce];

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

/// What a full buffer does with the next message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The caller waits up to `wait_timeout`, then gets the message back. The default: nobody is surprised.
    #[default]
    Block,
    /// The caller gets the message back at once.
    Reject,
    /// The new message is given up and counted. At most once only.
    DropNewest,
    /// The oldest message not yet under way is given up and counted. At most once only.
    DropOldest,
}

impl WhenFull {
    /// Every rule.
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
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
