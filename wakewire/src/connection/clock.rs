//! The two clocks of the shells: one that runs on, and one that tells the date.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::health::Timestamp;

/// tokio's clock, so that paused time is obeyed.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The date, for people; nothing is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "the date of a health check, which nothing is decided by"
)]
pub(super) fn date() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(Timestamp::NEVER, |since| {
        Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    })
}
