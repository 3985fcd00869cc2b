//! The integration tests, one binary.
#![allow(
    clippy::disallowed_methods,
    reason = "a test may spawn, and bounds its waits by the clock"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "helpers of tests fail by panicking, like tests"
)]

mod cancelled;
mod composite;
mod confirmed;
mod connections;
mod cursor;
#[cfg(feature = "tls")]
mod deadline;
mod direct;
mod documents;
mod examples;
mod faults;
mod foreign;
mod guarantees;
mod handed;
mod lanes;
mod layers;
mod lazy;
mod limits;
mod names;
mod ports;
mod registry;
mod relay;
mod requests;
mod spool;
mod store;
mod support;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "udp")]
mod udp;
mod urged;
#[cfg(all(feature = "ws", feature = "tls"))]
mod ws;
