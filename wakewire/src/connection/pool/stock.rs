//! What a pool has and who waits for it, as values. No I/O, no clock.
//!
//! `C` is a handle to a connection and `W` one to somebody who waits. Whatever is to be closed is put into a list that
//! the shell empties; whatever is granted is returned.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::kept::{Kept, Lease, Reason, after};
use super::statistics::{ClosedConnections, PoolStatistics};
use super::warmth::{PROVED_AFTER, Warmth};
use crate::connection::config::PoolConfig;
use crate::error::SinkError;

/// All connections to one node: those that lie idle, those in use, those being opened; and a queue.
///
/// Whoever comes gets the connection that was used last, so that the others may grow old and go. Whoever waits gets
/// the first that comes free or is opened, in the order of coming. One that is dead, old or was idle for too long is
/// given to nobody.
#[derive(Debug)]
pub(super) struct Stock<C, W> {
    limits: PoolConfig,
    /// The one used last at the back. While somebody waits there is none.
    idle: VecDeque<Kept<C>>,
    in_use: HashMap<u64, Kept<C>>,
    opening: usize,
    /// By ticket, which only grows.
    waiters: VecDeque<(u64, W)>,
    /// The next ticket, or number of a connection.
    next: u64,
    warm: Warmth,
    /// What left and is not closed yet.
    closing: Vec<C>,
    closed: bool,
    last_error: Option<SinkError>,
    counts: PoolStatistics,
    /// Whether somebody carries out the plans.
    pub(super) kept: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<C> {
    /// To be closed.
    pub(super) closing: Vec<C>,
    /// How many are to be opened; they are counted as being opened from now on.
    pub(super) open: usize,
    /// When to ask again at the latest.
    pub(super) wake: Option<Instant>,
    /// Whether nothing is left that needs plans, what is being closed aside.
    pub(super) done: bool,
}

impl<C: Clone, W> Stock<C, W> {
    pub(super) fn new(limits: PoolConfig) -> Self {
        Self {
            limits,
            idle: VecDeque::new(),
            in_use: HashMap::new(),
            opening: 0,
            waiters: VecDeque::new(),
            next: 0,
            warm: Warmth::default(),
            closing: Vec::new(),
            closed: false,
            last_error: None,
            counts: PoolStatistics::default(),
            kept: false,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn last_error(&self) -> Option<SinkError> {
        self.last_error.clone()
    }

    /// Somebody wants a connection; `is_use` says that it is a use, after which `min_connections` are kept, and not a
    /// check.
    pub(super) const fn asked(&mut self, is_use: bool) {
        self.counts.gets += 1;
        if is_use && self.limits.min_connections > 0 {
            self.warm.want();
        }
    }

    /// Returns the connection used last that is good.
    pub(super) fn take(&mut self, now: Instant, is_open: impl Fn(&C) -> bool) -> Option<Lease<C>> {
        while let Some(kept) = self.idle.pop_back() {
            let above = self.total() >= self.limits.min_connections;
            match kept.fault(self.idle_limit(above), now, &is_open) {
                Some(reason) => self.discard(kept, reason, now),
                None => return Some(self.lend(kept)),
            }
        }
        None
    }

    /// Queues somebody who found none: at the end, or where he was if he has a ticket. The ticket is for
    /// [`leave`](Self::leave), and for the next time.
    pub(super) fn wait(&mut self, ticket: Option<u64>, waiter: W) -> u64 {
        let ticket = ticket.unwrap_or_else(|| {
            self.counts.waits += 1;
            self.number()
        });
        let place = self.waiters.partition_point(|(other, _)| *other < ticket);
        self.waiters.insert(place, (ticket, waiter));
        ticket
    }

    /// Somebody waits no longer. `None` when he was answered.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        let place = self
            .waiters
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        let (_, waiter) = self.waiters.remove(place.ok()?)?;
        Some(waiter)
    }

    /// Somebody's time ran out.
    pub(super) const fn timed_out(&mut self) {
        self.counts.timeouts += 1;
    }

    /// A connection comes back; who waits longest gets it.
    pub(super) fn give_back(
        &mut self,
        id: u64,
        usable: bool,
        now: Instant,
    ) -> Option<(W, Lease<C>)> {
        // One that was cut off is no longer known.
        let kept = self.in_use.remove(&id)?;
        let reason = if self.closed {
            Some(Reason::Shut)
        } else if !usable {
            Some(Reason::Lost)
        } else if now >= kept.ends {
            Some(Reason::Lifetime)
        } else {
            None
        };
        match reason {
            Some(reason) => {
                self.discard(kept, reason, now);
                None
            }
            None => self.place(kept, now),
        }
    }

    /// A connection was opened. `unit` is a uniform random number in [0, 1).
    pub(super) fn opened(
        &mut self,
        connection: C,
        announced: Option<Duration>,
        now: Instant,
        unit: f64,
    ) -> Option<(W, Lease<C>)> {
        self.opening = self.opening.saturating_sub(1);
        self.counts.opened += 1;
        let lifetime = Duration::from_millis(self.limits.max_lifetime_ms);
        let id = self.number();
        let kept = Kept::new(id, connection, now).within(lifetime, announced, unit);
        if self.closed {
            self.discard(kept, Reason::Shut, now);
            return None;
        }
        self.place(kept, now)
    }

    /// One could not be opened; who waits longest is told.
    pub(super) fn open_failed(&mut self, error: SinkError, now: Instant, unit: f64) -> Option<W> {
        self.opening = self.opening.saturating_sub(1);
        self.counts.failed_opens += 1;
        self.last_error = Some(error);
        self.warm.failed(now, unit);
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }

    /// Whoever was to carry out the plans is gone, with all that was being opened.
    pub(super) fn abandoned(&mut self) -> Vec<W> {
        self.kept = false;
        self.opening = 0;
        self.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }

    /// Retires what is dead or old and says what to do next.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        unit: f64,
        is_open: impl Fn(&C) -> bool,
    ) -> Plan<C> {
        self.sweep(now, is_open);
        let oldest = self.idle.iter().map(|kept| kept.opened).min();
        self.warm.settle(oldest, now, unit);
        let open = if self.closed { 0 } else { self.wanted(now) };
        self.opening += open;
        let lives = !self.waiters.is_empty() || self.total() > 0;
        let done = self.closing.is_empty() && !lives && (self.closed || !self.warm.is_wanted());
        self.kept &= !done;
        Plan {
            closing: std::mem::take(&mut self.closing),
            open,
            wake: self.wake(now),
            done,
        }
    }

