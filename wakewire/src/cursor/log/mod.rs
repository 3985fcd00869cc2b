//! What a cursor file says: records of one size, each whole by its checksum, the last of a session counting.
//! No I/O, no clock.
//!
//! ```text
//! header  "wakewire cursor\n"  version 1  zeros                    checksum   64 bytes
//! record  session 16, processed 8, kind 1, length 1, zeros 2, mark 32, checksum 4
//! ```
//!
//! Numbers are big-endian; a checksum is CRC32C over what stands before it and over the place of the record, so that a
//! block that lies elsewhere does not count. A process that dies leaves at most one torn record, at the end. So an
//! invalid record that valid ones follow is damage, which is refused with its place; one that nothing valid
//! follows is cut off: what it would have said was never acknowledged.

use std::collections::HashMap;

use super::Position;
use super::position::POSITION_BYTES;
use crate::wire::SessionId;
use crate::wire::checksum::Crc;
use crate::wire::session::MOST_SESSIONS;

/// The positions and the mark, and how much of the file says so.
#[derive(Debug)]
pub(super) struct Log {
    /// How many sessions it holds.
    most: usize,
    sessions: HashMap<SessionId, Known>,
    mark: Option<Mark>,
    /// Records since the first, for what was written longest ago.
    written: u64,
    /// Bytes of the file that are whole.
    length: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    processed: u64,
    written: u64,
}

/// What a record says: a position, a mark, or both at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) position: Option<Position>,
    pub(super) mark: Option<Mark>,
}

/// A few bytes of the application's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    bytes: [u8; MARK_BYTES],
    length: u8,
}

impl Mark {
    /// Takes these bytes; `None` when they are too many.
    pub(crate) fn new(mark: &[u8]) -> Option<Self> {
        let mut bytes = [0; MARK_BYTES];
        bytes.get_mut(..mark.len())?.copy_from_slice(mark);
        let length = u8::try_from(mark.len()).ok()?;
        Some(Self { bytes, length })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

/// Why a file is not taken for a cursor, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) at: u64,
    pub(super) what: &'static str,
}

impl Log {
    /// Makes an empty one, of which nothing is written yet.
    pub(super) fn new() -> Self {
        Self {
            most: MOST_SESSIONS,
            sessions: HashMap::new(),
            mark: None,
            written: 0,
            length: 0,
        }
    }

    /// Reads a file; what is torn at its end does not belong to [`length`](Self::length).
    pub(super) fn recover(file: &[u8]) -> Result<Self, Damage> {
        Self::recover_most(file, MOST_SESSIONS)
    }

    /// The same, of so many sessions.
    fn recover_most(file: &[u8], most: usize) -> Result<Self, Damage> {
        let mut log = Self {
            most,
            ..Self::new()
        };
        let header = header();
        let Some(front) = file.get(..header.len()) else {
            // Nothing can be told of a part of a header, but whether it is one.
            return if header.starts_with(file) {
                Ok(log)
            } else {
                Err(FOREIGN)
            };
        };
        if !front.starts_with(MAGIC) {
            return Err(FOREIGN);
        }
        if front != header {
            let what = "it was written by another version, or its first bytes are damaged";
            return Err(Damage { at: 0, what });
        }
        log.length = HEADER as u64;
        let mut torn = None;
        for record in file.get(HEADER..).unwrap_or(&[]).chunks(RECORD) {
            let at = torn.map_or(log.length, |(_, next)| next);
            match (decode(record, at), torn) {
                (Some(entry), None) => log.wrote(&entry),
                (Some(_), Some((at, _))) => {
                    let what = "a record is damaged, and whole ones follow it";
                    return Err(Damage { at, what });
                }
                (None, _) => {
                    let first = torn.map_or(at, |(first, _)| first);
                    torn = Some((first, at + RECORD as u64));
                }
            }
        }
        Ok(log)
    }

    /// Returns how many bytes of the file are whole; the next record stands there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        let position =
            |(&session, known): (&SessionId, &Known)| Position::new(session, known.processed);
        self.sessions.iter().map(position)
    }

    /// Returns what of this is not known yet.
    pub(super) fn news(&self, entry: &Entry) -> Option<Entry> {
        let is_new = |position: &Position| {
            let known = self.sessions.get(&position.session_id());
            position.sequence() > known.map_or(0, |known| known.processed)
        };
        let news = Entry {
            position: entry.position.filter(is_new),
            ..*entry
        };
        (news != Entry::default()).then_some(news)
    }

    /// Returns the record that says this, to stand at the end.
    pub(super) fn record(&self, entry: &Entry) -> [u8; RECORD] {
        encode(entry, self.length)
    }

    /// Notes that the record of this stands at the end of the file.
    pub(super) fn wrote(&mut self, entry: &Entry) {
        self.length += RECORD as u64;
        self.written += 1;
        if let Some(position) = entry.position {
            let known = Known {
                processed: position.sequence(),
                written: self.written,
            };
            let session = self.sessions.entry(position.session_id());
            let slot = session.or_insert(known);
            *slot = Known {
                processed: slot.processed.max(known.processed),
                ..known
            };
            if self.sessions.len() > self.most {
                self.forget();
            }
        }
        self.mark = entry.mark.or(self.mark);
    }

