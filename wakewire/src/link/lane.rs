//! What a link knows of itself: its outbox, its phase, and who waits for what. No I/O, no clock.

use crate::atomic::{AtomicBool, Ordering};
use crate::domain::Admission;
use crate::error::{Failure, Phase as ErrorPhase, SinkError};
use crate::message::{Message, Parts};
use crate::outbox::{Appended, Fate, Ledger, Outbox, Teller};

/// Where a link is on its way to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is open, and nothing is wrong.
    Asleep,
    /// An attempt is under way.
    Dialing,
    /// Greeted; frames flow.
    Up,
    /// The last attempt failed.
    Failed,
    /// For good.
    Closed,
}

/// Everything behind the link's lock.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) outbox: Outbox,
    phase: Phase,
    /// A driver task exists.
    pub(super) running: bool,
    /// The driver waits to be told that there is something to do.
    pub(super) parked: bool,
    /// How many callers wait for a change.
    pub(super) waiters: u32,
    /// How many of them want a connection even if nothing is owed.
    pub(super) connects: u32,
    /// The connection is to be closed, and what was accepted up to this number is no reason to open it again.
    pub(super) rest: Option<u64>,
    /// No further messages are taken.
    pub(super) closing: bool,
    /// The connection was lost and may not be opened again without being asked (`auto_reconnect = false`).
    pub(super) lost: bool,
    /// Attempts that failed, ever.
    pub(super) failed_attempts: u64,
    /// Greetings that succeeded, ever.
    pub(super) connects_made: u64,
    /// Times the link was woken from its sleep, ever.
    pub(super) wakes: u64,
    /// Messages refused.
    pub(super) refused: u64,
    /// How many consumers the peer says are attached.
    pub(super) consumers: Option<u32>,
    pub(super) last_error: Option<SinkError>,
}

/// What a link tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    pub(crate) ledger: Ledger,
    pub(crate) refused: u64,
    pub(crate) connects: u64,
    pub(crate) wakes: u64,
    pub(crate) last_error: Option<SinkError>,
}

/// What became of a message that was offered to the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Taken,
    WouldWait,
    Refused,
}