    /// Retires what is dead, old, or idle for too long.
    pub(super) fn sweep(&mut self, now: Instant, is_open: impl Fn(&C) -> bool) {
        let mut above = self.total().saturating_sub(self.limits.min_connections);
        // Those idle longest first: they are the ones above the minimum.
        for kept in std::mem::take(&mut self.idle) {
            match kept.fault(self.idle_limit(above > 0), now, &is_open) {
                Some(reason) => {
                    self.discard(kept, reason, now);
                    above = above.saturating_sub(1);
                }
                None => self.idle.push_back(kept),
            }
        }
    }

    /// The node is in trouble: what lies idle is not trusted, and nothing is kept until the next use.
    pub(super) fn rest(&mut self, now: Instant) {
        for kept in std::mem::take(&mut self.idle) {
            self.discard(kept, Reason::Lost, now);
        }
        self.warm = Warmth::default();
    }

    /// Closes for good. Returns those who waited; what is in use is closed when it comes back.
    pub(super) fn shut(&mut self, now: Instant) -> Vec<W> {
        self.closed = true;
        self.warm = Warmth::default();
        for kept in std::mem::take(&mut self.idle) {
            self.discard(kept, Reason::Shut, now);
        }
        self.waiters.drain(..).map(|(_, waiter)| waiter).collect()
    }

    /// Closes what is still in use.
    pub(super) fn cut(&mut self, now: Instant) {
        for kept in std::mem::take(&mut self.in_use).into_values() {
            self.discard(kept, Reason::Cut, now);
        }
    }

