//! Consecutive frames of one session in one piece of memory: the unit that is kept, sent and handed on.
//! No I/O, no clock.

use bytes::{Buf, Bytes};

use super::frame::HEADER;

/// Frames `first..=last` of one session, encoded back to back.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: Bytes,
}

impl Run {
    /// Returns how many frames there are.
    pub(crate) const fn count(&self) -> u64 {
        self.last + 1 - self.first
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
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.first > self.last {
            return None;
        }
        let length = frame_length(&self.bytes).min(self.bytes.len());
        self.first += 1;
        Some(self.bytes.split_to(length))
    }
}

/// Returns the length of the frame that starts these bytes.
pub(crate) fn frame_length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(HEADER, |length| {
        HEADER.saturating_add(u32::from_le_bytes(*length) as usize)
    })
}
