//! What a pool can say of itself. No I/O, no clock.

/// How many members a [`LazyConnectionPool`](crate::LazyConnectionPool) has and how they fare, at one moment.
///
/// ```
/// use wakewire::sink::PoolStats;
///
/// assert_eq!(PoolStats::default().open, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Members that take part: used, and not put to sleep since.
    pub members: usize,
    /// Those of all members that are connected.
    pub open: usize,
    /// Those that take part and are failing: messages without a key pass them over.
    pub failing: usize,
    /// Sends that wait for a member right now.
    pub in_flight: usize,
    /// How often a message passed over a failing member since the pool was made.
    pub passed_over: u64,
}
