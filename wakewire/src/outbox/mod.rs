//! The bounded log of encoded frames, and the cursor of the one connection that empties it. No I/O, no clock.
//!
//! A message is encoded once, into the tail. A connection takes what lies between its cursor and the end; the
//! tail is sealed at that moment, so that the bytes can be written without a lock while further messages are
//! appended behind them. Frames leave by acknowledgement only (rule P3), or, at most once, by being written.
//! A queue of messages was the alternative: one allocation and one reference count per message, and a second
//! encoding after every reconnect.

mod awaited;
mod doubt;
mod ledger;
mod limits;
mod overflow;
mod segment;
mod spares;
mod spooled;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::awaited::Awaited;
pub(crate) use self::awaited::{Fate, Teller};
use self::doubt::Doubt;
pub use self::ledger::{Dropped, Ledger};
pub(crate) use self::limits::Limits;
use self::segment::Segment;
use self::spares::Spares;
use self::tail::{LARGEST_TAIL, SMALLEST_TAIL, SUMMED_AT_ONCE};
use crate::delivery::{Delivery, WhenFull};
use crate::message::Parts;
use crate::wire::frame::{Carrier, encode_unsummed, encoded_length};
use crate::wire::{ProtocolError, SessionId};

/// A bounded log of encoded frames of one session.
#[derive(Debug)]
pub(crate) struct Outbox {
    session: SessionId,
    limits: Limits,
    sealed: VecDeque<Segment>,
    tail: BytesMut,
    /// So many bytes of the tail have their checksums.
    tail_summed: usize,
    tail_first: u64,
    /// The sequence of the next message.
    next: u64,
    /// The next sequence to hand to the connection.
    cursor: u64,
    /// The highest sequence ever handed to a connection: nothing above it can be acknowledged.
    sent: u64,
    /// The highest sequence that may be handed to a connection.
    ready: u64,
    /// Everything up to here has left the log.
    released: u64,
    /// At most once only: what was written and is not confirmed yet.
    doubt: Option<Box<Doubt>>,
    awaited: Awaited,
    /// Frames held, sealed or not.
    held: u64,
    /// Bytes held in sealed segments.
    sealed_bytes: usize,
    /// How much memory the next tail gets.
    tail_size: usize,
    /// What tails lay in before, while there is traffic.
    spares: Option<Box<Spares>>,
    /// The largest frame accepted, so that a peer that takes less is noticed before it closes.
    largest: usize,
    /// All but `waiting`, which is counted when asked.
    counts: Ledger,
}

/// What became of a message that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is owed from now on.
    Accepted,
    /// Accepted, and an overflow rule gave it or an older one up.
    Dropped,
    /// There is no room; it was not accepted.
    Full,
}

impl Outbox {
    /// Makes an empty one for a new session; allocates nothing.
    pub(crate) fn new(session: SessionId, limits: Limits) -> Self {
        Self {
            session,
            limits,
            sealed: VecDeque::new(),
            tail: BytesMut::new(),
            tail_summed: 0,
            tail_first: 1,
            next: 1,
            cursor: 1,
            sent: 0,
            ready: u64::MAX,
            released: 0,
            doubt: (limits.delivery == Delivery::AtMostOnce)
                .then(|| Box::new(Doubt::new(limits.loses_frames))),
            awaited: Awaited::default(),
            held: 0,
            sealed_bytes: 0,
            tail_size: SMALLEST_TAIL,
            spares: None,
            largest: 0,
            counts: Ledger::default(),
        }
    }

    /// Returns the session's id.
    pub(crate) const fn session(&self) -> SessionId {
        self.session
    }

    /// Returns the first sequence that the peer must be told of (rule P2).
    pub(crate) const fn first_owed(&self) -> u64 {
        self.released + 1
    }

    /// Returns the sequence of the last accepted message.
    pub(crate) const fn last(&self) -> u64 {
        self.next - 1
    }

    /// Returns the last sequence that a connection was handed.
    pub(crate) const fn last_sent(&self) -> u64 {
        self.sent
    }

