//! `services.toml` as written: which keys stand where, each value of a shape that its key allows. No I/O, no clock.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{enumerated, quoted, shown};
use super::findings::{Findings, Said};
use super::key_path::{KeyPath, SERVICES};
use super::keys::{self, KEYS, Key, LAZY, LAZY_PREFIX};
use super::nearest;
use super::value::{self, Value};
use crate::wire::text;

/// One service as written.
#[derive(Debug)]
pub(super) struct RawService {
    pub(super) name: String,
    /// Where its name stands.
    pub(super) span: Range<usize>,
    /// What stands behind each key; looked through one by one, since there are few, and most names differ in length.
    written: Vec<Written>,
}

/// A key and what stands behind it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) key: &'static Key,
    pub(super) key_span: Range<usize>,
    pub(super) span: Range<usize>,
    /// `None` when it could not be read, which has been said.
    pub(super) value: Option<Value>,
}

impl RawService {
    /// Returns the full path of one of its keys.
    pub(super) fn path<'a>(&'a self, key: &'a str) -> KeyPath<'a> {
        let (prefix, key) = match key.strip_prefix(LAZY_PREFIX) {
            Some(key) => (LAZY_PREFIX, key),
            None => ("", key),
        };
        KeyPath {
            service: &self.name,
            prefix,
            key,
        }
    }

    /// Returns the keys that are written.
    pub(super) fn written(&self) -> &[Written] {
        &self.written
    }

    fn found(&self, key: &str) -> Option<&Written> {
        self.written.iter().find(|written| written.key.name == key)
    }

    /// Returns whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.found(key).is_some()
    }

    /// Returns what was read behind a key.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.found(key)?.value.as_ref()
    }

    /// Returns where a key's value stands, or else the service's name.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.found(key)
            .map_or_else(|| self.span.clone(), |written| written.span.clone())
    }
}

