//! The command as it is called: real processes, one binary of tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, as it should; it waits for what other processes do, has a clock to give up by, and says what it has measured"
)]

mod check;
mod cursor;
mod demo;
mod direct;
mod namespaces;
mod ping;
#[path = "../../../wakewire/tests/it/ports.rs"]
mod ports;
mod protected;
mod relay;
mod spool;
mod store;
mod support;
mod transports;
mod udp;
