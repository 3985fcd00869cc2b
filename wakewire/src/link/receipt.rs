//! Messages that somebody wants to be told of when they are processed.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Link, Shared};
use crate::error::{Phase, SinkError};
use crate::message::Message;
use crate::outbox::{Fate, Teller};

impl Link {
    /// Waits for room, as [`accept`](Self::accept) does, and takes the message over; returns what ends when it has
    /// been processed.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the message was not accepted. What it returns may be dropped at any time: the message is owed
    /// all the same.
    pub(crate) async fn accept_for_receipt(
        &self,
        message: Message,
    ) -> Result<impl Future<Output = Result<(), SinkError>> + Send + 'static, SinkError> {
        if self.shared.lane.lock().outbox.loses_frames() {
            let failure = self.shared.failure().phase(Phase::Accept);
            let hint = "use another transport, or `send` and expect losses";
            let cause = "over this transport nothing says which messages arrived";
            let error = SinkError::Unsupported(failure.because(cause).hint(hint));
            return Err(error.returning(message));
        }
        let (told, fate) = oneshot::channel();
        let mut tell: Option<Teller> = Some(Box::new(move |fate| {
            // Perhaps nobody waits any more.
            match told.send(fate) {
                Ok(()) | Err(_) => {}
            }
        }));
        if let Some(spooled) = &self.shared.spooled {
            self.accept_spooled(spooled, vec![message], &mut tell)
                .await?;
        } else {
            self.take(message, |lane, message| {
                lane.offer_awaited(message, &mut tell)
            })
            .await?;
        }
        let shared = Arc::clone(&self.shared);
        Ok(async move {
            // The outbox tells all before it goes; should it ever not, an error is better than waiting for ever.
            let fate = fate.await.unwrap_or(Fate::Undelivered { sent: true });
            shared.verdict(fate)
        })
    }
}

impl Shared {
    /// Says what that means for the sender. The message is not in the error: it was accepted, and has gone its way.
    fn verdict(&self, fate: Fate) -> Result<(), SinkError> {
        let failure = self.failure().phase(Phase::Ack);
        Err(match fate {
            Fate::Delivered => return Ok(()),
            Fate::InDoubt => SinkError::ConnectionLost(
                failure
                    .because("the message was written once, and nobody will confirm it")
                    .hint("it may have arrived; `delivery = \"at_least_once\"` sends it until it is confirmed"),
            ),
            Fate::Dropped => SinkError::BufferFull(
                failure
                    .because("the message was given up by `when_full`, and never sent")
                    .hint("raise `buffer_size` and `buffer_bytes`, or send less"),
            ),
            Fate::Kept => SinkError::Closed(
                failure
                    .because("the sink was closed before the message was acknowledged")
                    .hint("its spool keeps the message, and whoever opens it next sends it"),
            ),
            Fate::Undelivered { sent: true } => SinkError::Closed(
                failure.because("the sink was closed before the message was acknowledged; it may have arrived"),
            ),
            Fate::Undelivered { sent: false } => SinkError::Closed(
                failure.because("the sink was closed before the message was sent"),
            ),
        })
    }
}
