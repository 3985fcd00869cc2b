//! The two processes of a run: they speak to the referee in lines on stdout, and hear from it when stdin
//! ends.
//!
//! The receiver says where it listens, then, when the referee has closed its stdin, what it
//! [received](Received). The sender says what it [sent](crate::measure::Sent).

use std::io::{Read, Write, stdin, stdout};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::address::Address;
use crate::cli::Part;
use crate::contestant;
use crate::measure::{Received, cpu_time};

/// Receives one run and says so.
pub fn receive(part: &Part) -> Result<()> {
    let mut stage = Stage::default();
    let counted = contestant::named(&part.contestant)?.receive(&part.course(), &mut stage)?;
    say(&Received {
        counted,
        cpu_seconds: (cpu_time() - stage.cpu_before).as_secs_f64(),
    })
}

/// Sends one run and says so.
pub fn send(part: &Part) -> Result<()> {
    say(&contestant::named(&part.contestant)?.send(&part.course())?)
}

/// What a receiver has to do with the referee.
#[derive(Debug, Default)]
pub struct Stage {
    cpu_before: Duration,
}

impl Stage {
    /// Says where the sender will find the receiver; from here on its CPU time counts.
    pub fn announce(&mut self, address: &Address) -> Result<()> {
        self.cpu_before = cpu_time();
        say(&address.to_string())
    }

    /// Returns what resolves once the sender has its confirmation and has left. Until then a receiver keeps
    /// its connection open; one that acknowledges goes on doing so.
    pub fn dismissal(&self) -> oneshot::Receiver<()> {
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
