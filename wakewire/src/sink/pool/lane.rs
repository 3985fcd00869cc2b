//! A place for one member: who uses it, and how it goes to sleep while nobody does.

use crate::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use tokio::sync::Notify;

use super::choice::{Rest, View};
use crate::error::SinkError;
use crate::message::Message;
use crate::sink::MessageSink;
use crate::sink::composite::target::{Answer, Target};
use crate::sink::handing::Handing;

/// Set in the number of users while the member goes to sleep.
const LEAVING: usize = 1 << (usize::BITS - 1);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) target: Target,
    /// Sends that are under way, or [`LEAVING`]: a member is never disconnected under a message.
    users: AtomicUsize,
    awake: AtomicBool,
    /// A message went this way since the last look.
    used: AtomicBool,
    /// It left.
    left: Notify,
}

impl Lane {
    pub(super) fn new(name: String, member: Arc<dyn MessageSink>) -> Self {
        Self {
            target: Target::new(name, member),
            users: AtomicUsize::new(0),
            awake: AtomicBool::new(false),
            used: AtomicBool::new(false),
            left: Notify::new(),
        }
    }

    pub(super) fn view(&self) -> View {
        let users = self.users.load(Ordering::Acquire);
        let rest = if users & LEAVING != 0 {
            Rest::Leaving
        } else if users > 0 || self.is_awake() {
            // With its first user it is about to wake.
            Rest::Awake
        } else {
            Rest::Asleep
        };
        View {
            rest,
            failing: self.target.is_failing(),
            in_flight: users & !LEAVING,
        }
    }

    pub(super) fn is_awake(&self) -> bool {
        self.awake.load(Ordering::Acquire)
    }

    /// Returns whether it was used since the last time this was asked.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Becomes a user, unless the member is going to sleep.
    pub(super) fn enter(&self) -> Option<User<'_>> {
        if self.users.fetch_add(1, Ordering::Acquire) & LEAVING == 0 {
            return Some(User(self));
        }
        self.users.fetch_sub(1, Ordering::Release);
        None
    }

    /// Becomes a user, after the member went to sleep if it does so just now.
    pub(super) async fn entered(&self) -> User<'_> {
        loop {
            let left = self.left.notified();
            if let Some(user) = self.enter() {
                return user;
            }
            left.await;
        }
    }

    /// Disconnects the member; with nobody on the lane it sleeps from then on, and senders wait till it does.
    pub(super) async fn disconnect(&self, leaving: Option<Leaving<'_>>) -> Result<(), SinkError> {
        self.target.stop_probing();
        let result = self.target.sink.disconnect().await;
        // After a timeout it still owes something, and is connected.
        if leaving.is_some() && !matches!(result, Err(SinkError::Timeout(_))) {
            self.awake.store(false, Ordering::Release);
        }
        result
    }

    /// Begins to go to sleep, if nobody is on the lane.
    pub(super) fn leave(&self) -> Option<Leaving<'_>> {
        let alone = self
            .users
            .compare_exchange(0, LEAVING, Ordering::Acquire, Ordering::Relaxed);
        // Only then is there one to drop: its end takes the mark away.
        alone.is_ok().then(|| Leaving(self))
    }
}

/// Sets a flag; reads it first, so that the line stays shared between the senders' processors where it can.
fn raise(flag: &AtomicBool) {
    if !flag.load(Ordering::Relaxed) {
        flag.store(true, Ordering::Release);
    }
}

/// Somebody who uses a lane.
#[derive(Debug)]
pub(super) struct User<'a>(&'a Lane);

impl User<'_> {
    /// Offers a message without waiting.
    pub(super) fn offer<H: Handing>(&self, message: Message) -> Answer<H::Yield> {
        let answer = self.0.target.offer::<H>(message);
        if matches!(answer, Answer::Taken(_)) {
            self.take_part();
            raise(&self.0.used);
        }
        answer
    }

    /// Hands a message over, waiting as long as the member does.
    pub(super) async fn hand_over<H: Handing>(&self, message: Message) -> Answer<H::Yield> {
        self.take_part();
        let answer = self.0.target.hand_over::<H>(message).await;
        raise(&self.0.used);
        answer
    }

    /// Makes the lane take part from now on.
    pub(super) fn take_part(&self) {
        raise(&self.0.awake);
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

/// A member on its way to sleep, on whose lane nobody sends meanwhile.
#[derive(Debug)]
pub(super) struct Leaving<'a>(&'a Lane);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(LEAVING, Ordering::Release);
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Sending, SinkMetadata};

    #[derive(Debug)]
    struct Nothing;

    impl MessageSink for Nothing {
        fn send(&self, _: Message) -> Sending<'_> {
            Sending::ready(Ok(()))
        }

        fn is_connected(&self) -> bool {
            true
        }

        fn metadata(&self) -> SinkMetadata {
            SinkMetadata::new("nothing", "test")
        }
    }

    fn lane() -> Lane {
        Lane::new("lane".to_owned(), Arc::new(Nothing))
    }

    #[test]
    fn a_lane_in_use_cannot_leave_and_stays_open_to_others() {
        let lane = lane();
        let first = lane.enter().unwrap();
        assert!(lane.leave().is_none());
        let second = lane.enter().expect("it does not leave");
        assert_eq!((lane.view().rest, lane.view().in_flight), (Rest::Awake, 2));
        drop((first, second));
        assert_eq!(lane.view().rest, Rest::Asleep);
    }

    #[test]
    fn a_lane_that_leaves_lets_nobody_in_until_it_has_left() {
        let lane = lane();
        let leaving = lane.leave().unwrap();
        assert!(lane.leave().is_none());
        assert!(lane.enter().is_none());
        assert_eq!(lane.view().rest, Rest::Leaving);
        drop(leaving);
        assert!(lane.enter().is_some());
    }

    #[tokio::test]
    async fn a_lane_that_is_disconnected_sleeps_unless_somebody_is_on_it() {
        let lane = lane();
        let user = lane.enter().unwrap();
        user.take_part();
        lane.disconnect(lane.leave()).await.unwrap();
        assert_eq!(lane.view().rest, Rest::Awake);
        drop(user);
        lane.disconnect(lane.leave()).await.unwrap();
        assert_eq!(lane.view().rest, Rest::Asleep);
    }
}
