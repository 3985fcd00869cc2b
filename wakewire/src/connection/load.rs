//! Reads a configuration from a file and from the environment.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use super::config::ConnectionConfig;
use super::faults::ConfigFaults;
use crate::error::{Failure, SinkError};

impl ConnectionConfig {
    /// Reads a TOML file; its keys are the fields, with `[pool]` and `[retry]` for theirs.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` when the file cannot be read, is larger than 1 MiB, or says what [`from_toml`](Self::from_toml)
    /// refuses.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let config = read(path.as_ref())?;
        config.validate()?;
        Ok(config)
    }

    /// Reads a TOML file, and puts what the environment says in place of what it says: only both together must be
    /// right, so that hosts and passwords may be in the environment alone.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file) and [`overridden_by`](Self::overridden_by).
    pub fn from_file_and_env(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        read(path.as_ref())?.overridden_by_env()
    }

    /// Reads TOML text.
    ///
    /// ```
    /// use wakewire::connection::ConnectionConfig;
    ///
    /// let config = ConnectionConfig::from_toml(
    ///     "hosts = ['db1', 'db2']\n[pool]\nmin_connections = 1\n[retry]\nmax_retries = 5\n",
    /// )
    /// .unwrap();
    /// assert_eq!((config.pool_config.min_connections, config.retry_config.max_retries), (1, 5));
    ///
    /// let error = ConnectionConfig::from_toml("hosts = ['db1']\n[pool]\nmin = 1\n").unwrap_err();
    /// assert!(error.to_string().contains("line 3"), "{error}");
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidConfig`: no TOML, a key that does not exist, each with its line; or what
    /// [`validate`](Self::validate) refuses.
    pub fn from_toml(text: &str) -> Result<Self, SinkError> {
        let config = parsed(text, "TOML")?;
        config.validate()?;
        Ok(config)
    }

    /// Reads the environment alone: `WAKEWIRE_HOSTS` (separated by commas), `WAKEWIRE_USERNAME`,
    /// `WAKEWIRE_PASSWORD`, `WAKEWIRE_ENABLE_TLS`, `WAKEWIRE_TIMEOUT_MS`, `WAKEWIRE_CA`, `WAKEWIRE_CERT`,
    /// `WAKEWIRE_KEY`, and every key of the pool and of the retries, such as `WAKEWIRE_POOL_MIN_CONNECTIONS` and
    /// `WAKEWIRE_RETRY_MAX_RETRIES`.
    ///
    /// # Errors
    ///
    /// As [`overridden_by`](Self::overridden_by).
    pub fn from_env() -> Result<Self, SinkError> {
        Self::default().overridden_by_env()
    }

    /// Returns this configuration with what the environment says in place of its own values.
    ///
    /// # Errors
    ///
    /// As [`overridden_by`](Self::overridden_by).
    pub fn overridden_by_env(self) -> Result<Self, SinkError> {
        self.overridden_by(env::vars_os())
    }

    /// Returns this configuration with what these variables say in place of its own values.
    ///
    /// ```
    /// use wakewire::connection::ConnectionConfig;
    ///
    /// let variables = [("WAKEWIRE_HOSTS", "db1, db2"), ("WAKEWIRE_POOL_MAX_CONNECTIONS", "8"), ("HOME", "/")];
    /// let config = ConnectionConfig::default().overridden_by(variables).unwrap();
    /// assert_eq!(config.hosts, ["db1", "db2"]);
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidConfig` for every value that cannot be read, for unknown names that begin with `WAKEWIRE_POOL_` or
    /// `WAKEWIRE_RETRY_`, and for what [`validate`](Self::validate) refuses of the whole.
    pub fn overridden_by<K, V>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, SinkError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut faults = ConfigFaults::default();
        for (name, value) in variables {
            let (name, value) = (name.into(), value.into());
            let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if let Err((message, allowed)) = self.set(key, value) {
                faults.add(format!("{PREFIX}{key}"), message, allowed);
            }
        }
        faults.into_result()?;
        self.validate()?;
        Ok(self)
    }

    /// Sets one key; the error says what is wrong and what is allowed, without the value.
    fn set(&mut self, key: &str, value: OsString) -> Result<(), (&'static str, &'static str)> {
        let (pool, retry) = (&mut self.pool_config, &mut self.retry_config);
        match key {
            "HOSTS" => {
                let hosts = text(value)?;
                self.hosts = hosts
                    .split(',')
                    .map(|host| host.trim().to_owned())
                    .collect();
            }
            "USERNAME" => self.username = Some(text(value)?),
            "PASSWORD" => self.password = Some(text(value)?.into()),
            "ENABLE_TLS" => self.enable_tls = flag(&text(value)?)?,
            "TIMEOUT_MS" => self.timeout_ms = number(value)?,
            "CA" => self.ca = Some(value.into()),
            "CERT" => self.cert = Some(value.into()),
            "KEY" => self.key = Some(value.into()),
            "POOL_MIN_CONNECTIONS" => pool.min_connections = number(value)?,
            "POOL_MAX_CONNECTIONS" => pool.max_connections = number(value)?,
            "POOL_CONNECTION_TIMEOUT_MS" => pool.connection_timeout_ms = number(value)?,
            "POOL_IDLE_TIMEOUT_MS" => pool.idle_timeout_ms = number(value)?,
            "POOL_MAX_LIFETIME_MS" => pool.max_lifetime_ms = number(value)?,
            "RETRY_MAX_RETRIES" => retry.max_retries = number(value)?,
            "RETRY_INITIAL_BACKOFF_MS" => retry.initial_backoff_ms = number(value)?,
            "RETRY_MAX_BACKOFF_MS" => retry.max_backoff_ms = number(value)?,
            "RETRY_BACKOFF_MULTIPLIER" => retry.backoff_multiplier = number(value)?,
            _ if key.starts_with("POOL_") => return Err(("no such variable", POOL_KEYS)),
            _ if key.starts_with("RETRY_") => return Err(("no such variable", RETRY_KEYS)),
            // Others may use the prefix for other things.
            _ => {}
        }
        Ok(())
    }
}

fn text(value: OsString) -> Result<String, (&'static str, &'static str)> {
    value.into_string().map_err(|_| ("it is not UTF-8", "text"))
}

fn number<T: FromStr>(value: OsString) -> Result<T, (&'static str, &'static str)> {
    let number = text(value)?.trim().parse();
    number.map_err(|_| ("it cannot be read", "a number that is not negative"))
}

fn flag(text: &str) -> Result<bool, (&'static str, &'static str)> {
    match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(("it cannot be read", "`true` or `false`")),
    }
}

/// Reads a file.
fn read(path: &Path) -> Result<ConnectionConfig, SinkError> {
    let name = path.display().to_string();
    let unread = |error: std::io::Error| {
        let failure = Failure::new("").endpoint(name.clone()).because(error);
        SinkError::InvalidConfig(failure.hint(format!("is `{name}` there and readable?")))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unread)?;
    // One byte more than allowed, to see that there is more.
    let read = file.take(FILE_BYTES + 1).read_to_string(&mut text);
    if read.map_err(unread)? as u64 > FILE_BYTES {
        let mut faults = ConfigFaults::default();
        faults.add(name, "the file is too large", format!("{FILE_BYTES} bytes"));
        return Err(faults.into_error());
    }
    parsed(&text, &name)
}

/// Reads the text of a file; no excerpt of it gets into an error, for it may hold a password.
fn parsed(text: &str, file: &str) -> Result<ConnectionConfig, SinkError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let place = error.span().and_then(|span| text.get(..span.start));
        let key = place.map_or_else(
            || file.to_owned(),
            |before| format!("{file}, line {}", before.matches('\n').count() + 1),
        );
        let mut faults = ConfigFaults::default();
        faults.add(
            key,
            error.message(),
            "the keys and values of a `ConnectionConfig`",
        );
        faults.into_error()
    })
}

const PREFIX: &str = "WAKEWIRE_";

const POOL_KEYS: &str = "WAKEWIRE_POOL_ and MIN_CONNECTIONS, MAX_CONNECTIONS, CONNECTION_TIMEOUT_MS, \
                         IDLE_TIMEOUT_MS, MAX_LIFETIME_MS";

const RETRY_KEYS: &str = "WAKEWIRE_RETRY_ and MAX_RETRIES, INITIAL_BACKOFF_MS, MAX_BACKOFF_MS, \
                          BACKOFF_MULTIPLIER";

/// The longest file: a thousand hosts take some 30 KiB.
const FILE_BYTES: u64 = 1 << 20;
