//! The files of a log: which there are, what each holds, when the next begins, which may go.
//!
//! It appends bytes and keeps numbers; what a frame is, and who owes it to whom, it does not know. A file ends where
//! the next one says that it begins: so what could not be cut off any more after a failed write does not count.

mod syncing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::syncing::Unsynced;
use super::disk::{Disk, Tape};
use super::format::{Boot, Contents, MARK, OPENING, Opening, encode_mark, name_of, number_of};
use super::recovery::{Damage, Fate, Part, Recovered, recover};
use crate::wire::SessionId;

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) contents: Contents,
    /// A file that has so many bytes is followed by the next.
    pub(crate) segment_bytes: u64,
    /// It is synced from time to time.
    pub(crate) syncs: bool,
    /// What is not synced is taken back when syncing fails.
    pub(crate) holds_back: bool,
    pub(crate) boot: Boot,
    /// The session's number, where a new one begins.
    pub(crate) fresh: SessionId,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An append-only log in files.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    terms: Terms,
    session: SessionId,
    epoch: u64,
    segments: VecDeque<Segment>,
    /// The last segment takes more.
    appends: bool,
    /// This life is on the disk itself: a file with nothing but its opening, which stays as long as it lasts.
    lives: bool,
    /// Files of earlier lives, to be removed once this one is on the disk.
    outlived: Vec<String>,
    /// The number of the last file.
    number: u64,
    /// The number of the next frame.
    next: u64,
    acked: u64,
    /// Everything up to here is on the disk itself.
    synced: u64,
    /// Up to here it may not be, and no later syncing says that it is: one has failed.
    suspect: u64,
    /// A file has been made or removed since the directory was synced.
    unnamed: bool,
    /// How often that happened.
    changes: u64,
    marked_ack: u64,
    /// Bytes appended since the last mark.
    unmarked: u64,
}

/// One file.
#[derive(Debug)]
struct Segment {
    name: String,
    /// Kept open as long as something in it is to be appended, synced or cut.
    tape: Option<Arc<dyn Tape>>,
    first: u64,
    next: u64,
    bytes: u64,
    synced_next: u64,
    synced_bytes: u64,
}

