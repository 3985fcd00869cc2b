//! Consecutive frames of one session in one piece of memory: the unit that is kept, sent and handed on.
//! No I/O, no clock.

use bytes::{Buf, Bytes};

use super::frame::{HEADER, Header};

/// Frames `first..=last` of one session, encoded back to back.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: Bytes,
    /// How much stays in memory as long as any of it is kept.
    held: usize,
}

impl Run {
    /// Makes one that has its memory for itself.
    pub(crate) const fn new(first: u64, last: u64, bytes: Bytes) -> Self {
        Self {
            first,
            last,
            held: bytes.len(),
            bytes,
        }
    }

    /// Says that it lies in a piece of memory of this size.
    pub(crate) const fn lies_in(mut self, size: usize) -> Self {
        self.held = size;
        self
    }

    /// Moves it into memory of its own where it is a small part of what it lies in, so that who keeps it counts at
    /// least a [quarter](LOOSE) of what stays for it. A run that fills the buffer that it was read into is not copied.
    pub(crate) fn compact(&mut self) {
        if self.bytes.len() < self.held / LOOSE {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
            self.held = self.bytes.len();
        }
    }

    /// Returns how many frames there are.
    pub(crate) const fn count(&self) -> u64 {
        self.last + 1 - self.first
    }

    /// Returns the length of the largest frame; walks over their headers.
    pub(crate) fn largest_frame(&self) -> usize {
        let (mut run, mut largest) = (self.clone(), 0);
        while let Some(frame) = run.pop() {
            largest = largest.max(frame.len());
        }
        largest
    }

    /// Drops the frames before `sequence`; walks over their headers, so it costs by the frame. A run that ends
    /// before it is left empty (`first = last + 1`).
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        while self.first < sequence && self.first <= self.last {
            let length = frame_length(&self.bytes).min(self.bytes.len());
            self.bytes.advance(length);
            self.first += 1;
        }
    }

    /// Takes up to so many frames off, one at least; walks over their headers unless it is all of them.
    pub(crate) fn take(&mut self, most: u64) -> Self {
        if most >= self.count() {
            let all = self.clone();
            self.first = self.last + 1;
            self.bytes = Bytes::new();
            return all;
        }
        let mut front = self.clone();
        self.skip_to(self.first + most.max(1));
        front.last = self.first - 1;
        front.bytes.truncate(front.bytes.len() - self.bytes.len());
        front
    }

    /// Takes the first frame off.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.first > self.last {
            return None;
        }
        let length = frame_length(&self.bytes).min(self.bytes.len());
        self.first += 1;
        Some(self.bytes.split_to(length))
    }

    /// Takes the first frame off, whose header this is; returns what follows the header.
    #[inline]
    pub(crate) fn pop_body(&mut self, header: &Header) -> Bytes {
        self.first += 1;
        self.bytes.advance(HEADER);
        self.bytes.split_to(header.length as usize)
    }
}

/// How many times what is kept may stay in memory for it.
pub(crate) const LOOSE: usize = 4;

/// Returns the length of the frame that starts these bytes.
pub(crate) fn frame_length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(HEADER, |length| {
        HEADER.saturating_add(u32::from_le_bytes(*length) as usize)
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::message::Message;
    use crate::wire::frame::encode_message;

    /// Frames of different lengths.
    fn run(first: u64, last: u64) -> Run {
        let mut out = BytesMut::new();
        for sequence in first..=last {
            let payload = vec![7; usize::try_from(sequence).unwrap()];
            encode_message(&Message::new(payload), sequence, false, &mut out);
        }
        Run::new(first, last, out.freeze())
    }

    fn is(one: &Run, other: &Run) -> bool {
        (one.first, one.last, &one.bytes) == (other.first, other.last, &other.bytes)
    }

    #[test]
    fn a_run_is_taken_apart_at_the_ends_of_its_frames() {
        let mut rest = run(1, 9);
        assert_eq!(rest.largest_frame(), run(9, 9).bytes.len());
        assert!(is(&rest.take(3), &run(1, 3)) && is(&rest, &run(4, 9)));
        assert!(is(&rest.take(0), &run(4, 4)), "one at least");
        assert_eq!(rest.pop(), Some(run(5, 5).bytes));
        rest.skip_to(2);
        assert!(is(&rest, &run(6, 9)));
        rest.skip_to(8);
        assert!(is(&rest, &run(8, 9)));
        assert!(is(&rest.take(2), &run(8, 9)));
        assert_eq!((rest.count(), rest.pop()), (0, None));
        let mut behind = run(1, 2);
        behind.skip_to(9);
        assert_eq!((behind.first, behind.last), (3, 2));
        assert!(behind.bytes.is_empty());
    }

    #[test]
    fn a_small_part_of_much_memory_is_copied_out_of_it_and_a_large_one_is_not() {
        let memory = Bytes::from(vec![7; 4000]);
        let mut large = Run::new(1, 1, memory.slice(..1000)).lies_in(memory.len());
        large.compact();
        assert_eq!(large.bytes.as_ptr(), memory.as_ptr(), "it stays");
        let mut small = Run::new(1, 1, memory.slice(..999)).lies_in(memory.len());
        small.compact();
        assert_ne!(small.bytes.as_ptr(), memory.as_ptr());
        assert_eq!(small.bytes, memory.slice(..999));
        let copied = small.bytes.as_ptr();
        small.compact();
        assert_eq!(small.bytes.as_ptr(), copied, "once");
    }
}
