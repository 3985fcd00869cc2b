//! Reading the file, with a bound on its size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::findings::Findings;
use super::limits;
use crate::error::{Failure, SinkError};

/// Returns the text of a configuration file.
pub(super) fn read(path: &Path) -> Result<String, SinkError> {
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
    let length = file.metadata().map_err(unreadable)?.len();
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
    String::from_utf8(bytes).map_err(|error| {
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
    })
}

fn refused(message: String, hint: &str) -> SinkError {
    SinkError::InvalidConfig(Failure::new("").because(message).hint(hint))
}
