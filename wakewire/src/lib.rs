//! Send to a name; the wire wakes on data.
#![doc(test(attr(deny(warnings))))]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "a test may read the clock to get an epoch"
    )
)]

mod backoff;
mod delivery;
mod dialer;
mod domain;
mod endpoint;
mod error;
mod factory;
mod link;
mod message;
mod outbox;
pub mod registry;
mod relay;
pub mod sink;
mod source;
mod transport;
mod wire;

pub use backoff::LazyConfig;
pub use delivery::{Delivery, WhenFull};
pub use domain::{Domain, PrecisionContext};
pub use endpoint::{Authority, Endpoint, EndpointError, Scheme};
pub use error::{Failure, PartialFailure, Phase, SinkError, TrySendError};
pub use factory::SinkFactory;
pub use message::{Message, MessagePriority, Precision};
pub use outbox::{Dropped, Ledger};
pub use registry::{
    CompositePattern, LazySettings, Registry, ServiceConfig, ServiceRegistry, ServicesConfig,
    SinkType, WithoutConsumers,
};
pub use relay::{Relay, RelayConsumer, RelayStatus};
pub use sink::composite::CompositeSink;
pub use sink::direct::DirectSink;
pub use sink::lazy::{LazyMessageSink, LazyMetrics};
pub use sink::relay::RelaySink;
pub use sink::{ConnectionState, Flushing, MessageSink, Report, Sending, SinkMetadata, SinkReport};
pub use source::{
    Batch, Delivered, Deliveries, MessageSource, MessageView, Missed, SourceStats, Start, Views,
};

/// The Rust in the documents is compiled by the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/stage-2.md")]
    mod stage_2 {}
}
