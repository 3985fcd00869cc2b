//! Who is measured; one file each.

pub mod raw;
pub mod round_trip;
pub mod tokio_batch;
pub mod tokio_naive;
pub mod wakewire;
pub mod wakewire_relay;

mod framed;
#[cfg(feature = "peers")]
mod grpc;
#[cfg(feature = "peers")]
mod jetstream;
#[cfg(feature = "peers")]
mod nanomsg;
#[cfg(feature = "peers")]
mod nats;
mod raw_each;
#[cfg(feature = "peers")]
mod zenoh;
#[cfg(feature = "peers")]
mod zeromq;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use crate::address::{Address, Transport};
use crate::child::Stage;
use crate::measure::Sent;
use crate::payload::Checker;

/// One way to get messages from one process into another. Both sides are called in a process of their own,
/// once.
pub trait Contestant: Sync {
    /// Returns the name in tables and for `--only`.
    fn name(&self) -> &'static str;

    /// Returns what it is, in one line.
    fn about(&self) -> &'static str;

    /// Returns what it does.
    fn work(&self) -> Work {
        Work::OneWay
    }

    /// Returns whether it goes over this transport.
    fn carries(&self, transport: Transport) -> bool {
        matches!(transport, Transport::Unix | Transport::Tcp)
    }

    /// Returns whether it can send at a rate.
    fn is_paced(&self) -> bool {
        true
    }

    /// Returns whether several tasks can send at once.
    fn has_senders(&self) -> bool {
        false
    }

    /// Receives the run: binds, [announces](Stage::announce) where, gives every payload to a
    /// [`Checker`](crate::payload::Checker), confirms, keeps the connection open until
    /// [dismissed](Stage::dismissal), and returns the checker.
    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker>;

    /// Sends the run: connects, starts a [`Stopwatch`](crate::measure::Stopwatch), sends what
    /// [`Payloads`](crate::payload::Payloads) makes when it is due, waits until the receiver has confirmed all, and stops it.
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
    /// Messages a second; 0 is as fast as it goes.
    pub rate: u32,
    /// Tasks that send, each its share of the messages.
    pub senders: u32,
    /// Who receive each message.
    pub consumers: u32,
}

/// What a contestant does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// One process sends, the other receives.
    OneWay,
    /// One message goes there and comes back, and then the next.
    RoundTrip,
    /// A third process gives each message to several consumers.
    FanOut,
}

impl Course {
    /// Returns how many of the messages this sender sends.
    pub fn share(&self, sender: u32) -> u64 {
        let senders = u64::from(self.senders);
        self.count / senders + u64::from(u64::from(sender) < self.count % senders)
    }
}

/// Returns all contestants, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static dyn Contestant> {
    [
        raw::ENTRIES,
        raw_each::ENTRIES,
        tokio_naive::ENTRIES,
        tokio_batch::ENTRIES,
        wakewire::ENTRIES,
        wakewire_relay::ENTRIES,
        round_trip::ENTRIES,
        #[cfg(feature = "peers")]
        zeromq::ENTRIES,
        #[cfg(feature = "peers")]
        nanomsg::ENTRIES,
        #[cfg(feature = "peers")]
        nats::ENTRIES,
        #[cfg(feature = "peers")]
        jetstream::ENTRIES,
        #[cfg(feature = "peers")]
        zenoh::ENTRIES,
        #[cfg(feature = "peers")]
        grpc::ENTRIES,
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
