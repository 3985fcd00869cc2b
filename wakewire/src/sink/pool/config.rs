//! How many connections a pool may have, and for how long. No I/O, no clock.

use std::time::Duration;

use super::choice::MOST_LANES;
use crate::backoff::LazyConfig;
use crate::error::{Failure, SinkError};

/// How a [`LazyConnectionPool`](crate::LazyConnectionPool) grows and shrinks.
///
/// ```
/// use std::time::Duration;
/// use wakewire::sink::PoolConfig;
///
/// let small = PoolConfig { max_size: 2, idle_timeout: Duration::from_secs(5), ..PoolConfig::default() };
/// small.validate().unwrap();
///
/// let none = PoolConfig { max_size: 0, ..PoolConfig::default() };
/// assert!(none.validate().unwrap_err().to_string().contains("`max_size` is 0"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct PoolConfig {
    /// The most connections at a time, and the number of lanes that keys are spread over: 1 to 64.
    /// Default 8; a peer has to carry this many for each process that sends to it.
    pub max_size: usize,
    /// How many members stay open however long they are idle, once they have been used: at most
    /// `max_size`. Default 1, so that an occasional message finds a warm connection; 0 lets the last one
    /// go too. None is opened ahead, except by `connect()`.
    pub min_idle: usize,
    /// How long a member is idle before it disconnects; it takes up to a quarter longer. Default 50 s,
    /// below the 60 s after which common load balancers drop a connection without a word. From 1 ms to
    /// a year.
    pub idle_timeout: Duration,
    /// How each member connects.
    pub lazy_config: LazyConfig,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 8,
            min_idle: 1,
            idle_timeout: Duration::from_secs(50),
            lazy_config: LazyConfig::default(),
        }
    }
}

impl PoolConfig {
    const SHORTEST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_secs(365 * 86_400);

    /// Checks the numbers against what is allowed; [`LazyConnectionPool::new`](crate::LazyConnectionPool::new)
    /// does so too.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with the field, its value, and what is allowed.
    pub fn validate(&self) -> Result<(), SinkError> {
        let Self {
            max_size,
            min_idle,
            idle_timeout,
            lazy_config: _,
        } = self;
        if !(1..=MOST_LANES).contains(max_size) {
            return Err(invalid(
                format!("`max_size` is {max_size}"),
                format!("a pool has 1 to {MOST_LANES} members"),
            ));
        }
        if min_idle > max_size {
            return Err(invalid(
                format!("`min_idle` is {min_idle}, and `max_size` only {max_size}"),
                "`min_idle` may be 0 to `max_size`".to_owned(),
            ));
        }
        if !(Self::SHORTEST..=Self::LONGEST).contains(idle_timeout) {
            return Err(invalid(
                format!("`idle_timeout` is {idle_timeout:?}"),
                "it may be 1 ms to a year".to_owned(),
            ));
        }
        Ok(())
    }
}

fn invalid(what: String, allowed: String) -> SinkError {
    SinkError::InvalidConfig(Failure::new("").because(what).hint(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_taken_to_its_bounds_and_not_beyond() {
        let size = |max_size, min_idle| PoolConfig {
            max_size,
            min_idle,
            ..PoolConfig::default()
        };
        let idle = |idle_timeout| PoolConfig {
            idle_timeout,
            ..PoolConfig::default()
        };
        let year = Duration::from_secs(31_536_000);
        let moment = Duration::from_nanos(1);
        let most = MOST_LANES;
        for good in [
            size(1, 0),
            size(most, most),
            idle(Duration::from_millis(1)),
            idle(year),
        ] {
            good.validate().unwrap();
        }
        for bad in [
            size(0, 0),
            size(most + 1, 0),
            size(3, 4),
            idle(Duration::from_millis(1) - moment),
            idle(year + moment),
        ] {
            assert!(matches!(bad.validate(), Err(SinkError::InvalidConfig(_))));
        }
    }
}
