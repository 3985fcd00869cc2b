//! Deliveries that are acknowledged one by one, in any order.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use parking_lot::Mutex;

use super::MessageSource;
use super::progress::Progress;
use crate::error::SinkError;
use crate::message::Message;
use crate::wire::SessionId;

/// A source whose messages are acknowledged explicitly; made by [`MessageSource::into_stream`].
///
/// A message counts as processed when it and all before it of the same producer were acknowledged. One that
/// is dropped without [`ack`](Delivered::ack) holds the acknowledgement back: it comes again in another life of
/// the consumer, or to another one.
#[derive(Debug)]
pub struct Deliveries {
    source: MessageSource,
    open: HashMap<SessionId, Arc<Open>>,
}

/// What of a session was handed out and acknowledged.
#[derive(Debug)]
struct Open {
    progress: Arc<Progress>,
    state: Mutex<OpenState>,
}

#[derive(Debug)]
struct OpenState {
    /// Handed out and not acknowledged.
    pending: BTreeSet<u64>,
    /// The last number handed out.
    last: u64,
}

/// One message, and the means to acknowledge it.
#[must_use = "dropped without `ack`, the message counts as not processed"]
pub struct Delivered {
    /// The message.
    pub message: Message,
    sequence: u64,
    open: Arc<Open>,
}

impl Delivered {
    /// Says that the message was processed; gives it back.
    pub fn ack(self) -> Message {
        let mut state = self.open.state.lock();
        state.pending.remove(&self.sequence);
        let processed = state.pending.first().map_or(state.last, |first| first - 1);
        drop(state);
        self.open.progress.advance(processed);
        self.message
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("message", &self.message)
            .field("sequence", &self.sequence)
            .finish()
    }
}

impl Deliveries {
    pub(super) fn new(source: MessageSource) -> Self {
        Self {
            source,
            open: HashMap::new(),
        }
    }

    /// Returns the next delivery; `None` when the source was closed.
    ///
    /// # Errors
    ///
    /// As [`MessageSource::recv`].
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn next(&mut self) -> Result<Option<Delivered>, SinkError> {
        let Some(message) = self.source.recv().await? else {
            return Ok(None);
        };
        let Some(current) = &mut self.source.current else {
            return Ok(None);
        };
        // Taken out of the source's hand: asking for the next one must not acknowledge this one.
        let Some(sequence) = current.in_hand.take() else {
            return Ok(None);
        };
        let open = self.open.entry(current.session).or_insert_with(|| {
            let state = OpenState {
                pending: BTreeSet::new(),
                last: sequence - 1,
            };
            Arc::new(Open {
                progress: Arc::clone(&current.progress),
                state: Mutex::new(state),
            })
        });
        {
            let mut state = open.state.lock();
            state.pending.insert(sequence);
            state.last = sequence;
        }
        Ok(Some(Delivered {
            message,
            sequence,
            open: Arc::clone(open),
        }))
    }

    /// Acknowledges what was acknowledged, and closes as [`MessageSource::close`] does.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the source closes in the background.
    pub async fn close(&mut self, within: Duration) -> bool {
        self.source.close(within).await
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivered, SinkError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // `next` keeps nothing across a poll that is pending, so a future per poll loses nothing.
        pin!(self.next()).poll(cx).map(Result::transpose)
    }
}
