//! The stock against an obvious model, in random schedules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::kept::Lease;
use super::stock::Stock;
use crate::connection::config::PoolConfig;
use crate::error::{Failure, SinkError};

#[derive(Clone, Debug)]
enum Step {
    Get,
    /// The user of one that is in use returns it, good or broken.
    GiveBack(usize, bool),
    /// Somebody who waits goes away.
    Leave(usize),
    Plan,
    Opened(f64),
    Failed(f64),
    /// The peer closes one.
    Dies(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    prop_oneof![
        4 => Just(Step::Get),
        3 => (any(), prop::bool::weighted(0.8)).prop_map(|(which, good)| Step::GiveBack(which, good)),
        1 => any().prop_map(Step::Leave),
        3 => Just(Step::Plan),
        3 => (0.0..1.0).prop_map(Step::Opened),
        1 => (0.0..1.0).prop_map(Step::Failed),
        1 => any().prop_map(Step::Dies),
        2 => (0_u64..2000).prop_map(Step::Wait),
    ]
}

/// What is obviously so.
struct Model {
    limits: PoolConfig,
    stock: Stock<u32, u32>,
    now: Instant,
    next: u32,
    opening: usize,
    dead: BTreeSet<u32>,
    /// By connection: when it was opened.
    open: BTreeMap<u32, Instant>,
    /// The last at the back: since when each lies idle.
    idle: Vec<(u32, Instant)>,
    leases: Vec<Lease<u32>>,
    waiting: VecDeque<(u64, u32)>,
}

impl Model {
    fn new(min: usize, max: usize) -> Self {
        let limits = PoolConfig {
            min_connections: min,
            max_connections: max,
            idle_timeout_ms: 3000,
            max_lifetime_ms: 10_000,
            ..PoolConfig::default()
        };
        Self {
            stock: Stock::new(limits.clone()),
            limits,
            now: Instant::now(),
            next: 0,
            opening: 0,
            dead: BTreeSet::new(),
            open: BTreeMap::new(),
            idle: Vec::new(),
            leases: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        let dead = self.dead.clone();
        let is_open = |connection: &u32| !dead.contains(connection);
        match *step {
            Step::Get => {
                self.stock.asked(true);
                if let Some(lease) = self.stock.take(self.now, is_open) {
                    assert!(self.waiting.is_empty(), "past the queue");
                    self.granted(lease, true);
                } else {
                    self.next += 1;
                    let ticket = self.stock.wait(None, self.next);
                    self.waiting.push_back((ticket, self.next));
                }
            }
            Step::GiveBack(which, good) => {
                if self.leases.is_empty() {
                    return;
                }
                let lease = self.leases.swap_remove(which % self.leases.len());
                if !good {
                    self.dead.insert(lease.connection);
                }
                let good = !self.dead.contains(&lease.connection);
                let granted = self.stock.give_back(lease.id, good, self.now);
                assert_eq!(
                    self.stock.give_back(lease.id, good, self.now),
                    None,
                    "twice"
                );
                self.placed(lease.connection, granted);
            }
            Step::Leave(which) => {
                if self.waiting.is_empty() {
                    return;
                }
                let (ticket, waiter) = self.waiting.remove(which % self.waiting.len()).unwrap();
                assert_eq!(self.stock.leave(ticket), Some(waiter));
                assert_eq!(self.stock.leave(ticket), None);
            }
            Step::Plan => self.carry_out(),
            Step::Opened(unit) if self.opening > 0 => {
                self.opening -= 1;
                self.next += 1;
                self.open.insert(self.next, self.now);
                let granted =
                    self.stock
                        .opened(self.next, Some(Duration::from_secs(2)), self.now, unit);
                self.placed(self.next, granted);
            }
            Step::Failed(unit) if self.opening > 0 => {
                self.opening -= 1;
                let error = SinkError::ConnectionFailed(Failure::new(""));
                let told = self.stock.open_failed(error, self.now, unit);
                assert_eq!(told, self.waiting.pop_front().map(|(_, waiter)| waiter));
            }
            Step::Opened(_) | Step::Failed(_) => {}
            Step::Dies(which) => {
                let open: Vec<_> = self.open.keys().copied().collect();
                if !open.is_empty() {
                    self.dead.insert(open[which % open.len()]);
                }
            }
            Step::Wait(millis) => self.now += Duration::from_millis(millis),
        }
    }

    fn carry_out(&mut self) {
        let plan = self
            .stock
            .plan(self.now, 0.5, |connection| !self.dead.contains(connection));
        self.opening += plan.open;
        for connection in plan.closing {
            assert!(self.open.remove(&connection).is_some(), "closed twice");
            assert!(
                self.leases
                    .iter()
                    .all(|lease| lease.connection != connection)
            );
            self.idle.retain(|(idle, _)| *idle != connection);
        }
        let full = self.open.len() + self.opening == self.limits.max_connections;
        assert!(full || self.opening >= self.waiting.len(), "nobody comes");
    }

    fn placed(&mut self, connection: u32, granted: Option<(u32, Lease<u32>)>) {
        match granted {
            Some((waiter, lease)) => {
                assert_eq!(lease.connection, connection);
                let first = self.waiting.pop_front().map(|(_, waiter)| waiter);
                assert_eq!(Some(waiter), first, "not in the order of coming");
                self.granted(lease, false);
            }
            // Idle or put away; the next plan says which.
            None => self.idle.push((connection, self.now)),
        }
    }

    fn granted(&mut self, lease: Lease<u32>, was_idle: bool) {
        let connection = lease.connection;
        assert!(
            self.leases
                .iter()
                .all(|other| other.connection != connection),
            "to two"
        );
        if was_idle {
            assert!(!self.dead.contains(&connection), "a dead one");
            let (_, since) = *self
                .idle
                .iter()
                .find(|(idle, _)| *idle == connection)
                .unwrap();
            let allowed = Duration::from_secs(2).mul_f64(0.8);
            assert!(self.now < since + allowed, "the peer is about to close it");
            let younger = self
                .idle
                .iter()
                .rev()
                .take_while(|(idle, _)| *idle != connection);
            let good = |since: Instant| self.now < since + allowed;
            for (other, since) in younger {
                let old = self.now >= self.open[other] + Duration::from_millis(7500);
                assert!(
                    self.dead.contains(other) || old || !good(*since),
                    "not the last used"
                );
            }
            let opened = self.open[&connection];
            assert!(self.now < opened + Duration::from_secs(10), "too old");
        }
        self.idle.retain(|(idle, _)| *idle != connection);
        self.leases.push(lease);
    }

    fn check(&self) {
        let statistics = self.stock.statistics();
        let open = statistics.idle + statistics.in_use;
        assert!(open + statistics.opening <= self.limits.max_connections);
        assert_eq!(statistics.in_use, self.leases.len());
        assert_eq!(statistics.opening, self.opening);
        assert_eq!(statistics.waiting, self.waiting.len());
        assert!(statistics.idle == 0 || statistics.waiting == 0);
        assert_eq!(statistics.opened, statistics.closed.total() + open as u64);
    }

    /// Everybody goes, and then as many connections as are allowed can be had at once, and no more.
    fn all_permits_are_back(&mut self) {
        while !self.waiting.is_empty() {
            self.take(&Step::Leave(0));
        }
        while !self.leases.is_empty() {
            self.take(&Step::GiveBack(0, true));
        }
        for _ in 0..self.limits.max_connections + 1 {
            self.take(&Step::Get);
        }
        self.take(&Step::Plan);
        while self.opening > 0 {
            self.take(&Step::Opened(0.5));
            self.take(&Step::Plan);
        }
        self.check();
        assert_eq!(self.leases.len(), self.limits.max_connections);
        assert_eq!(self.waiting.len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn keeps_its_promises(
        min in 0_usize..4,
        above in 0_usize..4,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut model = Model::new(min, (min + above).max(1));
        for step in &steps {
            model.take(step);
            model.check();
        }
        model.all_permits_are_back();
    }
}

/// Returns how many are to be opened now, and when to ask again.
fn planned(stock: &mut Stock<u32, u32>, now: Instant) -> (usize, Option<Duration>) {
    let plan = stock.plan(now, 0.5, |_| true);
    (plan.open, plan.wake.map(|at| at - now))
}

fn keeping(min_connections: usize) -> Stock<u32, u32> {
    let mut stock = Stock::new(PoolConfig {
        min_connections,
        ..PoolConfig::default()
    });
    stock.asked(true);
    stock
}

#[test]
fn of_those_kept_one_shows_whether_it_is_worth_while_and_again_after_a_failure() {
    let mut stock = keeping(4);
    let start = Instant::now();
    assert_eq!(planned(&mut stock, start).0, 1, "none is open");
    assert_eq!(planned(&mut stock, start).0, 0, "it is on its way");
    assert_eq!(stock.opened(1, None, start, 0.5), None);
    assert_eq!(planned(&mut stock, start).0, 3);
    assert_eq!(stock.opened(2, None, start, 0.5), None);
    assert!(stock.last_error().is_none());
    for _ in 0..2 {
        let error = SinkError::ConnectionFailed(Failure::new(""));
        assert_eq!(stock.open_failed(error, start, 0.5), None);
    }
    assert!(stock.last_error().is_some());
    let (open, pause) = planned(&mut stock, start);
    assert_eq!(open, 0, "a pause");
    let later = start + pause.unwrap();
    assert_eq!(planned(&mut stock, later).0, 1, "of two that are missing");
    assert_eq!(planned(&mut stock, later).0, 0);
}

#[test]
fn one_that_has_lasted_shows_it_too() {
    let mut stock = keeping(4);
    let start = Instant::now();
    assert_eq!(planned(&mut stock, start).0, 1);
    assert_eq!(stock.opened(1, None, start, 0.5), None);
    assert_eq!(planned(&mut stock, start).0, 3);
    for _ in 0..3 {
        let error = SinkError::ConnectionFailed(Failure::new(""));
        assert_eq!(stock.open_failed(error, start, 0.5), None);
    }
    let later = start + Duration::from_secs(5);
    assert_eq!(planned(&mut stock, later).0, 3);
}

#[test]
fn what_is_lost_young_is_followed_by_a_pause_and_what_grew_old_is_not() {
    // What the peer allows a connection to lie idle matters to one that lies idle.
    let briefly = Some(Duration::from_secs(2));
    for (is_lost, announced) in [(true, None), (false, None), (false, briefly)] {
        let mut stock = keeping(1);
        let start = Instant::now();
        assert_eq!(planned(&mut stock, start).0, 1);
        stock.opened(1, announced, start, 0.5);
        let lease = stock.take(start, |_| true).unwrap();
        let now = if is_lost {
            start + Duration::from_secs(1)
        } else {
            start + Duration::from_secs(86_400)
        };
        assert_eq!(stock.give_back(lease.id, !is_lost, now), None);
        assert_eq!(planned(&mut stock, now).0, usize::from(!is_lost));
    }
}
