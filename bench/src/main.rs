//! Messages per second between two processes: wakewire beside what one would write by hand.
//!
//! The program that is started is the referee. For every run it starts itself twice more, once as receiver
//! and once as sender; those two are what is measured.

mod address;
mod child;
mod cli;
mod contestant;
mod frame;
mod measure;
mod pair;
mod payload;
mod plot;
mod referee;
mod report;
mod runtime;
mod socket;
#[cfg(feature = "tls")]
mod tls;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Role};

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Receive(part)) => child::receive(&part),
        Some(Role::Send(part)) => child::send(&part),
        Some(Role::Relay(part)) => contestant::wakewire_relay::relay(&part.course()),
        None => referee::referee(&cli.options),
    }
}
