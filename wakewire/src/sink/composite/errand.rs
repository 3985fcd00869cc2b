//! One message on its way to one of several targets, each of which gets it at most once.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::take;

use super::target::{Answer, Target};
use super::{failover, round_robin};
use crate::error::{Failure, SinkError};
use crate::message::Message;
use crate::sink::handing::Handing;

/// The search for the one target that takes the message.
#[derive(Debug)]
pub(super) struct Errand<'a, H> {
    pub(super) targets: &'a [Target],
    order: Order,
    stage: Stage,
    /// Empty while a target has it.
    message: Message,
    /// Those that had their chance or stand in `waiting`; empty on the fast path.
    tried: Vec<usize>,
    /// Those that would take it after waiting, first come first.
    waiting: VecDeque<usize>,
    last: Option<SinkError>,
    handing: PhantomData<H>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Beginning with this target.
    Rotation(usize),
    Preference,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Targets that are not failing.
    Usable,
    /// All others, in panic: nothing better is left.
    Failing,
    Over,
}

/// Where the search stands after all that could be done without waiting.
#[derive(Debug)]
pub(super) enum Step<T> {
    Taken(usize, T),
    WaitOn(usize),
    Over(SinkError),
}

impl<'a, H: Handing> Errand<'a, H> {
    pub(super) const fn new(targets: &'a [Target], order: Order, message: Message) -> Self {
        Self {
            targets,
            order,
            stage: Stage::Usable,
            message,
            tried: Vec::new(),
            waiting: VecDeque::new(),
            last: None,
            handing: PhantomData,
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance(&mut self) -> Step<H::Yield> {
        loop {
            if let Some(index) = self.waiting.pop_front() {
                return Step::WaitOn(index);
            }
            let end = match self.stage {
                Stage::Usable => match self.order {
                    Order::Rotation(start) => round_robin::offer(self, start),
                    Order::Preference => failover::offer(self),
                },
                Stage::Failing => self.offer_to_the_rest(),
                Stage::Over => Some(Step::Over(self.give_up())),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits on this target, and on others if it gives the message back.
    pub(super) async fn finish(mut self, first: usize) -> Result<H::Yield, SinkError> {
        let mut index = first;
        loop {
            let target = &self.targets[index];
            match target.hand_over::<H>(take(&mut self.message)).await {
                Answer::Taken(taken) => return Ok(taken),
                Answer::Stop(error) => return Err(error),
                Answer::Wait(message) => self.message = message,
                Answer::Next(message, error) => {
                    self.message = message;
                    self.last = Some(error);
                }
            }
            match self.advance() {
                Step::Taken(_, taken) => return Ok(taken),
                Step::Over(error) => return Err(error),
                Step::WaitOn(next) => index = next,
            }
        }
    }

    pub(super) fn into_message(self) -> Message {
        self.message
    }

    pub(super) fn is_tried(&self, index: usize) -> bool {
        self.tried.contains(&index)
    }

    /// The targets that are not failing had their chance.
    pub(super) const fn on_to_the_failing(&mut self) {
        self.stage = Stage::Failing;
    }

    /// Offers it to a target that is not failing, as [`offer`](Self::offer) does.
    pub(super) fn offer_usable(&mut self, index: usize) -> Option<Step<H::Yield>> {
        let end = self.offer(index);
        if self.waiting.back() == Some(&index) && !self.targets[index].may_wait() {
            self.do_not_wait_on(index);
        }
        end
    }

    /// Offers it to a target; a result ends the search. One that would wait is queued for it.
    fn offer(&mut self, index: usize) -> Option<Step<H::Yield>> {
        match self.targets[index].offer::<H>(take(&mut self.message)) {
            Answer::Taken(taken) => return Some(Step::Taken(index, taken)),
            Answer::Stop(error) => return Some(Step::Over(error)),
            Answer::Wait(message) => {
                self.message = message;
                self.waiting.push_back(index);
            }
            Answer::Next(message, error) => {
                self.message = message;
                self.last = Some(error);
            }
        }
        self.tried.push(index);
        None
    }

    /// Takes back that this target is waited for: it is full and was waited for in vain before. It is
    /// failing again, and its turn comes with the failing ones.
    fn do_not_wait_on(&mut self, index: usize) {
        self.waiting.retain(|waiting| *waiting != index);
        self.tried.retain(|tried| *tried != index);
        let target = &self.targets[index];
        let error = target.last_error();
        target.failed(&error);
        self.last = Some(error);
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn offer_to_the_rest(&mut self) -> Option<Step<H::Yield>> {
        self.stage = Stage::Over;
        let start = match self.order {
            Order::Rotation(start) => start,
            Order::Preference => 0,
        };
        let count = self.targets.len();
        (0..count)
            .map(|offset| (start + offset) % count)
            .find_map(|index| {
                if self.is_tried(index) {
                    None
                } else {
                    self.offer(index)
                }
            })
    }

    fn give_up(&mut self) -> SinkError {
        let last = self.last.take();
        last.unwrap_or_else(|| SinkError::SendFailed(Failure::new("")))
            .returning(take(&mut self.message))
    }
}
