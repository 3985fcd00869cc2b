//! What became of the connections when it was over. No I/O, no clock.

/// What became of the connections of a pool or manager that was closed.
///
/// The numbers are of the end alone: what was closed before, for its age or its faults, is in
/// [`PoolStatistics`](super::PoolStatistics).
///
/// ```
/// use std::time::Duration;
/// use wakewire::connection::{ConnectionConfig, ConnectionManager};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let config = ConnectionConfig { hosts: vec!["db1".into()], ..ConnectionConfig::default() };
/// let manager = ConnectionManager::new(&config)?;
/// let report = manager.disconnect(Duration::from_secs(1)).await; // it was never used
/// assert_eq!((report.closed, report.interrupted, report.finished), (0, 0, true));
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DisconnectReport {
    /// How many were closed while nobody used them.
    pub closed: u64,
    /// How many were closed under their users, because these did not return them in three quarters of the time. What
    /// was under way on them failed.
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
