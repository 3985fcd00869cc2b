//! Senders, relay and consumers in a simulated network that breaks, from seeds.
//!
//! Everything follows from the seed of a play: who is there and how they behave, what breaks when, how long each
//! segment is on its way, and what the library draws. A play that fails fails again.

mod cast;
mod fault;
mod journal;
mod plan;
mod play;
mod sums;

use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::play::{Outcome, play};
use crate::sums::Sums;

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
    /// Processes; as many as there are cores unless it is written
    #[arg(long)]
    processes: Option<NonZero<u64>>,
    /// Writes the sums to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One of several processes: plays every so-manieth seed, and says a line of JSON of each
    #[arg(long, hide = true)]
    every: Option<NonZero<u64>>,
}

/// What one process says to the other.
#[derive(Serialize, Deserialize)]
struct Played {
    outcome: Outcome,
    /// Went otherwise when it was played again.
    differs: bool,
}

fn main() -> io::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(every) = cli.every {
        play_some(&cli, every)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !cfg!(tokio_unstable) {
        println!("built without `--cfg tokio_unstable`: played again, a seed may go otherwise");
    }
    if let Some(seed) = cli.seed {
        let outcome = play(seed, true);
        println!("{outcome:#?}");
        return Ok(code(outcome.broken.is_empty()));
    }
    let sums = play_all(&cli)?;
    println!("{sums}");
    if let Some(file) = &cli.json {
        std::fs::write(file, serde_json::to_string_pretty(&sums)? + "\n")?;
    }
    Ok(code(sums.is_well(cli.seeds)))
}

fn code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays a share of the seeds.
fn play_some(cli: &Cli, every: NonZero<u64>) -> io::Result<()> {
    let mut seed = cli.from;
    for _ in 0..cli.seeds {
        let outcome = play(seed, false);
        let differs = cli.twice && play(seed, false).trace != outcome.trace;
        let played = serde_json::to_string(&Played { outcome, differs })?;
        writeln!(io::stdout(), "{played}")?;
        seed = seed.saturating_add(every.get());
    }
    Ok(())
}

/// Plays all seeds, and says what fails as it fails. Each process has one thread, because tokio numbers the tasks of
/// a process.
fn play_all(cli: &Cli) -> io::Result<Sums> {
    let processes = match (cli.processes, thread::available_parallelism()) {
        (Some(processes), _) => processes.get(),
        (None, Ok(cores)) => cores.get() as u64,
        (None, Err(_)) => 1,
    };
    let mut children = (0..processes)
        .map(|index| start(cli, index, processes))
        .collect::<io::Result<Vec<Child>>>()?;
    let begun = Instant::now();
    let mut sums = Sums::default();
    thread::scope(|scope| {
        let (say, said) = mpsc::sync_channel(64);
        for out in children.iter_mut().filter_map(|child| child.stdout.take()) {
            let say = say.clone();
            scope.spawn(move || {
                for line in BufReader::new(out).lines() {
                    if line.map_or(true, |line| say.send(line).is_err()) {
                        return;
                    }
                }
            });
        }
        drop(say);
        let mut told = Instant::now();
        for line in said {
            let Ok(Played { outcome, differs }) = serde_json::from_str(&line) else {
                println!("{line}");
                continue;
            };
            tell_failure(&outcome);
            sums.add(&outcome, differs);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let rate = sums.seeds as f64 / begun.elapsed().as_secs_f64();
                println!("{} of {} seeds, {rate:.0} a second", sums.seeds, cli.seeds);
            }
        }
    });
    for mut child in children {
        child.wait()?;
    }
    sums.seconds = begun.elapsed().as_secs_f64();
    Ok(sums)
}

/// Starts one of so many processes.
fn start(cli: &Cli, index: u64, processes: u64) -> io::Result<Child> {
    let seeds = cli.seeds / processes + u64::from(index < cli.seeds % processes);
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--every", &processes.to_string()])
        .args(["--from", &cli.from.saturating_add(index).to_string()])
        .args(["--seeds", &seeds.to_string()])
        .stdout(Stdio::piped());
    if cli.twice {
        command.arg("--twice");
    }
    command.spawn()
}

fn tell_failure(outcome: &Outcome) {
    if outcome.broken.is_empty() {
        return;
    }
    println!("seed {} fails:", outcome.seed);
    for what in &outcome.broken {
        println!("  {what}");
    }
    println!(
        "  again, with everything: cargo run --release -- --seed {}",
        outcome.seed
    );
}

/// Between two words about how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
