//! Whether a path can be a socket, found out without opening it.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use super::findings::Findings;

/// Looks at what lies at the path of an endpoint: what can never work is refused, what may come is a warning.
pub(super) fn check(path: &Path, span: Range<usize>, key: impl Display, findings: &mut Findings) {
    match judge(&look(path)) {
        Verdict::Fine => {}
        Verdict::Refused(message, hint) => {
            findings.wrong(span, key, || (message.to_owned(), Some(hint.to_owned())));
        }
        Verdict::Doubtful(message, hint) => {
            findings.odd(span, key, || (message.to_owned(), Some(hint.to_owned())));
        }
    }
}

/// What lies at a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing(Parent),
    Directory,
    Socket {
        writable: bool,
    },
    Other,
    /// It could not be looked at, such as behind a directory that may not be entered.
    Hidden,
}

/// What lies one level above a path at which nothing is.
#[derive(Debug, PartialEq, Eq)]
enum Parent {
    Missing,
    NoDirectory,
    Directory { writable: bool },
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Refused(&'static str, &'static str),
    Doubtful(&'static str, &'static str),
}

const fn judge(found: &Found) -> Verdict {
    match found {
        Found::Socket { writable: true } | Found::Nothing(Parent::Directory { writable: true }) => {
            Verdict::Fine
        }
        Found::Socket { writable: false } => Verdict::Refused(
            "the socket does not let this user write to it",
            "change its permissions, or run as a user that may",
        ),
        Found::Directory => Verdict::Refused(
            "there is a directory at this path",
            "add a file name, such as `relay.sock`",
        ),
        Found::Other => Verdict::Refused(
            "what is at this path is not a socket",
            "remove that file, or name another path",
        ),
        Found::Nothing(Parent::NoDirectory) => Verdict::Refused(
            "what the path calls its directory is none",
            "name a path in a directory",
        ),
        Found::Nothing(Parent::Missing) => Verdict::Doubtful(
            "its directory does not exist",
            "create it before the listening side starts",
        ),
        Found::Nothing(Parent::Directory { writable: false }) => Verdict::Doubtful(
            "its directory does not let this user create a socket",
            "start the listening side as a user that may",
        ),
        Found::Hidden => Verdict::Doubtful(
            "this user may not look at it",
            "allow entering its directories, or run as a user that may",
        ),
    }
}

#[cfg(unix)]
fn look(path: &Path) -> Found {
    use std::io::ErrorKind;
    use std::os::unix::fs::FileTypeExt;

    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(found) if found.file_type().is_socket() => Found::Socket {
            writable: is_writable(path),
        },
        Ok(_) => Found::Other,
        Err(error) if error.kind() == ErrorKind::NotFound => Found::Nothing(parent(path)),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Found::Nothing(Parent::NoDirectory)
        }
        Err(_) => Found::Hidden,
    }
}

#[cfg(unix)]
fn parent(path: &Path) -> Parent {
    let parent = path.parent().unwrap_or(path);
    match std::fs::metadata(parent) {
        Ok(found) if found.is_dir() => Parent::Directory {
            writable: is_writable(parent),
        },
        Ok(_) => Parent::NoDirectory,
        Err(_) => Parent::Missing,
    }
}

#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Where there are no Unix sockets there is nothing to look at.
#[cfg(not(unix))]
fn look(_path: &Path) -> Found {
    Found::Socket { writable: true }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn each_thing_at_a_path_is_seen_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("directory")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        assert_eq!(look(&at("directory")), Found::Directory);
        assert_eq!(look(&at("file")), Found::Other);
        assert_eq!(look(&at("socket")), Found::Socket { writable: true });
        let new = Found::Nothing(Parent::Directory { writable: true });
        assert_eq!(look(&at("new")), new);
        assert_eq!(look(&at("none/new")), Found::Nothing(Parent::Missing));
        assert_eq!(look(&at("file/new")), Found::Nothing(Parent::NoDirectory));
    }

    #[test]
    fn a_socket_without_permission_is_refused_and_a_missing_directory_is_not() {
        let refused = |found| matches!(judge(&found), Verdict::Refused(..));
        let doubtful = |found| matches!(judge(&found), Verdict::Doubtful(..));
        assert!(refused(Found::Socket { writable: false }));
        assert!(refused(Found::Directory));
        assert!(refused(Found::Other));
        assert!(refused(Found::Nothing(Parent::NoDirectory)));
        assert!(doubtful(Found::Nothing(Parent::Missing)));
        assert!(doubtful(Found::Nothing(Parent::Directory {
            writable: false
        })));
        assert!(doubtful(Found::Hidden));
        assert_eq!(judge(&Found::Socket { writable: true }), Verdict::Fine);
    }

    #[test]
    fn write_permission_is_asked_of_the_system() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        // A superuser may write to everything, and then there is nothing to see.
        let all_powerful = std::fs::write(folder.path().join("probe"), "").is_ok() && {
            let probe = folder.path().join("probe");
            std::fs::set_permissions(&probe, std::fs::Permissions::from_mode(0o444)).unwrap();
            std::fs::OpenOptions::new().write(true).open(&probe).is_ok()
        };
        assert_eq!(
            look(&path),
            Found::Socket {
                writable: all_powerful
            }
        );
    }
}
