//! How a stream is left on which something was said last.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use super::line::Duplex;

/// Closes a stream over which a last word was written. What still comes is read for a moment: a socket that is
/// closed with something unread in it is reset, and the last word may be lost with it.
pub(super) async fn part(mut stream: impl Duplex) {
    let parting = async {
        stream.shutdown().await?;
        copy(&mut stream.take(PARTING_BYTES), &mut sink()).await
    };
    match timeout(PARTING, parting).await {
        Ok(_) | Err(_) => {}
    }
}

/// How long, and for how many bytes, a peer that is refused may take to hear it.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 64 * 1024;