impl Journal {
    /// Reads what earlier lives have left, and begins a new one. Blocks.
    pub(crate) fn open(disk: Arc<dyn Disk>, terms: Terms) -> Result<(Self, Recovered), Unopened> {
        let mut names: Vec<_> = disk.list()?;
        names.retain(|name| number_of(name).is_some());
        names.sort();
        let mut parts = Vec::new();
        for name in names {
            let bytes = Bytes::from(disk.read(&name)?);
            parts.push(Part { name, bytes });
        }
        let mut recovered = recover(&parts, terms.contents, terms.boot)?;
        let mut journal = Self {
            disk,
            session: recovered.session.unwrap_or(terms.fresh),
            terms,
            epoch: recovered.epoch + 1,
            segments: VecDeque::new(),
            appends: false,
            lives: false,
            outlived: Vec::new(),
            number: parts
                .iter()
                .filter_map(|part| number_of(&part.name))
                .max()
                .unwrap_or(0),
            next: recovered.next,
            acked: recovered.acked,
            synced: recovered.next - 1,
            suspect: 0,
            unnamed: false,
            changes: 0,
            marked_ack: recovered.acked,
            unmarked: 0,
        };
        recovered.session = Some(journal.session);
        recovered.epoch = journal.epoch;
        for (part, fate) in parts.into_iter().zip(&recovered.fates) {
            match *fate {
                Fate::Keep { first, next, bytes } => {
                    let tape = journal.disk.open(&part.name)?;
                    if bytes < part.bytes.len() as u64 {
                        tape.cut(bytes)?;
                    }
                    // Whoever wrote it may not have synced it.
                    tape.sync()?;
                    journal.segments.push_back(Segment {
                        name: part.name,
                        tape: None,
                        first,
                        next,
                        bytes,
                        synced_next: next,
                        synced_bytes: bytes,
                    });
                }
                Fate::Drop => journal.outlived.push(part.name),
            }
        }
        match journal.live() {
            Ok(()) => {}
            // What is owed can be delivered all the same; a message finds out whether there is room again.
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "no room for a spool's next life");
            }
            Err(error) => return Err(error.into()),
        }
        Ok((journal, recovered))
    }

    /// Begins a life: it is on the disk itself before anything is done in it.
    fn live(&mut self) -> io::Result<()> {
        let (name, tape) = self.make(&[])?;
        if let Err(error) = tape.sync().and_then(|()| self.disk.sync()) {
            self.forget(&name);
            return Err(error);
        }
        self.lives = true;
        // The last first: what comes back after a loss of power comes back with what explains it.
        for name in std::mem::take(&mut self.outlived).iter().rev() {
            self.forget(name);
        }
        Ok(())
    }

    /// Returns the highest number that is on the disk itself.
    pub(crate) const fn synced(&self) -> u64 {
        self.synced
    }

    /// Returns how many files there are, and how many bytes they have.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, u64) {
        let bytes = self.segments.iter().map(|segment| segment.bytes);
        (self.segments.len(), bytes.sum())
    }

    /// Appends frames, up to the one before `next`; after an error none of them counts.
    pub(crate) fn append(&mut self, next: u64, frames: &[u8]) -> io::Result<()> {
        let is_full = self
            .segments
            .back()
            .is_none_or(|last| last.bytes >= self.terms.segment_bytes);
        if !self.lives {
            self.live()?;
        }
        if !self.appends || is_full {
            self.begin()?;
        }
        let every = MARK_EVERY.min(self.terms.segment_bytes / 8);
        let is_due = self.unmarked >= every || self.acked - self.marked_ack >= every;
        let mark = is_due.then(|| self.mark());
        let mark = mark.as_ref().map_or(&[][..], |mark| mark);
        self.put(&[mark, frames])?;
        if is_due {
            self.marked(frames.len());
        } else {
            self.unmarked += frames.len() as u64;
        }
        self.next = next;
        if let Some(last) = self.segments.back_mut() {
            last.next = next;
        }
        Ok(())
    }

    /// Everything up to this number is acknowledged: what holds nothing else goes. That is written down with what
    /// is appended next, or by [`rest`](Self::rest).
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        self.acked = self.acked.max(sequence);
        // One stays: it says which session this is.
        while let Some(front) = self.segments.front()
            && front.next <= self.acked + 1
            && self.segments.len() > 1
        {
            self.forget(&front.name);
            self.segments.pop_front();
            self.renamed();
        }
    }

    /// Writes down what is acknowledged, if it is not: nothing is to be appended for now. That it fails is no harm;
    /// what is sent twice is dropped by a receiver that lives.
    pub(crate) fn rest(&mut self) {
        let has_room = self
            .segments
            .back()
            .is_some_and(|last| last.bytes < self.terms.segment_bytes);
        if self.acked > self.marked_ack
            && self.appends
            && has_room
            && self.put(&[&self.mark()]).is_ok()
        {
            self.marked(0);
        }
    }

    /// Makes the next file, with its opening and what stands behind that.
    fn make(&mut self, behind: &[u8]) -> io::Result<(String, Arc<dyn Tape>)> {
        let number = self.number + 1;
        let name = name_of(number);
        let tape = self.disk.create(&name)?;
        let opening = Opening {
            epoch: self.epoch,
            session: self.session,
            boot: self.terms.boot,
            first: self.next,
            before: self.segments.back().map_or(self.next, |last| last.first),
            acked: self.acked,
            synced: self.synced,
            holds_back: self.terms.holds_back,
        };
        if let Err(error) = tape.append(&[&opening.encode(self.terms.contents), behind]) {
            if self.disk.remove(&name).is_err() {
                self.number = number;
            }
            return Err(error);
        }
        // Without holes, so that a file that is gone is known by its number.
        self.number = number;
        Ok((name, tape))
    }

    /// Begins the next file for frames. Where it begins stands in it twice: what files before it could not be cut to is
    /// void, and one bit that turns must not make it count.
    fn begin(&mut self) -> io::Result<()> {
        let mark = self.mark();
        let (name, tape) = self.make(&mark)?;
        if !self.terms.syncs
            && let Some(last) = self.segments.back_mut()
        {
            last.tape = None;
        }
        self.segments.push_back(Segment {
            name,
            tape: Some(tape),
            first: self.next,
            next: self.next,
            bytes: BEGINNING,
            synced_next: self.next,
            synced_bytes: BEGINNING,
        });
        self.renamed();
        self.appends = true;
        self.marked(0);
        Ok(())
    }

    /// Appends to the last file, or leaves it as it was.
    fn put(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let Some(last) = self.segments.back_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let Some(tape) = &last.tape else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match tape.append(pieces) {
            Ok(()) => {
                last.bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                Ok(())
            }
            Err(error) => {
                if tape.cut(last.bytes).is_err() {
                    self.appends = false;
                }
                Err(error)
            }
        }
    }

    fn mark(&self) -> [u8; MARK] {
        encode_mark(self.session, self.acked, self.synced, self.next)
    }

    const fn renamed(&mut self) {
        self.unnamed = true;
        self.changes += 1;
    }

    const fn marked(&mut self, since: usize) {
        self.marked_ack = self.acked;
        self.unmarked = since as u64;
    }

    /// Removes a file that nobody needs; one that stays is removed by the next life.
    fn forget(&self, name: &str) {
        if let Err(error) = self.disk.remove(name) {
            tracing::warn!(%error, file = name, "not removed");
        }
    }
}

/// Returns whether there is no room, rather than something broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// How long an opening and the mark behind it are.
const BEGINNING: u64 = (OPENING + MARK) as u64;

/// A mark says what was on the disk before it, so that damage there is told from a tail: often enough that little is
/// in doubt, seldom enough to take little room.
const MARK_EVERY: u64 = 4096;