impl Lane {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            phase: Phase::Asleep,
            running: false,
            parked: false,
            waiters: 0,
            connects: 0,
            rest: None,
            closing: false,
            lost: false,
            failed_attempts: 0,
            connects_made: 0,
            wakes: 0,
            refused: 0,
            consumers: None,
            last_error: None,
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Moves to another phase, and says there whether that is `Up`; returns whether it is a change. Closed stays closed.
    pub(super) fn enter(&mut self, phase: Phase, up: &AtomicBool) -> bool {
        let changes = self.phase != phase && self.phase != Phase::Closed;
        if changes {
            self.phase = phase;
            up.store(phase == Phase::Up, Ordering::Release);
        }
        changes
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            phase: self.phase,
            ledger: self.outbox.ledger(),
            refused: self.refused,
            connects: self.connects_made,
            wakes: self.wakes,
            last_error: self.last_error.clone(),
        }
    }

    /// Takes a message over if the link's state and the outbox's room allow.
    #[inline(always)]
    pub(super) fn offer(&mut self, message: &impl Parts) -> Offer {
        if self.closing || self.lost {
            self.refused += 1;
            return Offer::Refused;
        }
        match self.outbox.append(message) {
            Appended::Accepted | Appended::Dropped => Offer::Taken,
            Appended::Full if self.outbox.rejects() => {
                self.refused += 1;
                Offer::Refused
            }
            Appended::Full => Offer::WouldWait,
        }
    }

    /// Takes over further messages, after one was taken; stops at the first that does not pass or does not fit. Returns
    /// how many.
    pub(super) fn take_more<'a>(
        &mut self,
        messages: impl Iterator<Item = &'a Message>,
        admission: &Admission,
    ) -> usize {
        messages
            .take_while(|message| {
                admission.check(*message).is_ok() && self.outbox.append(*message) != Appended::Full
            })
            .count()
    }

    /// Takes a message over as [`offer`](Self::offer) does, and has its fate told; the teller stays where it is if the
    /// message is not taken.
    pub(super) fn offer_awaited(
        &mut self,
        message: &impl Parts,
        tell: &mut Option<Teller>,
    ) -> Offer {
        if self.outbox.has_enough_awaited() && !self.closing && !self.lost {
            if self.outbox.rejects() {
                self.refused += 1;
                return Offer::Refused;
            }
            return Offer::WouldWait;
        }
        let before = self.outbox.last();
        let offer = self.offer(message);
        if offer == Offer::Taken
            && let Some(tell) = tell.take()
        {
            if self.outbox.last() == before {
                // Accepted, and at once the one that an overflow rule gave up.
                tell(Fate::Dropped);
            } else {
                self.outbox.await_last(tell);
            }
        }
        offer
    }

    /// Returns whether the driver is at work and will find a new message by itself.
    #[inline]
    pub(super) const fn needs_nobody(&self) -> bool {
        self.running && !self.parked
    }

    /// Returns up to where somebody waits for what was sent to be acknowledged.
    pub(super) fn awaits(&self) -> Option<u64> {
        let sent = self.outbox.last_sent();
        let waits = self.waiters > 0 || self.outbox.has_awaited();
        (waits && !self.outbox.is_settled(sent)).then_some(sent)
    }

    /// Asks the driver to close the connection and sleep.
    pub(super) const fn ask_to_rest(&mut self) {
        self.rest = Some(self.outbox.last());
    }

    /// Decides whether the driver sleeps now; uses up a wish to rest. What was accepted since that wish is
    /// wanted, so a send during a `disconnect()` is not left lying.
    pub(super) fn sleeps(&mut self) -> bool {
        let told = self
            .rest
            .take()
            .is_some_and(|last| last == self.outbox.last());
        let wanted = self.connects > 0 || (!self.outbox.is_empty() && !told);
        self.lost || !wanted
    }

    /// Explains why a message is refused.
    pub(super) fn refusal(&self, failure: Failure) -> SinkError {
        if self.closing {
            return SinkError::Closed(failure.hint("it was closed for good; make a new one"));
        }
        if self.lost {
            let failure = failure.hint("`auto_reconnect` is off: call `connect()`");
            return SinkError::ConnectionLost(match &self.last_error {
                Some(error) => failure.because(error.clone()),
                None => failure,
            });
        }
        self.full(failure)
    }

    /// Explains why there is no room.
    pub(super) fn full(&self, failure: Failure) -> SinkError {
        let Ledger { waiting, .. } = self.outbox.ledger();
        let failure = failure.phase(ErrorPhase::Accept);
        if self.phase == Phase::Up && self.consumers == Some(0) {
            return SinkError::BufferFull(
                failure
                    .because(format!("{waiting} messages wait, and no consumer is attached to the relay"))
                    .hint(
                        "start a consumer; or, for values that may be lost, set `without_consumers = \"accept\"` \
                         or `delivery = \"at_most_once\"`",
                    ),
            );
        }
        match (&self.last_error, self.phase) {
            (Some(error), Phase::Failed | Phase::Dialing | Phase::Asleep) => SinkError::BufferFull(
                failure
                    .attempts(error.failure().attempts_made())
                    .because(format!("{waiting} messages wait for a connection; the last attempt: {error}"))
                    .hint("start the service, or raise `buffer_size` and `buffer_bytes`"),
            ),
            _ => SinkError::BufferFull(
                failure
                    .because(format!("{waiting} messages wait for the receiver to process them"))
                    .hint("the receiver is slower than the sender: raise `wait_timeout_secs`, or send less"),
            ),
        }
    }

    /// Closes for good; returns how many messages are left: given up, or where they are kept still waiting for the
    /// next life.
    pub(super) fn close(&mut self, keeps: bool, up: &AtomicBool) -> u64 {
        self.closing = true;
        let left = if keeps {
            self.outbox.settle_as_kept();
            self.outbox.ledger().waiting
        } else {
            self.outbox.give_up()
        };
        self.outbox.shrink();
        self.enter(Phase::Closed, up);
        left
    }
}
