//! Reads pieces of the protocol from a byte stream.

use std::io;
use std::mem;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::budget::Share;
use crate::wire::ProtocolError;
use crate::wire::liveness::DEAD_AFTER;
use crate::wire::replay::Replay;
use crate::wire::run::LOOSE;
use crate::wire::scan::{Piece, Scanner};

/// A byte stream cut into runs and control frames.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: Memory,
    /// What was read into before, the latest last: it is read into again when nobody has a part of it any more.
    others: Vec<Memory>,
    /// How much to ask for at once: grows while the peer fills it and shrinks with it, so that a silent connection
    /// costs little, and what comes in one piece is most of the memory that it lies in.
    ahead: usize,
    scanner: Scanner,
    /// What the buffer counts as in a listener's memory.
    share: Option<Share>,
    /// What has come, where it may come twice.
    replay: Option<Replay>,
    /// How the frame at the front comes in, while it is not whole.
    unfinished: Option<Unfinished>,
}

/// When, and with how many bytes of it there, the part of a frame began that is looked at.
#[derive(Debug)]
struct Unfinished {
    since: Instant,
    bytes: usize,
}

/// Memory to read into.
#[derive(Debug, Default)]
struct Memory {
    bytes: BytesMut,
    /// The size of what the bytes are a part of, or more.
    held: usize,
}

