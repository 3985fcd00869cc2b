//! The pulse of a connection: what was heard of the peer, and when to ask whether it is there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::wire::ProtocolError;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::liveness::{ASK_AFTER, LOOK_EVERY, Liveness, Pulse as Look};
use crate::wire::temper::Temper;

/// What the reading, writing and watching parts of one connection tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    ping: AtomicBool,
    pong: AtomicBool,
    /// We do not read, so silence says nothing of the peer.
    paused: AtomicBool,
    /// Counted, so that the clock need not be read for each piece.
    received: AtomicU64,
    /// For what the peer says without need; made with the first of it.
    temper: Mutex<Option<Temper>>,
}

impl Pulse {
    /// Something was received.
    pub(crate) fn heard(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    /// Returns whether anything was received.
    pub(crate) fn has_heard(&self) -> bool {
        self.received.load(Relaxed) > 0
    }

    /// Reading is suspended, or goes on.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }

    /// The peer asks whether we are there, or says that it is; it may not do so without measure.
    pub(crate) fn beat(&self, kind: Kind) -> Result<(), ProtocolError> {
        let now = Instant::now().into_std();
        let mut temper = self.temper.lock();
        temper
            .get_or_insert_with(|| Temper::new(now))
            .useless(kind, now)?;
        if kind == Kind::Ping {
            self.pong.store(true, Relaxed);
        }
        Ok(())
    }

    /// Appends the question and the answer that are due.
    pub(crate) fn speak(&self, checksummed: bool, bytes: &mut BytesMut) {
        for (flag, kind) in [(&self.ping, Kind::Ping), (&self.pong, Kind::Pong)] {
            if flag.swap(false, Relaxed) {
                frame::encode_control(Header::control(kind), &[], checksummed, bytes);
            }
        }
    }

    /// Watches until the peer is dead; returns how one knows. `tell` wakes the writing part to ask it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nobody watches.
    pub(crate) async fn watch(&self, tell: impl Fn()) -> &'static str {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut liveness = Liveness::new(Instant::now().into_std());
        let (mut received, mut asked) = (0, Instant::now());
        loop {
            let now = ticks.tick().await;
            let count = self.received.load(Relaxed);
            let paused = self.paused.load(Relaxed);
            if count != received || paused {
                received = count;
                liveness.heard(now.into_std());
            }
            let asks = match liveness.look(now.into_std()) {
                // While we do not read, nothing can be heard; but the peer is to know that we live.
                Look::Fine => paused && now.duration_since(asked) >= ASK_AFTER,
                Look::Ask => true,
                Look::Dead => return "the peer has been silent for 15 s, also when asked",
            };
            if asks {
                asked = now;
                self.ping.store(true, Relaxed);
                tell();
            }
        }
    }
}
