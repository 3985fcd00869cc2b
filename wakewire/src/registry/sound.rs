//! A service made in code, held against the same rules as one that was read.

use toml::de::DeTable;

use super::findings::Findings;
use super::{ServiceConfig, raw, resolve};
use crate::error::{Failure, Phase, SinkError};
use crate::security::Password;

impl ServiceConfig {
    /// Checks a service that was made in code, for a registry of one's own: the ranges, and what excludes
    /// what. What came out of a [`ServiceRegistry`](crate::ServiceRegistry) is sound already. Targets of a
    /// composite are not looked up, and nothing is opened.
    ///
    /// ```
    /// use wakewire::{ServiceConfig, WhenFull};
    ///
    /// let mut feed = ServiceConfig::relay("tcp://127.0.0.1:7000".parse().unwrap());
    /// assert!(feed.validate("feed").is_ok());
    /// feed.when_full = WhenFull::DropOldest; // but at_least_once
    /// assert!(feed.validate("feed").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] of the service of this name, with all that is wrong.
    pub fn validate(&self, name: &str) -> Result<(), SinkError> {
        // Written out and read again: one set of rules, and nothing that only holds on one way in.
        let mut written = self.clone();
        if let Some(password @ Password::Given(_)) = &mut written.security.password {
            // Where it comes from is no concern of any rule, and it is never written out.
            *password = Password::Env("GIVEN".to_owned());
        }
        let mut text = format!("[{TABLE}]\n");
        for (key, value) in written.settings() {
            if let Some(value) = value.filter(|_| key != METADATA) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        let (document, errors) = DeTable::parse_recoverable(&text);
        let mut findings = Findings::default();
        for error in errors {
            findings.syntax(error.span().unwrap_or_default(), error.message().to_owned());
        }
        for raw in raw::services(document.get_ref(), &mut findings) {
            resolve::service(&raw, &mut findings);
        }
        if !findings.refused() {
            return Ok(());
        }
        let (diagnostics, _) = findings.placed(&text, None);
        let faults: Vec<_> = diagnostics
            .iter()
            .filter(|fault| fault.severity == super::Severity::Error)
            .map(|fault| {
                let key = fault.key.strip_prefix(TABLE).unwrap_or_default();
                let hint = fault.hint.as_deref().unwrap_or_default();
                format!("{}: {}; {hint}", key.trim_start_matches('.'), fault.message)
            })
            .map(|fault| fault.trim_start_matches(": ").to_owned())
            .collect();
        let failure = Failure::new(name).phase(Phase::Resolve);
        Err(SinkError::InvalidConfig(failure.because(faults.join("\n"))))
    }
}

const TABLE: &str = "services.x";

/// Free text, which no rule is about.
const METADATA: &str = "metadata";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::{CompositePattern, LazySettings};

    #[test]
    fn what_no_file_may_say_no_code_may_either() {
        let endpoint = || "tcp://127.0.0.1:7000".parse().unwrap();
        let relay = || ServiceConfig::relay(endpoint());
        let lazy = |lazy| ServiceConfig { lazy, ..relay() };
        let text = |text: &str| vec![text.to_owned()];
        for (config, key) in [
            (
                ServiceConfig {
                    buffer_size: 0,
                    ..relay()
                },
                "buffer_size: 0",
            ),
            (
                ServiceConfig {
                    max_message_bytes: usize::MAX,
                    ..relay()
                },
                "max_message_bytes",
            ),
            (
                ServiceConfig {
                    drain_timeout: Duration::MAX,
                    ..relay()
                },
                "drain_timeout_secs",
            ),
            (
                ServiceConfig {
                    consumers: text(""),
                    ..relay()
                },
                "consumers",
            ),
            (
                ServiceConfig {
                    endpoint: None,
                    ..relay()
                },
                "a relay needs `endpoint`",
            ),
            (
                ServiceConfig::composite(CompositePattern::Fanout, [""; 0]),
                "targets",
            ),
            (
                lazy(LazySettings {
                    jitter: Some(f64::NAN),
                    ..LazySettings::default()
                }),
                "lazy.jitter",
            ),
            (
                lazy(LazySettings {
                    backoff_multiplier: Some(f64::INFINITY),
                    ..LazySettings::default()
                }),
                "lazy.backoff",
            ),
        ] {
            let error = config
                .validate("made")
                .and_then(|()| config.validate("made"));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("service `made`") && error.contains(key),
                "{error}"
            );
        }
        let quick = Some(Duration::from_micros(200));
        let quick = LazySettings {
            retry_delay: quick,
            ..LazySettings::default()
        };
        assert!(lazy(quick).validate("quick").is_ok());
        assert!(
            ServiceConfig::composite(CompositePattern::Fanout, ["a \"b\"\n"])
                .validate("c")
                .is_ok()
        );
    }
}
