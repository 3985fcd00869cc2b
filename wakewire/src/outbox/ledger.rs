//! What became of every accepted message. No I/O, no clock.

use std::fmt;
use std::ops::AddAssign;

/// Where every accepted message is: the sum always equals `accepted`.
///
/// One snapshot under the outbox's lock; `waiting` is counted from the log itself, not kept beside it.
///
/// ```
/// use wakewire::Ledger;
///
/// let ledger = Ledger::default();
/// assert!(ledger.adds_up());
/// assert_eq!(ledger.to_string(), "accepted 0 = delivered 0 + in doubt 0 + dropped 0 + undelivered 0 + waiting 0");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Taken from callers with `Ok`. With a spool also what an earlier life has left there, which waits.
    pub accepted: u64,
    /// Acknowledged by those who are waited for.
    pub delivered: u64,
    /// Written at most once, and not confirmed: the connection broke, or the confirmation is on its way. Over `udp`
    /// everything that was written: what has arrived later does not say what was lost before it.
    pub in_doubt: u64,
    /// Given up by an overflow rule, by reason.
    pub dropped: Dropped,
    /// Given up because the sink was closed or dropped before they were delivered.
    pub undelivered: u64,
    /// Still owed. With a spool also after the sink was closed: the next life sends it.
    pub waiting: u64,
}

/// Messages given up by an overflow rule of an at-most-once service, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// `when_full = "drop_newest"`: the message that found the buffer full.
    pub newest: u64,
    /// `when_full = "drop_oldest"`: the oldest message not yet in flight.
    pub oldest: u64,
}

impl Dropped {
    /// Returns the number for all reasons.
    pub const fn total(&self) -> u64 {
        self.newest + self.oldest
    }
}

impl Ledger {
    /// Returns whether every accepted message is accounted for.
    pub const fn adds_up(&self) -> bool {
        self.accepted
            == self.delivered
                + self.in_doubt
                + self.dropped.total()
                + self.undelivered
                + self.waiting
    }

    /// Returns whether everything accepted was delivered.
    pub const fn is_complete(&self) -> bool {
        self.accepted == self.delivered
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.in_doubt += other.in_doubt;
        self.dropped.newest += other.dropped.newest;
        self.dropped.oldest += other.dropped.oldest;
        self.undelivered += other.undelivered;
        self.waiting += other.waiting;
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            delivered,
            in_doubt,
            dropped,
            undelivered,
            waiting,
        } = self;
        let dropped = dropped.total();
        write!(
            f,
            "accepted {accepted} = delivered {delivered} + in doubt {in_doubt} + dropped {dropped} \
             + undelivered {undelivered} + waiting {waiting}"
        )
    }
}
