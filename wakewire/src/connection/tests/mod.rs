//! The layer over connections that are no connections, on a paused clock.

mod config;
pub(super) mod fake;
mod health;
mod manager;
mod retry;
