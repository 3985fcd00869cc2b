//! What is wrong with a configuration, all of it at once. No I/O, no clock.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;

use secrecy::ExposeSecret;

use super::config::{ConnectionConfig, PoolConfig, RetryConfig, shown};
use crate::endpoint::{Endpoint, Scheme};
use crate::error::{Failure, SinkError};

/// One value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFault {
    /// The key with its table, such as `pool.max_connections`, or the name of an environment variable.
    pub key: String,
    /// What is wrong with it; never a secret.
    pub message: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; allowed: {}",
            self.key, self.message, self.allowed
        )
    }
}

/// Every bad value of a configuration: the cause in its `InvalidConfig`.
///
/// ```
/// use wakewire::connection::{ConfigFaults, ConnectionConfig};
///
/// let config = ConnectionConfig { timeout_ms: 0, ..ConnectionConfig::default() };
/// let error = config.validate().unwrap_err();
/// let faults = error.failure().source().unwrap().downcast_ref::<ConfigFaults>().unwrap();
/// let keys: Vec<_> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
/// assert_eq!(keys, ["hosts", "timeout_ms"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFaults(Vec<ConfigFault>);

impl ConfigFaults {
    /// Returns them in the order of the keys.
    pub fn list(&self) -> &[ConfigFault] {
        &self.0
    }

    pub(super) fn add(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.0.push(ConfigFault {
            key: key.into(),
            message: message.into(),
            allowed: allowed.into(),
        });
    }

    pub(super) fn into_error(self) -> SinkError {
        SinkError::InvalidConfig(Failure::new("").because(self))
    }

    pub(super) fn into_result(self) -> Result<(), SinkError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.into_error())
        }
    }

    fn range<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        // A NaN is in no range.
        if !(value >= least && value <= most) {
            self.add(
                key,
                format!("{value} is out of range"),
                format!("{least} to {most}"),
            );
        }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            all => {
                write!(f, "{} faults", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

impl Error for ConfigFaults {}

impl ConnectionConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`; its cause is a [`ConfigFaults`], which lists every bad value with what is allowed. A password
    /// that would travel in the clear is refused: passwords go over TLS or Unix sockets only.
    pub fn validate(&self) -> Result<(), SinkError> {
        let mut faults = ConfigFaults::default();
        let endpoints = self.check_hosts(&mut faults);
        self.check_credentials(&endpoints, &mut faults);
        self.check_tls(&endpoints, &mut faults);
        faults.range("timeout_ms", self.timeout_ms, 1, OPERATION_MS);
        self.pool_config.check(&mut faults);
        self.retry_config.check(&mut faults);
        faults.into_result()
    }

    /// Returns the endpoints that could be read.
    fn check_hosts(&self, faults: &mut ConfigFaults) -> Vec<Endpoint> {
        let example = "names or addresses, such as [\"db1\", \"10.0.0.2:7001\", \"[::1]:7000\"]";
        if self.hosts.is_empty() {
            faults.add("hosts", "there is none", example);
        }
        if self.hosts.len() > HOSTS {
            let count = self.hosts.len();
            faults.add(
                "hosts",
                format!("there are {count}"),
                format!("1 to {HOSTS}"),
            );
        }
        let mut endpoints = Vec::new();
        let mut seen = HashSet::new();
        for (index, host) in self.hosts.iter().enumerate().take(HOSTS) {
            let key = format!("hosts[{index}]");
            match self.endpoint(host) {
                Err(error) => faults.add(key, error.to_string(), error.hint()),
                Ok(endpoint) if !seen.insert(endpoint.clone()) => {
                    faults.add(
                        key,
                        format!("`{}` is there twice", shown(host)),
                        "each node once",
                    );
                }
                Ok(endpoint) => {
                    if self.enable_tls && !is_private(&endpoint) {
                        faults.add(
                            key,
                            format!("`{endpoint}` is in the clear, and `enable_tls` is true"),
                            "a host without a scheme, `tls://`, `wss://`, a Unix socket",
                        );
                    }
                    endpoints.push(endpoint);
                }
            }
        }
        endpoints
    }

    fn check_credentials(&self, endpoints: &[Endpoint], faults: &mut ConfigFaults) {
        let bytes = format!("1 to {CREDENTIAL_BYTES} bytes without control characters");
        let bad = |text: &str| {
            text.is_empty() || text.len() > CREDENTIAL_BYTES || text.chars().any(char::is_control)
        };
        if self.username.as_deref().is_some_and(bad) {
            faults.add("username", "it is empty, too long or not text", &*bytes);
        }
        let Some(password) = &self.password else {
            return;
        };
        if bad(password.expose_secret()) {
            faults.add("password", "it is empty, too long or not text", &*bytes);
        }
        if self.username.is_none() {
            faults.add(
                "password",
                "there is no `username` with it",
                "both or neither",
            );
        }
        // With `enable_tls` a host in the clear is a fault already.
        let clear = endpoints.iter().find(|endpoint| !is_private(endpoint));
        if let Some(clear) = clear
            && !self.enable_tls
        {
            faults.add(
                "enable_tls",
                format!("false, and the password would go in the clear to `{clear}`"),
                "passwords go over TLS or Unix sockets only: `enable_tls = true`",
            );
        }
    }

    fn check_tls(&self, endpoints: &[Endpoint], faults: &mut ConfigFaults) {
        match (&self.cert, &self.key) {
            (Some(_), None) => faults.add("cert", "there is no `key` with it", "both or neither"),
            (None, Some(_)) => faults.add("key", "there is no `cert` with it", "both or neither"),
            _ => {}
        }
        let encrypted =
            |endpoint: &Endpoint| matches!(endpoint.scheme(), Scheme::Tls | Scheme::Wss);
        if endpoints.iter().any(encrypted) || endpoints.is_empty() {
            return;
        }
        // Whoever names certificates believes that something is encrypted.
        for (key, path) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)] {
            if path.is_some() {
                faults.add(key, "no node is reached by TLS", "with `enable_tls = true`");
            }
        }
    }
}

