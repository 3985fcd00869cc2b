//! What wakewire costs where there is nobody to be compared with, each figure beside its target.

mod child;
mod figure;
mod idle;
mod indirection;
mod killed;
mod listener;
mod sleeping;
mod statistics;
mod system;
mod waking;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use crate::figure::Figure;

/// Measures something.
type Measure = fn() -> Result<Vec<Figure>>;

/// What is measured, in this order.
const MEASURES: &[(&str, Measure)] = &[
    ("factory", indirection::factory),
    ("lazy", indirection::lazy),
    ("sleeping", sleeping::sleeping),
    ("wake", waking::wake),
    ("away", waking::away),
    ("idle", idle::idle),
    ("kill", killed::killed),
];

#[derive(Debug, Parser)]
#[command(about, version)]
struct Cli {
    /// Measures only these: factory, lazy, sleeping, wake, away, idle, kill.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Writes the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    inside: Option<Inside>,
}

/// The processes that this program starts of itself.
#[derive(Debug, Subcommand)]
enum Inside {
    /// Runs a relay and says how much memory it has whenever it is asked.
    #[command(hide = true)]
    Relay { path: PathBuf },
    /// Receives, and writes down what it has received.
    #[command(hide = true)]
    Receive { path: PathBuf, record: PathBuf },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.inside {
        Some(Inside::Relay { path }) => return idle::relay(&path),
        Some(Inside::Receive { path, record }) => return killed::receive(&path, &record),
        None => {}
    }
    let known = |name: &String| MEASURES.iter().any(|(known, _)| known == name);
    ensure!(cli.only.iter().all(known), "an unknown name in --only");
    let mut figures = Vec::new();
    let mut failed = 0;
    for (name, measure) in MEASURES {
        if !cli.only.is_empty() && !cli.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("{name} …");
        match measure() {
            Ok(more) => figures.extend(more),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                failed += 1;
            }
        }
    }
    figure::print(&figures);
    if let Some(json) = &cli.json {
        figure::write(json, &figures)?;
    }
    ensure!(failed == 0, "{failed} could not be measured");
    Ok(())
}
