//! Senders, relay and consumers in a simulated network that breaks, from seeds.
//!
//! Everything follows from the seed of a play: who is there and how they behave, what breaks when, how long each
//! segment is on its way, and what the library draws. A play that fails fails again.

mod cast;
mod fault;
mod journal;
mod plan;
mod play;

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use crate::play::{Outcome, play};

/// Plays seeds, and says which of them break a promise.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Plays one seed, and tells everything
    #[arg(long, conflicts_with_all = ["seeds", "from", "json"])]
    seed: Option<u64>,
    /// Plays each seed twice, and compares what happened
    #[arg(long)]
    twice: bool,
    /// Threads; as many as there are cores unless it is written
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Writes the sums to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !cfg!(tokio_unstable) {
        println!(
            "built without `--cfg tokio_unstable`: a seed will not be played twice the same way"
        );
    }
    if let Some(seed) = cli.seed {
        let outcome = play(seed, true);
        println!("{outcome:#?}");
        return code(outcome.broken.is_empty());
    }
    let sums = play_all(&cli);
    println!("{sums:#?}");
    if let Some(file) = &cli.json
        && let Err(error) = std::fs::write(file, format!("{:#}\n", sums.json()))
    {
        println!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    code(sums.failed.is_empty() && sums.unrepeatable.is_empty())
}

fn code(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays all seeds, on all threads, and says what fails as it fails.
fn play_all(cli: &Cli) -> Sums {
    let threads = cli
        .threads
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let next = AtomicU64::new(cli.from);
    let end = cli.from.saturating_add(cli.seeds);
    let begun = Instant::now();
    let mut sums = Sums::default();
    thread::scope(|scope| {
        let (done, outcomes) = mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (next, done) = (&next, done.clone());
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = play(seed, false);
                    let differs = cli.twice && play(seed, false).trace != outcome.trace;
                    if done.send((outcome, differs)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut told = Instant::now();
        for (outcome, differs) in outcomes {
            sums.add(&outcome, differs);
            if !outcome.broken.is_empty() {
                println!("\rseed {} fails:", outcome.seed);
                for what in &outcome.broken {
                    println!("  {what}");
                }
                println!("  again: cargo run --release -- --seed {}", outcome.seed);
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let rate = sums.seeds as f64 / begun.elapsed().as_secs_f64();
                let end = if std::io::stdout().is_terminal() {
                    "\r"
                } else {
                    "\n"
                };
                print!(
                    "{} of {} seeds, {rate:.0} a second{end}",
                    sums.seeds, cli.seeds
                );
                if std::io::stdout().flush().is_err() {
                    return;
                }
            }
        }
    });
    sums.took = begun.elapsed();
    sums
}

/// What all plays come to.
#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    failed: Vec<u64>,
    /// Went otherwise when they were played again.
    unrepeatable: Vec<u64>,
    faults: usize,
    accepted: u64,
    processed: u64,
    again: u64,
    died: u64,
    simulated: Duration,
    longest_recovery: Duration,
    took: Duration,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome, differs: bool) {
        self.seeds += 1;
        if !outcome.broken.is_empty() {
            self.failed.push(outcome.seed);
        }
        if differs {
            self.unrepeatable.push(outcome.seed);
        }
        self.faults += outcome.faults;
        self.accepted += outcome.counts.accepted;
        self.processed += outcome.counts.processed;
        self.again += outcome.counts.again;
        self.died += outcome.counts.died;
        self.simulated += outcome.simulated;
        self.longest_recovery = self.longest_recovery.max(outcome.recovery);
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "seeds": self.seeds,
            "failed": self.failed,
            "unrepeatable": self.unrepeatable,
            "faults": self.faults,
            "accepted": self.accepted,
            "processed": self.processed,
            "processed_again_by_a_later_life": self.again,
            "unacknowledged_when_their_producer_ended": self.died,
            "simulated_seconds": self.simulated.as_secs_f64(),
            "longest_recovery_seconds": self.longest_recovery.as_secs_f64(),
            "took_seconds": self.took.as_secs_f64(),
        })
    }
}

/// Between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
