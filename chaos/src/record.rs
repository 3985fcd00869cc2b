//! What a receiver writes down, and what a sender knows of itself: both outlive a SIGKILL.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One entry of a receiver's log, 32 bytes, appended with one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Messages of one origin that were received one after the other.
    Run { origin: u64, first: u64, last: u64 },
    /// What the sender knew to be acknowledged when this life of the receiver began.
    Floor { origin: u64, acked: u64 },
    /// Messages that are not as they were made.
    Damaged { count: u64 },
    /// Messages of which the library said that they will not come.
    Missed { count: u64 },
}

impl Record {
    pub(crate) fn encode(self) -> [u8; LENGTH] {
        let words = match self {
            Self::Run {
                origin,
                first,
                last,
            } => [1, origin, first, last],
            Self::Floor { origin, acked } => [2, origin, acked, 0],
            Self::Damaged { count } => [3, count, 0, 0],
            Self::Missed { count } => [4, count, 0, 0],
        };
        let mut bytes = [0; LENGTH];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads one; none if that is no record.
    pub(crate) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let [kind, a, b, c] = words else { return None };
        let [kind, a, b, c] = [kind, a, b, c].map(|word| u64::from_le_bytes(*word));
        match kind {
            1 if 1 <= b && b <= c => Some(Self::Run {
                origin: a,
                first: b,
                last: c,
            }),
            2 => Some(Self::Floor {
                origin: a,
                acked: b,
            }),
            3 => Some(Self::Damaged { count: a }),
            4 => Some(Self::Missed { count: a }),
            _ => None,
        }
    }
}

pub(crate) const LENGTH: usize = 32;

/// A sender's log. Its messages are numbered 1, 2, 3, …, so that the last number says them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// No higher number was given to `send` yet.
    pub(crate) intended: u64,
    /// `send` was `Ok` for all up to here.
    pub(crate) accepted: u64,
    /// The sink knows that these were processed.
    pub(crate) acked: u64,
    /// Its sink died with the process, and what was in it.
    pub(crate) is_gone: bool,
    /// Tasks of its runtime, as every process counts them.
    pub(crate) tasks: u64,
}

/// The file of a [`Mark`]: a write of one word costs less than a microsecond, and a SIGKILL does not undo it.
#[derive(Debug)]
pub(crate) struct MarkFile(File);

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Intended = 0,
    Accepted = 8,
    Acked = 16,
    Gone = 24,
    Tasks = 32,
}

impl MarkFile {
    /// Opens it, to go on with what is in it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true);
        file.open(path).map(Self)
    }

    pub(crate) fn set(&self, word: Word, value: u64) -> io::Result<()> {
        self.0.write_all_at(&value.to_le_bytes(), word as u64)
    }

    pub(crate) fn read(&self) -> io::Result<Mark> {
        let word = |word: Word| {
            let mut bytes = [0; 8];
            match self.0.read_at(&mut bytes, word as u64)? {
                0 | 8 => Ok(u64::from_le_bytes(bytes)),
                _ => Err(io::Error::other("a torn word in a sender's log")),
            }
        };
        Ok(Mark {
            intended: word(Word::Intended)?,
            accepted: word(Word::Accepted)?,
            acked: word(Word::Acked)?,
            is_gone: word(Word::Gone)? == 1,
            tasks: word(Word::Tasks)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Record::Run {
                origin: 1,
                first: 2,
                last: 3,
            },
            Record::Floor {
                origin: 4,
                acked: u64::MAX,
            },
            Record::Damaged { count: 5 },
            Record::Missed { count: 6 },
        ];
        for record in all {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
        assert_eq!(Record::decode(&[0; LENGTH]), None);
        let backwards = Record::Run {
            origin: 1,
            first: 3,
            last: 2,
        };
        assert_eq!(Record::decode(&backwards.encode()), None);
    }

    #[test]
    fn a_mark_outlives_who_wrote_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let file = MarkFile::open(&path).unwrap();
        assert_eq!(file.read().unwrap(), Mark::default());
        file.set(Word::Intended, 9).unwrap();
        file.set(Word::Accepted, 8).unwrap();
        file.set(Word::Acked, 7).unwrap();
        file.set(Word::Gone, 1).unwrap();
        file.set(Word::Tasks, 6).unwrap();
        drop(file);
        let expected = Mark {
            intended: 9,
            accepted: 8,
            acked: 7,
            is_gone: true,
            tasks: 6,
        };
        assert_eq!(MarkFile::open(&path).unwrap().read().unwrap(), expected);
    }
}
