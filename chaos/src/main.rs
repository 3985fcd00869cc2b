//! Kills, stops and cuts real processes under full load, and checks what became of every message.

mod chance;
mod checker;
mod flat;
mod kills;
mod payload;
mod process;
mod proxy;
mod ranges;
mod record;
mod role;
mod run;
mod said;
mod soak;
mod stage;
mod troupe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::said::put;

/// Kill it, stop it, cut it: then look for every message.
///
/// Ends with 0 when nothing is wrong, with 1 when a promise was broken, with 2 when it could not be tried.
#[derive(Debug, Parser)]
#[command(name = "wakewire-chaos")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Harm senders, relays and receivers at random under full load, and check every message.
    Kill(kills::Arguments),
    /// Harm them for minutes over all transports, and see that nobody who lives through it grows.
    Soak(soak::Arguments),
    /// Check the logs that a run has left with `--keep`.
    Check(kills::CheckArguments),
    /// Be one of the processes.
    #[command(hide = true)]
    Role(role::Arguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // Children die with the thread that has started them, which must therefore be the one that lasts.
    let built = match command {
        Command::Role(_) => Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
        _ => Builder::new_current_thread().enable_all().build(),
    };
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            put(&format!("cannot start the runtime: {error}\n"));
            return ExitCode::from(BROKEN);
        }
    };
    let code = runtime.block_on(async {
        match command {
            Command::Role(arguments) => match role::run(arguments).await {
                Ok(()) => RIGHT,
                Err(error) => {
                    put(&format!("{error}\n"));
                    BROKEN
                }
            },
            Command::Kill(arguments) => until_interrupted(kills::run(arguments)).await,
            Command::Soak(arguments) => until_interrupted(soak::run(arguments)).await,
            Command::Check(arguments) => kills::check(&arguments),
        }
    });
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs it, and drops it with all its processes when somebody wants that.
async fn until_interrupted(running: impl Future<Output = u8>) -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        put("cannot listen for signals\n");
        return BROKEN;
    };
    tokio::select! {
        code = running => return code,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    put("interrupted\n");
    BROKEN
}

/// Nothing is wrong.
const RIGHT: u8 = 0;
/// A promise was broken.
const WRONG: u8 = 1;
/// It could not be tried.
const BROKEN: u8 = 2;
