//! How a cluster is reached: hosts, credentials, TLS, pools and retries. No I/O, no clock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

use super::channel::ConnectionSettings;
use super::faults::ConfigFaults;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::SinkError;
use crate::security::{Password, Security, TlsMode};

/// The port of a host that names none.
pub const DEFAULT_PORT: u16 = 7000;

/// How a cluster of nodes is reached.
///
/// In code it is a literal over the defaults; from a file it is read by [`from_file`](Self::from_file), from the
/// environment by [`from_env`](Self::from_env). Both refuse what [`validate`](Self::validate) refuses.
///
/// ```
/// use wakewire::connection::ConnectionConfig;
///
/// let config = ConnectionConfig {
///     hosts: vec!["db1".into(), "[::1]:7001".into()],
///     ..ConnectionConfig::default()
/// };
/// config.validate().unwrap();
/// assert_eq!(config.endpoints().unwrap()[0].to_string(), "tcp://db1:7000");
/// ```
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct ConnectionConfig {
    /// The nodes, at least one: a name or an address, with `:port` or without (7000); an IPv6 address with a port is
    /// written in brackets. A URL (`tls://host:port`) or the path of a Unix socket does as well.
    #[serde(deserialize_with = "hosts")]
    pub hosts: Vec<String>,
    /// Who we are, for nodes that ask.
    pub username: Option<String>,
    /// What proves it; needs `username`. Goes over TLS or a Unix socket only, and is shown by nothing.
    #[serde(deserialize_with = "password")]
    pub password: Option<SecretString>,
    /// Whether every node that is not a Unix socket is reached by TLS, and never otherwise. Default `false`.
    pub enable_tls: bool,
    /// How long one network operation may take, in milliseconds: opening a connection, a request with its answer, a
    /// check of a node. Default 5000, as in NATS; up to an hour.
    pub timeout_ms: u64,
    /// The certificates that are trusted, in PEM. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate, in PEM, for nodes that ask for one; needs `key`.
    pub cert: Option<PathBuf>,
    /// The key of `cert`, in PEM.
    pub key: Option<PathBuf>,
    /// How many connections are kept to each node, and how long.
    #[serde(rename = "pool", alias = "pool_config")]
    pub pool_config: PoolConfig,
    /// How often and how fast a request is repeated.
    #[serde(rename = "retry", alias = "retry_config")]
    pub retry_config: RetryConfig,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            username: None,
            password: None,
            enable_tls: false,
            timeout_ms: 5000,
            ca: None,
            cert: None,
            key: None,
            pool_config: PoolConfig::default(),
            retry_config: RetryConfig::default(),
        }
    }
}

/// How many connections are kept to one node, and how long.
///
/// Not to be taken for the settings of a pool of sinks, which lie in [`sink`](crate::sink).
///
/// ```
/// use wakewire::connection::PoolConfig;
///
/// let small = PoolConfig { min_connections: 0, max_connections: 4, ..PoolConfig::default() };
/// assert_eq!(small.idle_timeout_ms, 60_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct PoolConfig {
    /// How many are kept open once the pool was used, so that a burst finds them; before that, none is opened. With 0 a
    /// pool that is not used falls asleep. Default 5.
    pub min_connections: usize,
    /// How many there are at most, those being opened included. Default 20. One that is being closed is not counted: a
    /// peer that has gone silent must not hold up the next. Each serves one operation at a time. Up to 10,000.
    pub max_connections: usize,
    /// How long a caller waits for a connection, and how long opening one may take. Default 5000.
    pub connection_timeout_ms: u64,
    /// After how long without use a connection above `min_connections` is closed. Default 60000. What the peer
    /// announces counts for all of them: they are closed at 0.8 of it, before the peer does.
    pub idle_timeout_ms: u64,
    /// How long a connection lives, minus up to a quarter at random, so that they do not all end together. Default
    /// 1800000, half an hour, as in `HikariCP` and bb8.
    pub max_lifetime_ms: u64,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            min_connections: 5,
            max_connections: 20,
            connection_timeout_ms: 5000,
            idle_timeout_ms: 60_000,
            max_lifetime_ms: 1_800_000,
        }
    }
}

impl PoolConfig {
    /// Returns `connection_timeout_ms` as a duration.
    pub(super) const fn connection_timeout(&self) -> Duration {
        Duration::from_millis(self.connection_timeout_ms)
    }
}

