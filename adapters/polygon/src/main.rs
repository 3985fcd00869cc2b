//! The service `polygon-adapter`: pool events of an EVM node, sent to a name.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use alloy_primitives::Address;
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use wakewire::{Report, SinkError, SinkFactory};
use wakewire_polygon::adapter::{Adapter, Tally};
use wakewire_polygon::events::SIGNATURES;
use wakewire_polygon::follow::{Chain, follow};
use wakewire_polygon::node::Filter;
use wakewire_polygon::recording::Recording;
use wakewire_polygon::replay::replay;

/// Sends the pool events of an EVM node to a service.
#[derive(Debug, Parser)]
#[command(name = "polygon-adapter", version)]
struct Arguments {
    /// The node, `ws://…` or `wss://…`.
    #[arg(long, value_name = "URL", required_unless_present = "replay")]
    node: Option<String>,
    /// The service that is sent to.
    #[arg(long, value_name = "NAME", default_value = "market_data_relay")]
    to: String,
    /// The services file.
    #[arg(long, value_name = "FILE", default_value = "services.toml")]
    services: PathBuf,
    /// A pool to follow; may be given more than once. Without one, all pools.
    #[arg(long, value_name = "ADDRESS")]
    pool: Vec<Address>,
    /// The first block; else what comes after the first connection to the node.
    #[arg(long, value_name = "BLOCK")]
    from: Option<u64>,
    /// Notes what was sent in this file, and goes on there when started again.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
    /// Sends recorded logs instead of asking a node, and ends when they are delivered.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["node", "from", "pool", "position"])]
    replay: Option<PathBuf>,
    /// Sends them so many times, each time in later blocks.
    #[arg(long, value_name = "TIMES", default_value_t = 1, requires = "replay")]
    repeat: u64,
    /// Sends at most so many events a second.
    #[arg(long, value_name = "EVENTS", requires = "replay")]
    pace: Option<u32>,
    /// How long to wait at the end until all is delivered, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    deadline: u64,
    /// Reports as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info".into()))
        .with_writer(io::stderr)
        .init();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(code) => code,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    drop(writeln!(io::stderr(), "error: {error}"));
    ExitCode::from(2)
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let recording = match &arguments.replay {
        Some(path) => Some(recorded(path)?),
        None => None,
    };
    let mut by_keyboard = signal(SignalKind::interrupt())?;
    let mut by_process = signal(SignalKind::terminate())?;
    let factory = SinkFactory::from_config(&arguments.services)?;
    let mut adapter = Adapter::to(&factory, &arguments.to).await?;
    let begun = Instant::now();
    let (ended, taken) = {
        let mut taken = None;
        let working = async {
            let Some(recording) = &recording else {
                match follow(&chain(arguments), &mut adapter).await? {}
            };
            replay(recording, arguments.repeat, arguments.pace, &mut adapter).await?;
            taken = Some(begun.elapsed());
            drained(&factory).await;
            Ok(())
        };
        let ended: Result<(), SinkError> = tokio::select! {
            ended = working => ended,
            _ = by_keyboard.recv() => Ok(()),
            _ = by_process.recv() => Ok(()),
        };
        (ended, taken)
    };
    let delivered = begun.elapsed();
    let report = factory.close(Duration::from_secs(arguments.deadline)).await;
    let text = told(
        arguments.json,
        adapter.tally(),
        taken.unwrap_or(delivered),
        delivered,
        &report,
    );
    io::stdout().write_all(text.as_bytes())?;
    ended?;
    Ok(ExitCode::from(u8::from(report.undelivered > 0)))
}

fn chain(arguments: &Arguments) -> Chain {
    Chain {
        node: arguments.node.clone().unwrap_or_default(),
        filter: Filter {
            addresses: arguments.pool.clone(),
            signatures: SIGNATURES.to_vec(),
        },
        from: arguments.from,
        position: arguments.position.clone(),
    }
}

fn recorded(path: &PathBuf) -> Result<Recording, Box<dyn std::error::Error>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("`{shown}`: {error}"))?;
    let recording = Recording::read(&text)
        .map_err(|(line, error)| format!("`{shown}`, line {line}: {error}"))?;
    Ok(recording)
}

/// Waits until all that was sent is delivered, however long that takes: who waits can interrupt it.
async fn drained(factory: &SinkFactory) {
    while factory.flush(Duration::from_secs(1)).await.waiting > 0 {}
}

/// What became of everything.
fn told(
    json: bool,
    tally: &Tally,
    taken: Duration,
    delivered: Duration,
    report: &Report,
) -> String {
    let Tally {
        sent,
        removed,
        undecodable,
        other,
        decoding,
        sending,
        ..
    } = tally;
    let rate = *sent as f64 / delivered.as_secs_f64();
    if json {
        let told = json!({
            "sent": sent,
            "removed": removed,
            "undecodable": undecodable,
            "other": other,
            "delivered": report.delivered,
            "undelivered": report.undelivered,
            "seconds": delivered.as_secs_f64(),
            "accepted_after_seconds": taken.as_secs_f64(),
            "decoding_seconds": decoding.as_secs_f64(),
            "sending_seconds": sending.as_secs_f64(),
        });
        return format!("{told}\n");
    }
    let mut text = format!(
        "{sent} events sent ({removed} took one back), {} delivered, {} not, in {:.2} s: {rate:.0} a second; decoding \
         took {:.2} s, sending {:.2} s\n",
        report.delivered,
        report.undelivered,
        delivered.as_secs_f64(),
        decoding.as_secs_f64(),
        sending.as_secs_f64(),
    );
    if *undecodable + *other > 0 {
        text += &format!("{undecodable} logs did not decode, {other} were other events\n");
    }
    text
}
