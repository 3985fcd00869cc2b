//! Messages whose fate somebody waits to hear. No I/O, no clock.

use std::collections::VecDeque;
use std::fmt;

use super::Outbox;

/// What became of an accepted message, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Everybody who is waited for has processed it.
    Delivered,
    /// It was written at most once, and nobody will confirm it.
    InDoubt,
    /// An overflow rule gave it up; it was never sent.
    Dropped,
    /// The sink was closed before it was acknowledged, and its spool keeps it.
    Kept,
    /// The sink was closed before it was acknowledged.
    Undelivered {
        /// It was handed to a connection at least once, and may have arrived.
        sent: bool,
    },
}

/// Tells the one who waits. It is called under the lock of the outbox: it may wake somebody, and do no more.
pub(crate) type Teller = Box<dyn FnOnce(Fate) + Send>;

/// Those who wait, by the numbers of their messages. Empty for a sink of which nobody asks, which costs an
/// acknowledgement one comparison and a send nothing.
#[derive(Default)]
pub(super) struct Awaited(VecDeque<(u64, Teller)>);

impl Awaited {
    /// Tells all who wait for messages up to `sequence`.
    pub(super) fn settle(&mut self, sequence: u64, fate: Fate) {
        let due = self.0.partition_point(|(awaited, _)| *awaited <= sequence);
        for (_, tell) in self.0.drain(..due) {
            tell(fate);
        }
    }

    /// Tells the one who waits for this message, if anybody does.
    pub(super) fn settle_one(&mut self, sequence: u64, fate: Fate) {
        if let Ok(index) = self
            .0
            .binary_search_by_key(&sequence, |(awaited, _)| *awaited)
            && let Some((_, tell)) = self.0.remove(index)
        {
            tell(fate);
        }
    }
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.0.iter().map(|(sequence, _)| sequence);
        f.debug_list().entries(numbers).finish()
    }
}

impl Outbox {
    /// Has this told what becomes of the last accepted message.
    pub(crate) fn await_last(&mut self, tell: Teller) {
        self.awaited.0.push_back((self.last(), tell));
    }

    /// Returns whether anybody waits.
    pub(crate) fn has_awaited(&self) -> bool {
        !self.awaited.0.is_empty()
    }

    /// Returns whether as many wait as there may be messages. At least once that follows from the bound of the log;
    /// at most once a peer that never confirms would make it grow.
    pub(crate) fn has_enough_awaited(&self) -> bool {
        self.awaited.0.len() >= self.limits.messages
    }

    /// At most once: nobody will confirm what was written so far.
    pub(super) fn settle_written(&mut self) {
        if self.forgets_on_write() {
            self.awaited.settle(self.sent, Fate::InDoubt);
        }
    }

    /// Messages behind this one were not accepted after all: who asks for one of them is told so elsewhere.
    pub(super) fn forget_awaited(&mut self, sequence: u64) {
        let kept = self
            .awaited
            .0
            .partition_point(|(awaited, _)| *awaited <= sequence);
        self.awaited.0.truncate(kept);
    }

    /// What the outbox holds is kept elsewhere.
    pub(crate) fn settle_as_kept(&mut self) {
        self.awaited.settle(u64::MAX, Fate::Kept);
    }

    /// The outbox gives up all it holds.
    pub(super) fn settle_the_rest(&mut self) {
        self.settle_written();
        let sent = Fate::Undelivered { sent: true };
        self.awaited.settle(self.sent, sent);
        let never = Fate::Undelivered { sent: false };
        self.awaited.settle(u64::MAX, never);
    }
}
