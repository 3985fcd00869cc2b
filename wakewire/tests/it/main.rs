//! The integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, like tests"
)]

mod composite;
mod direct;
mod examples;
mod guarantees;
mod lazy;
mod registry;
mod relay;
mod support;
