//! The command `wakewire`.

mod check;
mod diagnostic;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Send to a name; the wire wakes on data.
#[derive(Debug, Parser)]
#[command(name = "wakewire", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with a configuration, or show what it means.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print what was found as JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let Command::Check { config, json } = command;
    let said = check::run(&configuration(config), json, is_colourful());
    let printed = io::stdout()
        .write_all(said.stdout.as_bytes())
        .and_then(|()| io::stderr().write_all(said.stderr.as_bytes()));
    match printed {
        // Nobody reads on: that is theirs to decide, and no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => said.exit_code(),
    }
}

/// Returns which configuration is meant: as said, else as the environment says, else the one here.
fn configuration(said: Option<PathBuf>) -> PathBuf {
    said.or_else(|| std::env::var_os("WAKEWIRE_CONFIG").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("services.toml"))
}

fn is_colourful() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !forbidden
}
