//! Whether the files of certificates, keys and passwords are there and private, found out without reading them.

use std::path::Path;

use super::findings::Findings;
use super::raw::RawService;

/// Warns of what is missing or open to others. It is no error: the service may be started elsewhere, or later.
pub(super) fn check(service: &RawService, findings: &mut Findings) {
    for (key, is_secret) in FILES {
        let Some(path) = service.file(key) else {
            continue;
        };
        if let Some((message, hint)) = doubt(&path, is_secret) {
            findings.odd(service.span_of(key), service.path(key), || {
                (message.to_owned(), Some(hint.to_owned()))
            });
        }
    }
}

fn doubt(path: &Path, is_secret: bool) -> Option<(&'static str, &'static str)> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Some(("this is a directory", "name a file in it")),
        Ok(found) if is_secret && is_open(&found) => {
            Some(("other users may read it", "let only its owner: `chmod 600`"))
        }
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some((
            "there is no such file",
            "create it before the service is used, or correct the path",
        )),
        Err(_) => Some((
            "this user may not look at it",
            "allow entering its directories, or run as a user that may",
        )),
    }
}

#[cfg(unix)]
fn is_open(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    found.permissions().mode() & OF_OTHERS != 0
}

#[cfg(not(unix))]
fn is_open(_found: &std::fs::Metadata) -> bool {
    false
}

/// Whatever group and others may do.
#[cfg(unix)]
const OF_OTHERS: u32 = 0o077;

/// The keys of files, and whether what is inside is secret.
const FILES: [(&str, bool); 5] = [
    ("ca", false),
    ("cert", false),
    ("key", true),
    ("client_ca", false),
    ("password_file", true),
];

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_or_open_is_doubtful() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let said = |is_secret| doubt(&path, is_secret).map(|(message, _)| message);
        assert_eq!(said(true), Some("there is no such file"));
        fs::write(&path, "").unwrap();
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(said(true).is_some(), open, "{mode:o}");
            assert_eq!(said(false), None);
        }
        let directory = doubt(folder.path(), true).map(|(message, _)| message);
        assert_eq!(directory, Some("this is a directory"));
    }
}
