//! At most once: what was written and not confirmed. No I/O, no clock.

use std::collections::VecDeque;

/// Writes whose arrival nobody has confirmed yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    writes: VecDeque<Write>,
    /// The highest confirmation heard: it may come before the writer has said that it is done.
    confirmed: u64,
    /// Frames may be lost on the way, so a confirmation ends the waiting for it, and proves nothing of what was
    /// written before.
    stays: bool,
}

/// Messages that one write took from the log.
#[derive(Debug)]
struct Write {
    first: u64,
    last: u64,
    count: u64,
}

impl Doubt {
    /// Makes one for a transport that loses frames, or does not.
    pub(super) fn new(loses_frames: bool) -> Self {
        Self {
            stays: loses_frames,
            ..Self::default()
        }
    }

    /// Notes a write of `count` messages numbered within `first..=last`; returns how many of them are
    /// confirmed already.
    pub(super) fn wrote(&mut self, first: u64, last: u64, count: u64) -> u64 {
        if last <= self.confirmed {
            return if self.stays { 0 } else { count };
        }
        let is_full = self.writes.len() >= WRITES_APART;
        match self.writes.back_mut() {
            Some(newest) if is_full => {
                newest.last = last;
                newest.count += count;
            }
            _ => self.writes.push_back(Write { first, last, count }),
        }
        0
    }

    /// The peer has everything up to `sequence`: returns how many messages that confirms, counted by whole
    /// writes.
    pub(super) fn confirm(&mut self, sequence: u64) -> u64 {
        self.confirmed = self.confirmed.max(sequence);
        let mut confirmed = 0;
        while let Some(write) = self.writes.front()
            && write.last <= sequence
        {
            confirmed += write.count;
            self.writes.pop_front();
        }
        if self.stays { 0 } else { confirmed }
    }

    /// Nobody will confirm the rest.
    pub(super) fn forget(&mut self) {
        self.writes.clear();
    }

    /// Returns whether something up to `sequence` may still be confirmed.
    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.writes
            .front()
            .is_some_and(|write| write.first <= sequence)
    }

    #[cfg(test)]
    pub(super) fn writes(&self) -> usize {
        self.writes.len()
    }
}

/// Beyond this many, writes are confirmed together: a peer that takes messages and never says so costs no memory.
const WRITES_APART: usize = 1024;
