//! The machine against an obvious model, in random schedules.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::machine::{Machine, Redial};
use crate::backoff::LazyConfig;

#[derive(Clone, Debug)]
enum Step {
    /// As soon as it may, an attempt starts, and fails so long after.
    Fails {
        permanent: bool,
        took: u64,
    },
    /// As soon as it may, an attempt starts, and leads to a connection.
    Connects,
    Proves,
    Breaks(Redial),
    Closes,
    Unparks,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::bool::weighted(0.2), 0_u64..6_000)
            .prop_map(|(permanent, took)| Step::Fails { permanent, took }),
        4 => Just(Step::Connects),
        2 => Just(Step::Proves),
        4 => prop_oneof![Just(Redial::AtOnce), Just(Redial::Spread)].prop_map(Step::Breaks),
        1 => Just(Step::Closes),
        1 => Just(Step::Unparks),
        3 => (0_u64..7_000).prop_map(Step::Wait),
    ]
}

/// A connection that is up.
struct Up {
    since: Instant,
    proved: bool,
}

/// What is obviously so.
struct Model {
    config: LazyConfig,
    machine: Machine,
    growth_limit: u32,
    now: Instant,
    /// Attempts and connections in a row that led to nothing.
    in_vain: u32,
    up: Option<Up>,
    /// Not before this, if the last thing was not good, and not after that.
    next: (Instant, Instant),
    /// When it was told that trying again is in vain.
    parked: Option<Instant>,
}

impl Model {
    fn new(config: LazyConfig, growth_limit: u32) -> Self {
        let now = Instant::now();
        Self {
            config,
            machine: Machine::new(growth_limit),
            growth_limit,
            now,
            in_vain: 0,
            up: None,
            next: (now, now),
            parked: None,
        }
    }

    /// Between what and what the pause lies that so many failures bring.
    fn pause(&self) -> (Duration, Duration) {
        let doublings = self.in_vain.min(self.growth_limit) - 1;
        let cap = self.config.max_retry_delay;
        let base = self
            .config
            .retry_delay
            .mul_f64(2_f64.powi(doublings as i32));
        let (base, jitter) = (base.min(cap), self.config.jitter);
        (
            base.mul_f64(1.0 - jitter),
            base.mul_f64(1.0 + jitter).min(cap),
        )
    }

    fn pauses_from(&mut self, from: Instant) {
        let (least, most) = self.pause();
        self.next = (from + least, from + most);
    }

    fn in_vain(&mut self) {
        self.in_vain += 1;
        self.parked = None;
        self.pauses_from(self.now);
    }

    /// A connection was good if its peer acknowledged something, or it lived for five seconds.
    fn was_good(&self, up: &Up) -> bool {
        up.proved || self.now - up.since >= Duration::from_secs(5)
    }

    fn attempts(&mut self) {
        self.now += self.machine.wait(self.now);
    }

    fn take(&mut self, step: &Step, unit: f64) {
        match *step {
            // One connection at a time.
            Step::Fails { .. } | Step::Connects if self.up.is_some() => {}
            Step::Fails { permanent, took } => {
                self.attempts();
                self.now += Duration::from_millis(took);
                self.machine.failed(&self.config, permanent, self.now, unit);
                self.in_vain();
                if permanent {
                    self.parked = Some(self.now);
                    let (least, most) = (Duration::from_secs(45), Duration::from_secs(75));
                    self.next = (self.now + least, self.now + most);
                }
            }
            Step::Connects => {
                self.attempts();
                self.machine.connected(self.now);
                self.up = Some(Up {
                    since: self.now,
                    proved: false,
                });
                self.parked = None;
                self.next = (self.now, self.now);
            }
            Step::Proves => {
                self.machine.proved();
                if let Some(up) = &mut self.up {
                    up.proved = true;
                    self.in_vain = 0;
                }
            }
            Step::Breaks(redial) => {
                self.machine.lost(&self.config, redial, self.now, unit);
                match self.up.take() {
                    Some(up) if self.was_good(&up) => {
                        self.in_vain = 0;
                        let most = match redial {
                            Redial::AtOnce => Duration::ZERO,
                            Redial::Spread => self.config.retry_delay,
                        };
                        self.next = (self.now, self.now + most);
                    }
                    Some(_) => self.in_vain(),
                    None => {}
                }
            }
            Step::Closes => {
                self.machine.released(self.now);
                if let Some(up) = self.up.take() {
                    if self.was_good(&up) {
                        self.in_vain = 0;
                    }
                    self.next = (self.now, self.now);
                }
            }
            Step::Unparks => {
                self.machine.unpark(&self.config, unit);
                if let Some(since) = self.parked.take() {
                    self.pauses_from(since);
                }
            }
            Step::Wait(millis) => self.now += Duration::from_millis(millis),
        }
    }

    fn check(&self) {
        assert_eq!(self.machine.failures(), self.in_vain);
        let (least, most) = self.next;
        let at = self.now + self.machine.wait(self.now);
        // Seconds in a number with a point are not exact.
        let inexact = Duration::from_micros(1);
        assert!(at + inexact >= least, "{:?} too early", least - at);
        assert!(
            at <= most.max(self.now) + inexact,
            "{:?} too late",
            at - most
        );
        if self.parked.is_none() || self.now >= most {
            assert!(!self.machine.is_parked(self.now));
        }
        if self.parked.is_some() && self.now < least {
            assert!(self.machine.is_parked(self.now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn keeps_its_promises(
        jitter in 0.0_f64..=1.0,
        growth_limit in prop_oneof![1_u32..6, Just(u32::MAX)],
        steps in vec((step(), 0.0_f64..1.0), 0..60),
    ) {
        let config = LazyConfig { jitter, ..LazyConfig::default() };
        prop_assert_eq!(config.backoff_multiplier, 2.0);
        let mut model = Model::new(config, growth_limit);
        for (step, unit) in &steps {
            model.take(step, *unit);
            model.check();
        }
    }
}
