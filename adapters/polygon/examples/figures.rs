//! How fast recorded logs become events at a consumer: adapter, relay and consumer, three processes.
//!
//! `cargo build --release -p wakewire-cli -p wakewire-polygon`, then
//! `cargo run --release -p wakewire-polygon --example figures -- [LOGS] [PACE]`: so many logs (1,000,000), at most so many
//! a second (as fast as they go).
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and says what"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use wakewire::{MessageSource, SinkFactory};
use wakewire_polygon::codec::PoolEvent;
use wakewire_polygon::recording::Recording;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded.jsonl");

/// A process that does not outlive this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.replace('_', ""));
    let logs: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let pace = arguments.next();
    let recorded = Recording::read(&fs::read_to_string(FILE)?)
        .map_err(|(line, error)| format!("{line}: {error}"))?;
    let repeat = logs.div_ceil(recorded.logs.len() as u64);
    let logs = repeat * recorded.logs.len() as u64;

    let directory = tempfile::tempdir()?;
    let services = directory.path().join("services.toml");
    let text = format!(
        "[services.market_data_relay]\ntype = 'relay'\nendpoint = 'unix://{}'\ndomain = 'market_data'\n\
         precision_context = 'dex_token'\nconsumers = ['figures']\n",
        directory.path().join("relay.sock").display()
    );
    fs::write(&services, text)?;
    let _relay = Running(
        Command::new(built("wakewire")?)
            .args(["relay", "market_data_relay", "--config"])
            .arg(&services)
            .env("RUST_LOG", "warn")
            .spawn()?,
    );
    let factory = SinkFactory::from_config(&services)?;
    let mut source = factory
        .create_source("market_data_relay")
        .await?
        .named("figures");
    let mut adapter = Command::new(built("polygon-adapter")?);
    adapter
        .args([
            "--json",
            "--replay",
            FILE,
            "--repeat",
            &repeat.to_string(),
            "--services",
        ])
        .arg(&services);
    if let Some(pace) = pace {
        adapter.args(["--pace", &pace]);
    }
    let mut adapter = Running(
        adapter
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?,
    );

    let heard = Heard::of(&mut source, logs).await?;
    source.close(Duration::from_secs(5)).await;
    let output = adapter.0.stdout.take().ok_or("no output")?;
    let told = serde_json::from_str(&std::io::read_to_string(output)?)?;
    adapter.0.wait()?;
    heard.print();
    print(&told);
    Ok(())
}

/// What a consumer measures.
struct Heard {
    seconds: f64,
    /// How long each event took, in nanoseconds, the shortest first.
    waited: Vec<u64>,
}

impl Heard {
    /// Receives so many events and reads each.
    async fn of(source: &mut MessageSource, logs: u64) -> Result<Self, Box<dyn Error>> {
        let mut waited = Vec::with_capacity(usize::try_from(logs)?);
        let (mut first, mut last) = (u64::MAX, 0);
        while (waited.len() as u64) < logs {
            let Some(batch) = source.recv_batch().await? else {
                return Err("the source is closed".into());
            };
            for view in &batch {
                PoolEvent::read(view.message_type(), view.payload())?;
                last = nanoseconds()?;
                first = first.min(view.timestamp());
                waited.push(last.saturating_sub(view.timestamp()));
            }
        }
        waited.sort_unstable();
        let seconds = last.saturating_sub(first) as f64 / 1e9;
        Ok(Self { seconds, waited })
    }

    fn print(&self) {
        let logs = self.waited.len();
        println!(
            "{logs} logs, each received and read, in {:.2} s: {:.0} a second",
            self.seconds,
            logs as f64 / self.seconds
        );
        let percentile = |hundredths: usize| {
            let place = logs.saturating_sub(1) * hundredths / 100;
            self.waited
                .get(place)
                .map_or(f64::NAN, |waited| *waited as f64 / 1000.0)
        };
        println!(
            "from the log to the consumer: p50 {:.0} µs, p99 {:.0} µs, longest {:.0} µs",
            percentile(50),
            percentile(99),
            percentile(100)
        );
    }
}

/// What the adapter says of itself.
fn print(told: &Value) {
    let part = |name: &str| told[name].as_f64().unwrap_or(f64::NAN);
    let (logs, all) = (part("sent"), part("accepted_after_seconds"));
    let share = |name: &str| (part(name) / all * 100.0, part(name) / logs * 1e6);
    let (decoding, sending) = (share("decoding_seconds"), share("sending_seconds"));
    println!(
        "of the adapter's {all:.2} s: decoding and encoding {:.0} % ({:.2} µs a log), sending {:.0} % ({:.2} µs, \
         waiting for room included); the rest is reading the clock, pacing, and making the logs",
        decoding.0, decoding.1, sending.0, sending.1,
    );
}

/// Returns the path of a program that was built as this one was.
fn built(program: &str) -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).ok_or("no directory")?;
    let path = directory.join(program);
    if !path.exists() {
        return Err(format!(
            "{} is missing: build it first, as the first lines here say",
            path.display()
        )
        .into());
    }
    Ok(path)
}

fn nanoseconds() -> Result<u64, Box<dyn Error>> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}
