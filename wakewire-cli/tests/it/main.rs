//! The command as it is called: real processes, one binary of tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, as it should; it waits for what other processes do, and has a clock to give up by"
)]

mod check;
mod cursor;
mod demo;
mod direct;
mod ping;
mod protected;
mod relay;
mod spool;
mod store;
mod support;
mod transports;
mod udp;
