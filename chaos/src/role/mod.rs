//! What the processes of a run do: send, pass on, receive. They end with stdin, and die with whoever started them.

mod receiver;
mod relay;
mod sender;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::EnvFilter;

pub(crate) use self::receiver::Planted;
use crate::record::{MarkFile, Word};

/// Which part a process of a run plays.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The process that started this one.
    #[arg(long)]
    parent: i32,
    /// The services.toml of this part.
    #[arg(long)]
    services: PathBuf,
    /// Where it says how it is.
    #[arg(long)]
    mark: PathBuf,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Passes messages on.
    Relay(relay::Arguments),
    /// Sends as fast as messages are taken.
    Sender(sender::Arguments),
    /// Receives, checks, and writes down what came.
    Receiver(receiver::Arguments),
}

type Done = Result<(), Box<dyn Error + Send + Sync>>;

/// Plays the part until stdin ends.
pub(crate) async fn run(arguments: Arguments) -> Done {
    die_with(arguments.parent)?;
    // What the library tells, if `RUST_LOG` asks for it.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let mut counting = JoinSet::new();
    counting.spawn(count_tasks(MarkFile::open(&arguments.mark)?));
    match arguments.part {
        Part::Relay(more) => relay::run(&arguments.services, more).await,
        Part::Sender(more) => sender::run(&arguments.services, &arguments.mark, more).await,
        Part::Receiver(more) => receiver::run(&arguments.services, more).await,
    }
}

/// Has the kernel end this process when its parent has ended, also while it is stopped.
fn die_with(parent: i32) -> Done {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before that.
    let now = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    if now == Some(parent) {
        return Ok(());
    }
    Err("whoever started this has gone".into())
}

async fn count_tasks(mark: MarkFile) {
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        if mark.set(Word::Tasks, tasks as u64).is_err() {
            return;
        }
    }
}

/// Waits for the end of stdin.
async fn told_to_end() {
    let mut stdin = tokio::io::stdin();
    let mut room = [0; 16];
    while matches!(stdin.read(&mut room).await, Ok(1..)) {}
}

/// Makes what sinks, sources and relays are made with.
fn factory(services: &Path) -> Result<wakewire::SinkFactory, wakewire::SinkError> {
    wakewire::SinkFactory::from_config(services)
}

/// How long it takes at most to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
