//! A sender at full speed, which writes down before each `send` what it is about to send, and after it what was
//! accepted.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use wakewire::{Message, MessageSink, SinkError, TrySendError};

use super::{CLOSE_WITHIN, Done, factory, told_to_end};
use crate::payload;
use crate::record::{MarkFile, Word};
use crate::stage::SERVICE;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// A number that no other sender, and no other life of this one, has.
    #[arg(long)]
    origin: u64,
    /// How much a message may have.
    #[arg(long)]
    largest: usize,
}

pub(super) async fn run(services: &Path, mark: &Path, arguments: Arguments) -> Done {
    let factory = factory(services)?;
    let mut sender = Sender {
        sink: factory.create_sink(SERVICE).await?,
        mark: MarkFile::open(mark)?,
        arguments,
        number: 0,
        intended: 0,
        unsent: None,
    };
    let mut ending = JoinSet::new();
    ending.spawn(told_to_end());
    while ending.try_join_next().is_none() {
        for _ in 0..SPELL {
            if !sender.try_next()? {
                // Dropped while it waits for room, a send has not accepted its message.
                tokio::select! {
                    sent = sender.next() => sent?,
                    _ = ending.join_next() => break,
                }
            }
        }
        sender.settle(Duration::ZERO).await?;
        tokio::task::yield_now().await;
        if ending.is_empty() {
            break;
        }
    }
    while sender.settle(LOOK).await? > 0 {}
    factory.close(CLOSE_WITHIN).await;
    Ok(())
}

struct Sender {
    sink: Arc<dyn MessageSink>,
    mark: MarkFile,
    arguments: Arguments,
    /// Accepted.
    number: u64,
    /// Written down as about to be sent.
    intended: u64,
    /// The next message, which was given back.
    unsent: Option<Message>,
}

impl Sender {
    /// Sends the next message if there is room.
    fn try_next(&mut self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let message = self.message()?;
        match self.sink.try_send(message) {
            Ok(()) => {
                self.accepted()?;
                Ok(true)
            }
            Err(TrySendError::WouldWait(message)) => {
                self.unsent = Some(message);
                Ok(false)
            }
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// Sends the next message; one that is given back since nobody took anything for long is the next again.
    async fn next(&mut self) -> Done {
        let message = self.message()?;
        self.unsent = Some(message.clone());
        match self.sink.send(message).await {
            Ok(()) => {
                self.unsent = None;
                self.accepted()?;
                Ok(())
            }
            Err(SinkError::BufferFull(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn message(&mut self) -> io::Result<Message> {
        if self.number == self.intended {
            self.intended += SPELL;
            self.mark.set(Word::Intended, self.intended)?;
        }
        Ok(self.unsent.take().unwrap_or_else(|| {
            let Arguments { origin, largest } = self.arguments;
            Message::new(payload::message(origin, self.number + 1, largest))
        }))
    }

    fn accepted(&mut self) -> io::Result<()> {
        self.number += 1;
        self.mark.set(Word::Accepted, self.number)
    }

    /// Writes down what was processed; returns how many messages are waiting for that.
    async fn settle(
        &mut self,
        within: Duration,
    ) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let report = self.sink.flush(within).await?;
        let waiting = report.waiting + report.in_doubt;
        // With a spool, what is left of lives before this one is waiting too.
        let acked = self.number.saturating_sub(waiting);
        self.mark.set(Word::Acked, acked)?;
        Ok(report.waiting)
    }
}

/// As many messages are sent between two looks at how things are.
const SPELL: u64 = 256;
/// How long one wait for the rest takes.
const LOOK: Duration = Duration::from_millis(20);
