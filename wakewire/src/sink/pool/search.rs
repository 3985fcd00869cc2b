//! One message that may go anywhere, on its way to the one member that takes it.

use std::marker::PhantomData;
use std::mem::take;
use std::sync::Arc;

use super::LazyConnectionPool;
use super::choice::{Set, least_busy, to_wait_for};
use super::lane::User;
use super::lanes::Lanes;
use crate::error::{Failure, SinkError};
use crate::message::Message;
use crate::sink::composite::target::{Answer, is_about_the_target};
use crate::sink::handing::Handing;
use crate::sink::{MessageSink, Sending};

/// The search; every member has the message at most once.
#[derive(Debug)]
pub(super) struct Search<'a, H> {
    lanes: &'a Arc<Lanes>,
    turn: usize,
    /// Empty while a member has it.
    message: Message,
    /// Those that gave it back, or are not to be waited for.
    refused: Set,
    /// Those that would take it after waiting.
    waiting: Set,
    /// It waits for one member's dialling at most: behind a dead peer the second is no better.
    may_dial: bool,
    /// It waits for room once at most.
    may_wait: bool,
    last: Option<SinkError>,
    handing: PhantomData<H>,
}

/// Where the search stands after all that could be done without waiting.
#[derive(Debug)]
pub(super) enum Step<'a, T> {
    Taken(T),
    WaitOn(usize, Option<User<'a>>),
    Over(SinkError),
}

impl<'a, H: Handing> Search<'a, H> {
    /// Begins with the lane whose turn it is.
    pub(super) fn begin(lanes: &'a Arc<Lanes>, message: Message) -> (Self, Step<'a, H::Yield>) {
        let mut search = Self {
            lanes,
            turn: lanes.next_turn(),
            message,
            refused: Set::default(),
            waiting: Set::default(),
            may_dial: true,
            may_wait: true,
            last: None,
            handing: PhantomData,
        };
        lanes.pass_over_failing(false);
        let step = search.advance();
        (search, step)
    }

    /// Goes as far as it can without waiting.
    fn advance(&mut self) -> Step<'a, H::Yield> {
        let lanes = self.lanes;
        let count = lanes.list.len();
        let view = |lane: usize| lanes.list[lane].view();
        loop {
            let had = self.refused.with(self.waiting);
            let Some(lane) = least_busy(count, self.turn, had, view) else {
                break;
            };
            // If it has begun to leave just now, the next look says so.
            if let Some(user) = lanes.list[lane].enter()
                && let Some(end) = self.offer(lane, &user)
            {
                return end;
            }
        }
        let ready = |lane: usize| lanes.list[lane].target.sink.is_connected();
        let chosen = to_wait_for(count, self.turn, self.refused, self.may_dial, view, ready);
        match chosen.filter(|_| self.may_wait) {
            Some(lane) => {
                if view(lane).in_flight > 0 {
                    lanes.pass_over_failing(true);
                }
                lanes.skipped_to(lane, self.turn);
                Step::WaitOn(lane, lanes.list[lane].enter())
            }
            None => Step::Over(self.give_up()),
        }
    }

    /// Waits on this lane, and on others if it gives the message back.
    pub(super) async fn finish(
        mut self,
        lane: usize,
        user: Option<User<'a>>,
    ) -> Result<H::Yield, SinkError> {
        let (mut lane, mut user) = (lane, user);
        loop {
            let on_it = match user {
                Some(user) => user,
                None => self.lanes.list[lane].entered().await,
            };
            on_it.take_part();
            self.lanes.watch_idle();
            match on_it.hand_over::<H>(take(&mut self.message)).await {
                Answer::Taken(taken) => return Ok(taken),
                Answer::Stop(error) => return Err(error),
                Answer::Wait(message) => self.message = message,
                Answer::Next(message, error) if is_about_the_target(&error) => {
                    self.message = message;
                    self.refused.insert(lane);
                    self.may_dial = false;
                    self.may_wait = !was_full(&error);
                    self.last = Some(error);
                }
                Answer::Next(message, error) => return Err(error.returning(message)),
            }
            drop(on_it);
            self.waiting = Set::default();
            match self.advance() {
                Step::Taken(taken) => return Ok(taken),
                Step::Over(error) => return Err(error),
                Step::WaitOn(next, entered) => (lane, user) = (next, entered),
            }
        }
    }

    pub(super) fn into_message(self) -> Message {
        self.message
    }

    /// Offers it to a usable lane; a result ends the search.
    fn offer(&mut self, lane: usize, user: &User<'a>) -> Option<Step<'a, H::Yield>> {
        match user.offer::<H>(take(&mut self.message)) {
            Answer::Taken(taken) => {
                self.lanes.skipped_to(lane, self.turn);
                // Those that lost their connection would never get a turn while another takes everything.
                for (passed, lane) in self.lanes.list.iter().enumerate() {
                    if self.waiting.contains(passed)
                        && let Some(_user) = lane.enter()
                    {
                        lane.target.wake();
                    }
                }
                return Some(Step::Taken(taken));
            }
            Answer::Stop(error) => return Some(Step::Over(error)),
            Answer::Wait(message) => {
                self.message = message;
                let target = &self.lanes.list[lane].target;
                if target.may_wait() {
                    self.waiting.insert(lane);
                } else {
                    // Full, and waited for in vain before: it is failing again.
                    let error = target.last_error();
                    target.failed(&error);
                    self.refused.insert(lane);
                    self.last = Some(error);
                }
            }
            Answer::Next(message, error) => {
                if !is_about_the_target(&error) {
                    return Some(Step::Over(error.returning(message)));
                }
                self.message = message;
                self.refused.insert(lane);
                self.last = Some(error);
            }
        }
        None
    }

    fn give_up(&mut self) -> SinkError {
        let last = self.last.take();
        last.unwrap_or_else(|| SinkError::SendFailed(Failure::new("")))
            .returning(take(&mut self.message))
    }
}

impl<S: MessageSink + 'static> LazyConnectionPool<S> {
    /// Hands the message to the lane of its key, or to the least busy member that works.
    pub(super) fn hand<H: Handing>(&self, message: Message) -> Sending<'_, H::Yield> {
        let lanes = self.lanes();
        if lanes.is_closed() {
            return Sending::ready(self.counted(Err(self.closed().returning(message))));
        }
        if let Some(lane) = self.bound_to(&message) {
            return self.send_bound::<H>(lanes, lane, message);
        }
        match Search::<H>::begin(lanes, message) {
            (_, Step::Taken(taken)) => Sending::ready(self.counted(Ok(taken))),
            (_, Step::Over(error)) => Sending::ready(self.counted(Err(error))),
            (search, Step::WaitOn(lane, user)) => {
                Sending::new(async move { self.counted(search.finish(lane, user).await) })
            }
        }
    }
}

/// Returns whether it was time or room that ran out, of which another wait would take as much again.
const fn was_full(error: &SinkError) -> bool {
    matches!(
        error,
        SinkError::BufferFull(_) | SinkError::Timeout(_) | SinkError::Overloaded(_)
    )
}
