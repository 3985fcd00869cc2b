//! A file whose lock makes something ours alone, and which says whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process;

/// A lock that is held as long as this lives, or the process. The file stays: removing it would race with another
/// starter.
#[derive(Debug)]
pub(crate) struct LockFile(File);

impl LockFile {
    /// Takes it, and writes into it who has it. If somebody else does, the error is of this kind, and says who `does` so:
    /// "process 4711 listens there".
    pub(crate) fn take(path: &Path, taken: io::ErrorKind, does: &str) -> io::Result<Self> {
        let mut options = options();
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.write_all(process::id().to_string().as_bytes())?;
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(taken, format!("{} {does}", holder(&file))))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Closing the file would not be enough: a lock is let go when the last descriptor of its opening is closed, and a process
/// that was forked in another thread has one until it executes something.
impl Drop for LockFile {
    fn drop(&mut self) {
        // What cannot be unlocked is when it is closed.
        drop(self.0.unlock());
    }
}

/// Says who has the lock, if that can be read at this moment.
fn holder(file: &File) -> String {
    let mut id = String::new();
    let known = file.take(20).read_to_string(&mut id).is_ok();
    match id.parse::<u32>() {
        Ok(id) if known && id == process::id() => "this process".to_owned(),
        Ok(id) if known => format!("process {id}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = File::options();
    // Not through a link that somebody has put there, and without waiting for whoever is behind a pipe.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    File::options()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_the_other_is_told_who() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let take = || LockFile::take(&path, io::ErrorKind::AddrInUse, "listens there");
        let first = take().unwrap();
        let error = take().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "this process listens there");
        // Whoever has it may not have written who it is.
        let other = process::id() + 1;
        let said = [
            (other.to_string(), format!("process {other}")),
            (String::new(), "another process".to_owned()),
        ];
        for (says, who) in said {
            fs::write(&path, says).unwrap();
            let error = take().unwrap_err();
            assert_eq!(error.to_string(), format!("{who} listens there"));
        }
        drop(first);
        take().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            process::id().to_string()
        );
    }

    #[test]
    fn who_lets_go_has_let_go_whoever_else_has_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let take = || LockFile::take(&path, io::ErrorKind::AddrInUse, "has it");
        let first = take().unwrap();
        // As a process has it that was forked and not executed yet.
        let descriptor = first.0.try_clone().unwrap();
        drop(first);
        take().unwrap();
        drop(descriptor);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("lock"), directory.path().join("file"));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        LockFile::take(&path, io::ErrorKind::AddrInUse, "has it").unwrap_err();
        assert!(!elsewhere.exists());
    }
}
