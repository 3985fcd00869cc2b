//! The input as blocks of whole lines, read on a thread of its own: reading may block.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use memchr::{memchr, memrchr};
use tokio::sync::mpsc;

/// What comes of reading.
#[derive(Debug)]
pub(super) enum Block {
    /// Whole lines, each with its newline; only the last line of the input may be without.
    Lines(Bytes),
    /// The next line is longer than any service takes.
    Overlong,
    /// Reading failed behind what came before.
    Failed(io::Error),
}

/// Opens a file, or stdin for `-` and for none.
pub(super) fn open(path: Option<&Path>) -> io::Result<Box<dyn Read + Send>> {
    match path {
        Some(path) if path != Path::new("-") => Ok(Box::new(File::open(path)?)),
        _ => Ok(Box::new(io::stdin())),
    }
}

/// Reads to the end, a few blocks ahead; holds no line longer than this.
pub(super) fn read(
    mut input: Box<dyn Read + Send>,
    longest: usize,
) -> io::Result<mpsc::Receiver<Block>> {
    let (blocks, receiver) = mpsc::channel(AHEAD);
    let reading = move || {
        let mut room = vec![0; BLOCK];
        let mut cutter = Cutter::new(longest);
        loop {
            let block = match input.read(&mut room) {
                Ok(0) => match cutter.rest() {
                    Some(block) => block,
                    None => return,
                },
                Ok(count) => match cutter.cut(room.get(..count).unwrap_or_default()) {
                    Some(block) => block,
                    None => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Block::Failed(error),
            };
            let is_last = !matches!(block, Block::Lines(_));
            // Nobody receives any longer: the command ends.
            if blocks.blocking_send(block).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(reading)?;
    Ok(receiver)
}

/// Cuts what was read after its last newline, and keeps what is behind it for the next time.
#[derive(Debug)]
struct Cutter {
    begun: Vec<u8>,
    longest: usize,
}

impl Cutter {
    const fn new(longest: usize) -> Self {
        Self {
            begun: Vec::new(),
            longest,
        }
    }

    fn cut(&mut self, read: &[u8]) -> Option<Block> {
        let Some(end) = memrchr(b'\n', read) else {
            self.begun.extend_from_slice(read);
            return (self.begun.len() > self.longest).then_some(Block::Overlong);
        };
        let (whole, begun) = read.split_at(end + 1);
        let mut block = Vec::with_capacity(self.begun.len() + whole.len());
        block.append(&mut self.begun);
        block.extend_from_slice(whole);
        self.begun.extend_from_slice(begun);
        Some(Block::Lines(block.into()))
    }

    /// Takes out a last line without newline.
    fn rest(&mut self) -> Option<Block> {
        let rest = std::mem::take(&mut self.begun);
        (!rest.is_empty()).then(|| Block::Lines(rest.into()))
    }
}

/// The lines of a block, without their newlines, sharing its memory.
#[derive(Debug)]
pub(super) struct Lines(Bytes);

impl Lines {
    pub(super) const fn of(block: Bytes) -> Self {
        Self(block)
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.0.is_empty() {
            return None;
        }
        match memchr(b'\n', &self.0) {
            Some(end) => {
                let mut line = self.0.split_to(end + 1);
                line.truncate(end);
                Some(line)
            }
            None => Some(std::mem::take(&mut self.0)),
        }
    }
}

/// What is read at once: large enough for one system call to be little beside its messages.
const BLOCK: usize = 256 * 1024;

/// Blocks that are read before they are asked for: one to work on, one to come.
const AHEAD: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives these pieces, one a read.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = (!self.0.is_empty()).then(|| self.0.remove(0)) else {
                return Ok(0);
            };
            into[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn lines_of(pieces: Vec<Vec<u8>>) -> Vec<Bytes> {
        let mut blocks = read(Box::new(Pieces(pieces)), 100).unwrap();
        let mut all = Vec::new();
        while let Some(Block::Lines(block)) = blocks.blocking_recv() {
            all.extend(Lines::of(block));
        }
        all
    }

    #[test]
    fn lines_are_the_same_wherever_the_input_is_cut() {
        let text = b"one\n\n\r\ntwo\r\n\0\xff\nlast";
        let expected: Vec<&[u8]> = vec![b"one", b"", b"\r", b"two\r", b"\0\xff", b"last"];
        for first in 1..text.len() {
            for second in first..text.len() {
                let pieces = vec![
                    text[..first].to_vec(),
                    text[first..second].to_vec(),
                    text[second..].to_vec(),
                ];
                let pieces = pieces
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .collect();
                assert_eq!(lines_of(pieces), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_newline_at_the_end_begins_no_further_line() {
        assert_eq!(lines_of(vec![b"a\n".to_vec()]), ["a"]);
        assert_eq!(lines_of(vec![b"\n".to_vec()]), [""]);
        assert!(lines_of(Vec::new()).is_empty());
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let pieces = vec![b"short\nlo".to_vec(), vec![b'n'; 60], vec![b'g'; 60]];
        let mut blocks = read(Box::new(Pieces(pieces)), 100).unwrap();
        assert!(matches!(blocks.blocking_recv(), Some(Block::Lines(lines)) if lines == "short\n"));
        assert!(matches!(blocks.blocking_recv(), Some(Block::Overlong)));
        assert!(blocks.blocking_recv().is_none());
    }
}
