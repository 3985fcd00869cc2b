//! How messages are taken over: at once, after waiting for room, one by one or by the batch.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Link;
use super::lane::{Lane, Offer};
use super::waiter::{Waiter, until};
use crate::error::{SinkError, TrySendError};
use crate::message::{Message, MessageRef, Parts};

/// Why a message was not taken over.
enum NotTaken {
    WouldWait,
    Refused(SinkError),
}

impl Link {
    /// Takes the message over, or says at once why not.
    #[inline]
    pub(crate) fn try_accept(&self, message: Message) -> Result<(), TrySendError> {
        if let Some(spooled) = &self.shared.spooled {
            return self.try_accept_spooled(spooled, message);
        }
        match self.try_take(&message, Lane::offer) {
            Ok(()) => Ok(()),
            Err(NotTaken::WouldWait) => Err(TrySendError::WouldWait(message)),
            Err(NotTaken::Refused(error)) => Err(TrySendError::Refused(error.returning(message))),
        }
    }

    /// The same for a message in somebody else's memory; it is copied where it has to wait or comes back.
    #[inline]
    pub(crate) fn try_accept_ref(&self, message: &MessageRef<'_>) -> Result<(), TrySendError> {
        if let Some(spooled) = &self.shared.spooled {
            return self.try_accept_spooled(spooled, message.to_message());
        }
        self.try_take(message, Lane::offer)
            .map_err(|not_taken| match not_taken {
                NotTaken::WouldWait => TrySendError::WouldWait(message.to_message()),
                NotTaken::Refused(error) => {
                    TrySendError::Refused(error.returning(message.to_message()))
                }
            })
    }

    #[inline]
    fn try_take<M: Parts>(
        &self,
        message: &M,
        offer: impl FnOnce(&mut Lane, &M) -> Offer,
    ) -> Result<(), NotTaken> {
        let shared = &self.shared;
        if let Err(refusal) = shared.config.admission.check(message) {
            shared.lane.lock().refused += 1;
            let error = SinkError::refused(refusal, shared.failure());
            return Err(NotTaken::Refused(error));
        }
        let mut lane = shared.lane.lock();
        if !lane.running && shared.runtime().is_none() {
            // Before it is accepted: nobody could deliver it.
            lane.refused += 1;
            return Err(NotTaken::Refused(shared.no_runtime()));
        }
        match offer(&mut lane, message) {
            Offer::Taken if lane.needs_nobody() => Ok(()),
            Offer::Taken => shared.wake(lane).map_err(NotTaken::Refused),
            // After a `disconnect()` that left something, nothing would ever leave a full outbox otherwise.
            Offer::WouldWait if lane.running => Err(NotTaken::WouldWait),
            Offer::WouldWait => match shared.wake(lane) {
                Ok(()) => Err(NotTaken::WouldWait),
                Err(error) => Err(NotTaken::Refused(error)),
            },
            Offer::Refused => {
                let mut error = lane.refusal(shared.failure());
                if !lane.running && !lane.closing {
                    error = shared.wake(lane).err().unwrap_or(error);
                }
                Err(NotTaken::Refused(error))
            }
        }
    }

    /// Waits for room, up to `wait_timeout`, and takes the message over.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the message was not accepted.
    pub(crate) async fn accept(&self, message: Message) -> Result<(), SinkError> {
        if let Some(spooled) = &self.shared.spooled {
            return self.accept_spooled(spooled, vec![message], &mut None).await;
        }
        self.take(message, Lane::offer).await
    }

    pub(super) async fn take(
        &self,
        message: Message,
        mut offer: impl FnMut(&mut Lane, &Message) -> Offer,
    ) -> Result<(), SinkError> {
        let deadline = Instant::now().checked_add(self.shared.config.lazy.wait_timeout);
        let waiter = Waiter::new(&self.shared);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.try_take(&message, &mut offer) {
                Ok(()) => return Ok(()),
                Err(NotTaken::Refused(error)) => return Err(error.returning(message)),
                Err(NotTaken::WouldWait) => {}
            }
            if !until(deadline, changed).await {
                let mut lane = waiter.shared.lane.lock();
                lane.refused += 1;
                return Err(lane.full(self.shared.failure()).returning(message));
            }
        }
    }

    /// Takes these messages over in order; what is not accepted comes back in the error.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some were accepted and the rest is gone with the future.
    pub(crate) async fn accept_batch(&self, messages: Vec<Message>) -> Result<(), SinkError> {
        if let Some(spooled) = &self.shared.spooled {
            return self.accept_spooled(spooled, messages, &mut None).await;
        }
        let mut rest = VecDeque::from(messages);
        while let Some(first) = rest.front() {
            let mut taken = 0;
            let tried = self.try_take(first, |lane, first| {
                let offer = lane.offer(first);
                if offer == Offer::Taken {
                    taken = 1 + lane.take_more(
                        rest.iter().take(BATCH).skip(1),
                        &self.shared.config.admission,
                    );
                }
                offer
            });
            rest.drain(..taken);
            let waits = match tried {
                Ok(()) => continue,
                Err(NotTaken::Refused(error)) => Err(error),
                Err(NotTaken::WouldWait) => Ok(()),
            };
            let Some(first) = rest.pop_front() else {
                return waits;
            };
            let sent = match waits {
                Ok(()) => self.accept(first).await,
                Err(error) => Err(error.returning(first)),
            };
            if let Err(error) = sent {
                return Err(error.returning_rest(rest.into()));
            }
        }
        Ok(())
    }
}

/// As many messages of a batch are taken over under one lock: enough that it costs nothing, few enough that the driver and
/// other senders do not wait for it.
const BATCH: usize = 64;
