//! When the connections that a pool keeps are opened. No I/O, no clock.

use std::time::{Duration, Instant};

use super::kept::after;
use crate::backoff::LazyConfig;

/// Whether `min_connections` are wanted, and how opening them goes.
///
/// Nobody waits for them, so nobody would notice that a node turns them away at once, again and again: after a failure
/// there is a pause that grows to half a minute, and a connection that is lost before it is five seconds old is one.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    wanted: bool,
    failures: u32,
    /// Something was lost since the last plan.
    lost: bool,
    not_before: Option<Instant>,
}

impl Warmth {
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn may_open(&self, now: Instant) -> bool {
        self.wanted && self.not_before.is_none_or(|at| at <= now)
    }

    /// Returns whether the last attempts led to nothing.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.failures > 0
    }

    /// Returns the end of the pause.
    pub(super) fn next_attempt(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.wanted)
    }

    /// A connection could not be opened.
    pub(super) fn failed(&mut self, now: Instant, unit: f64) {
        self.failures = self.failures.saturating_add(1);
        self.pause(now, unit);
    }

    /// A connection was lost.
    pub(super) fn lost(&mut self, opened: Instant, now: Instant) {
        self.failures = if is_proved(opened, now) {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.lost = true;
    }

    /// Lets a pause follow what was lost, for all clients of a node that was restarted notice it in the same moment;
    /// and forgets failures once a connection is old enough.
    pub(super) fn settle(&mut self, oldest: Option<Instant>, now: Instant, unit: f64) {
        if std::mem::take(&mut self.lost) {
            self.pause(now, unit);
        }
        if oldest.is_some_and(|opened| is_proved(opened, now)) {
            self.failures = 0;
        }
    }

    fn pause(&mut self, now: Instant, unit: f64) {
        let pause = LazyConfig::default().delay(self.failures.max(1), unit);
        self.not_before = Some(after(now, pause));
    }
}

/// A peer that accepts and hangs up is one that fails; who lived so long was not turned away at the door.
fn is_proved(opened: Instant, now: Instant) -> bool {
    now.saturating_duration_since(opened) >= PROVED_AFTER
}

/// As for a dialer.
pub(super) const PROVED_AFTER: Duration = Duration::from_secs(5);
