//! What came out: a table for people, JSON for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::address::Transport;
use crate::cli::Options;
use crate::contestant::{Work, raw, tokio_naive};
use crate::measure::{Latency, Run, median};
use crate::plot::{Bar, svg};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub program: &'static str,
    pub system: &'static str,
    pub architecture: &'static str,
    pub cores: usize,
    pub target_seconds: f64,
    pub rate: Option<u32>,
    pub senders: u32,
    pub work: Work,
    pub consumers: u32,
    pub rows: Vec<Row>,
}

/// One contestant at one transport and size.
#[derive(Debug, Serialize)]
pub struct Row {
    pub contestant: &'static str,
    pub transport: Transport,
    pub size: usize,
    pub runs: Vec<Run>,
    pub failures: Vec<String>,
}

impl Row {
    pub const fn new(contestant: &'static str, transport: Transport, size: usize) -> Self {
        Self {
            contestant,
            transport,
            size,
            runs: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Returns what progress lines begin with.
    pub fn title(&self) -> String {
        format!("{}, {} B, {}", self.transport, self.size, self.contestant)
    }

    fn rate(&self) -> Option<f64> {
        median(self.runs.iter().map(Run::rate))
    }

    /// Returns the line of a table of latencies.
    fn latency_line(&self) -> String {
        let of = |which: fn(&Latency) -> f64| {
            let values = self.runs.iter().filter_map(|run| run.latency.as_ref());
            median(values.map(which)).map_or_else(|| "failed".into(), |us| format!("{us:.1}"))
        };
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            self.contestant,
            of(|latency| latency.p50),
            of(|latency| latency.p99),
            of(|latency| latency.p999),
            of(|latency| latency.most),
            self.runs.len(),
        )
    }

    fn line(&self, raw: Option<f64>, naive: Option<f64>) -> String {
        let Some(rate) = self.rate() else {
            return format!("| {} | failed | | | | | | |", self.contestant);
        };
        let rates = || self.runs.iter().map(Run::rate);
        let slowest = rates().fold(f64::INFINITY, f64::min);
        let fastest = rates().fold(0.0, f64::max);
        let cpu = median(self.runs.iter().map(Run::cpu_per_million)).unwrap_or_default();
        format!(
            "| {} | {} | {} – {} | {:.0} | {} | {} | {cpu:.3} | {} |",
            self.contestant,
            short(rate),
            short(slowest),
            short(fastest),
            rate * self.size as f64 / 1e6,
            ratio(rate, raw),
            ratio(rate, naive),
            self.runs.len(),
        )
    }
}

impl Report {
    pub fn new(options: &Options) -> Self {
        Self {
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            target_seconds: options.seconds,
            rate: options.rate,
            senders: options.senders,
            work: options.work,
            consumers: options.consumers,
            rows: Vec::new(),
        }
    }

    /// Prints the table of one transport and size.
    pub fn print(&self, transport: Transport, size: usize, rows: &[Row]) {
        let rate_of = |name| rows.iter().find(|row| row.contestant == name)?.rate();
        let (raw, naive) = (rate_of(raw::NAME), rate_of(tokio_naive::NAME));
        println!("\n### {transport}, {size} B, {} cores\n", self.cores);
        let what = match (self.work, self.rate) {
            (Work::RoundTrip, _) => Some("Microseconds there and back.".to_owned()),
            (_, Some(rate)) => Some(format!(
                "At {rate} messages a second, microseconds from when each was due."
            )),
            (Work::FanOut, None) => {
                println!("Each message goes to {} consumers.\n", self.consumers);
                None
            }
            (Work::OneWay, None) => None,
        };
        if let Some(what) = what {
            println!("{what}\n");
            println!("| | p50 | p99 | p99.9 | longest | runs |");
            println!("|---|---|---|---|---|---|");
            for row in rows {
                println!("{}", row.latency_line());
            }
            return;
        }
        println!(
            "| | msg/s | slowest – fastest | MB/s | × {} | × {} | CPU s per M | runs |",
            raw::NAME,
            tokio_naive::NAME
        );
        println!("|---|---|---|---|---|---|---|---|");
        for row in rows {
            println!("{}", row.line(raw, naive));
        }
    }

    /// Draws the rows of one transport and size: messages a second, or where that was measured the 99th percentile.
    pub fn draw(
        &self,
        directory: &Path,
        transport: Transport,
        size: usize,
        rows: &[Row],
    ) -> Result<()> {
        let is_latency = self.rate.is_some() || self.work == Work::RoundTrip;
        let bar = |row: &Row| {
            let latencies = row.runs.iter().filter_map(|run| run.latency.as_ref());
            let value = if is_latency {
                median(latencies.map(|latency| latency.p99))
            } else {
                row.rate()
            };
            let label = match value {
                None => "failed".into(),
                Some(value) if is_latency => format!("{value:.1} µs"),
                Some(value) => format!("{}/s", short(value)),
            };
            Bar {
                name: row.contestant,
                value: value.unwrap_or_default(),
                label,
            }
        };
        let what = match (is_latency, self.work) {
            (true, Work::RoundTrip) => "round trip, p99",
            (true, _) => "one way at a rate, p99",
            (false, Work::FanOut) => "messages to each consumer",
            (false, _) => "messages",
        };
        let title = format!("{transport}, {size} B: {what}");
        let work = match (self.work, self.rate) {
            (Work::OneWay, Some(_)) => "latency",
            (Work::OneWay, None) => "one-way",
            (Work::RoundTrip, _) => "round-trip",
            (Work::FanOut, _) => "fan-out",
        };
        let over = format!("{transport:?}").to_lowercase();
        let file = directory.join(format!("{work}-{over}-{size}.svg"));
        let bars: Vec<Bar> = rows.iter().map(bar).collect();
        fs::create_dir_all(directory)?;
        fs::write(&file, svg(&title, &bars))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Writes everything as JSON.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Returns how many runs failed.
    pub fn failures(&self) -> usize {
        self.rows.iter().map(|row| row.failures.len()).sum()
    }
}

/// Writes a rate with three digits.
fn short(rate: f64) -> String {
    let (value, unit) = match rate {
        rate if rate >= 999_500.0 => (rate / 1e6, " M"),
        rate if rate >= 999.5 => (rate / 1e3, " k"),
        rate => (rate, ""),
    };
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}{unit}")
}

/// Writes how many times as fast; a dash where the other did not run.
fn ratio(rate: f64, other: Option<f64>) -> String {
    other.map_or_else(|| "–".into(), |other| format!("{:.2}", rate / other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (rate, text) in [
            (12.0, "12.0"),
            (999.9, "1.00 k"),
            (311_400.0, "311 k"),
            (999_900.0, "1.00 M"),
            (72_630_000.0, "72.6 M"),
        ] {
            assert_eq!(short(rate), text);
        }
    }

    #[test]
    fn no_ratio_to_who_did_not_run() {
        assert_eq!(ratio(1.0, None), "–");
        assert_eq!(ratio(3.0, Some(2.0)), "1.50");
    }
}
