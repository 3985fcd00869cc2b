//! Sends recorded logs instead of a node's.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wakewire::SinkError;

use crate::adapter::Adapter;
use crate::recording::Recording;

/// Passes on all logs of a recording so many times, as fast as they are taken, or at most so many a second.
///
/// # Errors
///
/// As [`Adapter::pass_on`].
///
/// # Cancel safety
///
/// What was passed on has been accepted.
pub async fn replay(
    recording: &Recording,
    times: u64,
    pace: Option<u32>,
    adapter: &mut Adapter<'_>,
) -> Result<(), SinkError> {
    let begun = Instant::now();
    for (number, log) in recording.repeated(times).enumerate() {
        if let Some(pace) = pace {
            let due = Duration::from_secs(number as u64) / pace.max(1);
            sleep_until(begun + due).await;
        } else if number % 64 == 0 {
            // Taking a message may never wait: then the others on this thread have their turn here.
            tokio::task::yield_now().await;
        }
        adapter
            .pass_on(&log, recording.pools.known(log.address))
            .await?;
    }
    Ok(())
}
