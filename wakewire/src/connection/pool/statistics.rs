//! What a pool counts. No I/O, no clock.

/// What a pool has counted since it was made, and what it has now: one snapshot.
///
/// At every moment `opened` = `closed.total()` + `idle` + `in_use`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// How many connections were asked for.
    pub gets: u64,
    /// How many of these had to wait, for one to come back or to be opened.
    pub waits: u64,
    /// How many of those waited in vain for `connection_timeout_ms`.
    pub timeouts: u64,
    /// How many connections were opened.
    pub opened: u64,
    /// How many could not be.
    pub failed_opens: u64,
    /// How many were closed, by reason.
    pub closed: ClosedConnections,
    /// How many lie idle.
    pub idle: usize,
    /// How many are in use.
    pub in_use: usize,
    /// How many are being opened.
    pub opening: usize,
    /// How many callers wait.
    pub waiting: usize,
}

/// How many connections were closed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedConnections {
    /// Nobody used them for too long.
    pub idle: u64,
    /// They were old.
    pub lifetime: u64,
    /// They broke, or were discarded by their user, or their node was put out.
    pub lost: u64,
    /// The pool was closed.
    pub shut: u64,
    /// The pool was closed, and they were still in use when its time ran out.
    pub cut: u64,
}

impl ClosedConnections {
    /// Returns how many were closed in all.
    pub const fn total(&self) -> u64 {
        self.idle + self.lifetime + self.lost + self.shut + self.cut
    }
}