    /// Returns whether nothing is owed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Returns whether everything up to `sequence` has left the log and, where it was written at most once,
    /// is confirmed or given up as in doubt.
    pub(crate) fn is_settled(&self, sequence: u64) -> bool {
        (self.held == 0 || self.first_held() > sequence) && !self.is_in_doubt(sequence)
    }

    /// Returns whether there are frames that the connection has not taken.
    pub(crate) const fn has_unsent(&self) -> bool {
        self.cursor < self.next && self.cursor <= self.ready
    }

    /// Returns whether `written` must be called after a write.
    pub(crate) fn forgets_on_write(&self) -> bool {
        self.limits.delivery == Delivery::AtMostOnce
    }

    /// Returns whether single frames may be lost on the way.
    pub(crate) const fn loses_frames(&self) -> bool {
        self.limits.loses_frames
    }

    /// Returns whether a full outbox refuses at once.
    pub(crate) fn rejects(&self) -> bool {
        self.limits.when_full == WhenFull::Reject
    }

    /// Returns the largest frame accepted so far, in bytes.
    pub(crate) const fn largest_frame(&self) -> usize {
        self.largest
    }

    /// Returns where every accepted message is.
    pub(crate) fn ledger(&self) -> Ledger {
        let waiting =
            self.sealed.iter().map(Segment::owed).sum::<u64>() + (self.next - self.tail_first);
        Ledger {
            waiting,
            ..self.counts
        }
    }

    /// Rule P1: takes a message over, if there is room.
    #[inline(always)]
    pub(crate) fn append(&mut self, message: &impl Parts) -> Appended {
        let length = encoded_length(message);
        let mut outcome = Appended::Accepted;
        if !self.has_room(length) {
            match self.limits.when_full {
                WhenFull::Block | WhenFull::Reject => return Appended::Full,
                WhenFull::DropNewest => {
                    self.counts.accepted += 1;
                    self.counts.dropped.newest += 1;
                    return Appended::Dropped;
                }
                WhenFull::DropOldest => {
                    self.drop_oldest(length);
                    outcome = Appended::Dropped;
                    if !self.has_room(length) {
                        // Everything held is under way: then the new one is the oldest not under way.
                        self.counts.accepted += 1;
                        self.counts.dropped.oldest += 1;
                        return outcome;
                    }
                }
            }
        }
        if self.tail.capacity() - self.tail.len() < length {
            self.grow_tail(length);
        }
        let carrier = Carrier::data(self.next);
        encode_unsummed(message, carrier, self.limits.checksummed, &mut self.tail);
        if length >= SUMMED_AT_ONCE {
            self.sum_up();
        }
        self.next += 1;
        self.held += 1;
        self.counts.accepted += 1;
        self.largest = self.largest.max(length);
        outcome
    }

    /// Takes frames from the cursor on, about `limit` bytes of them, without copying. Returns whether there
    /// were any.
    pub(crate) fn take(&mut self, limit: usize, pieces: &mut Vec<Bytes>) -> bool {
        if !self.has_unsent() {
            return false;
        }
        let mut taken = 0;
        let mut index = self
            .sealed
            .partition_point(|segment| segment.last() < self.cursor);
        while taken < limit {
            let Some(segment) = self.sealed.get(index) else {
                if self.tail.is_empty() || self.tail_first > self.ready {
                    break;
                }
                self.seal();
                continue;
            };
            if segment.last() > self.ready {
                break;
            }
            let bytes = segment.from(self.cursor);
            self.cursor = segment.last() + 1;
            self.sent = self.sent.max(segment.last());
            taken += bytes.len();
            pieces.push(bytes);
            index += 1;
        }
        taken > 0
    }

