//! Where a consumer has come, kept in a file, so that its next life goes on there.
//!
//! The order is: the effect, the cursor, the acknowledgement. The cursor before the effect would lose what was in
//! between when the process died. The acknowledgement before the cursor would let a relay that still keeps the message
//! for others send it again to a consumer that has confirmed it. This way, whatever is acknowledged is in the
//! file: nothing confirmed comes twice, nothing unconfirmed is lost. What remains is a death between the effect
//! and the cursor; a [mark](crate::MessageSource::set_mark), which is written together with the position, lets the
//! next life find out how far the effect had come, and take it back or skip it.

mod log;
mod place;
mod position;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

#[cfg(test)]
pub(crate) use self::log::InMemory;
#[cfg(any(test, fuzzing))]
pub(crate) use self::log::any_file;
use self::log::{Entry, LONGEST, Log};
pub(crate) use self::log::{MARK_BYTES, Mark};
pub use self::position::{Position, PositionError};
use crate::error::{Failure, SinkError};
use crate::lock_file::LockFile;

/// A file that says up to where a consumer has processed the messages of each producer.
///
/// A source [with a cursor](crate::MessageSource::with_cursor) writes it before it acknowledges: a consumer that dies,
/// by `SIGKILL` too, and comes again gets nothing that it had confirmed, and everything else. `cursor = "FILE"` in
/// `services.toml` does the same for every source of a service.
///
/// The file holds 65,536 producers' sessions, those written last, and at most 10 MiB; it is readable by its owner only.
/// Beside it lies a lock, `FILE.lock`, which stays. A record that a dying process has left torn is cut off. What a process has
/// written survives its death; a power loss may take the latest positions, or the whole file, back to what the disk
/// has: then messages come twice, and none is lost that the senders still hold.
///
/// ```
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("doc.cursor");
/// # drop(std::fs::remove_file(&path));
/// use wakewire::Cursor;
///
/// let cursor = Cursor::open(&path)?;
/// assert!(cursor.positions().is_empty());
/// assert!(Cursor::open(&path).is_err(), "one at a time");
/// # Ok::<(), wakewire::SinkError>(())
/// ```
pub struct Cursor {
    path: PathBuf,
    service: String,
    state: Mutex<State>,
    /// What went wrong where nobody could be told.
    fault: Mutex<Option<io::Error>>,
    /// Held as long as we live; the file itself stays, since removing it would race with another starter.
    _lock: LockFile,
}

struct State {
    file: File,
    log: Log,
    /// A write has failed, and may have left something behind the last whole record.
    is_torn: bool,
}

impl Cursor {
    /// Opens the cursor in this file, or makes one; takes it for this process alone.
    ///
    /// # Errors
    ///
    /// [`SinkError::Io`] when another process has it, when the file is no cursor or damaged, with the place, when it is a
    /// link, of another user or writable by others, and when the system refuses. The file is then left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        Self::open_for("", path.as_ref())
    }

    /// Opens the cursor of this service.
    pub(crate) fn open_for(service: &str, path: &Path) -> Result<Self, SinkError> {
        let failed = |error| failure(service, path, error);
        let lock = place::lock(path).map_err(failed)?;
        let (file, log) = match place::open(path, LONGEST) {
            Ok(Some(mut file)) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(failed)?;
                let log = Log::recover(&bytes).map_err(|damage| {
                    let what = format!("byte {}: {}", damage.at, damage.what);
                    failed(io::Error::new(io::ErrorKind::InvalidData, what))
                })?;
                let torn = bytes.len() as u64 - log.length();
                if torn > 0 {
                    tracing::warn!(path = %path.display(), torn, "bytes at the end of the cursor were cut off");
                }
                (file, log)
            }
            Ok(None) => place::replace(path, &[])
                .map(|file| (file, Log::new()))
                .map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let mut state = State {
            file,
            log,
            is_torn: true,
        };
        if state.log.length() == 0 {
            state.write_anew(path).map_err(failed)?;
        }
        state.mend().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            service: service.to_owned(),
            state: Mutex::new(state),
            fault: Mutex::new(None),
            _lock: lock,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the position of each session.
    pub fn positions(&self) -> Vec<Position> {
        self.state.lock().log.positions().collect()
    }

    /// Returns the [mark](crate::MessageSource::set_mark) that was written last.
    pub fn mark(&self) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.log.mark().map(|mark| mark.as_bytes().to_vec())
    }

    /// Writes that everything up to `sequence` is processed, and the mark that belongs to it. What is known already
    /// is not written again.
    pub(crate) fn advance(&self, position: Position, mark: Option<Mark>) -> io::Result<()> {
        self.write(Entry {
            position: Some(position),
            mark,
        })
    }

    /// Writes a mark alone.
    pub(crate) fn set_mark(&self, mark: Mark) -> io::Result<()> {
        self.write(Entry {
            position: None,
            mark: Some(mark),
        })
    }

    fn write(&self, entry: Entry) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.log.is_long() {
            state.write_anew(&self.path)?;
        }
        let Some(news) = state.log.news(&entry) else {
            return Ok(());
        };
        let record = state.log.record(&news);
        state.mend()?;
        // If this fails, or is cut short by our death, the record is torn, and does not count.
        state.is_torn = true;
        state.file.write_all(&record)?;
        state.is_torn = false;
        state.log.wrote(&news);
        Ok(())
    }

    /// Keeps an error for the next call that can return one.
    pub(crate) fn keep_fault(&self, error: io::Error) {
        *self.fault.lock() = Some(error);
    }

    /// Returns an error that was kept.
    pub(crate) fn kept_fault(&self) -> Result<(), SinkError> {
        let fault = self.fault.lock().take();
        fault.map_or(Ok(()), |error| Err(self.failure(error)))
    }

    /// Makes an error of it that says which cursor of which service.
    pub(crate) fn failure(&self, error: io::Error) -> SinkError {
        failure(&self.service, &self.path, error)
    }
}

impl State {
    /// Cuts off what a failed write has left.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.log.length())?;
            self.file.seek(SeekFrom::Start(self.log.length()))?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Puts a file in the place of this one that says the same and no more.
    fn write_anew(&mut self, path: &Path) -> io::Result<()> {
        let (bytes, log) = self.log.compacted();
        self.file = place::replace(path, &bytes)?;
        self.log = log;
        self.is_torn = false;
        Ok(())
    }
}

fn failure(service: &str, path: &Path, error: io::Error) -> SinkError {
    let hint = match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "one process at a time goes on with a cursor: give each consumer its own file"
        }
        io::ErrorKind::InvalidData => {
            "restore it; or move it away, and what was processed before may come again"
        }
        io::ErrorKind::StorageFull => "what was processed is acknowledged as soon as there is room",
        _ => "may this process read and write that file, and create others beside it?",
    };
    let cause = format!("cursor `{}`: {error}", path.display());
    SinkError::Io(Failure::new(service).because(cause).hint(hint))
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.state.lock().log.positions().count();
        f.debug_struct("Cursor")
            .field("path", &self.path)
            .field("sessions", &sessions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
