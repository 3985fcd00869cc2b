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
mod message;
mod outbox;
pub mod registry;
pub mod sink;

pub use backoff::LazyConfig;
pub use delivery::{Delivery, WhenFull};
pub use domain::{Domain, PrecisionContext};
pub use endpoint::{Authority, Endpoint, EndpointError, Scheme};
pub use error::{Failure, PartialFailure, Phase, SinkError, TrySendError};
pub use message::{Message, MessagePriority, Precision};
pub use outbox::{Dropped, Ledger};
pub use registry::{
    CompositePattern, LazySettings, Registry, ServiceConfig, ServiceRegistry, ServicesConfig,
    SinkType, WithoutConsumers,
};
pub use sink::{ConnectionState, Flushing, MessageSink, Report, Sending, SinkMetadata, SinkReport};
