//! What a service is, as meant: every key with a value. No I/O, no clock.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::lazy::LazySettings;
use crate::backoff::LazyConfig;
use crate::delivery::{Delivery, Fsync, WhenFull};
use crate::domain::{Admission, Domain, PrecisionContext};
use crate::endpoint::Endpoint;
use crate::security::{ListenLimits, Security};

/// All services by name.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a user's own registry may make one"
)]
pub struct ServicesConfig {
    /// Each service under its name.
    pub services: BTreeMap<String, ServiceConfig>,
}

/// One service: what it is, where it is, what is promised, how much waits.
///
/// Made from `services.toml` by [`ServiceRegistry`](crate::ServiceRegistry), or in code for a registry of
/// one's own: begin with [`relay`](Self::relay), [`direct`](Self::direct) or [`composite`](Self::composite)
/// and set the fields that differ. `docs/services-toml.md` says what each is for.
///
/// ```
/// use wakewire::{ServiceConfig, WhenFull};
///
/// let signals = ServiceConfig {
///     buffer_size: 500,
///     when_full: WhenFull::Reject,
///     ..ServiceConfig::relay("unix:///run/signals.sock".parse().unwrap())
/// };
/// assert_eq!(signals.max_message_bytes, 1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal over a default"
)]
pub struct ServiceConfig {
    /// Which kind of sink the name stands for.
    pub kind: SinkType,
    /// Where it is; `None` for a composite.
    pub endpoint: Option<Endpoint>,
    /// What is promised. Default at least once; at most once over `udp`, `ws` and `wss`.
    pub delivery: Delivery,
    /// How many messages may wait. Default 10000.
    pub buffer_size: usize,
    /// How many bytes may wait, whichever limit is reached first. Default 8 MiB. An empty buffer takes any
    /// message up to `max_message_bytes`, also when that is more.
    pub buffer_bytes: usize,
    /// What gives way when the buffer is full. Default [`WhenFull::Block`].
    pub when_full: WhenFull,
    /// The directory in which a sink keeps what it accepts until it is delivered, so that a process that is killed
    /// loses nothing; each service has one of its own in it. One process at a time sends from it. Default `None`: in
    /// memory alone. Only at least once.
    pub spool: Option<PathBuf>,
    /// Relay: the directory in which the relay itself keeps what it takes until its consumers have processed it, and
    /// acknowledges it then; each service has one of its own in it. One relay at a time has it. Default `None`: the
    /// relay passes acknowledgement through. Only at least once, and not with [`WithoutConsumers::Accept`].
    pub store_and_forward: Option<PathBuf>,
    /// When what is kept is on the disk itself. Default as [`spool_fsync`](Self::spool_fsync) and
    /// [`store_fsync`](Self::store_fsync) say.
    pub fsync: Option<Fsync>,
    /// The largest payload taken. Default 1 MiB; over `udp` 1200 bytes, which every path takes in one piece, and
    /// 64,000 at most.
    pub max_message_bytes: usize,
    /// After how long without a message the connection is closed; `None` = never. Default 50 s, since many
    /// peers and middleboxes close at 60.
    pub idle_timeout: Option<Duration>,
    /// How long `disconnect()` waits for what is owed. Default 5 s.
    pub drain_timeout: Duration,
    /// How it connects, as far as it says so itself.
    pub lazy: LazySettings,
    /// Which message types it takes; `None` = all. Default `None`.
    pub domain: Option<Domain>,
    /// Which scales of amounts it takes. Default either.
    pub precision_context: PrecisionContext,
    /// Relay: the consumers that are waited for, also while they are away. Default none.
    pub consumers: Vec<String>,
    /// Relay: what happens when nobody is attached. Default [`WithoutConsumers::Hold`].
    pub without_consumers: WithoutConsumers,
    /// Relay: for how long a consumer that processes nothing is waited for, as written. See
    /// [`unnamed_deadline`](Self::unnamed_deadline) and [`named_deadline`](Self::named_deadline).
    pub consumer_deadline: Option<Duration>,
    /// Relay: how many bytes its log holds. Default 64 MiB.
    pub log_bytes: usize,
    /// Who may talk to it, and how private it is. Default: the transport's own protection, no password.
    pub security: Security,
    /// What a listener or relay takes from those who connect.
    pub limits: ListenLimits,
    /// Where its consumer keeps how far it has come, so that its next life gets nothing twice that it had confirmed; one
    /// consumer at a time. Default none. See [`Cursor`](crate::Cursor).
    pub cursor: Option<PathBuf>,
    /// Anything the user wants to keep beside the service; wakewire does not look into it.
    pub metadata: BTreeMap<String, String>,
}

impl ServiceConfig {
    /// What the service takes, on whichever side of it.
    pub(crate) const fn admission(&self) -> Admission {
        Admission {
            max_message_bytes: self.max_message_bytes,
            domain: self.domain,
            precision: self.precision_context,
        }
    }

