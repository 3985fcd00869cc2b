//! How much of the output belongs to what was confirmed.
//!
//! Lines are written first and the cursor after them, with the length of the file and its last bytes as the mark. What a
//! killed process has left behind the mark comes again, so it is cut off when the next one starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the output ends, and with which bytes, so that no other file is taken for it and cut.
#[derive(Debug)]
pub(crate) struct Journal {
    length: u64,
    tail: Vec<u8>,
}

/// With the length they fill a mark, which has at most 32 bytes.
const TAIL: usize = 24;

impl Journal {
    /// Cuts the output back to its mark. Without one, what is there already stays.
    ///
    /// # Errors
    ///
    /// It cannot be read or cut, or is not the file that the mark is of.
    pub(crate) fn resume(output: &File, mark: Option<&[u8]>) -> io::Result<Self> {
        let found = output.metadata()?.len();
        let known = mark.and_then(|mark| mark.split_first_chunk());
        let Some((length, tail)) = known else {
            return Self::ending_at(output, found);
        };
        let length = u64::from_be_bytes(*length);
        if length <= found {
            let journal = Self::ending_at(output, length)?;
            if journal.tail == tail {
                output.set_len(length)?;
                return Ok(journal);
            }
        }
        let what = "it is not the file that the cursor was kept for: restore it, or give this one a cursor of its own";
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    fn ending_at(output: &File, length: u64) -> io::Result<Self> {
        let start = length.saturating_sub(TAIL as u64);
        let mut tail = vec![0; usize::try_from(length - start).unwrap_or(TAIL)];
        output.read_exact_at(&mut tail, start)?;
        Ok(Self { length, tail })
    }

    /// Notes that this was written at the end.
    pub(crate) fn add(&mut self, text: &[u8]) {
        self.length += text.len() as u64;
        self.tail.extend_from_slice(text);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// Returns the mark.
    pub(crate) fn mark(&self) -> Vec<u8> {
        [&self.length.to_be_bytes()[..], &self.tail].concat()
    }
}

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
    fn what_the_mark_does_not_know_is_cut_off() {
        let all: Vec<u8> = (0..100_u8).collect();
        for (known, further) in [(0, 0), (0, 9), (1, 1), (23, 1), (24, 1), (25, 1), (99, 1)] {
            let mut journal = Journal::resume(&file(b""), None).unwrap();
            all[..known].chunks(7).for_each(|piece| journal.add(piece));
            let output = file(&all[..known + further]);
            let resumed = Journal::resume(&output, Some(&journal.mark())).unwrap();
            assert_eq!(text(&output), all[..known]);
            assert_eq!(resumed.mark(), journal.mark());
        }
    }

    #[test]
    fn what_was_there_before_stays_and_another_file_is_never_cut() {
        let output = file(b"old\n");
        let mut journal = Journal::resume(&output, None).unwrap();
        assert_eq!(text(&output), b"old\n");
        journal.add(b"new\n");
        for foreign in [&b"old\n"[..], b"old\nnex\nmore\n", b"precious data\n"] {
            let output = file(foreign);
            Journal::resume(&output, Some(&journal.mark())).unwrap_err();
            assert_eq!(text(&output), foreign);
        }
    }
}
