//! The command `recorder`: writes every event of a service down once, whatever is killed.

mod journal;
mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::block_in_place;
use wakewire::{Batch, Cursor, MessageSource, SinkFactory};

use crate::journal::Journal;

/// Appends every message of a service to a file, as a line of JSON.
#[derive(Debug, Parser)]
#[command(name = "recorder", version)]
struct Arguments {
    /// The service that is listened to.
    #[arg(long, value_name = "NAME", default_value = "market_data_relay")]
    from: String,
    /// The name by which the relay knows this consumer.
    #[arg(long = "as", value_name = "CONSUMER", default_value = "recorder")]
    consumer: String,
    /// The services file.
    #[arg(long, value_name = "FILE", default_value = "services.toml")]
    services: PathBuf,
    /// The file to append to.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Where to keep how far it has come; else beside the output, with `.cursor` at the end.
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
        .with_writer(io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut signals = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    ];
    let factory = SinkFactory::from_config(&arguments.services)?;
    let source = factory.create_source(&arguments.from).await?;
    let cursor = Cursor::open(cursor_of(arguments))?;
    let mut recording = Recording::open(&arguments.output, &cursor)?;
    let mut source = source.named(&arguments.consumer).with_cursor(cursor);
    let ended = recording.run(&mut source, &mut signals).await;
    // What is written is marked, and acknowledged by saying goodbye; what is not will come again.
    let acknowledged = ended.is_ok() && source.close(CLOSE_WITHIN).await;
    let stats = source.stats();
    let report = json!({
        "recorded": recording.lines,
        "unreadable": recording.unreadable,
        "missed": stats.missed,
        "connects": stats.connects,
        "acknowledged": acknowledged,
    });
    let report = if arguments.json {
        format!("{report}\n")
    } else {
        format!(
            "recorded {}, of which {} could not be read; missed {}\n",
            recording.lines, recording.unreadable, stats.missed
        )
    };
    io::stdout().write_all(report.as_bytes())?;
    ended
}

fn cursor_of(arguments: &Arguments) -> PathBuf {
    arguments.cursor.clone().unwrap_or_else(|| {
        let mut beside = arguments.output.clone().into_os_string();
        beside.push(".cursor");
        beside.into()
    })
}

/// The file, and what has come into it.
struct Recording {
    output: File,
    journal: Journal,
    lines: u64,
    unreadable: u64,
}

impl Recording {
    fn open(path: &Path, cursor: &Cursor) -> Result<Self, Error> {
        let shown = path.display();
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .and_then(|output| {
                let journal = Journal::resume(&output, cursor.mark().as_deref())?;
                Ok((output, journal))
            });
        let (output, journal) =
            opened.map_err(|error| format!("cannot write `{shown}`: {error}"))?;
        Ok(Self {
            output,
            journal,
            lines: 0,
            unreadable: 0,
        })
    }

    /// Writes what comes until somebody says that it is enough. Asking for the next batch acknowledges the one before,
    /// which is written by then, and so does closing the source.
    async fn run(
        &mut self,
        source: &mut MessageSource,
        signals: &mut [Signal; 2],
    ) -> Result<(), Error> {
        source.set_mark(&self.journal.mark())?;
        let [by_keyboard, by_process] = signals;
        loop {
            let text = tokio::select! {
                batch = source.recv_batch() => match batch? {
                    Some(batch) => self.lines_of(&batch),
                    None => return Ok(()),
                },
                _ = by_keyboard.recv() => return Ok(()),
                _ = by_process.recv() => return Ok(()),
            };
            for missed in source.take_missed() {
                writeln!(io::stderr(), "missed: {missed:?}")?;
            }
            block_in_place(|| self.output.write_all(&text))?;
            self.journal.add(&text);
            source.set_mark(&self.journal.mark())?;
        }
    }

    fn lines_of(&mut self, batch: &Batch<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        for message in batch {
            let (message_type, payload) = (message.message_type(), message.payload());
            let line = line::line(message_type, payload).unwrap_or_else(|why| {
                self.unreadable += 1;
                line::unreadable(message_type, payload, why)
            });
            text.extend_from_slice(line.to_string().as_bytes());
            text.push(b'\n');
            self.lines += 1;
        }
        text
    }
}

/// How long it takes at most to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
