//! How many instructions wakewire's hot paths take, counted by callgrind, beside a baseline.
//!
//! The program that is started runs itself under valgrind once for each path and size.

mod baseline;
mod callgrind;
mod peer;
mod receiving;
mod region;
mod relaying;
mod sending;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use crate::baseline::{Baseline, Count, Toolchain};

/// One way that a message takes; measures it at a payload size and returns how many messages that were.
type Measure = fn(usize) -> Result<u64>;

/// What is counted.
const PATHS: &[(&str, Measure)] = &[
    ("send", sending::direct),
    ("send, sink of a factory", sending::by_name),
    ("send, lazy", sending::lazy),
    ("take", sending::taking),
    ("take, lazy", sending::lazy_taking),
    ("decode", receiving::decode),
    ("deliver, views", receiving::views),
    ("deliver, owned", receiving::owned),
    ("relay, 1 consumer", relaying::to_one),
    ("relay, 8 consumers", relaying::to_eight),
];

/// Payload bytes.
const SIZES: &[usize] = &[64, 1024];

#[derive(Debug, Parser)]
#[command(about, version)]
struct Cli {
    /// Makes what was counted the new baseline.
    #[arg(long)]
    save: bool,
    /// Writes counts and baseline to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Ends with exit code 1 if something is more than 2 % dearer than the baseline.
    #[arg(long)]
    strict: bool,
    /// Counts only the paths in whose name this is.
    #[arg(long, default_value = "", value_name = "PART")]
    only: String,
    #[command(subcommand)]
    inside: Option<Inside>,
}

#[derive(Debug, Subcommand)]
enum Inside {
    /// What runs under valgrind.
    #[command(hide = true)]
    Measure { path: String, size: usize },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Inside::Measure { path, size }) = cli.inside {
        let found = PATHS.iter().find(|(name, _)| *name == path);
        let (_, measure) = found.ok_or_else(|| anyhow::anyhow!("no path `{path}`"))?;
        println!("{}", measure(size)?);
        return Ok(());
    }
    let now = Toolchain::here()?;
    let mut counts = Vec::new();
    for (name, _) in PATHS.iter().filter(|(name, _)| name.contains(&cli.only)) {
        for &size in SIZES {
            let instructions = callgrind::per_message(name, size)?;
            counts.push(Count::new(name, size, instructions));
        }
    }
    ensure!(!counts.is_empty(), "no path has `{}` in its name", cli.only);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
    let baseline = Baseline::read(&file)?;
    table::print(&now, &counts, baseline.as_ref());
    if let Some(json) = &cli.json {
        table::write(json, &now, &counts, baseline.as_ref())?;
    }
    let dearer = table::dearer(&counts, baseline.as_ref());
    if cli.save {
        Baseline::merged(baseline, now, counts).write(&file)?;
        println!("\nsaved in {}", file.display());
    }
    ensure!(
        !cli.strict || dearer == 0,
        "{dearer} counts are more than 2 % dearer than the baseline"
    );
    Ok(())
}
