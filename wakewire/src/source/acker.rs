//! When the peer of a connection is told how far the application is: now and then, or at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Wakes a connection's acknowledging half: now and then, or at once when it is urged.
#[derive(Debug)]
pub(super) struct Acker {
    /// The connection waits to be told of progress.
    armed: AtomicBool,
    urged: AtomicBool,
    told: Notify,
    /// Up to where the peer waits to be told; everywhere, if it does not say.
    awaited: AtomicU64,
    /// Up to where it was told.
    said: AtomicU64,
    /// The application has come to the end of what was there, and waits.
    rests: AtomicBool,
}

impl Default for Acker {
    fn default() -> Self {
        Self {
            armed: AtomicBool::new(false),
            urged: AtomicBool::new(false),
            told: Notify::new(),
            awaited: AtomicU64::new(u64::MAX),
            said: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        }
    }
}

impl Acker {
    /// A connection begins whose peer was told everything up to here, and says from now on what it waits for, or does not.
    pub(super) fn begin(&self, said: u64, peer_urges: bool) {
        let awaited = if peer_urges { said } else { u64::MAX };
        self.awaited.store(awaited, SeqCst);
        self.say(said);
    }

    /// The peer waits for what comes up to here; returns whether that is news. It is told at once if the application
    /// waits too. One that is at work comes to that, or to much that is processed; to be told of each little would have
    /// a peer whose buffer is full send as little at a time.
    pub(super) fn await_to(&self, sequence: u64) -> bool {
        let is_news = self.awaited.fetch_max(sequence, SeqCst) < sequence;
        if is_news {
            if self.rests.load(SeqCst) {
                self.urge();
            } else {
                // What is held is held no longer than for who cannot say that he waits.
                self.told.notify_one();
            }
        }
        is_news
    }

    /// The peer is told everything up to here.
    pub(super) fn say(&self, sequence: u64) {
        self.said.store(sequence, SeqCst);
    }

    /// The application has messages to work on.
    pub(super) fn work(&self) {
        self.rests.store(false, SeqCst);
    }

    fn is_awaited(&self) -> bool {
        self.awaited.load(SeqCst) > self.said.load(SeqCst)
    }

    /// The application has processed everything up to here and waits for more: the peer is told at once if it waits for
    /// that, or was not told of [`MOST_HELD`] messages.
    pub(super) fn rest(&self, processed: u64) {
        self.rests.store(true, SeqCst);
        let unsaid = processed.saturating_sub(self.said.load(SeqCst));
        if self.is_awaited() || unsaid >= MOST_HELD {
            self.urge();
        }
    }

    #[inline]
    pub(super) fn tell(&self) {
        // A plain load first: the flag is down while acknowledgements are being collected.
        if self.armed.load(SeqCst) && self.armed.swap(false, SeqCst) {
            self.told.notify_one();
        }
    }

    pub(super) fn urge(&self) {
        self.urged.store(true, SeqCst);
        self.armed.store(false, SeqCst);
        self.told.notify_one();
    }

    /// Waits until there is something to acknowledge, by what `is_due` says.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the next call finds what this one would have.
    pub(super) async fn due(&self, is_due: impl Fn() -> bool) {
        loop {
            self.armed.store(true, SeqCst);
            // Looked at after arming: progress made before is seen here, progress made after tells.
            if is_due() {
                self.armed.store(false, SeqCst);
                break;
            }
            self.told.notified().await;
            if self.urged.load(SeqCst) && !is_due() {
                // Urged for something other than progress: a goodbye, a ping.
                self.urged.store(false, SeqCst);
                return;
            }
        }
        while !self.urged.swap(false, SeqCst) {
            let collect = if self.is_awaited() { COLLECT } else { HOLD };
            if timeout(collect, self.told.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// How long acknowledgements are collected: a millisecond's delay frees no buffer noticeably later, and saves
/// a system call per message.
const COLLECT: Duration = Duration::from_millis(1);

/// How long they are held for a peer that would say if it waited for one: what its application has processed meanwhile
/// comes again if it dies. A frame there and one back for each message that comes alone would cost as much as the
/// message. So long QUIC holds its own (`max_ack_delay`, RFC 9000, 18.2).
pub(super) const HOLD_MS: u32 = 25;
const HOLD: Duration = Duration::from_millis(HOLD_MS as u64);

/// So many messages are not held: a bound on what comes again that does not depend on their pace. It is also kinder than
/// the time: a timer that is about to fire is set anew whenever a thread waits, which costs a virtual machine more than
/// a message; with a question and an answer every 13 µs it never comes to that.
const MOST_HELD: u64 = 128;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tokio::time::Instant;

    use super::*;

    /// The application has processed so many messages, and waits for more; says after how long the peer is told.
    async fn told_after(acker: &Acker, count: u64) -> Duration {
        let processed = AtomicU64::new(0);
        let since = Instant::now();
        let application = async {
            tokio::task::yield_now().await;
            processed.store(count, SeqCst);
            acker.tell();
            acker.rest(count);
        };
        let is_due = || processed.load(SeqCst) > 0;
        let telling = async {
            // What is urged may be something else that is to be said.
            while !is_due() {
                acker.due(is_due).await;
            }
        };
        tokio::join!(telling, application);
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_or_cannot_say_so_is_told_at_once_and_others_after_a_while() {
        let acker = Acker::default();
        assert_eq!(told_after(&acker, 1).await, Duration::ZERO);
        acker.begin(0, false);
        assert_eq!(told_after(&acker, 1).await, Duration::ZERO);
        acker.begin(0, true);
        let held = told_after(&acker, 1).await;
        // A timer of tokio may be a millisecond late.
        assert!((HOLD..=HOLD + COLLECT).contains(&held), "{held:?}");
        let held = told_after(&acker, MOST_HELD - 1).await;
        assert!((HOLD..=HOLD + COLLECT).contains(&held), "{held:?}");
        assert_eq!(told_after(&acker, MOST_HELD).await, Duration::ZERO);
        assert!(acker.await_to(1), "it is news");
        assert_eq!(told_after(&acker, 1).await, Duration::ZERO);
        acker.say(1);
        assert!(!acker.await_to(1), "it was told");
        let held = told_after(&acker, 1).await;
        assert!((HOLD..=HOLD + COLLECT).contains(&held), "{held:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_begins_to_wait_is_told_what_was_held() {
        for (rests, within) in [(true, Duration::ZERO), (false, COLLECT)] {
            let acker = Acker::default();
            acker.begin(0, true);
            if rests {
                acker.rest(1);
            }
            let since = Instant::now();
            let peer = async {
                tokio::time::sleep(HOLD / 5).await;
                acker.await_to(1);
            };
            tokio::join!(acker.due(|| true), peer);
            let then = since.elapsed() - HOLD / 5;
            // A timer of tokio may be a millisecond late.
            let late = Duration::from_millis(u64::from(!rests));
            assert!(
                (within..=within + late).contains(&then),
                "{rests}: {then:?}"
            );
        }
    }
}