    /// Makes a relay at this endpoint, everything else by default.
    pub fn relay(endpoint: Endpoint) -> Self {
        Self::with_defaults(SinkType::Relay, Some(endpoint))
    }

    /// Makes a peer reached directly at this endpoint, everything else by default.
    pub fn direct(endpoint: Endpoint) -> Self {
        Self::with_defaults(SinkType::Direct, Some(endpoint))
    }

    /// Makes several services behind one name.
    pub fn composite(
        pattern: CompositePattern,
        targets: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let targets = targets.into_iter().map(Into::into).collect();
        Self::with_defaults(SinkType::Composite { pattern, targets }, None)
    }

    /// Returns when a sender's spool is on the disk itself. Default [`Fsync::Interval`]: it costs its sends nothing.
    pub fn spool_fsync(&self) -> Fsync {
        self.fsync.unwrap_or(Fsync::Interval)
    }

    /// Returns when what a relay keeps is on the disk itself. Default [`Fsync::BeforeAccept`]: who is acknowledged
    /// deletes his own, and waits for nothing else meanwhile.
    pub fn store_fsync(&self) -> Fsync {
        self.fsync.unwrap_or(Fsync::BeforeAccept)
    }

    /// Returns for how long a consumer that is not in `consumers` is waited for. Default 30 s: longer than
    /// any pause of a healthy process, short enough not to fill the producers.
    pub fn unnamed_deadline(&self) -> Duration {
        self.consumer_deadline.unwrap_or(CONSUMER_DEADLINE)
    }

    /// Returns for how long a consumer in `consumers` is waited for; `None` = for ever, unless
    /// `consumer_deadline` is set.
    pub const fn named_deadline(&self) -> Option<Duration> {
        self.consumer_deadline
    }

    /// Returns how it connects: its own settings over a default.
    #[must_use]
    pub fn lazy_config(&self, default: LazyConfig) -> LazyConfig {
        self.lazy.apply_to(default)
    }

    pub(super) fn with_defaults(kind: SinkType, endpoint: Option<Endpoint>) -> Self {
        let delivery = endpoint.as_ref().map_or(Delivery::AtLeastOnce, |endpoint| {
            Delivery::usual_over(endpoint.scheme())
        });
        let max_message_bytes = endpoint.as_ref().map_or(1 << 20, Endpoint::usual_message);
        Self {
            kind,
            endpoint,
            delivery,
            buffer_size: 10_000,
            buffer_bytes: 8 << 20,
            when_full: WhenFull::default(),
            spool: None,
            store_and_forward: None,
            fsync: None,
            max_message_bytes,
            idle_timeout: Some(Duration::from_secs(50)),
            drain_timeout: Duration::from_secs(5),
            lazy: LazySettings::default(),
            domain: None,
            precision_context: PrecisionContext::default(),
            consumers: Vec::new(),
            without_consumers: WithoutConsumers::default(),
            consumer_deadline: None,
            log_bytes: 64 << 20,
            security: Security::default(),
            limits: ListenLimits::default(),
            cursor: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// Which kind of sink a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkType {
    /// A relay that passes messages on to many consumers.
    Relay,
    /// A peer, without anything in between.
    Direct,
    /// Several services behind one name.
    Composite {
        /// Which of the targets get a message.
        pattern: CompositePattern,
        /// Their names, in order.
        targets: Vec<String>,
    },
}

impl SinkType {
    /// Returns the name as written in `services.toml`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Relay => RELAY,
            Self::Direct => DIRECT,
            Self::Composite { .. } => COMPOSITE,
        }
    }
}

impl fmt::Display for SinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which targets of a composite get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompositePattern {
    /// All of them.
    Fanout,
    /// One after the other in turn, of those that are up.
    RoundRobin,
    /// The first that works, in order, and back again.
    Failover,
}

impl CompositePattern {
    /// Every pattern.
    pub const ALL: [Self; 3] = [Self::Fanout, Self::RoundRobin, Self::Failover];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::RoundRobin => "round_robin",
            Self::Failover => "failover",
        }
    }
}

impl fmt::Display for CompositePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a relay does with messages while no consumer is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a message nobody took is confirmed, or it is not"
)]
pub enum WithoutConsumers {
    /// They are held in its log, then with their producers, and confirmed when somebody processed them.
    /// The default: nothing is lost while the consumers start.
    #[default]
    Hold,
    /// They are confirmed once in the log, which forgets the oldest. For feeds whose old values are worthless.
    Accept,
}

impl WithoutConsumers {
    /// Both, the safer one first.
    pub const ALL: [Self; 2] = [Self::Hold, Self::Accept];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Accept => "accept",
        }
    }
}

impl fmt::Display for WithoutConsumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(super) const RELAY: &str = "relay";
pub(super) const DIRECT: &str = "direct";
pub(super) const COMPOSITE: &str = "composite";

const CONSUMER_DEADLINE: Duration = Duration::from_secs(30);
