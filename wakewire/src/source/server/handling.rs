//! One handler at work: until its answer, its deadline, its panic, or until nobody wants it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use super::connection::Open;
use super::request::{HandlerError, Peer, Request};
use super::{Answer, House};
use crate::wire::frame::Kind;
use crate::wire::refusal::{self, Reason, Refusal};

/// The existence of a handler.
pub(super) struct Handling {
    house: Arc<House>,
    open: Open,
    number: u64,
    /// Free for the next one before the answer is written: its requester may send that at once.
    slot: Option<OwnedSemaphorePermit>,
    /// Told when the handler panics.
    panics_to: Option<Peer>,
}

impl Handling {
    pub(super) fn new(
        house: &Arc<House>,
        slot: OwnedSemaphorePermit,
        number: u64,
        open: &Open,
    ) -> Self {
        house.tally.started();
        Self {
            house: Arc::clone(house),
            open: Arc::clone(open),
            number,
            slot: Some(slot),
            panics_to: None,
        }
    }

    /// Runs the handler and writes its answer.
    pub(super) async fn run(
        mut self,
        handler: Arc<dyn Fn(Request) -> Answer + Send + Sync>,
        request: Request,
    ) {
        let (peer, deadline) = (request.peer.clone(), request.deadline);
        let expects_reply = request.expects_reply;
        self.panics_to = expects_reply.then(|| peer.clone());
        // Called in here, so that a panic of the function itself is the request's as well.
        let answer = async move { handler(request).await };
        let (answer, finished) = match deadline {
            None => (answer.await, true),
            Some(deadline) => match timeout_at(deadline, answer).await {
                Ok(answer) => (answer, true),
                Err(_) => {
                    let text = "the handler did not answer in time".to_owned();
                    let overdue = HandlerError::because(Reason::DeadlineExceeded, text);
                    (Err(overdue), false)
                }
            },
        };
        let is_wanted = self.settle(finished);
        if !expects_reply || !is_wanted {
            return;
        }
        let answer = answer.and_then(|message| match peer.refuses(&message) {
            Some(text) => Err(HandlerError::new(format!(
                "the answer cannot be sent: {text}"
            ))),
            None => Ok(message),
        });
        let frame = match answer {
            Ok(message) => peer.frame(Kind::Response, self.number, &message),
            Err(error) => {
                let checksummed = self.house.checksummed;
                refusal::failure(self.number, error.refusal(), checksummed)
            }
        };
        // A connection that is gone is noticed elsewhere.
        peer.outflow.push(self.number, frame).await.ok();
    }

    /// Makes room for the next one; returns whether the answer is still wanted.
    fn settle(&mut self, finished: bool) -> bool {
        let was_running = self.slot.take().is_some();
        if was_running {
            self.house.tally.ended(finished);
        }
        let wanted = self.open.lock().remove(&self.number).is_some();
        was_running && wanted
    }
}

impl Drop for Handling {
    /// Dropped at work: it panicked, or nobody wants it any more.
    fn drop(&mut self) {
        if self.settle(false)
            && std::thread::panicking()
            && let Some(peer) = &self.panics_to
        {
            let refusal = Refusal {
                reason: Reason::Failed,
                text: "the handler panicked".to_owned(),
            };
            let frame = refusal::failure(self.number, &refusal, self.house.checksummed);
            peer.outflow.hurry(&frame);
        }
    }
}
