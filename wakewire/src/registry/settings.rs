//! A service written out again, key by key, as TOML. No I/O, no clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::diagnostic::quoted;
use super::secret::is_secret;
use super::service::{ServiceConfig, SinkType};
use crate::backoff::LazyConfig;
use crate::delivery::Fsync;
use crate::endpoint::Scheme;
use crate::security::{ListenLimits, Password, Security, TlsMode};

/// A key and its value as TOML; none where there is no value.
type Setting = (&'static str, Option<String>);

impl ServiceConfig {
    /// Returns every key that has an effect on this kind of service, with its value as TOML; `None` where
    /// there is no value. Connection settings are over the library's defaults. A password that was
    /// [given](Password::Given) in code has no text form and is left out.
    pub fn settings(&self) -> Vec<(&'static str, Option<String>)> {
        let mut settings = vec![("type", Some(text(self.kind.name())))];
        if let SinkType::Composite { pattern, targets } = &self.kind {
            settings.push(("pattern", Some(text(pattern.name()))));
            settings.push(("targets", Some(list(targets))));
        } else {
            settings.extend(self.of_link());
        }
        if self.kind == SinkType::Relay {
            settings.extend(self.of_relay());
        }
        settings.extend(of_lazy(&self.lazy_config(LazyConfig::default())));
        if !matches!(self.kind, SinkType::Composite { .. }) {
            let scheme = self.endpoint.as_ref().map(|endpoint| endpoint.scheme());
            settings.extend(of_security(&self.security, scheme));
            settings.extend(of_limits(&self.limits));
            settings.push(("cursor", self.cursor.as_deref().map(path_text)));
        }
        let metadata = (!self.metadata.is_empty()).then(|| table(&self.metadata));
        settings.push(("metadata", metadata));
        settings
    }

    /// Returns the settings that differ from those of a service of the same kind and place of which
    /// nothing else was said.
    pub fn settings_that_differ(&self) -> Vec<(&'static str, String)> {
        let plain = Self::with_defaults(self.kind.clone(), self.endpoint.clone()).settings();
        self.settings()
            .into_iter()
            .filter(|setting| {
                // Once written, this one holds for named consumers too, whatever its value.
                let deadline = setting.0 == DEADLINE && self.consumer_deadline.is_some();
                deadline || !plain.contains(setting)
            })
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    fn of_link(&self) -> [Setting; 12] {
        let endpoint = self.endpoint.as_ref().map(ToString::to_string);
        let idle = self.idle_timeout.unwrap_or_default();
        [
            ("endpoint", endpoint.as_deref().map(text)),
            ("delivery", Some(text(self.delivery.name()))),
            ("buffer_size", whole(self.buffer_size)),
            ("buffer_bytes", whole(self.buffer_bytes)),
            ("when_full", Some(text(self.when_full.name()))),
            ("spool", self.spool.as_deref().map(path_text)),
            ("fsync", self.fsync_shown().map(|fsync| text(fsync.name()))),
            ("max_message_bytes", whole(self.max_message_bytes)),
            ("idle_timeout_secs", Some(seconds(idle))),
            ("drain_timeout_secs", Some(seconds(self.drain_timeout))),
            ("domain", self.domain.map(|domain| text(domain.name()))),
            (
                "precision_context",
                Some(text(self.precision_context.name())),
            ),
        ]
    }

    /// What is not written is shown where there is one answer.
    fn fsync_shown(&self) -> Option<Fsync> {
        let usual = match (&self.spool, &self.store_and_forward) {
            (None, None) => return None,
            (Some(_), None) => Some(self.spool_fsync()),
            (None, Some(_)) => Some(self.store_fsync()),
            (Some(_), Some(_)) => None,
        };
        self.fsync.or(usual)
    }

    fn of_relay(&self) -> [Setting; 5] {
        let consumers = (!self.consumers.is_empty()).then(|| list(&self.consumers));
        [
            (
                "store_and_forward",
                self.store_and_forward.as_deref().map(path_text),
            ),
            ("consumers", consumers),
            (
                "without_consumers",
                Some(text(self.without_consumers.name())),
            ),
            (DEADLINE, Some(seconds(self.unnamed_deadline()))),
            ("log_bytes", whole(self.log_bytes)),
        ]
    }
}

fn of_lazy(lazy: &LazyConfig) -> [Setting; 8] {
    [
        ("lazy.max_retries", Some(lazy.max_retries.to_string())),
        ("lazy.retry_delay_ms", Some(milliseconds(lazy.retry_delay))),
        (
            "lazy.backoff_multiplier",
            Some(decimal(lazy.backoff_multiplier)),
        ),
        (
            "lazy.max_retry_delay_secs",
            Some(seconds(lazy.max_retry_delay)),
        ),
        ("lazy.auto_reconnect", Some(lazy.auto_reconnect.to_string())),
        (
            "lazy.connect_timeout_secs",
            Some(seconds(lazy.connect_timeout)),
        ),
        ("lazy.wait_timeout_secs", Some(seconds(lazy.wait_timeout))),
        ("lazy.jitter", Some(decimal(lazy.jitter))),
    ]
}

fn of_security(security: &Security, scheme: Option<Scheme>) -> [Setting; 9] {
    // Every other scheme says itself whether it is encrypted; what was set all the same is not hidden.
    let tls = scheme == Some(Scheme::Tcp) || security.tls != TlsMode::default();
    let file = |path: &Option<_>| path.as_deref().map(path_text);
    let (env, password_file) = match &security.password {
        Some(Password::Env(name)) => (Some(text(name)), None),
        Some(Password::File(path)) => (None, Some(path_text(path))),
        Some(Password::Given(_)) | None => (None, None),
    };
    let uids: Vec<_> = security.allow_uids.iter().map(u32::to_string).collect();
    [
        ("tls", tls.then(|| text(security.tls.name()))),
        ("ca", file(&security.ca)),
        ("cert", file(&security.cert)),
        ("key", file(&security.key)),
        ("client_ca", file(&security.client_ca)),
        ("username", security.username.as_deref().map(text)),
        ("password_env", env),
        ("password_file", password_file),
        (
            "allow_uids",
            (!uids.is_empty()).then(|| format!("[{}]", uids.join(", "))),
        ),
    ]
}

fn of_limits(limits: &ListenLimits) -> [Setting; 6] {
    [
        ("max_connections", whole(limits.connections)),
        (
            "max_connections_per_address",
            whole(limits.connections_per_address),
        ),
        ("max_handshakes", whole(limits.handshakes)),
        (
            "max_handshakes_per_address",
            whole(limits.handshakes_per_address),
        ),
        (
            "handshakes_per_second_per_address",
            whole(limits.handshakes_per_second_per_address),
        ),
        ("max_inbound_bytes", whole(limits.inbound_bytes)),
    ]
}

fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| text(name)).collect();
    format!("[{}]", names.join(", "))
}

fn table(table: &BTreeMap<String, String>) -> String {
    let entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            // Not meant for secrets, but one that strays here is not printed.
            let value = if is_secret(key) { "***" } else { value };
            format!("{} = {}", quoted(key), text(value))
        })
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

fn whole(number: usize) -> Option<String> {
    Some(number.to_string())
}

/// As TOML writes it, also what is no number.
fn decimal(number: f64) -> String {
    format!("{number:?}").to_lowercase()
}

/// Rounded up, since a short wait is not none.
fn milliseconds(duration: Duration) -> String {
    duration.as_micros().div_ceil(1000).to_string()
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

const DEADLINE: &str = "consumer_deadline_secs";
