//! Who runs when, and with how many messages.

use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::address::Transport;
use crate::cli::{Options, Part};
use crate::contestant::{self, Contestant};
use crate::measure::Run;
use crate::pair;
use crate::report::{Report, Row};

/// Measures all that is asked for and prints it.
pub fn referee(options: &Options) -> Result<()> {
    let contestants = options.contestants()?;
    if options.list {
        for one in contestant::all() {
            println!("{:<22} {}", one.name(), one.about());
        }
        return Ok(());
    }
    let mut report = Report::new(options);
    for transport in options.transports() {
        for size in options.sizes() {
            let heat = Heat {
                transport,
                size,
                options,
            };
            let rows = heat.run(&contestants);
            report.print(transport, size, &rows);
            if let Some(directory) = &options.svg {
                report.draw(directory, transport, size, &rows)?;
            }
            report.rows.extend(rows);
        }
    }
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => bail!("{failures} runs failed"),
    }
}

/// All contestants at one transport and size.
struct Heat<'a> {
    transport: Transport,
    size: usize,
    options: &'a Options,
}

impl Heat<'_> {
    fn run(&self, contestants: &[&dyn Contestant]) -> Vec<Row> {
        let contestants: Vec<&dyn Contestant> = contestants
            .iter()
            .copied()
            .filter(|one| one.carries(self.transport))
            .collect();
        let mut rows: Vec<Row> = contestants
            .iter()
            .map(|one| Row::new(one.name(), self.transport, self.size))
            .collect();
        let mut counts: Vec<Option<u64>> = rows.iter_mut().map(|row| self.calibrate(row)).collect();

        for run in 0..self.options.runs {
            // Interleaved, so that a slow minute of the machine meets all; and every run begins with another.
            counts.rotate_left(1);
            rows.rotate_left(1);
            for (row, count) in rows.iter_mut().zip(&counts) {
                let Some(count) = *count else { continue };
                eprint!("{} run {}: ", row.title(), run + 1);
                self.measure(row, count);
            }
        }
        let place = |row: &Row| {
            contestants
                .iter()
                .position(|one| one.name() == row.contestant)
        };
        rows.sort_by_key(place);
        rows
    }

    /// Finds out how many messages take about as long as a run is meant to; none if it does not work.
    fn calibrate(&self, row: &mut Row) -> Option<u64> {
        let target = self.options.seconds;
        if let Some(rate) = self.options.rate {
            return Some((f64::from(rate) * target) as u64);
        }
        let mut count = 2_000;
        for _ in 0..10 {
            eprint!("{} calibrating: ", row.title());
            let wall = self.attempt(row, count)?.wall_seconds;
            let next = count as f64 * (target / wall).min(20.0);
            count = (next as u64).max(1);
            if wall > target / 2.0 {
                break;
            }
        }
        Some(count)
    }

    fn measure(&self, row: &mut Row, count: u64) {
        if let Some(run) = self.attempt(row, count) {
            row.runs.push(run);
        }
    }

    /// Makes one run; a failure is noted in the row.
    fn attempt(&self, row: &mut Row, count: u64) -> Option<Run> {
        match self.pair(row.contestant, count) {
            Ok(run) => {
                eprintln!("{count} messages, {:.0} msg/s", run.rate());
                Some(run)
            }
            Err(error) => {
                eprintln!("{count} messages, failed: {error:#}");
                row.failures.push(format!("{error:#}"));
                None
            }
        }
    }

    fn pair(&self, contestant: &str, count: u64) -> Result<Run> {
        let directory = TempDir::with_prefix("wakewire-bench-")?;
        #[cfg(feature = "tls")]
        if self.transport == Transport::Tls {
            crate::tls::make(directory.path())?;
        }
        let part = Part {
            contestant: contestant.into(),
            address: self.transport.address_in(directory.path()),
            size: self.size,
            count,
            rate: self.options.rate.unwrap_or(0),
            senders: self.options.senders,
            consumers: self.options.consumers,
            pin: self.options.pin,
        };
        pair::run(&part, Duration::from_secs_f64(self.options.limit))
    }
}
