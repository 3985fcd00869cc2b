//! A message with a key: it has one lane, and no other.

use std::sync::Arc;

use super::LazyConnectionPool;
use super::lanes::Lanes;
use crate::error::{Failure, SinkError, TrySendError};
use crate::message::Message;
use crate::sink::composite::target::Answer;
use crate::sink::handing::{Handing, Plainly};
use crate::sink::{MessageSink, Sending};

impl<S: MessageSink + 'static> LazyConnectionPool<S> {
    /// Returns the lane that the message is bound to, if it has a key.
    pub(super) fn bound_to(&self, message: &Message) -> Option<usize> {
        let hash = self.key.as_ref()?(message)?;
        let count = u64::try_from(self.config.max_size).ok()?;
        usize::try_from(hash % count).ok()
    }

    pub(super) fn send_bound<'a, H: Handing>(
        &'a self,
        lanes: &'a Arc<Lanes>,
        lane: usize,
        message: Message,
    ) -> Sending<'a, H::Yield> {
        let lane = &lanes.list[lane];
        let entered = lane.enter();
        let mut message = message;
        if let Some(user) = &entered {
            match user.offer::<H>(message) {
                Answer::Wait(back) => message = back,
                decided => return Sending::ready(self.counted(bound(decided))),
            }
        }
        Sending::new(async move {
            let user = match entered {
                Some(user) => user,
                None => lane.entered().await,
            };
            user.take_part();
            lanes.watch_idle();
            let answer = user.hand_over::<H>(message).await;
            self.counted(bound(answer))
        })
    }

    pub(super) fn try_send_bound(
        &self,
        lanes: &Lanes,
        lane: usize,
        message: Message,
    ) -> Result<(), TrySendError> {
        let Some(user) = lanes.list[lane].enter() else {
            return Err(TrySendError::WouldWait(message));
        };
        match user.offer::<Plainly>(message) {
            Answer::Wait(message) => Err(TrySendError::WouldWait(message)),
            decided => self.counted(bound(decided)).map_err(TrySendError::Refused),
        }
    }
}

/// What a message is told that is bound to one lane: there is no other for it.
fn bound<T>(answer: Answer<T>) -> Result<T, SinkError> {
    match answer {
        Answer::Taken(taken) => Ok(taken),
        Answer::Stop(error) => Err(error),
        Answer::Next(message, error) => Err(error.returning(message)),
        Answer::Wait(message) => Err(SinkError::SendFailed(Failure::new("")).returning(message)),
    }
}
