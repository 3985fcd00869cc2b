//! The log of a sender that writes it to a disk before it accepts: begun with what was written, handed out only when
//! it may be, taken back when it was not written. No I/O, no clock.

use super::segment::Segment;
use super::tail::LARGEST_TAIL;
use super::{Limits, Outbox};
use crate::message::Message;
use crate::wire::SessionId;
use crate::wire::frame::encoded_length;
use crate::wire::run::Run;

impl Outbox {
    /// Makes one that goes on with what an earlier life has written: everything up to `acked` is acknowledged, these
    /// runs are owed, and `next` is the number of the next message. What is owed counts as accepted, and as sent,
    /// which it may have been.
    pub(crate) fn recovered(
        session: SessionId,
        limits: Limits,
        (acked, next): (u64, u64),
        runs: Vec<Run>,
    ) -> Self {
        let mut outbox = Self::new(session, limits);
        for run in runs {
            outbox.held += run.count();
            outbox.sealed_bytes += run.bytes.len();
            outbox.largest = outbox.largest.max(run.largest_frame());
            outbox.sealed.push_back(Segment::new(run));
        }
        outbox.counts.accepted = outbox.held;
        (outbox.released, outbox.cursor) = (acked, acked + 1);
        (outbox.sent, outbox.tail_first, outbox.next) = (next - 1, next, next);
        outbox
    }

    /// Takes messages over in order, as far as there is room and they come to lie in one piece of memory; returns how
    /// many, and their bytes. Nothing is dropped for them.
    pub(crate) fn append_run(&mut self, messages: &[Message]) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for message in messages {
            let with_it = bytes + encoded_length(message);
            let lies_together = count == 0 || with_it <= LARGEST_TAIL;
            if !lies_together || !self.has_room_behind(count as u64, with_it) {
                break;
            }
            (count, bytes) = (count + 1, with_it);
        }
        if count > 0 && self.tail.capacity() - self.tail.len() < bytes {
            self.grow_tail(bytes);
        }
        for message in messages.iter().take(count) {
            // There is room for each, as was just seen.
            self.append(message);
        }
        self.sum_up();
        (count, bytes)
    }

    /// Returns the last so many bytes that were appended.
    pub(crate) fn newest(&self, bytes: usize) -> &[u8] {
        let from = self.tail.len().saturating_sub(bytes);
        self.tail.get(from..).unwrap_or_default()
    }

    /// From here on, hands nothing to a connection before it is said to be [ready](Self::ready).
    pub(crate) const fn hold_back(&mut self) {
        self.ready = self.next - 1;
    }

    /// Returns the last sequence so far; everything up to it can be ready without what comes behind it.
    pub(crate) fn closed_up(&mut self) -> u64 {
        self.seal();
        self.last()
    }

    /// Everything up to here may be handed to a connection.
    pub(crate) fn ready(&mut self, sequence: u64) {
        self.ready = self.ready.max(sequence);
    }

    /// Takes back what was appended behind this sequence, none of which a connection has taken: it was not accepted.
    pub(crate) fn retract(&mut self, sequence: u64) {
        self.seal();
        while let Some(segment) = self.sealed.back()
            && segment.last() > sequence
        {
            let Some(mut run) = self.sealed.pop_back().map(Segment::into_run) else {
                break;
            };
            self.sealed_bytes -= run.bytes.len();
            if run.first <= sequence {
                let kept = run.take(sequence + 1 - run.first);
                self.sealed_bytes += kept.bytes.len();
                self.sealed.push_back(Segment::new(kept));
            }
            self.held -= run.count();
            self.counts.accepted -= run.count();
            self.next = run.first;
        }
        self.tail_first = self.next;
        self.forget_awaited(sequence);
    }
}
