//! When to ask a silent peer whether it is there, and when to give it up. No I/O, no clock.

use std::time::{Duration, Instant};

/// Any received byte counts as a sign of life; time during which one was not reading does not count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    heard: Instant,
    /// When it was asked last, since it was heard.
    asked: Option<Instant>,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing to do.
    Fine,
    /// Send a ping.
    Ask,
    /// Close the connection hard: a graceful close waits for a peer that is not there.
    Dead,
}

/// Without receiving anything for this long, ask. With [`DEAD_AFTER`] it finds a half-open connection within
/// 15 s, where NATS needs 4 minutes and TCP alone about 15.
pub(crate) const ASK_AFTER: Duration = Duration::from_secs(5);

/// Without an answer for this long, ask again: over UDP questions and answers get lost, and with a third of them lost
/// ten questions in a row are one peer in a thousand that is taken for dead.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Without receiving anything for this long, the peer is dead.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(15);

/// How often to look; half a second more or less does not matter to either limit.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Liveness {
    /// Starts with a peer that was just heard.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            heard: now,
            asked: None,
        }
    }

    /// Notes that something was received, or that reading was suspended until now.
    pub(crate) const fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Decides what a silence means. A process that was itself stopped for long asks first: `Dead` is only
    /// said of a peer that was asked.
    pub(crate) fn look(&mut self, now: Instant) -> Pulse {
        let silence = now.saturating_duration_since(self.heard);
        if silence < ASK_AFTER {
            return Pulse::Fine;
        }
        let Some(asked) = self.asked else {
            self.asked = Some(now);
            // What was missed before the question does not count against the peer.
            self.heard = self.heard.max(now.checked_sub(ASK_AFTER).unwrap_or(now));
            return Pulse::Ask;
        };
        if silence >= DEAD_AFTER {
            Pulse::Dead
        } else if now.saturating_duration_since(asked) >= ASK_AGAIN_AFTER {
            self.asked = Some(now);
            Pulse::Ask
        } else {
            Pulse::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_asked_after_5_s_and_dead_after_15() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.look(at(4)), Pulse::Fine);
        assert_eq!(liveness.look(at(5)), Pulse::Ask);
        let soon = start + Duration::from_millis(5500);
        assert_eq!(liveness.look(soon), Pulse::Fine, "just asked");
        for second in 6..15 {
            assert_eq!(liveness.look(at(second)), Pulse::Ask, "again");
        }
        assert_eq!(liveness.look(at(15)), Pulse::Dead);
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_asks_before_it_gives_up() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        let woken = start + Duration::from_secs(3600);
        assert_eq!(liveness.look(woken), Pulse::Ask);
        assert_eq!(liveness.look(woken + Duration::from_secs(9)), Pulse::Ask);
        assert_eq!(liveness.look(woken + Duration::from_secs(10)), Pulse::Dead);
        liveness.heard(woken);
        assert_eq!(liveness.look(woken), Pulse::Fine);
    }
}
