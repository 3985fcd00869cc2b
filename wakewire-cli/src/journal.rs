//! The output of `wakewire listen` and its cursor: how much of the file belongs to what was confirmed.
//!
//! The file is written first and the cursor after it, with the length of the file as its mark. A process that is
//! killed in between leaves lines that the cursor does not know: they come again, so they are cut off when it starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How long the output is, and how it ends, so that no other file is taken for it and cut.
#[derive(Debug)]
pub(crate) struct Journal {
    length: u64,
    /// The last bytes, [`TAIL`] of them if there are so many.
    tail: Vec<u8>,
}

impl Journal {
    /// Cuts the output back to what belongs to the cursor; `None` if it cannot be cut, being no regular file.
    pub(crate) fn resume(output: &File, mark: Option<Vec<u8>>) -> io::Result<Option<Self>> {
        let found = output.metadata()?;
        if !found.is_file() {
            return Ok(None);
        }
        let Some(mark) = mark else {
            // The first time: what is there already stays.
            return Self::at(output, found.len()).map(Some);
        };
        let foreign = |what: &str| {
            let what = format!("{what}: restore it, or give this output a cursor of its own");
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let (length, _) = mark
            .split_first_chunk()
            .ok_or_else(|| foreign("the cursor was not kept for an output file"))?;
        let length = u64::from_be_bytes(*length);
        if found.len() < length {
            let what = format!(
                "it has {} bytes, and the cursor knows of {length}",
                found.len()
            );
            return Err(foreign(&what));
        }
        let journal = Self::at(output, length)?;
        if journal.mark()[..] != mark[..] {
            return Err(foreign("it is not the file that the cursor was kept for"));
        }
        output.set_len(length)?;
        Ok(Some(journal))
    }

    fn at(output: &File, length: u64) -> io::Result<Self> {
        let start = length.saturating_sub(TAIL as u64);
        let mut tail = vec![0; usize::try_from(length - start).unwrap_or(TAIL)];
        output.read_exact_at(&mut tail, start)?;
        Ok(Self { length, tail })
    }

    /// These bytes were written at the end.
    pub(crate) fn add(&mut self, text: &[u8]) {
        self.length += text.len() as u64;
        let last = text.len().saturating_sub(TAIL);
        self.tail
            .extend_from_slice(text.get(last..).unwrap_or(text));
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// Returns what the cursor is to know: the length, and a hash of the last bytes.
    pub(crate) fn mark(&self) -> [u8; 16] {
        // FNV-1a: the same in every build, and good enough to tell files apart that nobody has forged.
        let hash = self
            .tail
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let mut mark = [0; 16];
        let (length, rest) = mark.split_at_mut(8);
        length.copy_from_slice(&self.length.to_be_bytes());
        rest.copy_from_slice(&hash.to_be_bytes());
        mark
    }
}

/// How many bytes before the end tell one file from another.
const TAIL: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn text(output: &File) -> Vec<u8> {
        let mut text = vec![0; usize::try_from(output.metadata().unwrap().len()).unwrap()];
        output.read_exact_at(&mut text, 0).unwrap();
        text
    }

    #[test]
    fn what_the_cursor_does_not_know_is_cut_off_at_every_length() {
        let all: Vec<u8> = (0..3000_u32).map(|n| b'a' + (n % 23) as u8).collect();
        for (known, further) in [
            (0, 0),
            (0, 9),
            (1, 1),
            (700, 0),
            (1023, 5),
            (1024, 5),
            (1025, 1),
            (2999, 1),
        ] {
            // Written in pieces, as batches are.
            let mut journal = Journal::resume(&file(b""), None).unwrap().unwrap();
            all[..known]
                .chunks(300)
                .for_each(|piece| journal.add(piece));
            let output = file(&all[..known + further]);
            let resumed = Journal::resume(&output, Some(journal.mark().to_vec()))
                .unwrap()
                .unwrap();
            assert_eq!(text(&output), all[..known]);
            assert_eq!(resumed.mark(), journal.mark());
        }
    }

    #[test]
    fn what_was_there_before_the_cursor_stays() {
        let output = file(b"old\n");
        let mut journal = Journal::resume(&output, None).unwrap().unwrap();
        journal.add(b"new\n");
        let again = file(b"old\nnew\nto");
        Journal::resume(&again, Some(journal.mark().to_vec()))
            .unwrap()
            .unwrap();
        assert_eq!(text(&again), b"old\nnew\n");
    }

    #[test]
    fn another_file_is_never_cut() {
        let mut journal = Journal::resume(&file(b""), None).unwrap().unwrap();
        journal.add(b"one\ntwo\n");
        for foreign in [&b"one\n"[..], b"one\ntwx\nthree\n", b"precious data\n"] {
            let output = file(foreign);
            Journal::resume(&output, Some(journal.mark().to_vec())).unwrap_err();
            assert_eq!(text(&output), foreign);
        }
        let output = file(b"one\n");
        Journal::resume(&output, Some(b"mine".to_vec())).unwrap_err();
        assert_eq!(text(&output), b"one\n");
        let nowhere = File::open("/dev/null").unwrap();
        assert!(Journal::resume(&nowhere, None).unwrap().is_none());
    }
}