/// Why nothing more comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer closed the connection in the middle of a frame")]
    CutOff,
    #[error("a frame of which less than {LEAST} bytes came in 15 s")]
    Trickle,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R, scanner: Scanner) -> Self {
        Self {
            io,
            buffer: Memory::default(),
            others: Vec::new(),
            ahead: SMALLEST_READ,
            scanner,
            share: None,
            replay: None,
            unfinished: None,
        }
    }

    /// Counts the buffer in a listener's memory from now on.
    pub(super) fn sharing(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// Returns how the peer is read, to change it after the greeting.
    pub(crate) const fn scanner(&mut self) -> &mut Scanner {
        &mut self.scanner
    }

    /// Says whether requests and messages may come twice, as datagrams do, and each is to be taken once. Not for what
    /// several senders have numbered.
    pub(crate) fn takes_once(&mut self, takes_once: bool) {
        self.replay = takes_once.then(Replay::default);
    }

    /// Returns the next piece, or `None` when the peer has closed the connection between two frames.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing that was received is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        loop {
            if let Some(piece) = self.scanner.next(&mut self.buffer.bytes)? {
                self.unfinished = None;
                let is_new = self
                    .replay
                    .as_mut()
                    .is_none_or(|replay| replay.takes(&piece));
                if !is_new {
                    continue;
                }
                return Ok(Some(match piece {
                    Piece::Run { origin, run } => Piece::Run {
                        origin,
                        run: run.lies_in(self.buffer.held),
                    },
                    control @ Piece::Control { .. } => control,
                }));
            }
            self.comes_in()?;
            if !self.fill().await? {
                return if self.buffer.bytes.is_empty() {
                    Ok(None)
                } else {
                    Err(ReadError::CutOff)
                };
            }
        }
    }

    /// Reads to the end and keeps nothing of it; for whoever has said goodbye and wants to be heard.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, what was read is gone.
    pub(crate) async fn discard(&mut self) {
        loop {
            self.buffer.bytes.clear();
            if !matches!(self.fill().await, Ok(true)) {
                return;
            }
        }
    }

    /// A length that was damaged on the way makes a frame of all that comes after: of a peer that then only asks
    /// whether we are there, and hears that we are, neither would ever be given up.
    fn comes_in(&mut self) -> Result<(), ReadError> {
        let bytes = self.buffer.bytes.len();
        if bytes == 0 {
            self.unfinished = None;
            return Ok(());
        }
        let now = Instant::now();
        let begun = self
            .unfinished
            .get_or_insert(Unfinished { since: now, bytes });
        if now.duration_since(begun.since) >= DEAD_AFTER {
            if bytes.saturating_sub(begun.bytes) < LEAST {
                return Err(ReadError::Trickle);
            }
            *begun = Unfinished { since: now, bytes };
        }
        Ok(())
    }

    /// Waits until there is memory for that much more of an unfinished frame. What every connection may have, to
    /// read into, is not counted: that is what the number of connections is limited for.
    async fn count(&mut self, more: usize) {
        let Some(share) = &mut self.share else {
            return;
        };
        let unfinished = self.buffer.bytes.len();
        if unfinished == 0 {
            share.hold(0);
        } else if unfinished + more > SMALLEST_READ {
            let asked = Instant::now();
            share.room(unfinished + more).await;
            // Nothing was read meanwhile, so that what did not come is not the peer's fault.
            if let Some(begun) = &mut self.unfinished {
                begun.since += asked.elapsed();
            }
            share.hold(unfinished + more);
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let unfinished = self.buffer.bytes.len();
        // Never the declared length at once, only about as much again as has really come.
        let wanted = self
            .scanner
            .missing(&self.buffer.bytes)
            .min(unfinished.max(self.ahead));
        if self.buffer.room() < wanted.max(SMALLEST_READ / 2) {
            let more = wanted.max(self.ahead);
            self.count(more).await;
            self.reserve(wanted, more);
        }
        let room = self.buffer.room();
        let read = self.io.read_buf(&mut self.buffer.bytes).await?;
        if read == room {
            self.ahead = (self.ahead * 2).min(LARGEST_READ);
        } else if read < self.ahead / LOOSE {
            self.ahead = (self.ahead / 2).max(SMALLEST_READ);
            let most = LOOSE * self.ahead;
            if self.ahead == SMALLEST_READ {
                self.others = Vec::new();
            } else {
                self.others.retain(|other| other.held <= most);
            }
        }
        Ok(read > 0)
    }

    /// Makes room for so many bytes more: in memory that was used, if nobody has a part of it any more and it is not
    /// too much for what comes. It is at hand, while new memory is faulted in page by page; so half of what is asked
    /// for does there, as long as what is wanted fits.
    fn reserve(&mut self, wanted: usize, more: usize) {
        let unfinished = self.buffer.bytes.len();
        let enough = wanted.max(more / 2);
        let most = LOOSE * (unfinished + more);
        if self.buffer.reclaim(enough, most) {
            return;
        }
        if unfinished < self.ahead {
            let mut others = self.others.iter_mut();
            let free = others.rposition(|other| other.reclaim(unfinished + enough, most));
            let next = match free {
                Some(index) => self.others.remove(index),
                None => Memory::new(unfinished + more),
            };
            let mut used = mem::replace(&mut self.buffer, next);
            self.buffer.bytes.extend_from_slice(&used.bytes);
            used.bytes.clear();
            if self.others.len() == MOST_OTHERS {
                self.others.remove(0);
            }
            self.others.push(used);
        } else {
            // A large frame: it may grow where it is. What lies before it is no more than what there was.
            self.buffer.bytes.reserve(more);
            self.buffer.held += self.buffer.bytes.capacity();
        }
    }
}

impl Memory {
    fn new(size: usize) -> Self {
        let bytes = BytesMut::with_capacity(size);
        let held = bytes.capacity();
        Self { bytes, held }
    }

    fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Makes room for so many bytes more if that needs no other memory, and this is at most so large.
    fn reclaim(&mut self, more: usize, most: usize) -> bool {
        self.held <= most && self.bytes.try_reclaim(more)
    }
}

/// Bytes that come of an unfinished frame in 15 s at the least: more than questions and answers make, and what a line of
/// 600 bits a second carries.
const LEAST: usize = 1024;

/// What an idle connection keeps.
const SMALLEST_READ: usize = 8 * 1024;

/// What a busy connection reads at once.
const LARGEST_READ: usize = 256 * 1024;

/// How much memory that was read into is kept for the next time: what a source holds at most before it stops reading,
/// and what its application works on. New memory is faulted in page by page, which cost more than the reading.
const MOST_OTHERS: usize = 6;
