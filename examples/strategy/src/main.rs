//! The command `strategy`: prices of pools from one service, signals to another.

mod line;
mod market;
mod threshold;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncWriteExt, Stdout, stdout};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use wakewire::{Batch, Message, MessageSink, MessageSource, SinkError, SinkFactory};
use wakewire_polygon::codec::PoolEvent;

use crate::market::Market;

/// Keeps the mid price of every pool, and signals where two pools of a pair differ.
#[derive(Debug, Parser)]
#[command(name = "strategy", version)]
struct Arguments {
    /// The service that is listened to.
    #[arg(long, value_name = "NAME", default_value = "market_data_relay")]
    from: String,
    /// The service that is told.
    #[arg(long, value_name = "NAME", default_value = "signal_relay")]
    to: String,
    /// The name by which the relay knows this consumer.
    #[arg(long = "as", value_name = "CONSUMER", default_value = "strategy")]
    consumer: String,
    /// The services file.
    #[arg(long, value_name = "FILE", default_value = "services.toml")]
    services: PathBuf,
    /// By how much more than the lower price the higher one must be, in per cent.
    #[arg(long, value_name = "PERCENT", default_value = "0.5", value_parser = threshold::millionths)]
    threshold: u32,
    /// Print prices and spreads as JSON, with all digits.
    #[arg(long)]
    json: bool,
}

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(io::stderr)
        .init();
    let arguments = Arguments::parse();
    let ended = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::from)
        .and_then(|runtime| {
            let ended = runtime.block_on(run(&arguments));
            // A reader that reads nothing is not waited for.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut by_keyboard = signal(SignalKind::interrupt())?;
    let mut by_process = signal(SignalKind::terminate())?;
    let factory = SinkFactory::from_config(&arguments.services)?;
    let source = factory.create_source(&arguments.from).await?;
    let mut source = source.named(&arguments.consumer);
    let mut strategy = Strategy {
        market: Market::new(arguments.threshold),
        signals: factory.create_sink(&arguments.to).await?,
        json: arguments.json,
        output: stdout(),
        in_hand: false,
        tally: Tally::default(),
    };
    let ended = tokio::select! {
        ended = strategy.run(&mut source) => ended.or_else(unread),
        _ = by_keyboard.recv() => Ok(()),
        _ = by_process.recv() => Ok(()),
    };
    let report = factory.close(CLOSE_WITHIN).await;
    let missed = source.stats().missed;
    if !strategy.in_hand {
        // Else what was received last comes again: not all that follows from it is said.
        source.close(CLOSE_WITHIN).await;
    }
    let Tally {
        events,
        unreadable,
        signals,
    } = strategy.tally;
    let undelivered = report.undelivered;
    let talk = if arguments.json {
        json!({
            "events": events,
            "unreadable": unreadable,
            "missed": missed,
            "signals": signals,
            "undelivered": undelivered,
        })
        .to_string()
    } else {
        format!(
            "{events} events, {unreadable} unreadable, {missed} missed; {signals} signals, {undelivered} undelivered"
        )
    };
    writeln!(io::stderr(), "{talk}")?;
    ended
}

/// Nobody reads what is printed: that is theirs to decide, and no failure.
fn unread(error: Error) -> Result<(), Error> {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

/// What runs between two services, of which it knows the names.
struct Strategy {
    market: Market,
    signals: Arc<dyn MessageSink>,
    json: bool,
    output: Stdout,
    /// Messages were received of which not everything is said.
    in_hand: bool,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    events: u64,
    unreadable: u64,
    signals: u64,
}

impl Strategy {
    /// Receives until there is nobody left to print for. Asking for the next batch acknowledges the one before: by then
    /// its prices are printed, and its signals accepted.
    async fn run(&mut self, source: &mut MessageSource) -> Result<(), Error> {
        while let Some(batch) = source.recv_batch().await? {
            self.in_hand = true;
            let (text, signals) = self.conclude(&batch);
            self.output.write_all(text.as_bytes()).await?;
            self.output.flush().await?;
            for signal in signals {
                self.signal(signal).await?;
            }
            self.in_hand = false;
        }
        Ok(())
    }

    /// Sends a signal; waits for as long as nobody takes signals, and looks at nothing further meanwhile.
    async fn signal(&mut self, mut signal: Message) -> Result<(), Error> {
        while let Err(error) = self.signals.send(signal).await {
            let is_full = matches!(error, SinkError::BufferFull(_));
            let said = error.to_string();
            signal = match error.into_message() {
                Some(back) if is_full => back,
                _ => return Err(said.into()),
            };
            writeln!(io::stderr(), "{said}")?;
        }
        self.tally.signals += 1;
        Ok(())
    }

    fn conclude(&mut self, batch: &Batch<'_>) -> (String, Vec<Message>) {
        let (mut text, mut signals) = (String::new(), Vec::new());
        for message in batch {
            self.tally.events += 1;
            let event = match PoolEvent::read(message.message_type(), message.payload()) {
                Ok(event) => event,
                Err(error) => {
                    self.tally.unreadable += 1;
                    drop(writeln!(io::stderr(), "unreadable: {error}"));
                    continue;
                }
            };
            let Some(quote) = self.market.take(&event) else {
                continue;
            };
            line::write(&quote, self.json, &mut text);
            let time = message.timestamp();
            let told = quote.spreads.iter();
            signals.extend(told.map(|spread| spread.to_message().with_timestamp(time)));
        }
        (text, signals)
    }
}

/// How long it takes at most to deliver what is owed, and to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
