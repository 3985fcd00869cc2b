//! The memory that frames are encoded into, and how it is sealed, grown and freed. No I/O, no clock.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::Outbox;
use super::segment::Segment;
use crate::wire::frame;
use crate::wire::run::Run;

impl Outbox {
    /// Frees the memory that nothing lies in, when there has been no traffic for a while.
    pub(crate) fn rest(&mut self) {
        self.spares = None;
    }

    /// Frees the memory of an empty outbox whose link goes to sleep.
    pub(crate) fn shrink(&mut self) {
        self.rest();
        if self.held == 0 {
            self.tail = BytesMut::new();
            self.tail_size = SMALLEST_TAIL;
            self.sealed = VecDeque::new();
        }
    }

    pub(super) fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.sum_up();
        self.tail_summed = 0;
        let bytes = self.tail.split().freeze();
        let run = Run::new(self.tail_first, self.next - 1, bytes);
        self.sealed_bytes += run.bytes.len();
        self.tail_first = self.next;
        self.sealed.push_back(Segment::new(run));
    }

    /// Gives those frames of the tail their checksums that have none yet.
    pub(super) fn sum_up(&mut self) {
        if self.limits.checksummed {
            frame::sum_up(&mut self.tail[self.tail_summed..]);
            self.tail_summed = self.tail.len();
        }
    }

    /// Goes on in another piece of memory: the one that was used last, or a new one, larger than that before. Small
    /// sinks stay small, busy ones allocate rarely.
    #[cold]
    pub(super) fn grow_tail(&mut self, length: usize) {
        self.seal();
        let size = length.max(self.tail_size);
        if !self.tail.try_reclaim(size) {
            let spare = self.spares.get_or_insert_default().take(size);
            self.tail = spare.unwrap_or_else(|| BytesMut::with_capacity(size));
        }
        self.tail_size = (self.tail_size * 2).min(LARGEST_TAIL);
    }
}

/// The first piece of memory of a sink that wakes.
pub(super) const SMALLEST_TAIL: usize = 4 * 1024;

/// Large enough that a write of it costs little more than its bytes, small enough to stay in the cache.
pub(super) const LARGEST_TAIL: usize = 128 * 1024;

/// A frame of so many bytes gets its checksum while it is in the cache that is nearest. That of a smaller one is summed up
/// with those behind it: bytes that have only just been written are slow to be read in larger pieces than they came in.
pub(super) const SUMMED_AT_ONCE: usize = 8 * 1024;
