//! Wall time and CPU time of one process, and the median over runs.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Returns the CPU time, user and system, that all threads of this process have used, and its children that have
/// ended and were waited for.
pub fn cpu_time() -> Duration {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(|usage| duration(usage.user_time()) + duration(usage.system_time()))
        .sum()
}

fn duration(value: TimeVal) -> Duration {
    Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000)
}

/// Returns the nanoseconds of a clock that all processes of the machine share.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Runs in the sender from just before the first send until the receiver has confirmed.
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self {
            cpu: cpu_time(),
            wall: Instant::now(),
        }
    }

    /// Stops, now that the receiver has confirmed so many messages.
    pub fn stop(self, confirmed: u64) -> Sent {
        Sent {
            wall_seconds: self.wall.elapsed().as_secs_f64(),
            cpu_seconds: (cpu_time() - self.cpu).as_secs_f64(),
            confirmed,
            latency: None,
        }
    }
}

/// What the sender of a run says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    pub confirmed: u64,
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub latency: Option<Latency>,
}

/// What the receiver of a run says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Received {
    pub counted: u64,
    pub cpu_seconds: f64,
    pub latency: Option<Latency>,
}

/// How long messages took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub most: f64,
}

impl Latency {
    /// Reads them from a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            most: histogram.max() as f64 / 1e3,
        }
    }
}

/// One run, seen from both sides.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    pub messages: u64,
    pub wall_seconds: f64,
    pub sender_cpu_seconds: f64,
    pub receiver_cpu_seconds: f64,
    pub latency: Option<Latency>,
}

impl Run {
    /// Returns messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.wall_seconds
    }

    /// Returns the CPU seconds of both processes for a million messages.
    pub fn cpu_per_million(&self) -> f64 {
        (self.sender_cpu_seconds + self.receiver_cpu_seconds) / self.messages as f64 * 1e6
    }
}

/// Returns the median; none of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn cpu_time_goes_on() {
        let before = cpu_time();
        while cpu_time() == before {
            std::hint::spin_loop();
        }
        assert!(cpu_time() > before);
    }
}
