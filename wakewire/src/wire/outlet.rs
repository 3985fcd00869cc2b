//! What waits to be written to one peer, within bounds, and which of it was handed to the system. No I/O, no clock.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Frames that wait, so many at most.
pub(crate) const MOST_FRAMES: usize = 1024;

/// Bytes that wait, so many at most; a single frame may be larger.
pub(crate) const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Control frames that wait beside them; each is small.
const MOST_URGENT_BYTES: usize = 256 * 1024;

/// Encoded frames in order, and control frames that go before them.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    urgent: BytesMut,
    frames: VecDeque<Frame>,
    bytes: usize,
}

#[derive(Debug)]
struct Frame {
    /// By which its owner knows it.
    number: u64,
    bytes: Bytes,
}

impl Outlet {
    /// Returns whether another frame may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.len() < MOST_FRAMES && self.bytes < MOST_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.frames.is_empty()
    }

    /// Adds a frame, if there is room.
    pub(crate) fn push(&mut self, number: u64, bytes: Bytes) -> bool {
        if !self.has_room() {
            return false;
        }
        self.bytes += bytes.len();
        self.frames.push_back(Frame { number, bytes });
        true
    }

    /// Adds a small frame that overtakes those that wait; dropped where too many of them wait already.
    pub(crate) fn hurry(&mut self, bytes: &[u8]) {
        if self.urgent.len() + bytes.len() <= MOST_URGENT_BYTES {
            self.urgent.extend_from_slice(bytes);
        }
    }

    /// Takes a frame back; returns whether it still waited.
    pub(crate) fn withdraw(&mut self, number: u64) -> bool {
        let Some(at) = self.frames.iter().position(|frame| frame.number == number) else {
            return false;
        };
        if let Some(frame) = self.frames.remove(at) {
            self.bytes -= frame.bytes.len();
        }
        true
    }

    /// Moves about so many bytes, whole frames, into a batch that is empty.
    pub(crate) fn take(&mut self, about: usize, batch: &mut Batch) {
        if !self.urgent.is_empty() {
            batch.append(None, self.urgent.split().freeze());
        }
        while batch.end < about
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= frame.bytes.len();
            batch.append(Some(frame.number), frame.bytes);
        }
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Frames that are being written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) pieces: Vec<Bytes>,
    /// The first piece that is not wholly written.
    pub(crate) first: usize,
    /// Where each frame ends, counted from the start of the batch.
    ends: VecDeque<(usize, u64)>,
    end: usize,
    written: usize,
}

impl Batch {
    pub(crate) fn append(&mut self, number: Option<u64>, bytes: Bytes) {
        self.end += bytes.len();
        if let Some(number) = number {
            self.ends.push_back((self.end, number));
        }
        self.pieces.push(bytes);
    }

    pub(crate) fn is_written(&self) -> bool {
        self.first >= self.pieces.len()
    }

    /// The system took so many more bytes; says which frames it now has to their last byte. Before that no peer
    /// can have acted on one.
    pub(crate) fn advance(&mut self, bytes: usize, mut handed: impl FnMut(u64)) {
        self.written += bytes;
        while let Some((end, number)) = self.ends.front().copied()
            && end <= self.written
        {
            self.ends.pop_front();
            handed(number);
        }
    }

    /// The system failed while it was offered the rest: nobody knows what it took.
    pub(crate) fn doubt(&mut self, handed: impl FnMut(u64)) {
        self.advance(self.end - self.written, handed);
    }

    /// Makes it empty for the next frames.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.ends.clear();
        (self.first, self.end, self.written) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    #[test]
    fn frames_wait_within_bounds_of_number_and_size() {
        let mut outlet = Outlet::default();
        for number in 0..MOST_FRAMES as u64 {
            assert!(outlet.push(number, frame(1)));
        }
        assert!(!outlet.push(9999, frame(1)), "one past the limit");
        assert!(outlet.withdraw(7));
        assert!(!outlet.withdraw(7));
        assert!(outlet.push(9999, frame(MOST_BYTES)));
        assert!(outlet.withdraw(8), "room by number");
        assert!(!outlet.push(10_000, frame(1)), "no room by size");
        assert!(outlet.withdraw(9999));
        assert!(outlet.push(10_000, frame(1)));
    }

    #[test]
    fn small_urgent_frames_overtake_and_are_bounded() {
        let mut outlet = Outlet::default();
        assert!(outlet.push(1, frame(10)));
        for _ in 0..MOST_URGENT_BYTES {
            outlet.hurry(&[1, 1]);
        }
        let mut batch = Batch::default();
        outlet.take(usize::MAX, &mut batch);
        assert_eq!(batch.pieces[0].len(), MOST_URGENT_BYTES);
        assert_eq!(batch.pieces[1].len(), 10);
        assert!(outlet.is_empty());
    }

    #[test]
    fn a_frame_is_handed_over_with_its_last_byte() {
        let mut outlet = Outlet::default();
        outlet.hurry(&[9; 3]);
        for number in 1..=3 {
            assert!(outlet.push(number, frame(10)));
        }
        let mut batch = Batch::default();
        outlet.take(14, &mut batch);
        assert!(outlet.withdraw(3), "not in the batch");
        let handed = |batch: &mut Batch, bytes| {
            let mut numbers = Vec::new();
            batch.advance(bytes, |number| numbers.push(number));
            numbers
        };
        assert_eq!(handed(&mut batch, 12), [0; 0]);
        assert_eq!(handed(&mut batch, 1), [1]);
        assert_eq!(handed(&mut batch, 9), [0; 0]);
        let mut doubted = Vec::new();
        batch.doubt(|number| doubted.push(number));
        assert_eq!(doubted, [2]);
    }

    #[test]
    fn it_is_empty_when_nothing_of_either_kind_waits() {
        let mut outlet = Outlet::default();
        assert!(outlet.is_empty());
        outlet.hurry(&[1]);
        assert!(!outlet.is_empty());
        outlet.clear();
        assert!(outlet.push(1, frame(1)) && !outlet.is_empty());
        assert!(outlet.withdraw(1) && outlet.is_empty());
    }

    #[test]
    fn what_is_taken_back_makes_room_for_its_own_size_and_no_more() {
        let mut outlet = Outlet::default();
        assert!(outlet.push(1, frame(MOST_BYTES / 2)));
        assert!(outlet.push(2, frame(MOST_BYTES / 2)));
        assert!(!outlet.has_room() && outlet.withdraw(1));
        assert!(outlet.push(3, frame(MOST_BYTES / 2)));
        assert!(!outlet.has_room());
    }

    #[test]
    fn a_batch_ends_with_the_frame_that_fills_it_and_is_used_again() {
        let mut outlet = Outlet::default();
        for number in 1..=3 {
            assert!(outlet.push(number, frame(10)));
        }
        let mut batch = Batch::default();
        for _ in 0..3 {
            outlet.take(10, &mut batch);
            assert_eq!(batch.pieces.len(), 1);
            assert!(!batch.is_written());
            batch.first = 1;
            assert!(batch.is_written());
            batch.clear();
        }
        assert!(outlet.is_empty() && batch.is_written());
    }
}
