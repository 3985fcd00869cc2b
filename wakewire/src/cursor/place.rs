//! The file of a cursor: ours alone, never through a link, replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::lock_file::LockFile;

/// Takes the lock beside the file: two processes cannot both go on there.
pub(super) fn lock(path: &Path) -> io::Result<LockFile> {
    LockFile::take(
        &beside(path, ".lock"),
        io::ErrorKind::ResourceBusy,
        "uses it",
    )
}

/// Opens the file if it is there, not too long, and nobody else can write to it.
pub(super) fn open(path: &Path, longest: u64) -> io::Result<Option<File>> {
    let file = match options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(doubtful("it is not a regular file"));
    }
    if found.len() > longest {
        return Err(doubtful("byte 0: it is longer than any cursor of wakewire"));
    }
    if is_others(&found) {
        return Err(doubtful(
            "another user owns it or may write to it, and could make messages be passed over",
        ));
    }
    Ok(Some(file))
}

/// Writes another file and moves it to this place; at no moment there is half of one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let new = beside(path, ".new");
    // Left by an earlier life: we hold the lock.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)?;
    Ok(file)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn doubtful(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    // Not through a link that somebody has put there, and without waiting for whoever is behind a pipe.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(unix)]
fn is_others(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let ours = found.uid() == rustix::process::geteuid().as_raw();
    !ours || found.permissions().mode() & 0o022 != 0
}

#[cfg(not(unix))]
fn is_others(_found: &fs::Metadata) -> bool {
    false
}
