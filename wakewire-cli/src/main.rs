//! The command `wakewire`.

mod check;
mod configuration;
mod demo;
mod diagnostic;
mod duration;
mod interrupt;
mod journal;
mod listen;
mod ping;
mod relay;
mod said;
mod send;
mod talk;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tokio::runtime::Builder;
use tracing_subscriber::filter::LevelFilter;

use crate::configuration::Configuration;
use crate::said::{LOST, Said};

/// Send to a name; the wire wakes on data.
#[derive(Debug, Parser)]
#[command(name = "wakewire", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say more of what happens; twice for all of it. Else `RUST_LOG` says how much.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with a configuration, or show what it means.
    Check {
        #[command(flatten)]
        configuration: Configuration,
        /// Print what was found as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send each line of a file or of stdin to a service, and see it delivered.
    Send(send::Arguments),
    /// Receive the messages of a service, a line each.
    Listen(listen::Arguments),
    /// Pass the messages of a service on from its senders to its consumers.
    Relay(relay::Arguments),
    /// Ask whether a service is there, over which protocol, and how long each step takes.
    Ping(ping::Arguments),
    /// Watch messages survive a relay that is killed again and again; then see how fast they are.
    Demo(demo::Arguments),
    /// Play a part in the demo.
    #[command(hide = true)]
    Cast(demo::cast::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command, verbose } = Arguments::parse();
    let usual = match command {
        // It has nothing to show but who comes and goes.
        Command::Relay(_) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    talk::trace(verbose, usual);
    let said = match command {
        Command::Check {
            configuration,
            json,
        } => check::run(&configuration.path(), json, talk::is_colourful()),
        Command::Send(arguments) => on_runtime(send::run(arguments)),
        Command::Listen(arguments) => on_runtime(listen::run(arguments)),
        Command::Relay(arguments) => on_runtime(relay::run(arguments)),
        Command::Ping(arguments) => on_runtime(ping::run(arguments)),
        Command::Demo(arguments) => on_runtime(demo::run(arguments)),
        Command::Cast(arguments) => on_runtime(demo::cast::run(arguments)),
    };
    said.print()
}

/// Runs a command that waits for the network.
fn on_runtime(command: impl Future<Output = Said>) -> Said {
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Said::fault(format!("cannot start the runtime: {error}"), None, LOST);
        }
    };
    let said = runtime.block_on(command);
    // A write that blocks for ever is not waited for.
    runtime.shutdown_background();
    said
}