    /// Returns whether the file is more than twice as long as what it says, and by so much that it pays to write it
    /// anew: at most every 16,384 records, so that a record costs no more than two.
    pub(super) fn is_long(&self) -> bool {
        let needed = self.sessions.len() + 1;
        self.length > (2 * needed + SPARE) as u64 * RECORD as u64
    }

    /// Returns a file that says the same, and the log of it: what was written longest ago first.
    pub(super) fn compacted(&self) -> (Vec<u8>, Self) {
        let mut order: Vec<_> = self.sessions.iter().collect();
        order.sort_unstable_by_key(|(_, known)| known.written);
        let positions = order.into_iter().map(|(&session, known)| Entry {
            position: Some(Position::new(session, known.processed)),
            mark: None,
        });
        let mark = self.mark.map(|mark| Entry {
            position: None,
            mark: Some(mark),
        });
        let mut file = header().to_vec();
        let mut log = Self {
            most: self.most,
            length: HEADER as u64,
            ..Self::new()
        };
        for entry in positions.chain(mark) {
            file.extend_from_slice(&encode(&entry, log.length));
            log.wrote(&entry);
        }
        (file, log)
    }

    /// Forgets those that were written longest ago: some at once, so that each costs little.
    fn forget(&mut self) {
        let mut written: Vec<_> = self.sessions.values().map(|known| known.written).collect();
        let forgotten = (self.most / FORGOTTEN).max(1);
        let (_, &mut oldest_kept, _) = written.select_nth_unstable(forgotten);
        self.sessions
            .retain(|_, known| known.written >= oldest_kept);
    }
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (to, from) in header.iter_mut().zip(MAGIC.iter().chain(&VERSION)) {
        *to = *from;
    }
    sealed(header, 0)
}

fn encode(entry: &Entry, at: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let fields = entry
        .position
        .map_or([0; POSITION_BYTES], Position::to_bytes);
    let kind =
        u8::from(entry.position.is_some()) * POSITION + u8::from(entry.mark.is_some()) * MARK;
    let (length, mark) = entry
        .mark
        .map_or((0, [0; MARK_BYTES]), |mark| (mark.length, mark.bytes));
    let bytes = fields.into_iter().chain([kind, length, 0, 0]).chain(mark);
    for (to, from) in record.iter_mut().zip(bytes) {
        *to = from;
    }
    sealed(record, at)
}

/// Returns what a record says that is whole.
fn decode(record: &[u8], at: u64) -> Option<Entry> {
    let record: [u8; RECORD] = record.try_into().ok()?;
    if sealed(record, at) != record {
        return None;
    }
    let (position, rest) = record.split_first_chunk::<POSITION_BYTES>()?;
    let ([kind, length, 0, 0], rest) = rest.split_first_chunk::<4>()? else {
        return None;
    };
    let mark = Mark {
        bytes: *rest.first_chunk()?,
        length: *length,
    };
    let position = match kind & POSITION {
        0 => None,
        _ => Some(Position::from_bytes(*position)?),
    };
    let entry = Entry {
        position,
        mark: (kind & MARK != 0).then_some(mark),
    };
    let is_sound = usize::from(*length) <= MARK_BYTES
        && kind & !(POSITION | MARK) == 0
        && entry != Entry::default();
    is_sound.then_some(entry)
}

/// Puts the checksum at the end.
fn sealed<const N: usize>(mut bytes: [u8; N], at: u64) -> [u8; N] {
    if let Some((front, checksum)) = bytes.split_last_chunk_mut::<4>() {
        let mut crc = Crc::new();
        crc.add(front);
        crc.add(&at.to_be_bytes());
        *checksum = crc.value().to_be_bytes();
    }
    bytes
}

/// The length of a record. A power of two, so that none lies across two pages: what the system copies in one piece.
pub(super) const RECORD: usize = 64;
const HEADER: usize = 64;
const MAGIC: &[u8] = b"wakewire cursor\n";
const VERSION: [u8; 4] = [0, 0, 0, 1];
const FOREIGN: Damage = Damage {
    at: 0,
    what: "it is not a cursor of wakewire",
};

/// How long a mark may be: enough for a length, a checksum and a number of the application's own.
pub(crate) const MARK_BYTES: usize = 32;

/// The bits of a record's kind.
const POSITION: u8 = 1;
const MARK: u8 = 2;

/// 1 MiB.
const SPARE: usize = 16_384;

/// Which part of all is forgotten at once.
const FORGOTTEN: usize = 16;

/// More than a file can have: a longer one is not read.
pub(super) const LONGEST: u64 = (HEADER + (2 * (MOST_SESSIONS + 2) + SPARE + 1) * RECORD) as u64;

/// Recovers any bytes at all; what they say is written anew, and read again.
///
/// # Panics
///
/// When it is not the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn any_file(input: &[u8]) {
    let Ok(log) = Log::recover(input) else {
        return;
    };
    assert!(log.length() <= input.len() as u64);
    let all = |log: &Log| {
        let positions = log.positions();
        let mut all: Vec<_> = positions.map(|p| (p.session(), p.sequence())).collect();
        all.sort_unstable();
        (all, log.mark().copied())
    };
    let (file, compacted) = log.compacted();
    assert_eq!(all(&compacted), all(&log));
    assert_eq!(Log::recover(&file).map(|again| all(&again)), Ok(all(&log)));
}

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::memory::InMemory;
