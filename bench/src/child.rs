//! The two processes of a run: they speak to the referee in lines on stdout, and hear from it when stdin
//! ends.
//!
//! The receiver says where it listens, then, when the referee has closed its stdin, what it
//! [received](Received). The sender says what it [sent](crate::measure::Sent).

use std::io::{Read, Write, stdin, stdout};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::address::Address;
use crate::cli::Part;
use crate::contestant;
use crate::measure::{Received, cpu_time};

/// Receives one run and says so.
pub fn receive(part: &Part) -> Result<()> {
    if part.pin {
        pin()?;
    }
    let checker = contestant::named(&part.contestant)?.receive(&part.course(), Stage)?;
    let before = CPU_BEFORE.get().context("never announced")?;
    say(&Received {
        counted: checker.seen(),
        cpu_seconds: (cpu_time() - *before).as_secs_f64(),
        latency: checker.latency(),
    })
}

/// Sends one run and says so.
pub fn send(part: &Part) -> Result<()> {
    if part.pin {
        pin()?;
    }
    say(&contestant::named(&part.contestant)?.send(&part.course())?)
}

/// Stays on the first core.
fn pin() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

/// What a receiver has to do with the referee.
#[derive(Clone, Copy, Debug)]
pub struct Stage;

/// The CPU time before the run.
static CPU_BEFORE: OnceLock<Duration> = OnceLock::new();

impl Stage {
    /// Says where the sender will find the receiver; from here on its CPU time counts.
    pub fn announce(self, address: &Address) -> Result<()> {
        CPU_BEFORE.get_or_init(cpu_time);
        say(&address.to_string())
    }

    /// Returns what resolves once the sender has its confirmation and has left. Until then a receiver keeps
    /// its connection open; one that acknowledges goes on doing so.
    pub fn dismissal(self) -> oneshot::Receiver<()> {
        let (dismissed, dismissal) = oneshot::channel();
        // Not joined: it ends with the process at the latest.
        thread::spawn(move || {
            let _ = stdin().read_to_end(&mut Vec::new());
            let _ = dismissed.send(());
        });
        dismissal
    }
}

/// Writes one line for the referee.
fn say(what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what)?;
    writeln!(stdout(), "{line}").context("the referee has gone")
}
