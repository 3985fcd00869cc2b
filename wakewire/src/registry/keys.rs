//! The keys that a service may have: for which types, and what may stand behind them. No I/O, no clock.

use super::limits;
use super::service::{COMPOSITE, CompositePattern, DIRECT, RELAY, WithoutConsumers};
use crate::delivery::{Delivery, Fsync, WhenFull};
use crate::domain::{Domain, PrecisionContext};
use crate::security::TlsMode;

/// One key of a service.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name; `lazy.` before those of the `lazy` table.
    pub(super) name: &'static str,
    /// The types on which it has an effect.
    pub(super) on: &'static [&'static str],
    /// What may stand behind it.
    pub(super) shape: Shape,
    /// Whether it must be there.
    pub(super) required: bool,
}

/// What may stand behind a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// One of these words.
    Word(&'static [&'static str]),
    /// An endpoint.
    Endpoint,
    /// A list of names.
    Names,
    /// A whole number.
    Whole { least: u64, most: u64 },
    /// A number, or none at all where 0 has a meaning of its own.
    Decimal { least: f64, most: f64, zero: bool },
    /// `true` or `false`.
    Flag,
    /// A table of strings.
    Strings,
    /// The absolute path of a file or directory.
    Path,
    /// The name of an environment variable.
    Variable,
    /// A name that is not empty.
    Name,
    /// A list of the numbers of users.
    Uids,
}

impl Shape {
    /// Says what may stand there, for a message or the reference.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(", ")
            }
            Self::Endpoint => "a URL".to_owned(),
            Self::Names => "a list of names".to_owned(),
            Self::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Self::Decimal { least, most, zero } => {
                let zero = if *zero { "0, or " } else { "" };
                format!("{zero}a number from {least} to {most}")
            }
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Strings => "a table of strings".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::Variable => "the name of an environment variable".to_owned(),
            Self::Name => "a name".to_owned(),
            Self::Uids => "a list of numbers of users".to_owned(),
        }
    }
}

/// Returns the key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    find_in("", name)
}

/// Returns the key that this name has within a table, of which the prefix says which.
pub(super) fn find_in(prefix: &str, name: &str) -> Option<&'static Key> {
    let mut keys = KEYS.iter();
    keys.find(|key| key.name.strip_prefix(prefix) == Some(name))
}

/// Every key, in the order of the reference.
pub(super) const KEYS: &[Key] = &[
    required("type", ALL, Shape::Word(&[RELAY, DIRECT, COMPOSITE])),
    required("endpoint", LINKS, Shape::Endpoint),
    required("pattern", COMPOSITES, Shape::Word(PATTERNS)),
    required("targets", COMPOSITES, Shape::Names),
    optional("delivery", LINKS, Shape::Word(DELIVERIES)),
    optional("buffer_size", LINKS, whole(1, limits::BUFFER_MESSAGES)),
    optional("buffer_bytes", LINKS, whole(1, limits::BUFFER_BYTES)),
    optional("when_full", LINKS, Shape::Word(OVERFLOWS)),
    optional("spool", LINKS, Shape::Path),
    optional("store_and_forward", RELAYS, Shape::Path),
    optional("fsync", LINKS, Shape::Word(FSYNCS)),
    optional("max_message_bytes", LINKS, whole(1, limits::MESSAGE_BYTES)),
    optional("idle_timeout_secs", LINKS, or_zero(limits::SECONDS)),
    optional("drain_timeout_secs", LINKS, or_zero(limits::SECONDS)),
    optional("max_retries", LINKS, whole(0, limits::RETRIES)),
    optional(
        "retry_delay_ms",
        LINKS,
        whole(1, limits::RETRY_MILLISECONDS),
    ),
    optional(
        "reconnect_delay_ms",
        LINKS,
        whole(1, limits::RETRY_MILLISECONDS),
    ),
    optional(
        "connect_timeout_secs",
        LINKS,
        above_zero(limits::CONNECT_SECONDS),
    ),
    optional("lazy.max_retries", ALL, whole(0, limits::RETRIES)),
    optional(
        "lazy.retry_delay_ms",
        ALL,
        whole(1, limits::RETRY_MILLISECONDS),
    ),
    optional(
        "lazy.backoff_multiplier",
        ALL,
        decimal(1.0, limits::MULTIPLIER),
    ),
    optional(
        "lazy.max_retry_delay_secs",
        ALL,
        above_zero(limits::RETRY_SECONDS),
    ),
    optional("lazy.auto_reconnect", ALL, Shape::Flag),
    optional(
        "lazy.connect_timeout_secs",
        ALL,
        above_zero(limits::CONNECT_SECONDS),
    ),
    optional("lazy.wait_timeout_secs", ALL, or_zero(limits::SECONDS)),
    optional("lazy.jitter", ALL, decimal(0.0, 1.0)),
    optional("domain", LINKS, Shape::Word(DOMAINS)),
    optional("precision_context", LINKS, Shape::Word(PRECISIONS)),
    optional("consumers", RELAYS, Shape::Names),
    optional("without_consumers", RELAYS, Shape::Word(WITHOUT)),
    optional(
        "consumer_deadline_secs",
        RELAYS,
        above_zero(limits::SECONDS),
    ),
    optional("log_bytes", RELAYS, whole(1, limits::BUFFER_BYTES)),
    optional("tls", LINKS, Shape::Word(TLS)),
    optional("ca", LINKS, Shape::Path),
    optional("cert", LINKS, Shape::Path),
    optional("key", LINKS, Shape::Path),
    optional("client_ca", LINKS, Shape::Path),
    optional("username", LINKS, Shape::Name),
    optional("password_env", LINKS, Shape::Variable),
    optional("password_file", LINKS, Shape::Path),
    optional("allow_uids", LINKS, Shape::Uids),
    optional("max_connections", LINKS, CONNECTIONS),
    optional("max_connections_per_address", LINKS, CONNECTIONS),
    optional("max_handshakes", LINKS, CONNECTIONS),
    optional("max_handshakes_per_address", LINKS, CONNECTIONS),
    optional("handshakes_per_second_per_address", LINKS, CONNECTIONS),
    optional(
        "max_inbound_bytes",
        LINKS,
        whole(limits::INBOUND_BYTES, limits::BUFFER_BYTES),
    ),
    optional("metadata", ALL, Shape::Strings),
    optional("cursor", LINKS, Shape::Path),
];

