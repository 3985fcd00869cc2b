//! What the demo sends: each message says its number and can be checked by itself.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};

/// The messages in order: number, hash, content.
#[derive(Debug)]
pub(super) struct Feed {
    content: Content,
    /// The number of the next message, from 1.
    next: u64,
    last: u64,
    chain: u64,
    room: BytesMut,
    line: Vec<u8>,
}

#[derive(Debug)]
enum Content {
    Made,
    Lines(BufReader<File>),
}

impl Feed {
    /// Makes so many messages, of the lines of a file or of content that follows from their number.
    pub(super) fn new(count: u64, lines: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            content: match lines {
                Some(path) => Content::Lines(BufReader::with_capacity(ROOM, File::open(path)?)),
                None => Content::Made,
            },
            next: 1,
            last: count,
            chain: 0,
            room: BytesMut::new(),
            line: Vec::new(),
        })
    }

    /// Returns the next message; none behind the last.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.next > self.last {
            return Ok(None);
        }
        self.line.clear();
        match &mut self.content {
            Content::Made => {
                for word in 1..=MADE_WORDS {
                    self.line
                        .put_u64_le(mixed(self.next ^ word.rotate_left(32)));
                }
            }
            Content::Lines(file) => {
                if file.read_until(b'\n', &mut self.line)? == 0 {
                    return Err(io::Error::other("the file became shorter meanwhile"));
                }
                if self.line.last() == Some(&b'\n') {
                    self.line.pop();
                }
            }
        }
        let hash = hash(self.next, &self.line);
        self.chain = mixed(self.chain ^ hash);
        let length = HEAD + self.line.len();
        if self.room.capacity() < length {
            self.room = BytesMut::with_capacity(ROOM.max(length));
        }
        self.room.put_u64_le(self.next);
        self.room.put_u64_le(hash);
        self.room.put_slice(&self.line);
        self.next += 1;
        Ok(Some(self.room.split().freeze()))
    }

    /// Returns a hash of everything so far, in order.
    pub(super) const fn chain(&self) -> u64 {
        self.chain
    }
}

/// Counts the lines of a file.
pub(super) fn lines(path: &Path) -> io::Result<u64> {
    let mut file = BufReader::with_capacity(ROOM, File::open(path)?);
    let (mut count, mut ends_open) = (0, false);
    loop {
        let read = file.fill_buf()?;
        let Some(last) = read.last() else {
            return Ok(count + u64::from(ends_open));
        };
        count += memchr::memchr_iter(b'\n', read).count() as u64;
        ends_open = *last != b'\n';
        let length = read.len();
        file.consume(length);
    }
}

/// Takes a message apart: number, hash, and whether it is whole.
pub(super) fn checked(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = payload.split_first_chunk()?;
    let (said, content) = rest.split_first_chunk()?;
    let (number, said) = (u64::from_le_bytes(*number), u64::from_le_bytes(*said));
    (hash(number, content) == said).then_some((number, said))
}

/// Adds a message to a hash of everything before it.
pub(super) const fn chained(chain: u64, hash: u64) -> u64 {
    mixed(chain ^ hash)
}

/// Hashes number and content, eight bytes at a time.
fn hash(number: u64, content: &[u8]) -> u64 {
    let mut state = mixed(number ^ (content.len() as u64).rotate_left(48));
    let (words, rest) = content.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word))
            .wrapping_mul(ODD)
            .rotate_left(29);
    }
    for byte in rest {
        state = (state ^ u64::from(*byte)).wrapping_mul(ODD).rotate_left(29);
    }
    mixed(state)
}

/// Makes every bit depend on every other; splitmix64's finish.
const fn mixed(mut value: u64) -> u64 {
    value = value.wrapping_add(ODD);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Number and hash.
const HEAD: usize = 16;
/// Together with the head that makes messages of 64 bytes.
const MADE_WORDS: u64 = 6;
/// What is read, and made, at once.
const ROOM: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_made_can_be_checked() {
        let mut feed = Feed::new(3, None).unwrap();
        let mut chain = 0;
        for expected in 1..=3 {
            let message = feed.next().unwrap().unwrap();
            assert_eq!(message.len(), 64);
            let (number, hash) = checked(&message).unwrap();
            assert_eq!(number, expected);
            chain = chained(chain, hash);
            for bit in [0, 70, 130, 511] {
                let mut broken = message.to_vec();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(checked(&broken), None, "bit {bit}");
            }
            assert_eq!(checked(&message[..63]), None);
        }
        assert_eq!(feed.next().unwrap(), None);
        assert_eq!(feed.chain(), chain);
    }

    #[test]
    fn lines_of_a_file_keep_every_byte() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (text, expected) in [
            (&b"a\n\n\r\nlast"[..], vec![&b"a"[..], b"", b"\r", b"last"]),
            (b"a\n", vec![b"a"]),
            (b"", vec![]),
        ] {
            file.as_file().set_len(0).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            file.write_all(text).unwrap();
            let count = lines(file.path()).unwrap();
            assert_eq!(count, expected.len() as u64);
            let mut feed = Feed::new(count, Some(file.path())).unwrap();
            for line in expected {
                let message = feed.next().unwrap().unwrap();
                assert_eq!(&message[HEAD..], line);
                assert!(checked(&message).is_some());
            }
        }
    }
}
