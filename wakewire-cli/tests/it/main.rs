//! The command as it is called: real processes, one binary of tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

mod check;
