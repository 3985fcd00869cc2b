//! The parts that the demo's processes play: the sender and the consumers, each checking for itself.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, Stdin, stdin};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use wakewire::{Ledger, Message, MessageSink, MessageSource, SinkError, SinkFactory, TrySendError};

use super::payload::Feed;
use super::tally::Tally;
use crate::configuration::Configuration;
use crate::relay::stdin_ended;
use crate::said::{LOST, Said};
use crate::send::now;
use crate::send::outlook::{Outlook, shown};

/// Which part a process of the demo plays.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// The relay's name.
    #[arg(long)]
    name: String,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Sends so many messages; answers each byte on stdin with a report.
    Sender {
        #[arg(long)]
        messages: u64,
        #[arg(long)]
        input: Option<PathBuf>,
        /// Spread the messages over this time; else as fast as they are taken.
        #[arg(long, value_parser = crate::duration::parse)]
        over: Option<Duration>,
    },
    /// Receives until stdin ends, and checks what comes.
    Consumer {
        #[arg(long = "as")]
        consumer: String,
        #[arg(long)]
        messages: u64,
    },
}

/// What the sender says of itself, a line of JSON each.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Sent {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) waiting: u64,
    /// Given up, dropped or in doubt: there should be none.
    pub(super) other: u64,
    pub(super) wakes: u64,
    pub(super) connects: u64,
    pub(super) connected: bool,
    pub(super) state: String,
    pub(super) last_error: Option<String>,
    /// Everything is sent and delivered, or given up.
    pub(super) done: bool,
    /// A hash of everything sent, in order, once it is done.
    pub(super) chain: u64,
    /// From the first message to the last acknowledgement, once it is done.
    pub(super) seconds: f64,
}

/// What a consumer says of itself, a line of JSON each.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Received {
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    pub(super) corrupt: u64,
    pub(super) missed: u64,
    pub(super) connects: u64,
    /// A hash of everything received, in order.
    pub(super) chain: u64,
    pub(super) difference: Option<String>,
    /// Nothing follows.
    pub(super) done: bool,
}

/// Plays a part.
pub(crate) async fn run(arguments: Arguments) -> Said {
    let played = match arguments.part {
        Part::Sender {
            messages,
            input,
            over,
        } => match Feed::new(messages, input.as_deref()) {
            Ok(feed) => {
                send(
                    arguments.configuration,
                    &arguments.name,
                    feed,
                    messages,
                    over,
                )
                .await
            }
            Err(error) => Err(unreadable(&error)),
        },
        Part::Consumer { consumer, messages } => {
            receive(arguments.configuration, &arguments.name, consumer, messages).await
        }
    };
    match played {
        Ok(()) => Said::default(),
        Err(said) => said,
    }
}

async fn send(
    configuration: Configuration,
    name: &str,
    mut feed: Feed,
    messages: u64,
    over: Option<Duration>,
) -> Result<(), Said> {
    let factory = SinkFactory::from_registry(configuration.load()?);
    let sink = factory.create_sink(name).await;
    let sink = sink.map_err(|error| Said::error(&error))?;
    let start = now();
    let mut reporter = JoinSet::new();
    let is_done = Arc::new(AtomicBool::new(false));
    reporter.spawn(report(Arc::clone(&sink), Arc::clone(&is_done)));
    let sending = async {
        send_all(&sink, &mut feed, messages, over).await?;
        while sink.flush(LOOK).await.map_err(|e| Said::error(&e))?.waiting > 0 {}
        Ok(now())
    };
    let end = tokio::select! {
        end = sending => end?,
        // Whoever started this has gone.
        _ = reporter.join_next() => return Err(Said::fault("the demo has gone", None, LOST)),
    };
    is_done.store(true, Relaxed);
    factory.close(LOOK).await;
    let last = Sent {
        done: true,
        chain: feed.chain(),
        seconds: (end - start).as_secs_f64(),
        ..sent(&sink).await
    };
    say(&last);
    reporter.shutdown().await;
    Ok(())
}

