//! What became of the connections when it was over. No I/O, no clock.

/// What became of the connections of a pool or manager that was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DisconnectReport {
    /// How many were closed while nobody used them.
    pub closed: u64,
    /// How many were closed under their users, because these did not return them in time.
    pub interrupted: u64,
    /// Whether all of them had come to their end by the deadline; if not, the rest was dropped without a farewell.
    pub finished: bool,
}

impl DisconnectReport {
    /// Returns the sum of both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            closed: self.closed + other.closed,
            interrupted: self.interrupted + other.interrupted,
            finished: self.finished && other.finished,
        }
    }
}
