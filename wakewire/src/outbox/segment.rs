//! One sealed piece of the log. No I/O, no clock.

use bytes::Bytes;

use crate::wire::run::Run;

/// Sealed frames, some of which may be acknowledged already.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    run: Run,
    /// The first frame still owed. The bytes before it stay until the whole segment goes: walking over the
    /// acknowledged ones would cost by the message.
    owed_from: u64,
}

impl Segment {
    pub(super) const fn new(run: Run) -> Self {
        Self {
            owed_from: run.first,
            run,
        }
    }

    pub(super) fn into_run(self) -> Run {
        self.run
    }

    pub(super) const fn last(&self) -> u64 {
        self.run.last
    }

    #[cfg(test)]
    pub(super) const fn run_first(&self) -> u64 {
        self.run.first
    }

    pub(super) const fn first_owed(&self) -> u64 {
        self.owed_from
    }

    /// Returns how many frames are still owed.
    pub(super) const fn owed(&self) -> u64 {
        self.run.last + 1 - self.owed_from
    }

    /// Returns the bytes held, acknowledged ones included.
    pub(super) fn bytes(&self) -> usize {
        self.run.bytes.len()
    }

    /// Releases the frames up to `sequence`; returns how many that were.
    pub(super) fn release(&mut self, sequence: u64) -> u64 {
        let to = (sequence + 1).clamp(self.owed_from, self.run.last + 1);
        let released = to - self.owed_from;
        self.owed_from = to;
        released
    }

    /// Returns the encoded frames from `sequence` on.
    pub(super) fn from(&self, sequence: u64) -> Bytes {
        let mut run = self.run.clone();
        run.skip_to(sequence);
        run.bytes
    }

    /// Gives up the first frame that is still owed; returns the bytes that frees.
    pub(super) fn drop_first(&mut self) -> usize {
        let before = self.bytes();
        self.run.skip_to(self.owed_from + 1);
        self.owed_from = self.run.first;
        before - self.bytes()
    }
}