/// Sends what the feed gives, no faster than it should be.
async fn send_all(
    sink: &Arc<dyn MessageSink>,
    feed: &mut Feed,
    messages: u64,
    over: Option<Duration>,
) -> Result<(), Said> {
    let start = now();
    let mut number = 0;
    let mut due = if over.is_some() { 0 } else { messages };
    while let Some(payload) = feed.next().map_err(|error| unreadable(&error))? {
        while number >= due {
            let Some(over) = over else { break };
            let passed = now() - start;
            due = share(messages, passed, over);
            if number >= due {
                sleep_until((now() + STEP).into()).await;
            }
        }
        number += 1;
        let mut refused = match sink.try_send(Message::new(payload)) {
            Ok(()) => continue,
            Err(TrySendError::WouldWait(message)) => message,
            Err(TrySendError::Refused(error)) => return Err(Said::error(&error)),
            Err(error) => return Err(Said::fault(error, None, LOST)),
        };
        // The demo decides for how long that makes sense.
        loop {
            match sink.send(refused).await {
                Ok(()) => break,
                Err(SinkError::BufferFull(failure)) => {
                    let message = SinkError::BufferFull(failure).into_message();
                    refused = message.ok_or_else(|| Said::fault("no message", None, LOST))?;
                }
                Err(error) => return Err(Said::error(&error)),
            }
        }
    }
    Ok(())
}

/// Returns how many messages are due after so much of the time.
fn share(messages: u64, passed: Duration, over: Duration) -> u64 {
    let due = u128::from(messages) * passed.as_micros() / over.as_micros().max(1);
    u64::try_from(due).unwrap_or(u64::MAX).min(messages)
}

/// Says how the sink fares, ten times a second and whenever it is asked; ends when stdin ends.
async fn report(sink: Arc<dyn MessageSink>, is_done: Arc<AtomicBool>) {
    let mut asked = Asked(stdin());
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            asked = asked.next() => if !asked { return },
        }
        let sent = sent(&sink).await;
        if !is_done.load(Relaxed) {
            say(&sent);
        }
    }
}

/// Bytes on stdin, each a question.
struct Asked(Stdin);

impl Asked {
    /// Waits for the next; `false` when there will be none.
    async fn next(&mut self) -> bool {
        let mut one = [0];
        matches!(self.0.read(&mut one).await, Ok(1..))
    }
}

async fn sent(sink: &Arc<dyn MessageSink>) -> Sent {
    let outlook = Outlook::of(sink).await;
    let Ledger {
        accepted,
        delivered,
        waiting,
        ..
    } = outlook.ledger;
    Sent {
        accepted,
        delivered,
        waiting,
        other: accepted - delivered - waiting,
        wakes: outlook.wakes,
        connects: outlook.connects,
        connected: outlook.state == wakewire::ConnectionState::Connected,
        state: shown(outlook.state).to_owned(),
        last_error: outlook.last_error,
        ..Sent::default()
    }
}

async fn receive(
    configuration: Configuration,
    name: &str,
    consumer: String,
    messages: u64,
) -> Result<(), Said> {
    let factory = SinkFactory::from_registry(configuration.load()?);
    let source = factory.create_source(name).await;
    let mut source = source.map_err(|error| Said::error(&error))?.named(consumer);
    let mut tally = Tally::default();
    let mut next = now();
    let ended = stdin_ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            batch = source.recv_batch() => match batch.map_err(|error| Said::error(&error))? {
                Some(batch) => batch.iter().for_each(|message| tally.take(message.payload())),
                None => break,
            },
            () = sleep_until(next.into()) => {}
            () = &mut ended => break,
        }
        let now = now();
        if now >= next {
            say(&received(&source, &tally, messages, false));
            next = now + LOOK;
        }
    }
    source.close(CLOSE_WITHIN).await;
    say(&received(&source, &tally, messages, true));
    Ok(())
}

fn received(source: &MessageSource, tally: &Tally, messages: u64, done: bool) -> Received {
    let stats = source.stats();
    Received {
        received: tally.received,
        lost: tally.lost(messages),
        duplicated: tally.duplicated,
        out_of_order: tally.out_of_order,
        corrupt: tally.corrupt,
        missed: stats.missed,
        connects: stats.connects,
        chain: tally.chain(),
        difference: tally.difference().map(str::to_owned),
        done,
    }
}

/// Says a line to the demo; when that has gone, stdin ends as well.
fn say(what: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(what) {
        line.push(b'\n');
        drop(io::stdout().write_all(&line));
    }
}

fn unreadable(error: &io::Error) -> Said {
    Said::fault(format!("cannot read the lines: {error}"), None, LOST)
}

/// How often everybody says how it is, and how long one call waits.
const LOOK: Duration = Duration::from_millis(100);
/// How finely messages are spread over time.
const STEP: Duration = Duration::from_millis(2);
/// How long it takes at most to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spread_evenly_and_end_with_the_time() {
        let over = Duration::from_secs(10);
        let at = |milliseconds| share(1000, Duration::from_millis(milliseconds), over);
        assert_eq!(
            [at(0), at(9), at(10), at(5000), at(10_000), at(60_000)],
            [0, 0, 1, 500, 1000, 1000]
        );
    }
}
