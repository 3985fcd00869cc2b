//! A relay's disk: what its log holds, and no consumer has had yet, is appended to files and acknowledged then.
//!
//! One task writes, on a blocking thread and without a lock that anybody else wants: as much as has come since it began
//! the last time, with one write and one syncing. What is sent to consumers does not wait for it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::effects::Chunk;
use super::switchboard::{Bell, Switchboard};
use crate::delivery::Fsync;
use crate::lock_file::LockFile;
use crate::randomness::random;
use crate::spool::disk::{self, Directory, Disk};
use crate::spool::format::{Boot, Contents};
use crate::spool::journal::{Journal, Terms, Unopened, is_full};
use crate::spool::segment_bytes;
use crate::spool::shared::{Kept, encode, sort_out};
use crate::wire::SessionId;

/// The files of one relay.
#[derive(Debug)]
pub(crate) struct Store {
    files: Mutex<Files>,
    /// None on a disk that is nobody else's. It goes with the last who writes.
    lock: Option<LockFile>,
    path: PathBuf,
    fsync: Fsync,
    fault: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Files {
    journal: Journal,
    /// The number of the next frame.
    next: u64,
    /// Up to which position the log is in the files with the frames before which number.
    book: VecDeque<(u64, u64)>,
    buffer: BytesMut,
    /// With [`Fsync::Interval`]: when what was written last is to be synced.
    due: Option<Instant>,
}

impl Store {
    /// Reads what earlier lives have left in the directory of this service, and begins a new one. Blocks.
    pub(crate) fn open(
        base: &Path,
        service: &str,
        fsync: Fsync,
        log_bytes: usize,
    ) -> Result<(Self, Kept), Unopened> {
        let (directory, lock) = Directory::claim(base, service)?;
        let path = directory.path().to_owned();
        let disk = Arc::new(directory);
        let (mut store, kept) =
            Self::on(disk, path, fsync, disk::boot(), segment_bytes(log_bytes))?;
        store.lock = Some(lock);
        let messages: u64 = kept.runs.iter().map(|run| run.last + 1 - run.first).sum();
        tracing::info!(
            %service, directory = %store.path.display(), %fsync, messages,
            "the relay stores what it takes; so many messages are left of its last life"
        );
        Ok((store, kept))
    }

