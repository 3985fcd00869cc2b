//! How often a connection is tried, and the growing, jittered waits between dials. No I/O, no clock.

use std::time::Duration;

/// How a lazy sink connects: how often, how long, how far apart.
///
/// ```
/// use std::time::Duration;
/// use wakewire::LazyConfig;
///
/// let patient = LazyConfig { max_retries: 10, ..LazyConfig::default() };
/// assert_eq!(patient.base_delay(1), Duration::from_millis(100));
/// assert_eq!(patient.base_delay(3), Duration::from_millis(400));
/// assert_eq!(patient.base_delay(60), Duration::from_secs(30));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct LazyConfig {
    /// How many times a failed first attempt is repeated before `connect()`, or a send through a sink
    /// without a buffer, gives up. Default 3; at most 1000. A link that owes messages never gives up.
    pub max_retries: u32,
    /// The wait after the first failure. Default 100 ms, as in `ZeroMQ`.
    pub retry_delay: Duration,
    /// What each further wait is multiplied by. Default 2.0; at least 1.
    pub backoff_multiplier: f64,
    /// The longest wait between two attempts, jitter included. Default 30 s.
    pub max_retry_delay: Duration,
    /// Whether a lost connection is opened again without being asked. Default `true`; with `false` a send
    /// after a loss fails with `ConnectionLost` until `connect()`.
    pub auto_reconnect: bool,
    /// How long one attempt may take, resolving and greeting included. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a send waits for room in a full buffer. Default 10 s.
    pub wait_timeout: Duration,
    /// Each wait is multiplied by a random number from 1 − jitter to 1 + jitter, so that many clients of
    /// one peer do not return at the same moment. Default 0.2, gRPC's; 0 turns it off, at most 1.
    pub jitter: f64,
}

impl Default for LazyConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            retry_delay: Duration::from_millis(100),
            backoff_multiplier: 2.0,
            max_retry_delay: Duration::from_secs(30),
            auto_reconnect: true,
            connect_timeout: Duration::from_secs(5),
            wait_timeout: Duration::from_secs(10),
            jitter: 0.2,
        }
    }
}

impl LazyConfig {
    /// Returns the wait after so many failures in a row, before jitter: none after none, `retry_delay`
    /// after one, growing by the multiplier up to the cap.
    pub fn base_delay(&self, failures: u32) -> Duration {
        let Some(exponent) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let grown = self.retry_delay.as_secs_f64()
            * self
                .backoff_multiplier
                .max(1.0)
                .powi(i32::try_from(exponent).unwrap_or(i32::MAX));
        // An overflow to infinity, or a NaN from a literal, ends at the cap like everything large.
        Duration::try_from_secs_f64(grown).map_or(self.max_retry_delay, |delay| {
            delay.min(self.max_retry_delay)
        })
    }

    /// Returns the wait after so many failures in a row; `unit` is a uniform random number in [0, 1).
    pub fn delay(&self, failures: u32, unit: f64) -> Duration {
        let jitter = if self.jitter.is_finite() {
            self.jitter.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let factor = jitter.mul_add(2.0 * unit.clamp(0.0, 1.0) - 1.0, 1.0);
        let delay = self.base_delay(failures).as_secs_f64() * factor;
        Duration::try_from_secs_f64(delay).map_or(self.max_retry_delay, |delay| {
            delay.min(self.max_retry_delay)
        })
    }
}
