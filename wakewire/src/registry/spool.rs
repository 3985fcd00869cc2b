//! Whether a service may have the spool that it asks for, or its relay, found out without making it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::findings::Findings;
use super::raw::RawService;
use super::service::{ServiceConfig, SinkType, WithoutConsumers};
use crate::delivery::Delivery;

/// Refuses what contradicts itself; what lies at the path may be put right until a sink or relay is made, and receivers
/// that read the same file do not need it.
pub(super) fn check(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    if matches!(config.kind, SinkType::Composite { .. }) {
        return;
    }
    let keeps = raw.has("spool") || raw.has(STORE);
    if raw.has("fsync") && !keeps {
        findings.wrong(raw.span_of("fsync"), raw.path("fsync"), || {
            let message = "there is nothing to sync without a spool".to_owned();
            let hint = "remove it, or add `spool = \"/var/lib/NAME\"`".to_owned();
            (message, Some(hint))
        });
    }
    if let Some(path) = &config.spool {
        let message = "a spool keeps what is not confirmed, and at_most_once confirms nothing";
        check_path("spool", message, path, config, raw, findings);
    }
    if let Some(path) = &config.store_and_forward {
        let message = "a relay stores what is to be confirmed, and at_most_once confirms nothing";
        check_path(STORE, message, path, config, raw, findings);
        check_store(path, config, raw, findings);
    }
}

fn check_path(
    key: &str,
    lossy: &str,
    path: &Path,
    config: &ServiceConfig,
    raw: &RawService,
    findings: &mut Findings,
) {
    if config.delivery == Delivery::AtMostOnce {
        findings.wrong(raw.span_of(key), raw.path(key), || {
            let hint = "remove it, or write `delivery = \"at_least_once\"`";
            (lossy.to_owned(), Some(hint.to_owned()))
        });
    }
    if let Some((message, hint)) = doubt(path) {
        findings.odd(raw.span_of(key), raw.path(key), || {
            (message.to_owned(), Some(hint.to_owned()))
        });
    }
}

/// What a relay's disk cannot be together with.
fn check_store(path: &Path, config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    if config.spool.as_deref() == Some(path) {
        findings.wrong(raw.span_of(STORE), raw.path(STORE), || {
            let message = "the senders and the relay would have one directory".to_owned();
            (message, Some("name another one for the relay".to_owned()))
        });
    }
    if config.without_consumers == WithoutConsumers::Accept {
        findings.wrong(raw.span_of(STORE), raw.path(STORE), || {
            let message =
                "it keeps what nobody has taken, and `without_consumers = \"accept\"` forgets that";
            let hint = "remove one of them";
            (message.to_owned(), Some(hint.to_owned()))
        });
    }
}

const STORE: &str = "store_and_forward";

/// Says what speaks against a path.
fn doubt(path: &Path) -> Option<(&'static str, &'static str)> {
    let parent = path.parent().unwrap_or(path);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Some((
            "there is a link at this path, which is not followed",
            "name the directory that it leads to",
        )),
        Ok(found) if !found.is_dir() => Some((
            "what is at this path is not a directory",
            "name a directory, or a path at which nothing is",
        )),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound && !parent.is_dir() => Some((
            "its directory does not exist",
            "create it before the first sink or relay is made",
        )),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Fsync;
    use crate::registry::ServiceRegistry;

    fn with(further: &str) -> String {
        format!("[services.a]\ntype = 'direct'\nendpoint = 'tcp://localhost:7000'\n{further}")
    }

    #[test]
    fn a_spool_needs_confirmations_and_syncing_needs_a_spool() {
        for (further, why) in [
            ("fsync = 'never'", "nothing to sync without a spool"),
            (
                "spool = '/tmp'\ndelivery = 'at_most_once'",
                "at_most_once confirms nothing",
            ),
            ("spool = 'relative'", "not absolute"),
            (
                "spool = '/tmp'\nfsync = 'always'",
                "none of `never`, `interval`, `before_accept`",
            ),
        ] {
            let error = ServiceRegistry::from_toml(&with(further))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }
        let text = with("spool = '/tmp'").replace("direct", "composite");
        let error = ServiceRegistry::from_toml(&text).unwrap_err().to_string();
        assert!(
            error.contains("`spool` has no effect on a composite"),
            "{error}"
        );
    }

    #[test]
    fn a_relay_stores_what_is_confirmed_and_kept_in_a_directory_of_its_own() {
        let relay = |further: &str| with(further).replace("direct", "relay");
        for (further, why) in [
            ("delivery = 'at_most_once'", "at_most_once confirms nothing"),
            ("spool = '/tmp'", "would have one directory"),
            ("without_consumers = 'accept'", "forgets that"),
        ] {
            let text = relay(&format!("store_and_forward = '/tmp'\n{further}"));
            let error = ServiceRegistry::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let direct = with("store_and_forward = '/tmp'");
        let error = ServiceRegistry::from_toml(&direct).unwrap_err().to_string();
        assert!(error.contains("has no effect on a direct"), "{error}");
        let relative = relay("store_and_forward = 'tmp'");
        let error = ServiceRegistry::from_toml(&relative)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not absolute"), "{error}");
    }

    #[test]
    fn a_sender_syncs_later_and_a_relay_at_once_unless_it_is_written() {
        let of = |further: &str| {
            let text = with(further).replace("direct", "relay");
            let config = ServiceRegistry::from_toml(&text)
                .unwrap()
                .lookup("a")
                .unwrap()
                .clone();
            (config.spool_fsync(), config.store_fsync())
        };
        let both = "spool = '/tmp'\nstore_and_forward = '/var'";
        assert_eq!(of(both), (Fsync::Interval, Fsync::BeforeAccept));
        let written = format!("{both}\nfsync = 'never'");
        assert_eq!(of(&written), (Fsync::Never, Fsync::Never));
    }

    #[test]
    fn what_lies_at_the_path_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("directory"), at("link")).unwrap();
        assert_eq!(doubt(&at("directory")), None);
        assert_eq!(doubt(&at("new")), None);
        let doubts = |name: &str| doubt(&at(name)).unwrap().0;
        assert!(doubts("file").contains("not a directory"));
        assert!(doubts("link").contains("a link"));
        assert!(doubts("none/new").contains("does not exist"));
    }
}