    /// The same on any disk.
    pub(crate) fn on(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        fsync: Fsync,
        boot: Boot,
        segment_bytes: u64,
    ) -> Result<(Self, Kept), Unopened> {
        let terms = Terms {
            contents: Contents::ManySessions,
            segment_bytes,
            syncs: fsync != Fsync::Never,
            holds_back: fsync == Fsync::BeforeAccept,
            boot,
            fresh: SessionId(random()),
        };
        let (journal, recovered) = Journal::open(disk, terms)?;
        if let Some(tail) = &recovered.tail {
            let file = path.join(&tail.name);
            tracing::warn!(
                file = %file.display(), at = tail.at, bytes = tail.bytes,
                "a write to the relay's disk was cut off, and is left out"
            );
        }
        let kept = sort_out(&recovered);
        // They get the first positions of the log.
        let book = kept.runs.iter().zip(1..).map(|(run, at)| (at, run.next));
        let files = Files {
            journal,
            next: recovered.next,
            book: book.collect(),
            buffer: BytesMut::new(),
            due: None,
        };
        let store = Self {
            files: Mutex::new(files),
            lock: None,
            path,
            fsync,
            fault: Mutex::default(),
        };
        Ok((store, kept))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the disk says, while it takes nothing.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Writes what is owed to the disk until it is told to end and nothing is left.
    pub(super) async fn run(
        self: Arc<Self>,
        service: Arc<str>,
        board: Arc<Switchboard>,
        leaving: Arc<Bell>,
    ) {
        let mut next_notes = Instant::now();
        let mut failures = 0_u64;
        loop {
            let ends = leaving.code().is_some();
            let due = self.files.lock().due;
            if due.is_some_and(|due| due <= Instant::now()) {
                self.sync_now(&service).await;
            }
            let notes = ends || Instant::now() >= next_notes;
            if notes {
                next_notes = Instant::now() + NOTES_EVERY;
            }
            let chunk = board.with(|hub, _| hub.poll_store(MOST, notes));
            let Some(chunk) = chunk else {
                if ends {
                    self.rest(&service).await;
                    return;
                }
                tokio::select! {
                    () = board.store.notified() => {}
                    _ = leaving.closed() => {}
                    () = sleep_until(next_notes), if !notes => {}
                    () = sleep_until(due.unwrap_or(next_notes)), if due.is_some() => {}
                }
                continue;
            };
            let chunk = Arc::new(chunk);
            let there = Arc::clone(&chunk);
            let written = self.on_thread(move |store| store.write(&there)).await;
            match written {
                Ok(()) => {
                    board.with(|hub, wake| hub.stored(&chunk, wake));
                    if failures > 0 {
                        *self.fault.lock() = None;
                        tracing::info!(%service, directory = %self.path.display(), "the relay's disk takes messages again");
                        failures = 0;
                    }
                }
                Err(error) => {
                    board.with(|hub, _| hub.not_stored(&chunk));
                    self.complain(&service, &error, failures);
                    failures += 1;
                    tokio::select! {
                        () = sleep(AGAIN_AFTER) => {}
                        // Its senders keep what was not stored.
                        _ = leaving.closed() => return,
                    }
                }
            }
        }
    }

    /// Appends a chunk; after an error none of it counts. Blocks.
    pub(super) fn write(&self, chunk: &Chunk) -> io::Result<()> {
        self.files.lock().write(chunk, self.fsync)
    }

    /// Does something with the files on a thread that may block.
    async fn on_thread(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let there = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&there)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Leaves nothing to do for the next life.
    async fn rest(self: &Arc<Self>, service: &str) {
        if let Err(error) = self.on_thread(|store| store.files.lock().rest()).await {
            let directory = self.path.display();
            tracing::warn!(%service, %directory, %error, "not synced when the relay ended");
        }
    }

    /// What was written is acknowledged, and not safe from a loss of power yet.
    async fn sync_now(self: &Arc<Self>, service: &str) {
        if let Err(error) = self.on_thread(|store| store.files.lock().sync()).await {
            let directory = self.path.display();
            tracing::warn!(%service, %directory, %error, "not synced: a loss of power may take what was acknowledged");
        }
    }

    /// Says why nothing is stored, and what to do; not each time.
    fn complain(&self, service: &str, error: &io::Error, failures: u64) {
        let text = error.to_string();
        let is_news = self.fault.lock().replace(text.clone()) != Some(text);
        if is_news || failures.is_multiple_of(SAY_EACH) {
            let directory = self.path.display();
            let hint = if is_full(error) {
                "make room on that disk"
            } else {
                "look after that disk"
            };
            tracing::warn!(
                %service, %directory, %error, hint,
                "the relay's disk takes nothing: its senders keep what no consumer has processed; it is tried again each second"
            );
        }
    }
}

impl Files {
    /// Appends a chunk; after an error none of it counts.
    fn write(&mut self, chunk: &Chunk, fsync: Fsync) -> io::Result<()> {
        encode(
            &chunk.names,
            chunk.runs.iter().map(|(_, run)| run),
            &mut self.buffer,
        );
        let frames: u64 = chunk.runs.iter().map(|(_, run)| run.count()).sum();
        self.journal.append(self.next + frames, &self.buffer)?;
        if fsync == Fsync::BeforeAccept {
            self.sync()?;
        } else if fsync == Fsync::Interval && frames > 0 && self.due.is_none() {
            self.due = Some(Instant::now() + SYNC_EVERY);
        }
        self.next += frames;
        self.book.push_back((chunk.upto, self.next));
        while let Some(&(upto, next)) = self.book.front()
            && upto <= chunk.settled
        {
            self.journal.acknowledged(next - 1);
            self.book.pop_front();
        }
        if self.buffer.capacity() > 2 * MOST {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Returns when what was written is on the disk itself.
    fn sync(&mut self) -> io::Result<()> {
        self.due = None;
        let Some(unsynced) = self.journal.unsynced() else {
            return Ok(());
        };
        let synced = unsynced.sync();
        match &synced {
            Ok(()) => self.journal.has_synced(&unsynced),
            Err(_) => self.journal.has_not_synced(),
        }
        synced
    }

    /// Leaves nothing to do for now.
    fn rest(&mut self) -> io::Result<()> {
        self.journal.rest();
        self.sync()
    }
}

/// What is written at once: with a disk that takes 1 GB/s a few milliseconds.
const MOST: usize = 4 << 20;

/// How often the disk is told at most how far everybody has come. What it has not been told is sent again after a
/// crash, and dropped by those who live.
const NOTES_EVERY: Duration = Duration::from_millis(100);

/// How long what is written waits to be synced, with `fsync = "interval"`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A disk that failed is tried again after so long, and the log says so each so many times.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SAY_EACH: u64 = 30;
