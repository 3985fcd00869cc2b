//! What a sender owes, in files: written before it is accepted, read again by its next life.
//!
//! ```text
//! DIR/SERVICE/lock                    one process at a time
//! DIR/SERVICE/0000000000000001.seg    opening
//! DIR/SERVICE/0000000000000002.seg    opening │ mark frame frame … mark frame …
//! ```
//!
//! `format` and `recovery` are pure, `journal` keeps the files in order, `disk` is where they are.

#[cfg(any(test, fuzzing))]
pub(crate) mod arbitrary;
pub(crate) mod disk;
pub(crate) mod format;
pub(crate) mod journal;
pub(crate) mod recovery;
pub(crate) mod shared;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::disk::{Directory, Disk};
use self::format::Contents;
use self::journal::{Journal, Terms, Unopened, Unsynced};
use self::recovery::Recovered;
use crate::delivery::Fsync;
use crate::lock_file::LockFile;
use crate::randomness::random;
use crate::wire::SessionId;

#[cfg(test)]
pub(crate) use self::tests::disk as bad;

/// The files of one sink, shared by those who send and who sync.
#[derive(Debug)]
pub(crate) struct Spool {
    /// None once it is closed: then another process may have it.
    journal: Mutex<Option<Journal>>,
    /// None on a disk that is nobody else's.
    lock: Mutex<Option<LockFile>>,
    path: PathBuf,
    fsync: Fsync,
}

impl Spool {
    /// Reads what earlier lives have left in the directory of this service, and begins a new one. Blocks.
    pub(crate) fn open(
        base: &Path,
        service: &str,
        fsync: Fsync,
        buffer_bytes: usize,
    ) -> Result<(Self, Recovered), Unopened> {
        let (directory, lock) = Directory::claim(base, service)?;
        let path = directory.path().to_owned();
        let (spool, recovered) = Self::on(Arc::new(directory), path, fsync, buffer_bytes)?;
        *spool.lock.lock() = Some(lock);
        if let Some(tail) = &recovered.tail {
            let file = spool.path.join(&tail.name);
            tracing::warn!(
                %service, file = %file.display(), at = tail.at, bytes = tail.bytes,
                "a write to the spool was cut off, and is left out"
            );
        }
        let owed = recovered.next - 1 - recovered.acked;
        if owed > 0 {
            tracing::info!(%service, spool = %spool.path.display(), owed, "goes on with what was not delivered");
        }
        Ok((spool, recovered))
    }

    /// The same on any disk.
    pub(crate) fn on(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        fsync: Fsync,
        buffer_bytes: usize,
    ) -> Result<(Self, Recovered), Unopened> {
        let terms = Terms {
            contents: Contents::OneSession,
            segment_bytes: segment_bytes(buffer_bytes),
            syncs: fsync != Fsync::Never,
            holds_back: fsync == Fsync::BeforeAccept,
            boot: disk::boot(),
            fresh: SessionId(random()),
        };
        let (journal, recovered) = Journal::open(disk, terms)?;
        let spool = Self {
            journal: Mutex::new(Some(journal)),
            lock: Mutex::new(None),
            path,
            fsync,
        };
        Ok((spool, recovered))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when it is synced.
    pub(crate) const fn fsync(&self) -> Fsync {
        self.fsync
    }

    /// Writes frames, up to the one before `next`; after an error none of them counts.
    pub(crate) fn write(&self, next: u64, frames: &[u8]) -> io::Result<()> {
        match &mut *self.journal.lock() {
            Some(journal) => journal.append(next, frames),
            None => Err(io::Error::other("it is closed")),
        }
    }

    /// Everything up to here is acknowledged; when that is all, it is written down at once.
    pub(crate) fn acknowledged(&self, sequence: u64, is_all: bool) {
        if let Some(journal) = &mut *self.journal.lock() {
            journal.acknowledged(sequence);
            if is_all {
                journal.rest();
            }
        }
    }

    /// Returns what is not on the disk itself.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        self.journal.lock().as_ref()?.unsynced()
    }

    /// Says how syncing went; returns up to where everything is on the disk itself.
    pub(crate) fn has_synced(&self, unsynced: &Unsynced, well: bool) -> u64 {
        let mut journal = self.journal.lock();
        let Some(journal) = &mut *journal else {
            return if well { unsynced.last() } else { 0 };
        };
        if well {
            journal.has_synced(unsynced);
        } else {
            journal.has_not_synced();
        }
        journal.synced()
    }

    /// Lets another process have it.
    pub(crate) fn close(&self) {
        if let Some(mut journal) = self.journal.lock().take() {
            journal.rest();
        }
        drop(self.lock.lock().take());
    }
}

/// Returns how large a file of a spool is: a quarter of the buffer's bytes, within bounds. At most two files' worth is
/// kept on the disk that is acknowledged already.
pub(crate) fn segment_bytes(buffer_bytes: usize) -> u64 {
    (buffer_bytes as u64 / 4).clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT)
}

const SMALLEST_SEGMENT: u64 = 64 * 1024;
const LARGEST_SEGMENT: u64 = 16 * 1024 * 1024;
