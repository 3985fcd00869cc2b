//! Who is measured; one file each.

pub mod raw;
pub mod tokio_batch;
pub mod tokio_naive;
pub mod wakewire;

mod framed;

use anyhow::{Context, Result};

use crate::address::Address;
use crate::child::Stage;
use crate::measure::Sent;

/// One way to get messages from one process into another. Both sides are called in a process of their own,
/// once.
pub trait Contestant: Sync {
    /// Returns the name in tables and for `--only`.
    fn name(&self) -> &'static str;

    /// Returns what it is, in one line.
    fn about(&self) -> &'static str;

    /// Receives the run: binds, [announces](Stage::announce) where, gives every payload to a
    /// [`Checker`](crate::payload::Checker), confirms, keeps the connection open until
    /// [dismissed](Stage::dismissal), and returns how many it saw.
    fn receive(&self, course: &Course, stage: &mut Stage) -> Result<u64>;

    /// Sends the run: connects, starts a [`Stopwatch`](crate::measure::Stopwatch), sends what
    /// [`Payloads`](crate::payload::Payloads) makes, waits until the receiver has confirmed all, and stops it.
    fn send(&self, course: &Course) -> Result<Sent>;
}

/// One run, as a contestant is told it.
#[derive(Clone, Debug)]
pub struct Course {
    /// For the receiver what to bind, for the sender what was announced.
    pub address: Address,
    /// Bytes of each payload.
    pub size: usize,
    /// How many messages.
    pub count: u64,
}

/// Returns all contestants, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static dyn Contestant> {
    [
        raw::ENTRIES,
        tokio_naive::ENTRIES,
        tokio_batch::ENTRIES,
        wakewire::ENTRIES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Returns the contestant of this name.
pub fn named(name: &str) -> Result<&'static dyn Contestant> {
    all()
        .find(|one| one.name() == name)
        .with_context(|| format!("no contestant is named {name:?}"))
}