impl PoolConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` with every bad value, as [`ConnectionConfig::validate`].
    pub fn validate(&self) -> Result<(), SinkError> {
        let mut faults = ConfigFaults::default();
        self.check(&mut faults);
        faults.into_result()
    }

    fn check(&self, faults: &mut ConfigFaults) {
        faults.range("pool.max_connections", self.max_connections, 1, CONNECTIONS);
        if self.min_connections > self.max_connections {
            faults.add(
                "pool.min_connections",
                format!("{} is more than `max_connections`", self.min_connections),
                format!("0 to {}", self.max_connections),
            );
        }
        let wait = self.connection_timeout_ms;
        faults.range("pool.connection_timeout_ms", wait, 1, OPERATION_MS);
        faults.range("pool.idle_timeout_ms", self.idle_timeout_ms, 1, YEAR_MS);
        faults.range("pool.max_lifetime_ms", self.max_lifetime_ms, 1, YEAR_MS);
    }
}

impl RetryConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` with every bad value, as [`ConnectionConfig::validate`].
    pub fn validate(&self) -> Result<(), SinkError> {
        let mut faults = ConfigFaults::default();
        self.check(&mut faults);
        faults.into_result()
    }

    fn check(&self, faults: &mut ConfigFaults) {
        let initial = self.initial_backoff_ms;
        faults.range("retry.max_retries", self.max_retries, 0, RETRIES);
        faults.range("retry.initial_backoff_ms", initial, 1, DAY_MS);
        let least = initial.clamp(1, DAY_MS);
        faults.range("retry.max_backoff_ms", self.max_backoff_ms, least, DAY_MS);
        let multiplier = self.backoff_multiplier;
        faults.range("retry.backoff_multiplier", multiplier, 1.0, STEEPEST);
    }
}

/// Whether nobody on the way can read along.
fn is_private(endpoint: &Endpoint) -> bool {
    matches!(
        endpoint.scheme(),
        Scheme::Unix | Scheme::Tls | Scheme::Wss | Scheme::Memory
    )
}

/// The most nodes: each has a pool and a health of its own.
const HOSTS: usize = 1000;

/// The most connections to one node: beyond it, file descriptors run out first.
const CONNECTIONS: usize = 10_000;

/// The longest username or password, in bytes: a greeting is limited to 4 KiB before it is accepted.
const CREDENTIAL_BYTES: usize = 255;

/// The longest that one operation may take: an hour; the kernel gives up after some two minutes.
const OPERATION_MS: u64 = 3_600_000;

/// The longest wait between two attempts: a day.
const DAY_MS: u64 = 86_400_000;

/// The longest lifetime: a year, which overflows no clock.
const YEAR_MS: u64 = 365 * DAY_MS;

/// The most retries, as of a lazy sink.
const RETRIES: u32 = 1000;

/// The steepest growth, as of a lazy sink.
const STEEPEST: f64 = 100.0;
