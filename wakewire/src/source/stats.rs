//! What a source counts, and what it tells of the messages that did not come. No I/O, no clock.

use std::ops::RangeInclusive;

/// What a source has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Messages handed to the application.
    pub received: u64,
    /// Messages that will not come: see [`Missed`].
    pub missed: u64,
    /// Connections made.
    pub connects: u64,
}

/// Messages that a consumer had to be told it missed (promise 3 of the delivery rules): others had
/// acknowledged them while it was away, or it is one that is not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The producer's session, abbreviated.
    pub session: String,
    /// The numbers within that session.
    pub numbers: RangeInclusive<u64>,
}

/// Entries of what was missed that nobody asked for.
pub(super) const MISSED_KEPT: usize = 1000;
