//! Who may talk to a service and how private it is: what the keys mean, and which contradict each other.
//! No I/O, no clock.

use super::findings::{Findings, Said};
use super::raw::RawService;
use super::service::ServiceConfig;
use crate::endpoint::{Endpoint, Scheme};
use crate::security::{ListenLimits, Password, Security, TlsMode};

/// Reads how a service is protected.
pub(super) fn security(raw: &RawService) -> Security {
    let variable = raw.text("password_env").map(ToOwned::to_owned);
    let file = raw.file("password_file");
    Security {
        tls: (raw.one_of("tls", TlsMode::ALL, TlsMode::name)).unwrap_or_default(),
        ca: raw.file("ca"),
        cert: raw.file("cert"),
        key: raw.file("key"),
        client_ca: raw.file("client_ca"),
        username: raw.text("username").map(ToOwned::to_owned),
        password: (variable.map(Password::Env)).or_else(|| file.map(Password::File)),
        allow_uids: raw.uids("allow_uids").unwrap_or_default(),
    }
}

/// Overrides the limits of a listener by what is written.
pub(super) fn set_limits(limits: &mut ListenLimits, raw: &RawService) {
    for (field, key) in [
        (&mut limits.connections, "max_connections"),
        (
            &mut limits.connections_per_address,
            "max_connections_per_address",
        ),
        (&mut limits.handshakes, "max_handshakes"),
        (
            &mut limits.handshakes_per_address,
            "max_handshakes_per_address",
        ),
        (
            &mut limits.handshakes_per_second_per_address,
            "handshakes_per_second_per_address",
        ),
        (&mut limits.inbound_bytes, "max_inbound_bytes"),
    ] {
        if let Some(limit) = raw.size(key) {
            *field = limit;
        }
    }
}

/// Finds what contradicts itself or would come to nothing. Whoever protects a service must not be mistaken
/// about it, so that all of it is refused rather than ignored.
pub(super) fn check(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    let Some(scheme) = config.endpoint.as_ref().map(Endpoint::scheme) else {
        return;
    };
    let mut rules = Rules {
        raw,
        scheme,
        tls: config.security.tls,
        findings,
    };
    rules.mode();
    rules.certificates();
    rules.users();
    rules.password();
    if config.limits.inbound_bytes < config.max_message_bytes {
        let written = ["max_inbound_bytes", "max_message_bytes"].into_iter();
        let key = written.clone().find(|key| rules.has(key));
        let key = key.unwrap_or_default();
        findings.odd(raw.span_of(key), raw.path(key), || {
            let message = format!(
                "all unfinished messages together may have {} bytes, less than the largest one, {}: \
                 such a message never arrives",
                config.limits.inbound_bytes, config.max_message_bytes
            );
            let hint = format!("write `max_inbound_bytes = {}` or more", config.max_message_bytes);
            (message, Some(hint))
        });
    }
}

struct Rules<'r> {
    raw: &'r RawService,
    scheme: Scheme,
    tls: TlsMode,
    findings: &'r mut Findings,
}

