//! A directory of files that are appended to: what a spool needs of a disk, and the real one.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::format::Boot;
use crate::lock_file::LockFile;

/// A directory that nobody else writes to. Blocks; a test has one that fails and forgets on command.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Returns what is in a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes a new file; an error when there is one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Tape>>;
    /// Opens a file to append to its end.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Tape>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names of all files are on the disk itself.
    fn sync(&self) -> io::Result<()>;
}

/// A file that grows at its end.
pub(crate) trait Tape: fmt::Debug + Send + Sync {
    /// Appends these pieces, in one write where the system takes them at once. After an error any part of them may
    /// be there.
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()>;
    /// Cuts it to so many bytes.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Returns when what was appended is on the disk itself.
    fn sync(&self) -> io::Result<()>;
}

/// The directory of one service's spool.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes the directory of this service below `base`, both of them only for our user, and takes its lock.
    pub(crate) fn claim(base: &Path, service: &str) -> io::Result<(Self, LockFile)> {
        private(base)?;
        let path = base.join(file_name(service));
        private(&path)?;
        let lock = LockFile::take(&path.join(LOCK), io::ErrorKind::ResourceBusy, "has it")?;
        Ok((Self { path }, lock))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn options(&self) -> OpenOptions {
        let mut options = File::options();
        // Not through a link that somebody has put there.
        options
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.options().read(true).open(self.path.join(name))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Tape>> {
        let mut options = self.options();
        let file = options
            .append(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Tape>> {
        let file = self.options().append(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Tape for File {
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        let mut file = self;
        while left.iter().any(|slice| !slice.is_empty()) {
            match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes a directory for our user alone, or sees that the one that is there is. Its parent must exist.
fn private(path: &Path) -> io::Result<()> {
    let shown = path.display();
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(
                error.kind(),
                format!("`{shown}` cannot be made: {error}"),
            ));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    let why = if found.is_symlink() {
        "is a link, which may lead anywhere"
    } else if !found.is_dir() {
        "is not a directory"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "can be written to by other users"
    } else {
        return Ok(());
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("`{shown}` {why}"),
    ))
}

/// Returns the name of a service as that of a file: what is not plain is written as its bytes, capitals too, since
/// some systems take them for the same. One that is too long for a file ends in its hash.
fn file_name(service: &str) -> String {
    let mut name = String::new();
    for byte in service.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST_NAME {
        name.truncate(LONGEST_NAME);
        let hash = Sha256::digest(service.as_bytes());
        hash.iter()
            .take(16)
            .for_each(|byte| name.push_str(&format!("{byte:02x}")));
    }
    name
}

/// Returns which run of the machine this is.
pub(crate) fn boot() -> Boot {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    Boot(u128::from_str_radix(&digits, 16).unwrap_or_default())
}

const LOCK: &str = "lock";

/// With the hash behind it still below the 255 bytes that file systems take.
const LONGEST_NAME: usize = 200;
