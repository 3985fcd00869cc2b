//! What all plays come to. No I/O, no clock.

use std::fmt;

use serde::Serialize;

use crate::play::Outcome;

/// What all plays come to.
#[derive(Debug, Default, Serialize)]
pub struct Sums {
    pub seeds: u64,
    pub failed: Vec<u64>,
    /// Went otherwise when they were played again.
    pub unrepeatable: Vec<u64>,
    /// Differs when anything went otherwise in any of them.
    pub trace: u64,
    pub faults: u64,
    pub accepted: u64,
    pub processed: u64,
    /// By a later life of a consumer that had processed it already.
    pub processed_again: u64,
    /// Accepted by producers that ended, and not acknowledged to them.
    pub ended_with_their_producer: u64,
    pub simulated_seconds: f64,
    pub longest_recovery_seconds: f64,
    pub seconds: f64,
}

impl Sums {
    /// Adds one play.
    pub fn add(&mut self, outcome: &Outcome, differs: bool) {
        self.seeds += 1;
        if !outcome.broken.is_empty() {
            self.failed.push(outcome.seed);
        }
        if differs {
            self.unrepeatable.push(outcome.seed);
        }
        self.trace ^= outcome.trace;
        self.faults += outcome.faults as u64;
        self.accepted += outcome.counts.accepted;
        self.processed += outcome.counts.processed;
        self.processed_again += outcome.counts.again;
        self.ended_with_their_producer += outcome.counts.died;
        self.simulated_seconds += outcome.simulated.as_secs_f64();
        self.longest_recovery_seconds = self
            .longest_recovery_seconds
            .max(outcome.recovery.as_secs_f64());
    }

    /// Returns whether so many were played, and every promise held.
    pub fn is_well(&self, seeds: u64) -> bool {
        self.seeds == seeds && self.failed.is_empty() && self.unrepeatable.is_empty()
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            faults,
            accepted,
            processed,
            ..
        } = self;
        writeln!(
            f,
            "{seeds} seeds, {faults} faults, {accepted} messages accepted, {processed} processed"
        )?;
        writeln!(
            f,
            "{} processed again by a later life of a consumer; {} ended with their producer, unacknowledged",
            self.processed_again, self.ended_with_their_producer
        )?;
        writeln!(
            f,
            "well again at most {:.1} s after the last fault; {:.0} s simulated in {:.0} s; trace {:016x}",
            self.longest_recovery_seconds, self.simulated_seconds, self.seconds, self.trace
        )?;
        if !self.unrepeatable.is_empty() {
            writeln!(
                f,
                "went otherwise when played again: {:?}",
                self.unrepeatable
            )?;
        }
        write!(f, "{} seeds failed: {:?}", self.failed.len(), self.failed)
    }
}
