//! Whether a service may have the spool that it asks for, found out without making it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::findings::Findings;
use super::raw::RawService;
use super::service::{ServiceConfig, SinkType};
use crate::delivery::Delivery;

/// Refuses what contradicts itself; what lies at the path may be put right until a sink is made, and receivers that
/// read the same file do not need it.
pub(super) fn check(config: &ServiceConfig, raw: &RawService, findings: &mut Findings) {
    if matches!(config.kind, SinkType::Composite { .. }) {
        return;
    }
    let Some(path) = &config.spool else {
        if raw.written.contains_key("fsync") && !raw.written.contains_key("spool") {
            findings.wrong(raw.span_of("fsync"), &raw.path("fsync"), || {
                let message = "there is nothing to sync without a spool".to_owned();
                let hint = "remove it, or add `spool = \"/var/lib/NAME\"`".to_owned();
                (message, Some(hint))
            });
        }
        return;
    };
    if config.delivery == Delivery::AtMostOnce {
        findings.wrong(raw.span_of("spool"), &raw.path("spool"), || {
            let message = "a spool keeps what is not confirmed, and at_most_once confirms nothing";
            let hint = "remove it, or write `delivery = \"at_least_once\"`";
            (message.to_owned(), Some(hint.to_owned()))
        });
    }
    if let Some((message, hint)) = doubt(path) {
        findings.odd(raw.span_of("spool"), &raw.path("spool"), || {
            (message.to_owned(), Some(hint.to_owned()))
        });
    }
}

/// Says what speaks against a path.
fn doubt(path: &Path) -> Option<(&'static str, &'static str)> {
    let parent = path.parent().unwrap_or(path);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Some((
            "there is a link at this path, which a sink does not follow",
            "name the directory that it leads to",
        )),
        Ok(found) if !found.is_dir() => Some((
            "what is at this path is not a directory",
            "name a directory, or a path at which nothing is",
        )),
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound && !parent.is_dir() => Some((
            "its directory does not exist",
            "create it before the first sink is made",
        )),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
