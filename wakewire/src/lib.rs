//! Send to a name; the wire wakes on data.
//!
//! A **message** is encoded once into a **frame** in its sink's **outbox**; a **link** wakes, asks its **dialer** for a
//! connection, and pumps frames over a **transport** until the peer has acknowledged them.
//!
//! **services.toml** is read into a **registry**; the **factory** looks a name up and gives back the one **sink** of
//! that name, or a **source** to listen, or a **relay** to run.
//!
//! ```text
//! send ─► outbox ─► link ─► transport ─► (relay: a log with a cursor per consumer) ─► source ─► recv
//!            ▲        └ dialer: when                                                    │
//!            └────────────────── acknowledged when processed ◄──────────────────────────┘
//! ```
//!
//! Start with [`SinkFactory`], [`MessageSink`] and [`MessageSource`]; for requests and answers with
//! [`connection::ConnectionManager`] and [`source::serve`].
//!
//! # What `Ok` means
//!
//! [`send`](MessageSink::send) is `Ok` when the sink has *accepted* the message: from then on the sink owes it. It
//! leaves the sink when those who are waited for have processed it and said so, over any number of connections and of
//! lives of relay and receivers. What is not accepted comes back in the error: [`SinkError::into_message`]. What
//! cannot be delivered by the deadline of [`SinkFactory::close`] is counted in its [`Report`]; the [`Ledger`] of every
//! sink adds up at every moment.
//!
//! # Features
//!
//! `unix` and `tcp`, both on by default, `udp` and `ws`: the transports. `tls`: encryption, of `tls`, `tcp` and `wss`
//! endpoints. A feature adds, it never changes what a call does, but for one: where `tls` is in both programs, `tcp`
//! endpoints whose listener has a certificate are encrypted ([`TlsMode::Prefer`]). Two are for tests: `test-kit`, the
//! module `testing` and with it `memory`, the transport within one process; and `turmoil`: inside a
//! [turmoil](https://docs.rs/turmoil) simulation TCP is the simulated network's.
#![doc(test(attr(deny(warnings))))]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may read the clock to get an epoch"
    )
)]

mod atomic;
mod backoff;
mod brief_lock;
pub mod connection;
mod cursor;
mod delivery;
mod dialer;
mod domain;
mod endpoint;
mod error;
mod factory;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod lock_file;
mod message;
mod outbox;
mod part;
mod randomness;
pub mod registry;
mod relay;
mod security;
pub mod sink;
pub mod source;
mod spool;
#[cfg(feature = "test-kit")]
pub mod testing;
mod transport;
mod wire;

pub use backoff::LazyConfig;
pub use cursor::{Cursor, Position, PositionError};
pub use delivery::{Delivery, Fsync, WhenFull};
pub use domain::{Domain, PrecisionContext};
pub use endpoint::{Authority, Endpoint, EndpointError, Scheme};
pub use error::{Failure, PartialFailure, Phase, SinkError, TrySendError};
pub use factory::{PingReport, SinkFactory};
pub use message::{Message, MessagePriority, MessageRef, Precision};
pub use outbox::{Dropped, Ledger};
#[cfg(feature = "turmoil")]
pub use randomness::seed_randomness;
pub use registry::{
    CompositePattern, LazySettings, Registry, ServiceConfig, ServiceRegistry, ServicesConfig,
    SinkType, WithoutConsumers,
};
pub use relay::{Relay, RelayConsumer, RelayStatus, RelayStore};
pub use security::{Credentials, ListenLimits, Password, Security, TlsMode};
pub use sink::composite::CompositeSink;
pub use sink::direct::DirectSink;
pub use sink::lazy::{LazyMessageSink, LazyMetrics};
pub use sink::pool::LazyConnectionPool;
pub use sink::relay::RelaySink;
pub use sink::{
    ConnectionState, Flushing, MessageSink, Receipt, Report, Sending, SinkMetadata, SinkReport,
};
pub use source::{
    Batch, Delivered, Deliveries, MessageSource, MessageView, Missed, SourceStats, Start, Views,
};
pub use wire::negotiation::{NoCommonProtocol, ProtocolNegotiation, ProtocolType};

/// The Rust in the documents is compiled by the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/connections.md")]
    mod connections {}
    #[doc = include_str!("../../docs/stage-2.md")]
    mod stage_2 {}
}
