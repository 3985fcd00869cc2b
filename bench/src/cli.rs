//! What may be said on the command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::address::{Address, Transport};
use crate::contestant::{self, Contestant, Course, Work};

/// Messages per second between two processes: wakewire beside what one would write by hand.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub role: Option<Role>,
    #[command(flatten)]
    pub options: Options,
}

/// What the referee is to do.
#[derive(Debug, Args)]
pub struct Options {
    /// Measured runs of each contestant at each transport and size
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// How long one run should take; the number of messages is chosen by it
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub seconds: f64,
    /// After how many seconds a run is given up and its processes are killed
    #[arg(long, default_value_t = 30.0, value_parser = positive)]
    pub limit: f64,
    /// Only contestants whose name begins so (may be given more than once)
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Payload bytes, instead of 64, 1024 and 16384 (may be given more than once)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub size: Vec<u32>,
    /// Sends so many messages a second and measures how long each is on its way from when it was due
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// So many tasks send on one sink; contestants that cannot are left out
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub senders: u32,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Work::OneWay)]
    pub work: Work,
    /// Consumers of a fan-out
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub consumers: u32,
    /// Both processes of a run on one core
    #[arg(long)]
    pub pin: bool,
    /// Only this transport (may be given more than once)
    #[arg(long)]
    pub transport: Vec<Transport>,
    /// Writes every run to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draws each table as an SVG in this directory
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Lists the contestants and ends
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// Returns the transports to measure.
    pub fn transports(&self) -> Vec<Transport> {
        if self.transport.is_empty() {
            vec![Transport::Unix, Transport::Tcp]
        } else {
            self.transport.clone()
        }
    }

    /// Returns the payload sizes to measure.
    pub fn sizes(&self) -> Vec<usize> {
        if self.size.is_empty() {
            vec![64, 1024, 16 * 1024]
        } else {
            self.size.iter().map(|&size| size as usize).collect()
        }
    }

    /// Returns the contestants to measure; a name that fits none is an error.
    pub fn contestants(&self) -> Result<Vec<&'static dyn Contestant>> {
        for name in &self.only {
            if !contestant::all().any(|one| one.name().starts_with(name)) {
                bail!("no contestant's name begins with {name:?}; --list shows them");
            }
        }
        let wanted = |one: &&'static dyn Contestant| {
            let named = self.only.iter().any(|name| one.name().starts_with(name));
            (self.only.is_empty() || named)
                && one.work() == self.work
                && (self.rate.is_none() || one.is_paced())
                && (self.senders == 1 || one.has_senders())
        };
        Ok(contestant::all().filter(wanted).collect())
    }
}

/// The two processes of a run; the referee starts them.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Receives one run (the referee starts this)
    #[command(hide = true)]
    Receive(Part),
    /// Sends one run (the referee starts this)
    #[command(hide = true)]
    Send(Part),
    /// Relays (a receiver starts this)
    #[command(hide = true)]
    Relay(Part),
}

/// Which run a process takes part in.
#[derive(Clone, Debug, Args)]
pub struct Part {
    #[arg(long)]
    pub contestant: String,
    #[arg(long)]
    pub address: Address,
    #[arg(long)]
    pub size: usize,
    #[arg(long)]
    pub count: u64,
    #[arg(long)]
    pub rate: u32,
    #[arg(long)]
    pub senders: u32,
    #[arg(long)]
    pub consumers: u32,
    #[arg(long)]
    pub pin: bool,
}

impl Part {
    /// Returns the run as the contestant is told it.
    pub fn course(&self) -> Course {
        Course {
            address: self.address.clone(),
            size: self.size,
            count: self.count,
            rate: self.rate,
            senders: self.senders.max(1),
            consumers: self.consumers.max(1),
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("not a number above 0".into()),
    }
}