/// The table of connection settings, and what its keys begin with.
pub(super) const LAZY: &str = "lazy";
pub(super) const LAZY_PREFIX: &str = "lazy.";

const ALL: &[&str] = &[RELAY, DIRECT, COMPOSITE];
const LINKS: &[&str] = &[RELAY, DIRECT];
const RELAYS: &[&str] = &[RELAY];
const COMPOSITES: &[&str] = &[COMPOSITE];

const PATTERNS: &[&str] = &[
    CompositePattern::Fanout.name(),
    CompositePattern::RoundRobin.name(),
    CompositePattern::Failover.name(),
];
const DELIVERIES: &[&str] = &[Delivery::AtLeastOnce.name(), Delivery::AtMostOnce.name()];
const OVERFLOWS: &[&str] = &[
    WhenFull::Block.name(),
    WhenFull::Reject.name(),
    WhenFull::DropNewest.name(),
    WhenFull::DropOldest.name(),
];
const FSYNCS: &[&str] = &[
    Fsync::Never.name(),
    Fsync::Interval.name(),
    Fsync::BeforeAccept.name(),
];
const DOMAINS: &[&str] = &[
    Domain::MarketData.name(),
    Domain::Signals.name(),
    Domain::Execution.name(),
];
const PRECISIONS: &[&str] = &[
    PrecisionContext::DexToken.name(),
    PrecisionContext::TraditionalExchange.name(),
    PrecisionContext::Mixed.name(),
];
const TLS: &[&str] = &[
    TlsMode::Off.name(),
    TlsMode::Prefer.name(),
    TlsMode::Require.name(),
];
const WITHOUT: &[&str] = &[
    WithoutConsumers::Hold.name(),
    WithoutConsumers::Accept.name(),
];

const fn required(name: &'static str, on: &'static [&'static str], shape: Shape) -> Key {
    Key {
        name,
        on,
        shape,
        required: true,
    }
}

const fn optional(name: &'static str, on: &'static [&'static str], shape: Shape) -> Key {
    Key {
        name,
        on,
        shape,
        required: false,
    }
}

const CONNECTIONS: Shape = whole(1, limits::CONNECTIONS);

const fn whole(least: u64, most: u64) -> Shape {
    Shape::Whole { least, most }
}

const fn decimal(least: f64, most: f64) -> Shape {
    Shape::Decimal {
        least,
        most,
        zero: false,
    }
}

const fn above_zero(most: f64) -> Shape {
    decimal(limits::SHORTEST, most)
}

const fn or_zero(most: f64) -> Shape {
    Shape::Decimal {
        least: limits::SHORTEST,
        most,
        zero: true,
    }
}
