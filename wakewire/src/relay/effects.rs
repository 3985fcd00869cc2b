//! What goes into the hub and what comes out of it, as values. No I/O, no clock.

use std::time::Duration;

use crate::spool::format::Name;
use crate::wire::hello::Start;
use crate::wire::session::Position;
use crate::wire::{ProtocolError, SessionId, run::Run};

/// One connection of the relay, as the shell numbers them; never used twice in a relay's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// What a relay is told by its configuration.
#[derive(Clone, Debug)]
pub(crate) struct HubConfig {
    /// The consumers that are waited for, attached or not (R5).
    pub(crate) named: Vec<String>,
    /// `without_consumers = "hold"`; otherwise `"accept"` (R5).
    pub(crate) hold: bool,
    /// The delivery of the service. At most once: acknowledged when appended, holes are allowed.
    pub(crate) at_least_once: bool,
    /// What the log keeps, counted with an overhead per run (R4).
    pub(crate) log_bytes: usize,
    /// How long an unnamed consumer may hold a full log without progress (C5).
    pub(crate) unnamed_deadline: Duration,
    /// The same for a named one; unlimited when absent (C5).
    pub(crate) named_deadline: Option<Duration>,
}

/// What is to be written to the disk at once.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Whose the frames are, and how far everybody has come with each.
    pub(crate) names: Vec<Name>,
    /// The runs, each with its origin.
    pub(crate) runs: Vec<(u32, Run)>,
    /// The positions in the log from the first of them to behind the last.
    pub(crate) from: u64,
    pub(crate) upto: u64,
    /// Everything before this position may leave the disk.
    pub(crate) settled: u64,
}

/// Whom a call gave something to do. The caller keeps one and drains it after each call; nobody is named twice
/// before it has polled.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Has something to send: poll the hub for it.
    pub(crate) poll: Vec<ConnectionId>,
    /// Was told that the log is full: offer the run again (R4).
    pub(crate) room: Vec<ConnectionId>,
    /// Is replaced by a newer connection: close it (R2, C1). The hub has forgotten it.
    pub(crate) close: Vec<ConnectionId>,
    /// There may be something to write to the disk.
    pub(crate) store: bool,
}

/// The answer to a producer's hello (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// May be forgotten up to here: processed, or on the relay's disk.
    pub(crate) acked: u64,
    /// Need not be sent again up to here, must not be forgotten.
    pub(crate) have: u64,
    /// To be stamped into the session's frames before they are offered.
    pub(crate) origin: u32,
    /// Somebody takes messages at the moment (promise 5).
    pub(crate) consumers_attached: bool,
}

/// What became of an offered run (R3, R4).
#[derive(Clone, Debug)]
#[must_use]
pub(crate) enum Offered {
    /// It is in the log, or was there before.
    Taken,
    /// Keep it, read nothing further from this producer, and offer it again when [`Wake::room`] names it.
    Full(Run),
    /// A newer connection has taken the session over: read nothing further (R2).
    Ended,
}

/// What a producer is told (R5, promise 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerNews {
    /// May be forgotten up to here.
    pub(crate) acked: u64,
    /// Somebody takes messages at the moment.
    pub(crate) consumers_attached: bool,
}

/// Who a consumer is across its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConsumerKey {
    /// A name, which may be one of those that are waited for.
    Name(String),
    /// The random number of a consumer without a name.
    Id(u128),
}

/// A consumer's hello (C1).
#[derive(Clone, Debug)]
pub(crate) struct ConsumerHello {
    pub(crate) key: ConsumerKey,
    pub(crate) at_most_once: bool,
    pub(crate) start: Start,
    pub(crate) positions: Vec<Position>,
}

/// What is sent to a consumer, in this order (C2, C3).
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    /// The origin stands for this session, and nothing up to `after` will come on this connection.
    Gap {
        session: SessionId,
        origin: u32,
        after: u64,
    },
    /// Frames as they came.
    Data {
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "frames carry it themselves; schedules look here")
        )]
        origin: u32,
        run: Run,
    },
}

/// Why a hello is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "all {most} sessions are in use: each has a connection or frames that somebody waits for"
    )]
    TooManySessions { most: usize },
    #[error("all {most} places for consumers are taken")]
    TooManyConsumers { most: usize },
    #[error("a hello speaks of {count} sessions, at most {most} are allowed")]
    TooManyPositions { count: usize, most: usize },
    #[error("start = \"latest\" skips what is owed: it is for at_most_once consumers")]
    LatestIsLossy,
    #[error("consumer {name:?} is waited for by name: it cannot be at_most_once")]
    NamedIsWaitedFor { name: String },
    #[error("a relay passes messages on, it answers no requests")]
    NoRequests,
    /// Whose it is, is not said.
    #[error(
        "consumer {name:?} came first with another identity, and is that one's until the relay is started anew"
    )]
    AnothersName { name: String },
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}