/// How often and how fast a request is repeated.
///
/// Each wait is a random part of a limit that grows by the multiplier (the full jitter of AWS), so that the clients of
/// a node that was overloaded do not return to it together.
///
/// ```
/// use wakewire::connection::RetryConfig;
///
/// let eager = RetryConfig { initial_backoff_ms: 10, ..RetryConfig::default() };
/// assert_eq!((eager.max_retries, eager.max_backoff_ms), (3, 5000));
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct RetryConfig {
    /// How many times a failed request is repeated at most. Default 3; at most 1000.
    pub max_retries: u32,
    /// The longest wait before the first repetition. Default 100.
    pub initial_backoff_ms: u64,
    /// The longest wait before any. Default 5000.
    pub max_backoff_ms: u64,
    /// What the longest wait is multiplied by each time. Default 2.0; from 1 to 100.
    pub backoff_multiplier: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            initial_backoff_ms: 100,
            max_backoff_ms: 5000,
            backoff_multiplier: 2.0,
        }
    }
}

impl ConnectionConfig {
    /// Returns where the nodes are, in the order of `hosts`: a host without a scheme is `tcp`, or `tls` with
    /// `enable_tls`.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, as [`validate`](Self::validate).
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, SinkError> {
        self.validate()?;
        let endpoints = self.hosts.iter().map(|host| self.endpoint(host));
        endpoints.collect::<Result<_, _>>().map_err(|error| {
            // Not reached: validation has parsed them all.
            let mut faults = ConfigFaults::default();
            faults.add("hosts", error.to_string(), error.hint());
            faults.into_error()
        })
    }

    /// Returns `timeout_ms` as a duration.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Returns how each connection behaves and is protected.
    ///
    /// ```
    /// use wakewire::TlsMode;
    /// use wakewire::connection::ConnectionConfig;
    ///
    /// let config = ConnectionConfig { enable_tls: true, ..ConnectionConfig::default() };
    /// assert_eq!(config.settings().security.tls, TlsMode::Require);
    /// ```
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            security: Security {
                tls: if self.enable_tls {
                    TlsMode::Require
                } else {
                    TlsMode::Prefer
                },
                ca: self.ca.clone(),
                cert: self.cert.clone(),
                key: self.key.clone(),
                username: self.username.clone(),
                password: self.password.clone().map(Password::Given),
                ..Security::default()
            },
            timeout: self.timeout(),
            ..ConnectionSettings::default()
        }
    }

    /// Reads one host as written.
    pub(super) fn endpoint(&self, host: &str) -> Result<Endpoint, EndpointError> {
        let (scheme, rest) = match host.split_once("://") {
            None if host.starts_with('/') => return host.parse(),
            None => {
                let scheme = if self.enable_tls {
                    Scheme::Tls
                } else {
                    Scheme::Tcp
                };
                (scheme.name(), host)
            }
            Some((scheme @ ("tcp" | "tls" | "udp"), rest)) => (scheme, rest),
            Some(_) => return host.parse(),
        };
        let lacks_port = !rest.contains(':') || (rest.starts_with('[') && rest.ends_with(']'));
        if rest.parse::<core::net::Ipv6Addr>().is_ok() {
            format!("{scheme}://[{rest}]:{DEFAULT_PORT}").parse()
        } else if lacks_port && !rest.contains(['/', '@', '?', '#']) {
            format!("{scheme}://{rest}:{DEFAULT_PORT}").parse()
        } else {
            format!("{scheme}://{rest}").parse()
        }
    }
}

/// Shows neither the password nor anything of a host that may hold one by mistake.
impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(|host| shown(host)).collect();
        f.debug_struct("ConnectionConfig")
            .field("hosts", &hosts)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("enable_tls", &self.enable_tls)
            .field("timeout_ms", &self.timeout_ms)
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("pool_config", &self.pool_config)
            .field("retry_config", &self.retry_config)
            .finish()
    }
}

/// Returns a host fit for a message; one with an `@` may hold a password.
pub(super) fn shown(host: &str) -> &str {
    if host.contains('@') {
        "[REDACTED]"
    } else {
        host
    }
}

/// Says what is wrong without the value: it may be a password in the wrong place.
fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| de::Error::custom("expected a list of strings"))
}

/// The same, and a number would be shown too.
fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer);
    text.map(|text| Some(text.into()))
        .map_err(|_| de::Error::custom("expected a string"))
}