    /// Rules P3 and P4: forgets what may be forgotten and puts the cursor behind what the peer has.
    pub(crate) fn welcomed(&mut self, acked: u64, have: u64) -> Result<(), ProtocolError> {
        self.check_sent(acked.max(have))?;
        self.acknowledged(acked)?;
        match self.limits.delivery {
            Delivery::AtLeastOnce => self.cursor = have.max(self.released) + 1,
            Delivery::AtMostOnce => {
                self.confirm(have);
                // The rest of what earlier connections wrote stays in doubt.
                self.forget_doubt();
            }
        }
        Ok(())
    }

    /// Rule P3: forgets everything up to `seq`. Going back is ignored. Returns how many frames that frees.
    pub(crate) fn acknowledged(&mut self, seq: u64) -> Result<u64, ProtocolError> {
        self.check_sent(seq)?;
        match self.limits.delivery {
            Delivery::AtLeastOnce => {
                let released = self.release(seq);
                self.counts.delivered += released;
                self.cursor = self.cursor.max(seq + 1);
                self.awaited.settle(seq, Fate::Delivered);
                Ok(released)
            }
            Delivery::AtMostOnce => {
                self.confirm(seq);
                Ok(0)
            }
        }
    }

    /// At most once: what the connection took has been written, or its connection broke under it, and leaves
    /// the log. Some of it may have arrived, so none of it is sent again.
    pub(crate) fn written(&mut self) {
        if self.limits.delivery == Delivery::AtMostOnce {
            let (first, last) = (self.first_held(), self.sent);
            let released = self.release(last);
            if released > 0 {
                let doubt = self.doubt.as_mut();
                let confirmed = doubt.map_or(0, |doubt| doubt.wrote(first, last, released));
                self.counts.delivered += confirmed;
                self.counts.in_doubt += released - confirmed;
            }
        }
    }

    /// At most once: the connection is over, so what is not confirmed will not be: it stays in doubt.
    pub(crate) fn disconnected(&mut self) {
        self.written();
        self.forget_doubt();
        self.settle_written();
    }

    /// Gives up everything that is still owed; returns how many messages that were. What is under way at most
    /// once may have arrived: it is in doubt, not given up.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.written();
        self.seal();
        let given_up = self.release(self.next - 1);
        self.counts.undelivered += given_up;
        self.cursor = self.next;
        self.settle_the_rest();
        given_up
    }

    /// What is behind us can always be named again, also when it was given up without being sent.
    fn check_sent(&self, seq: u64) -> Result<(), ProtocolError> {
        let sent = self.sent.max(self.released);
        if seq > sent {
            return Err(ProtocolError::AckBeyondSent { seq, sent });
        }
        Ok(())
    }

    /// Returns the first sequence in the log, or the next one when the log is empty.
    fn first_held(&self) -> u64 {
        let sealed = self.sealed.front();
        sealed.map_or(self.tail_first, Segment::first_owed)
    }

    fn is_in_doubt(&self, sequence: u64) -> bool {
        let doubt = self.doubt.as_ref();
        doubt.is_some_and(|doubt| doubt.is_open(sequence))
    }

    fn forget_doubt(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.forget();
        }
    }

    fn confirm(&mut self, seq: u64) {
        let confirmed = self.doubt.as_mut().map_or(0, |doubt| doubt.confirm(seq));
        self.counts.in_doubt -= confirmed;
        self.counts.delivered += confirmed;
        // Where frames get lost, a confirmation says nothing of those before it.
        if !self.limits.loses_frames {
            self.awaited.settle(seq, Fate::Delivered);
        }
    }

    fn release(&mut self, seq: u64) -> u64 {
        let mut released = 0;
        while let Some(front) = self.sealed.front_mut() {
            released += front.release(seq);
            if front.owed() > 0 {
                break;
            }
            self.sealed_bytes -= front.bytes();
            if let (Some(front), Some(spares)) = (self.sealed.pop_front(), &mut self.spares) {
                let most = self.limits.bytes.saturating_sub(self.sealed_bytes);
                spares.give(front.into_run().bytes, LARGEST_TAIL, most);
            }
        }
        self.held -= released;
        self.released = self.released.max(seq);
        released
    }
}