/// What stands behind a key, in the type that is meant; `None` when nothing readable does.
impl RawService {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.known(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn one_of<T: Copy, const N: usize>(
        &self,
        key: &str,
        all: [T; N],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.text(key)?;
        all.into_iter().find(|&one| name(one) == text)
    }

    pub(super) fn names(&self, key: &str) -> Option<Vec<String>> {
        match self.known(key)? {
            Value::Names(names) => Some(names.iter().map(|(name, _)| name.clone()).collect()),
            _ => None,
        }
    }

    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn uids(&self, key: &str) -> Option<Vec<u32>> {
        match self.known(key)? {
            Value::Uids(uids) => Some(uids.clone()),
            _ => None,
        }
    }

    pub(super) fn whole(&self, key: &str) -> Option<u64> {
        match self.known(key)? {
            Value::Whole(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn size(&self, key: &str) -> Option<usize> {
        // Every limit of a size is below what can be addressed.
        usize::try_from(self.whole(key)?).ok()
    }

    pub(super) fn decimal(&self, key: &str) -> Option<f64> {
        match self.known(key)? {
            Value::Decimal(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.decimal(key)?).ok()
    }

    fn known(&self, key: &str) -> Option<&Value> {
        debug_assert!(keys::find(key).is_some(), "`{key}` is in no table");
        self.value(key)
    }
}

/// Reads the whole document; what cannot be read is found and left out.
pub(super) fn services(document: &DeTable<'_>, findings: &mut Findings) -> Vec<RawService> {
    let mut services = Vec::new();
    let mut found = false;
    for (key, value) in document {
        if key.get_ref() == SERVICES {
            found = true;
            services = service_tables(value, findings);
        } else {
            findings.wrong(key.span(), quoted(key.get_ref()), || {
                let message = format!("there is no top-level key `{}`", shown(key.get_ref()));
                let hint = match (nearest::nearest(key.get_ref(), [SERVICES]), value.get_ref()) {
                    (Some(_), _) => "did you mean `services`?".to_owned(),
                    (None, DeValue::Table(_)) => format!(
                        "every service is a table `[services.NAME]`: write `[services.{}]`",
                        quoted(key.get_ref())
                    ),
                    (None, _) => "put it below a `[services.NAME]` line".to_owned(),
                };
                (message, Some(hint))
            });
        }
    }
    if !found {
        findings.absent(0..0, "", || {
            let message = "there is no `[services]`: the file names no service".to_owned();
            (message, Some(EXAMPLE.to_owned()))
        });
    }
    // The table is sorted by name; people think in the order of the file.
    services.sort_by_key(|service| service.span.start);
    services
}

fn service_tables(value: &Spanned<DeValue<'_>>, findings: &mut Findings) -> Vec<RawService> {
    let Some(table) = value.get_ref().as_table() else {
        findings.wrong(value.span(), SERVICES, || {
            let message = format!(
                "expected a table of services, found {}",
                value::what(value.get_ref())
            );
            (message, Some(EXAMPLE.to_owned()))
        });
        return Vec::new();
    };
    if table.is_empty() {
        findings.absent(value.span(), SERVICES, || {
            let message = "`services` is empty: the file names no service".to_owned();
            (message, Some(EXAMPLE.to_owned()))
        });
    }
    let mut services = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let Some(why) = text::bad_name(name) {
            let path = KeyPath {
                service: name,
                prefix: "",
                key: "",
            };
            findings.wrong(key.span(), path, || {
                (
                    why.to_owned(),
                    Some("give the service another name".to_owned()),
                )
            });
        }
        let mut service = RawService {
            name: name.to_owned(),
            span: key.span(),
            written: Vec::new(),
        };
        match value.get_ref().as_table() {
            Some(table) => read(&mut service, table, "", findings),
            None => findings.wrong(value.span(), service.path(""), || {
                let message = format!("expected a table, found {}", value::what(value.get_ref()));
                let hint = format!(
                    "a service is a table: write `[services.{}]` and its keys below",
                    quoted(name)
                );
                (message, Some(hint))
            }),
        }
        services.push(service);
    }
    services
}

/// Reads the keys of a service, or of its `lazy` table when the prefix says so.
fn read(service: &mut RawService, table: &DeTable<'_>, prefix: &str, findings: &mut Findings) {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if prefix.is_empty() && name == LAZY {
            match value.get_ref().as_table() {
                Some(lazy) => read(service, lazy, LAZY_PREFIX, findings),
                None => findings.wrong(value.span(), service.path(LAZY), || {
                    let message =
                        format!("expected a table, found {}", value::what(value.get_ref()));
                    let hint = "such as `lazy = { max_retries = 5 }`".to_owned();
                    (message, Some(hint))
                }),
            }
            continue;
        }
        // A quoted "lazy.jitter" is one key, not two, and no key of ours has a dot inside.
        let known = keys::find_in(prefix, name).filter(|_| !name.contains('.'));
        let path = KeyPath {
            service: &service.name,
            prefix,
            key: name,
        };
        let Some(known) = known else {
            findings.wrong(key.span(), path, || unknown(name, prefix));
            continue;
        };
        let read = match value::read(&known.shape, value, path, findings) {
            Ok(read) => read,
            Err((message, hint)) => {
                findings.wrong(value.span(), path, || (message, hint));
                None
            }
        };
        service.written.push(Written {
            key: known,
            key_span: key.span(),
            span: value.span(),
            value: read,
        });
    }
}

/// Says what to write instead of a key that does not exist.
fn unknown(key: &str, prefix: &str) -> Said {
    if PASSWORDS.contains(&key.to_ascii_lowercase().as_str()) {
        let message = format!(
            "there is no key `{prefix}{}`: this file holds no password",
            shown(key)
        );
        let hint = "write `password_env = \"VARIABLE\"` or `password_file = \"/path/to/file\"`";
        return (message, Some(hint.to_owned()));
    }
    let message = format!("there is no key `{prefix}{}`", shown(key));
    let (inside, outside): (Vec<&Key>, Vec<&Key>) = KEYS
        .iter()
        .partition(|key| key.name.starts_with(LAZY_PREFIX));
    let inside = inside
        .iter()
        .filter_map(|key| key.name.strip_prefix(LAZY_PREFIX));
    let inside: Vec<_> = inside.collect();
    let known: Vec<_> = if prefix.is_empty() {
        outside.iter().map(|key| key.name).chain([LAZY]).collect()
    } else {
        inside.clone()
    };
    let hint = if prefix.is_empty() && inside.contains(&key) {
        format!("write `{LAZY_PREFIX}{key}`")
    } else if !prefix.is_empty() && keys::find(key).is_some() {
        format!("write `{key}` outside of `lazy`")
    } else if let Some(name) = nearest::nearest(key, known.iter().copied()) {
        format!("did you mean `{prefix}{name}`?")
    } else {
        format!("the keys are {}", enumerated(&known, known.len()))
    };
    (message, Some(hint))
}

/// What people write who look for a key of a password.
const PASSWORDS: &[&str] = &["password", "passwd", "pass", "passphrase", "secret"];

const EXAMPLE: &str =
    "write `[services.NAME]`, and below it `type = \"relay\"` and `endpoint = \"unix:///path\"`";
