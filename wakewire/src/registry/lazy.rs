//! How a service connects, as far as its configuration says. No I/O, no clock.

use std::time::Duration;

use crate::backoff::LazyConfig;

/// The connection settings that were written; what was not is taken from the layer below.
///
/// The layers, each over the one before: the factory's default, a composite's `lazy` (for targets that
/// set nothing themselves), the service's short keys such as `max_retries`, its `lazy` table.
///
/// ```
/// use wakewire::{LazyConfig, LazySettings};
///
/// let written = LazySettings { max_retries: Some(7), ..LazySettings::default() };
/// let config = written.apply_to(LazyConfig { jitter: 0.0, ..LazyConfig::default() });
/// assert_eq!((config.max_retries, config.jitter), (7, 0.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct LazySettings {
    /// Overrides [`LazyConfig::max_retries`].
    pub max_retries: Option<u32>,
    /// Overrides [`LazyConfig::retry_delay`].
    pub retry_delay: Option<Duration>,
    /// Overrides [`LazyConfig::backoff_multiplier`].
    pub backoff_multiplier: Option<f64>,
    /// Overrides [`LazyConfig::max_retry_delay`].
    pub max_retry_delay: Option<Duration>,
    /// Overrides [`LazyConfig::auto_reconnect`].
    pub auto_reconnect: Option<bool>,
    /// Overrides [`LazyConfig::connect_timeout`].
    pub connect_timeout: Option<Duration>,
    /// Overrides [`LazyConfig::wait_timeout`].
    pub wait_timeout: Option<Duration>,
    /// Overrides [`LazyConfig::jitter`].
    pub jitter: Option<f64>,
}

impl LazySettings {
    /// Returns whether nothing was written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns these settings over a default.
    #[must_use]
    pub fn apply_to(&self, default: LazyConfig) -> LazyConfig {
        LazyConfig {
            max_retries: self.max_retries.unwrap_or(default.max_retries),
            retry_delay: self.retry_delay.unwrap_or(default.retry_delay),
            backoff_multiplier: self
                .backoff_multiplier
                .unwrap_or(default.backoff_multiplier),
            max_retry_delay: self.max_retry_delay.unwrap_or(default.max_retry_delay),
            auto_reconnect: self.auto_reconnect.unwrap_or(default.auto_reconnect),
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            wait_timeout: self.wait_timeout.unwrap_or(default.wait_timeout),
            jitter: self.jitter.unwrap_or(default.jitter),
        }
    }
}

/// Every setting written.
impl From<LazyConfig> for LazySettings {
    fn from(config: LazyConfig) -> Self {
        Self {
            max_retries: Some(config.max_retries),
            retry_delay: Some(config.retry_delay),
            backoff_multiplier: Some(config.backoff_multiplier),
            max_retry_delay: Some(config.max_retry_delay),
            auto_reconnect: Some(config.auto_reconnect),
            connect_timeout: Some(config.connect_timeout),
            wait_timeout: Some(config.wait_timeout),
            jitter: Some(config.jitter),
        }
    }
}
