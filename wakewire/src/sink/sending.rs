//! What calls of a sink return: an outcome that is there already, as nearly always, or a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Report;
use crate::error::SinkError;

/// The outcome of a send, now or later; ready without allocation when the message was accepted at once.
///
/// That of a [`send`](crate::MessageSink::send), dropped while pending, has not accepted its message; never polled, it
/// may have.
#[must_use = "a send does nothing further, and its refusal is not seen, unless awaited"]
pub struct Sending<'a, T = ()>(Progress<'a, T>);

/// The outcome of a flush or close: a [`Report`].
pub type Flushing<'a> = Sending<'a, Report>;

/// What became of a message that was accepted; made by [`send_with_receipt`](crate::MessageSink::send_with_receipt).
///
/// `Ok` when everybody who is waited for has processed it: the listener of a direct service; the named consumers of a
/// relay, and whoever else is attached there. A relay that has
/// [`store_and_forward`](crate::ServiceConfig::store_and_forward) confirms what is on its disk. It ends with the sink at
/// the latest. As many messages as `buffer_size` may have one; further ones wait for room.
///
/// # Errors
///
/// The message is in none of them, for it was accepted and has gone its way.
///
/// * [`SinkError::BufferFull`]: an overflow rule gave the message up before it was sent.
/// * [`SinkError::ConnectionLost`]: sent at most once over a connection that broke; it is in doubt.
/// * [`SinkError::Closed`]: the sink was closed or dropped first; the text says whether the message was ever sent.
/// * [`SinkError::Partial`]: of a fan-out, with those targets that did not confirm.
///
/// # Cancel safety
///
/// Dropped while pending, the message is owed and delivered all the same.
pub type Receipt = Sending<'static>;

enum Progress<'a, T> {
    Ready(Option<Result<T, SinkError>>),
    Waiting(Pin<Box<dyn Future<Output = Result<T, SinkError>> + Send + 'a>>),
}

impl<'a, T> Sending<'a, T> {
    /// Makes one that is already decided; no allocation.
    pub const fn ready(result: Result<T, SinkError>) -> Self {
        Self(Progress::Ready(Some(result)))
    }

    /// Makes one from a future; one allocation.
    pub fn new(future: impl Future<Output = Result<T, SinkError>> + Send + 'a) -> Self {
        Self(Progress::Waiting(Box::pin(future)))
    }
}

impl<T: Unpin> Future for Sending<'_, T> {
    type Output = Result<T, SinkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                // Polled again after it was ready: like a fused future, never ready again.
                None => Poll::Pending,
            },
            Progress::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Progress::Ready(Some(Ok(_))) => "Sending(ready: accepted)",
            Progress::Ready(Some(Err(_))) => "Sending(ready: refused)",
            Progress::Ready(None) => "Sending(taken)",
            Progress::Waiting(_) => "Sending(waiting)",
        })
    }
}