impl Rules<'_> {
    /// `tls` is for `tcp`; the other schemes say it themselves.
    fn mode(&mut self) {
        let scheme = self.scheme.name();
        let is_off = self.tls == TlsMode::Off;
        let (message, hint) = match self.scheme {
            Scheme::Tcp => return,
            Scheme::Tls if is_off => (
                format!("`off` contradicts `{scheme}://`, which is always encrypted"),
                "remove it, or write `tcp://`",
            ),
            Scheme::Wss if is_off => (
                format!("`off` contradicts `{scheme}://`, which is always encrypted"),
                "remove it, or write `ws://`",
            ),
            Scheme::Tls | Scheme::Wss => (
                format!("`tls` has no effect on `{scheme}://`, which is always encrypted"),
                "remove it",
            ),
            Scheme::Ws => (
                "`tls` has no effect on `ws://`, which is never encrypted".to_owned(),
                "remove it, and write `wss://` for an encrypted one",
            ),
            Scheme::Unix => (
                "`tls` has no effect on a Unix socket, which nobody else can read".to_owned(),
                "remove it",
            ),
            Scheme::Memory => (
                "`tls` has no effect within one process".to_owned(),
                "remove it",
            ),
            Scheme::Udp => (
                "`tls` has no effect on `udp://`, which is never encrypted".to_owned(),
                "remove it, or write `tls://`",
            ),
        };
        self.refuse("tls", || (message, Some(hint.to_owned())));
    }

    fn certificates(&mut self) {
        if !self.may_be_tls() {
            let what = match self.scheme {
                Scheme::Tcp => "`tcp://` with `tls = \"off\"`".to_owned(),
                Scheme::Unix => "a Unix socket".to_owned(),
                other => format!("`{}://`", other.name()),
            };
            for key in CERTIFICATES {
                let say = || {
                    let message = format!("`{key}` has no effect on {what}, which is without TLS");
                    (message, Some(format!("remove it, or {USE_TLS}")))
                };
                self.refuse(key, say);
            }
            return;
        }
        for (key, other) in [("cert", "key"), ("key", "cert")] {
            if !self.has(other) {
                self.refuse(key, || {
                    let message = format!("`{key}` is of no use without `{other}`");
                    (
                        message,
                        Some(format!("add `{other} = \"/path/to/{other}.pem\"`")),
                    )
                });
            }
        }
        if !self.is_tls() {
            self.refuse("client_ca", || {
                let message = "who speaks no TLS would get in without a certificate".to_owned();
                (message, Some(USE_TLS.to_owned()))
            });
        }
        if !self.has("cert") {
            self.refuse("client_ca", || {
                let message = "who demands certificates must show one, and there is no `cert`";
                let hint = "add `cert` and `key`";
                (message.to_owned(), Some(hint.to_owned()))
            });
        }
    }

    fn users(&mut self) {
        if self.scheme != Scheme::Unix {
            let scheme = self.scheme.name();
            self.refuse("allow_uids", || {
                let message = format!(
                    "`allow_uids` has no effect on `{scheme}://`: only of who comes through a Unix \
                     socket the system knows the user"
                );
                let hint = "remove it; over TLS there are `client_ca` and passwords";
                (message, Some(hint.to_owned()))
            });
        }
    }

    fn password(&mut self) {
        let source = PASSWORDS.into_iter().find(|key| self.has(key));
        if PASSWORDS.iter().all(|key| self.has(key)) {
            self.refuse("password_file", || {
                let message = "it contradicts `password_env`: there is one password".to_owned();
                (message, Some("keep one of the two".to_owned()))
            });
        }
        match source {
            None => self.refuse("username", || {
                let message = "a user without a password".to_owned();
                let hint =
                    "add `password_env = \"VARIABLE\"` or `password_file = \"/path/to/file\"`";
                (message, Some(hint.to_owned()))
            }),
            Some(source) if !self.has("username") => self.refuse(source, || {
                let message = "a password without a user".to_owned();
                (message, Some("add `username = \"NAME\"`".to_owned()))
            }),
            Some(_) => {}
        }
        if !self.is_tls() && self.scheme != Scheme::Unix && source.is_some() {
            let key = ["username"].into_iter().find(|key| self.has(key));
            let key = key.or(source).unwrap_or_default();
            self.refuse(key, || {
                let message = "passwords go over TLS or Unix sockets only".to_owned();
                (message, Some(USE_TLS.to_owned()))
            });
        }
    }

    /// Refuses a key, where it is written.
    fn refuse(&mut self, key: &str, say: impl FnOnce() -> Said) {
        if self.has(key) {
            let raw = self.raw;
            self.findings.wrong(raw.span_of(key), raw.path(key), say);
        }
    }

    fn has(&self, key: &str) -> bool {
        self.raw.has(key)
    }

    /// Whether every connection is encrypted.
    fn is_tls(&self) -> bool {
        match self.scheme {
            Scheme::Tls | Scheme::Wss => true,
            Scheme::Tcp => self.tls == TlsMode::Require,
            Scheme::Unix | Scheme::Memory | Scheme::Udp | Scheme::Ws => false,
        }
    }

    /// Whether some connections are.
    fn may_be_tls(&self) -> bool {
        self.is_tls() || (self.scheme == Scheme::Tcp && self.tls != TlsMode::Off)
    }
}

const CERTIFICATES: [&str; 4] = ["ca", "cert", "key", "client_ca"];
const PASSWORDS: [&str; 2] = ["password_env", "password_file"];
const USE_TLS: &str = "write `tls://`, `wss://`, or `tcp://` with `tls = \"require\"`";
