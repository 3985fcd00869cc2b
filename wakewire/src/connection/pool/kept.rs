//! One connection of a pool, and how long it may be kept. No I/O, no clock.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Kept<C> {
    pub(super) id: u64,
    pub(super) connection: C,
    pub(super) opened: Instant,
    pub(super) idle_since: Instant,
    /// The end of its lifetime.
    pub(super) ends: Instant,
    /// How long the peer lets it lie idle, less a fifth.
    allowed: Option<Duration>,
}

/// A connection that was handed out; it comes back by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lease<C> {
    pub(super) id: u64,
    pub(super) connection: C,
}

/// Why a connection leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Idle,
    Lifetime,
    Lost,
    Shut,
    Cut,
}

impl<C> Kept<C> {
    /// Makes one that was opened now and has no time left.
    pub(super) const fn new(id: u64, connection: C, now: Instant) -> Self {
        Self {
            id,
            connection,
            opened: now,
            idle_since: now,
            ends: now,
            allowed: None,
        }
    }

    /// Says how long it lives, minus a random part, and after how long without use the peer closes it. `unit` is a
    /// uniform random number in [0, 1).
    pub(super) fn within(self, lifetime: Duration, announced: Option<Duration>, unit: f64) -> Self {
        let part = VARIANCE.mul_add(-unit.clamp(0.0, 1.0), 1.0);
        Self {
            ends: after(self.opened, lifetime.mul_f64(part)),
            allowed: announced.map(|announced| announced.mul_f64(BEFORE_THE_PEER)),
            ..self
        }
    }

    /// Says why it must not be used any more after it lay idle; `limit` is our own for that.
    pub(super) fn fault(
        &self,
        limit: Option<Duration>,
        now: Instant,
        is_open: impl Fn(&C) -> bool,
    ) -> Option<Reason> {
        if !is_open(&self.connection) {
            Some(Reason::Lost)
        } else if now >= self.ends {
            Some(Reason::Lifetime)
        } else if now >= self.idle_until(limit) {
            Some(Reason::Idle)
        } else {
            None
        }
    }

    /// Returns whether its peer lets it lie idle for less than this.
    pub(super) fn is_let_idle_for_less_than(&self, wait: Duration) -> bool {
        self.allowed.is_some_and(|allowed| allowed < wait)
    }

    /// Returns until when it may lie idle.
    pub(super) fn idle_until(&self, limit: Option<Duration>) -> Instant {
        let limits = [limit, self.allowed].into_iter().flatten();
        let idle = limits.map(|limit| after(self.idle_since, limit));
        idle.fold(self.ends, Instant::min)
    }
}

/// Adds without the panic of `Instant + Duration`; beyond what a clock can show it is a long time.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(LONG)).unwrap_or(now)
}

/// Thirty years.
const LONG: Duration = Duration::from_secs(30 * 365 * 86_400);

/// By how much of its lifetime a connection may live shorter, so that they do not all end together: `HikariCP`'s.
const VARIANCE: f64 = 0.25;

/// Who closes first decides who may lose a request: we close before the peer does.
const BEFORE_THE_PEER: f64 = 0.8;
