//! Reading the file, with a bound on its size, and finding out who else may write to it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::findings::Findings;
use super::limits;
use crate::error::{Failure, SinkError};

/// A file that was read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: String,
    pub(super) writers: Writers,
}

/// Who may write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writers {
    /// Its owner.
    Owner,
    /// A group of users.
    Group,
    /// Everybody on this machine.
    Everybody,
}

impl Writers {
    /// Says what follows. Whoever may write to the file decides where messages go; where it also says which
    /// password or key is shown there, it is refused when that is everybody.
    pub(super) fn judge(self, shows_secrets: bool, findings: &mut Findings) {
        let said = |who: &str, hint: &str| {
            (
                format!("{who} may write to this file"),
                Some(hint.to_owned()),
            )
        };
        match self {
            Self::Owner => {}
            Self::Everybody if shows_secrets => findings.wrong(0..0, "", || {
                let (message, hint) = said("everybody", "`chmod o-w` it, and look at what it says");
                (
                    format!("{message}, which says where passwords and keys are"),
                    hint,
                )
            }),
            Self::Everybody => findings.odd(0..0, "", || {
                said(
                    "everybody",
                    "`chmod o-w` it: who writes to it decides where messages go",
                )
            }),
            Self::Group => findings.odd(0..0, "", || {
                said(
                    "its group",
                    "`chmod g-w` it: who writes to it decides where messages go",
                )
            }),
        }
    }
}

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Source, SinkError> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "create it, or name another file",
            io::ErrorKind::PermissionDenied => "allow reading it, or run as a user that may",
            io::ErrorKind::IsADirectory => "name the file, such as `services.toml` in it",
            _ => "name another file",
        };
        refused(format!("cannot read `{shown}`: {error}"), hint)
    };
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let length = found.len();
    let mut bytes = Vec::new();
    if length <= limits::FILE_BYTES {
        // Bounded once more: a device has no length, and a file may grow.
        file.take(limits::FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
    }
    if length.max(bytes.len() as u64) > limits::FILE_BYTES {
        return Err(refused(
            format!(
                "`{shown}` is larger than {} MiB, which no configuration is",
                limits::FILE_BYTES >> 20
            ),
            "name another file",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let mut findings = Findings::default();
        findings.wrong(at..at + 1, "", || {
            let message = "this is not UTF-8".to_owned();
            (message, Some("save the file as UTF-8".to_owned()))
        });
        // What cannot be read is not shown either.
        let text = String::from_utf8_lossy(error.as_bytes().get(..at).unwrap_or_default());
        let faults = findings.into_faults(&text, String::new(), Some(&shown.to_string()));
        SinkError::InvalidConfig(Failure::new("").because(faults))
    })?;
    let writers = writers(&found);
    Ok(Source { text, writers })
}

#[cfg(unix)]
fn writers(found: &Metadata) -> Writers {
    use std::os::unix::fs::MetadataExt;

    // Of a pipe there is nobody but who made it.
    if found.is_file() {
        allowed(found.mode(), found.uid(), found.gid())
    } else {
        Writers::Owner
    }
}

#[cfg(not(unix))]
fn writers(_found: &Metadata) -> Writers {
    Writers::Owner
}

/// A group with the number of the user is that user's own, as Linux distributions make them.
#[cfg(unix)]
const fn allowed(mode: u32, owner: u32, group: u32) -> Writers {
    if mode & 0o002 != 0 {
        Writers::Everybody
    } else if mode & 0o020 != 0 && owner != group {
        Writers::Group
    } else {
        Writers::Owner
    }
}

fn refused(message: String, hint: &str) -> SinkError {
    SinkError::InvalidConfig(Failure::new("").because(message).hint(hint))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn who_else_may_write_is_seen_from_the_mode() {
        for (mode, owner, group, writers) in [
            (0o644, 1000, 100, Writers::Owner),
            (0o664, 1000, 1000, Writers::Owner),
            (0o664, 1000, 100, Writers::Group),
            (0o620, 0, 27, Writers::Group),
            (0o666, 1000, 1000, Writers::Everybody),
            (0o602, 0, 0, Writers::Everybody),
        ] {
            assert_eq!(allowed(mode, owner, group), writers, "{mode:o}");
        }
    }
}
