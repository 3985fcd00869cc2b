//! The adapter on a real node, and the system around it as processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, as it should; it waits for what other processes do, and has a clock to give up by"
)]

mod chain;
mod chosen;
mod killed;
mod moved;
mod recorded;
mod scripted;
mod system;
mod truth;
mod whole;
mod witness;
