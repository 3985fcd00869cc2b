//! What the peer has sent of its own accord, until it is asked for.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::message::Message;

/// Messages that wait to be asked for. Beyond a bound the oldest is dropped: answers come over the same connection, and
/// must not wait for somebody who does not ask.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    shelf: Mutex<Shelf>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Shelf {
    messages: VecDeque<Message>,
    bytes: usize,
    missed: u64,
    has_ended: bool,
}

impl Inbox {
    pub(super) fn push(&self, message: Message) {
        let mut shelf = self.shelf.lock();
        shelf.bytes += message.payload.len();
        shelf.messages.push_back(message);
        while shelf.messages.len() > MOST_MESSAGES || shelf.bytes > MOST_BYTES {
            let Some(oldest) = shelf.messages.pop_front() else {
                break;
            };
            shelf.bytes -= oldest.payload.len();
            shelf.missed += 1;
        }
        drop(shelf);
        self.changed.notify_one();
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.shelf.lock().has_ended = true;
        self.changed.notify_one();
    }

    /// Returns how many were dropped because nobody asked.
    pub(super) fn missed(&self) -> u64 {
        self.shelf.lock().missed
    }

    /// Waits for the next message; none when nothing comes any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            let changed = self.changed.notified();
            {
                let mut shelf = self.shelf.lock();
                if let Some(message) = shelf.messages.pop_front() {
                    shelf.bytes -= message.payload.len();
                    if !shelf.messages.is_empty() || shelf.has_ended {
                        // Somebody else may wait for it.
                        self.changed.notify_one();
                    }
                    return Some(message);
                }
                if shelf.has_ended {
                    self.changed.notify_one();
                    return None;
                }
            }
            changed.await;
        }
    }
}

/// As many as may wait to be written on the other side.
const MOST_MESSAGES: usize = 1024;
const MOST_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_the_bound_the_oldest_is_dropped_and_counted() {
        let inbox = Inbox::default();
        for number in 0..=MOST_MESSAGES as u64 {
            inbox.push(Message::new("x").with_timestamp(number));
        }
        assert_eq!(inbox.missed(), 1);
        assert_eq!(inbox.next().await.unwrap().timestamp, 1);
        inbox.push(Message::new(vec![0; MOST_BYTES]).with_timestamp(7));
        inbox.end();
        assert_eq!(inbox.next().await.unwrap().timestamp, 7);
        assert_eq!((inbox.next().await, inbox.next().await), (None, None));
    }
}
