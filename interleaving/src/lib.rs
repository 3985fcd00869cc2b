//! The library's own files, from messages to sinks, over shuttle's tokio, parking_lot and atomics.
#![allow(
    dead_code,
    unfulfilled_lint_expectations,
    unused_imports,
    reason = "what is above the sinks, and the transports, are not built; the library's lints are its own"
)]

#[path = "../../wakewire/src/atomic.rs"]
mod atomic;
#[path = "../../wakewire/src/backoff.rs"]
mod backoff;
#[path = "../../wakewire/src/brief_lock.rs"]
mod brief_lock;
#[path = "../../wakewire/src/delivery.rs"]
mod delivery;
#[path = "../../wakewire/src/dialer/mod.rs"]
mod dialer;
#[path = "../../wakewire/src/domain.rs"]
mod domain;
#[path = "../../wakewire/src/endpoint/mod.rs"]
mod endpoint;
#[path = "../../wakewire/src/error/mod.rs"]
mod error;
#[path = "../../wakewire/src/link/mod.rs"]
mod link;
#[path = "../../wakewire/src/lock_file.rs"]
mod lock_file;
#[path = "../../wakewire/src/message.rs"]
mod message;
#[path = "../../wakewire/src/outbox/mod.rs"]
mod outbox;
#[path = "../../wakewire/src/part.rs"]
mod part;
#[path = "../../wakewire/src/randomness.rs"]
mod randomness;
#[path = "../../wakewire/src/security/mod.rs"]
mod security;
#[path = "../../wakewire/src/sink/mod.rs"]
pub mod sink;
#[path = "../../wakewire/src/spool/mod.rs"]
mod spool;
#[path = "../../wakewire/src/transport/mod.rs"]
mod transport;
#[path = "../../wakewire/src/wire/mod.rs"]
mod wire;

pub use backoff::LazyConfig;
pub use delivery::{Delivery, Fsync, WhenFull};
pub use endpoint::{Authority, Endpoint, EndpointError, Scheme};
pub use error::{Failure, PartialFailure, Phase, SinkError, TrySendError};
pub use message::{Message, MessageRef};
pub use outbox::{Dropped, Ledger};
pub use sink::lazy::LazyMessageSink;
pub use sink::pool::LazyConnectionPool;
pub use sink::{
    ConnectionState, Flushing, MessageSink, Receipt, Report, Sending, SinkMetadata, SinkReport,
};

/// Makes a part of a task, for the tests.
pub fn part<F: Future + Unpin>(future: F) -> impl Future<Output = F::Output> + Unpin {
    part::Part::new(future)
}
