//! From a log to a message that its service has accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, sleep};
use tracing::warn;
use wakewire::{LazyConfig, Message, MessageSink, SinkError, SinkFactory};

use crate::codec::{Place, Pool, PoolEvent};
use crate::events;
use crate::node::Log;

/// Sends the events of pools to one service, whatever that service is.
#[derive(Debug)]
pub struct Adapter<'a> {
    factory: &'a SinkFactory,
    sink: Arc<dyn MessageSink>,
    tally: Tally,
}

/// What became of the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// Sent: accepted by the service's sink.
    pub sent: u64,
    /// Of these, what took an earlier one back.
    pub removed: u64,
    /// The topic is of an event of a pool, but what follows is not.
    pub undecodable: u64,
    /// Other events.
    pub other: u64,
    /// How long decoding and encoding took together.
    pub decoding: Duration,
    /// How long sending took together, waiting for room included.
    pub sending: Duration,
}

impl<'a> Adapter<'a> {
    /// Sends to the service of this name; opens nothing.
    ///
    /// # Errors
    ///
    /// There is no such service, or it takes no messages.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn to(factory: &'a SinkFactory, name: &str) -> Result<Self, SinkError> {
        Ok(Self {
            factory,
            sink: factory.create_sink(name).await?,
            tally: Tally::default(),
        })
    }

    /// Returns what became of the logs so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Sends what a log says, and waits for as long as the service has no room.
    ///
    /// A log that does not decode is counted and told of; it stops nothing.
    ///
    /// # Errors
    ///
    /// The service takes no such messages, or is closed: trying again would not help.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, the log was not sent, or in a fan-out not to all.
    pub async fn pass_on(&mut self, log: &Log, pool: Pool) -> Result<(), SinkError> {
        let (begun, heard) = (Instant::now(), nanoseconds());
        let change = match events::decode(&log.topics, &log.data) {
            Ok(Some(change)) => change,
            Ok(None) => {
                self.tally.other += 1;
                return Ok(());
            }
            Err(why) => {
                self.tally.undecodable += 1;
                let count = self.tally.undecodable;
                if count.is_power_of_two() {
                    let (block, index) = (log.block_number, log.log_index);
                    warn!(%why, pool = %log.address, block, index, count, "a log does not decode");
                }
                return Ok(());
            }
        };
        let event = PoolEvent {
            place: Place {
                block_number: log.block_number,
                block_hash: log.block_hash,
                transaction_hash: log.transaction_hash,
                log_index: log.log_index,
                removed: log.removed,
            },
            pool,
            change,
        };
        let message = event.to_message().with_timestamp(heard);
        let decoded = Instant::now();
        self.send(message).await?;
        self.tally.decoding += decoded - begun;
        self.tally.sending += decoded.elapsed();
        self.tally.sent += 1;
        self.tally.removed += u64::from(log.removed);
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), SinkError> {
        let mut owed = vec![(Arc::clone(&self.sink), message)];
        let mut failures = 0;
        while let Some((sink, message)) = owed.pop() {
            match sink.send(message.clone()).await {
                Ok(()) => {}
                Err(SinkError::Partial(partial)) if !partial.accepted().is_empty() => {
                    // Sent to all again it would be there twice: it goes to each that does not have it.
                    for (target, error) in partial.failed() {
                        if is_final(error) {
                            return Err(error.clone());
                        }
                        owed.push((self.factory.create_sink(target).await?, message.clone()));
                    }
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    failures += 1;
                    warn!(%error, failures, "the service does not take an event now");
                    sleep(LazyConfig::default().delay(failures, rand::random())).await;
                    owed.push((sink, message));
                }
            }
        }
        Ok(())
    }
}

/// Whether sending the same again cannot help.
fn is_final(error: &SinkError) -> bool {
    match error {
        SinkError::InvalidConfig(_)
        | SinkError::UnknownService(_)
        | SinkError::WrongDomain(_)
        | SinkError::WrongPrecision(_)
        | SinkError::MessageTooLarge(_)
        | SinkError::NoRuntime(_)
        | SinkError::Closed(_) => true,
        SinkError::Partial(partial) => partial.failed().iter().any(|(_, error)| is_final(error)),
        _ => false,
    }
}

/// Returns the time, as a message carries it.
#[expect(
    clippy::disallowed_methods,
    reason = "an event says when it was heard of, on everybody's clock"
)]
fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