    /// Takes out what is to be closed.
    pub(super) fn closing(&mut self) -> Vec<C> {
        std::mem::take(&mut self.closing)
    }

    /// Returns any connection that is in use and good.
    pub(super) fn any_in_use(&self, is_open: impl Fn(&C) -> bool) -> Option<C> {
        let mut in_use = self.in_use.values().map(|kept| &kept.connection);
        in_use.find(|connection| is_open(connection)).cloned()
    }

    /// Returns how many use a connection or wait for one.
    pub(super) fn load(&self) -> usize {
        self.in_use.len() + self.waiters.len()
    }

    /// Returns how many are really open, as far as is known.
    pub(super) fn alive(&self, is_open: impl Fn(&C) -> bool) -> usize {
        let all = self.idle.iter().chain(self.in_use.values());
        all.filter(|kept| is_open(&kept.connection)).count()
    }

    fn open_connections(&self) -> usize {
        self.idle.len() + self.in_use.len()
    }

    pub(super) fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            idle: self.idle.len(),
            in_use: self.in_use.len(),
            opening: self.opening,
            waiting: self.waiters.len(),
            ..self.counts
        }
    }

    fn total(&self) -> usize {
        self.open_connections() + self.opening
    }

    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn place(&mut self, mut kept: Kept<C>, now: Instant) -> Option<(W, Lease<C>)> {
        if let Some((_, waiter)) = self.waiters.pop_front() {
            return Some((waiter, self.lend(kept)));
        }
        kept.idle_since = now;
        self.idle.push_back(kept);
        None
    }

    fn lend(&mut self, mut kept: Kept<C>) -> Lease<C> {
        // A number for each use: one who gives back twice gives back nothing.
        kept.id = self.number();
        let lease = Lease {
            id: kept.id,
            connection: kept.connection.clone(),
        };
        self.in_use.insert(kept.id, kept);
        lease
    }

    /// Returns how long a connection may lie idle: one below the minimum as long as the peer allows.
    fn idle_limit(&self, above: bool) -> Option<Duration> {
        above.then_some(Duration::from_millis(self.limits.idle_timeout_ms))
    }

    fn discard(&mut self, kept: Kept<C>, reason: Reason, now: Instant) {
        let ClosedConnections {
            idle,
            lifetime,
            lost,
            shut,
            cut,
        } = &mut self.counts.closed;
        *match reason {
            Reason::Idle => idle,
            Reason::Lifetime => lifetime,
            Reason::Lost => lost,
            Reason::Shut => shut,
            Reason::Cut => cut,
        } += 1;
        // A peer that lets nothing lie idle is one that hangs up.
        let hung_up = reason == Reason::Idle && kept.is_let_idle_for_less_than(PROVED_AFTER);
        if reason == Reason::Lost || hung_up {
            self.warm.lost(kept.opened, now);
        }
        self.closing.push(kept.connection);
    }

    /// Returns how many more are to be opened: for those who wait, and to keep the minimum.
    fn wanted(&self, now: Instant) -> usize {
        let room = self.limits.max_connections.saturating_sub(self.total());
        let awaited = self.waiters.len().saturating_sub(self.opening).min(room);
        let total = self.total() + awaited;
        let missing = self.limits.min_connections.saturating_sub(total);
        let kept = if !self.warm.may_open(now) {
            0
        } else if self.warm.is_in_doubt() || self.open_connections() == 0 {
            // One shows whether it is worth while.
            missing.min(usize::from(self.opening + awaited == 0))
        } else {
            missing
        };
        awaited + kept
    }

    fn wake(&self, now: Instant) -> Option<Instant> {
        let limit = self.idle_limit(self.total() > self.limits.min_connections);
        let ends = self.idle.iter().map(|kept| kept.idle_until(limit)).min();
        let look = (!self.idle.is_empty()).then(|| after(now, LOOK_EVERY));
        let lacks = self.total() < self.limits.min_connections && self.opening == 0;
        let warm = self.warm.next_attempt().filter(|_| lacks);
        [ends, look, warm].into_iter().flatten().min()
    }
}

/// How often idle connections are looked at for those that the peer has closed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
