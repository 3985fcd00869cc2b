//! When the next attempt may start, as values. No I/O, no clock, no randomness of its own.

use std::time::{Duration, Instant};

use crate::backoff::LazyConfig;

/// What is known about the target: how often it failed in a row, and until when it is left alone.
///
/// ```text
///            failed                      connected
///  Ready ─────────────► Pausing(until) ────────────► Up(since, proved)
///    ▲  ───────────────────────────────────────────►   │       │
///    │        permanent: Parked(until)                 │       │ lost before it proved itself:
///    └──────── lost after it proved itself ────────────┘       └──► Pausing, one failure more
/// ```
///
/// No state is final: whatever happened, there is a moment from which on the next attempt may start.
/// A connection that merely came about is no success. A peer that accepts and hangs up at once would
/// else be dialled in a hot loop; so failures are forgotten only when the connection proved itself.
#[derive(Debug)]
pub(crate) struct Machine {
    failures: u32,
    growth_limit: u32,
    state: State,
}

/// How the first attempt after a healthy connection was lost is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redial {
    /// At once: a caller waits, and the callers of many processes do not all wait at the same moment.
    AtOnce,
    /// After a random part of `retry_delay`: links redial by themselves, and all links to a peer that was
    /// restarted notice its end in the same instant.
    Spread,
}

impl Machine {
    /// Makes one that knows of no failure. Failures beyond `growth_limit` lengthen the pause no further.
    pub(crate) const fn new(growth_limit: u32) -> Self {
        Self {
            failures: 0,
            growth_limit,
            state: State::Ready,
        }
    }

    /// Returns how many attempts in a row led to nothing.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the moment before which no attempt may start; none when it may start at once.
    pub(crate) const fn pause_until(&self) -> Option<Instant> {
        match self.state {
            State::Pausing { until } | State::Parked { until, .. } => Some(until),
            State::Ready | State::Up { .. } => None,
        }
    }

    /// Returns how long the next attempt still has to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.pause_until()
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Returns whether the last failure was permanent and its long pause is not over.
    pub(crate) fn is_parked(&self, now: Instant) -> bool {
        matches!(self.state, State::Parked { until, .. } if now < until)
    }

    /// An attempt failed, in time or by its timeout.
    pub(crate) fn failed(&mut self, config: &LazyConfig, permanent: bool, now: Instant, unit: f64) {
        self.failures = self.failures.saturating_add(1);
        self.state = if permanent {
            State::Parked {
                since: now,
                until: after(now, park(unit)),
            }
        } else {
            State::Pausing {
                until: after(now, self.delay(config, unit)),
            }
        };
    }

    /// An attempt led to a connection. Nothing is forgotten yet.
    pub(crate) const fn connected(&mut self, now: Instant) {
        self.state = State::Up {
            since: now,
            proved: false,
        };
    }

    /// The peer acknowledged something over the present connection: failures are forgotten.
    pub(crate) const fn proved(&mut self) {
        if let State::Up { proved, .. } = &mut self.state {
            *proved = true;
            self.failures = 0;
        }
    }

    /// The connection broke. News of a connection that is already known to be gone changes nothing.
    pub(crate) fn lost(&mut self, config: &LazyConfig, redial: Redial, now: Instant, unit: f64) {
        let State::Up { since, proved } = self.state else {
            return;
        };
        if !is_healthy(since, proved, now) {
            self.failures = self.failures.saturating_add(1);
            self.state = State::Pausing {
                until: after(now, self.delay(config, unit)),
            };
            return;
        }
        self.failures = 0;
        self.state = match redial {
            Redial::AtOnce => State::Ready,
            Redial::Spread => State::Pausing {
                until: after(
                    now,
                    part(config.retry_delay, unit).min(config.max_retry_delay),
                ),
            },
        };
    }

    /// The connection was closed on purpose: no failure, but no proof either.
    pub(crate) fn released(&mut self, now: Instant) {
        if let State::Up { since, proved } = self.state {
            if is_healthy(since, proved, now) {
                self.failures = 0;
            }
            self.state = State::Ready;
        }
    }

    /// Somebody who may know better asks to try in spite of a permanent error: what is left of the pause
    /// is the one that any failure brings, so that asking in a loop is no hot loop either.
    pub(crate) fn unpark(&mut self, config: &LazyConfig, unit: f64) {
        if let State::Parked { since, .. } = self.state {
            self.state = State::Pausing {
                until: after(since, self.delay(config, unit)),
            };
        }
    }

    fn delay(&self, config: &LazyConfig, unit: f64) -> Duration {
        config.delay(self.failures.min(self.growth_limit), unit)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ready,
    Pausing { until: Instant },
    Parked { since: Instant, until: Instant },
    Up { since: Instant, proved: bool },
}

fn is_healthy(since: Instant, proved: bool, now: Instant) -> bool {
    proved || now.saturating_duration_since(since) >= HEALTHY_AFTER
}

fn park(unit: f64) -> Duration {
    let factor = PARK_JITTER.mul_add(2.0 * sane(unit) - 1.0, 1.0);
    Duration::try_from_secs_f64(PARK.as_secs_f64() * factor).unwrap_or(PARK)
}

fn part(whole: Duration, unit: f64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * sane(unit)).unwrap_or(whole)
}

fn sane(unit: f64) -> f64 {
    if unit.is_finite() {
        unit.clamp(0.0, 1.0)
    } else {
        0.5
    }
}

/// Adds without the panic of `Instant + Duration`: a wait that no clock can express is a very long one.
fn after(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay)
        .or_else(|| now.checked_add(FOR_EVER))
        .unwrap_or(now)
}

/// How long a connection must live to count as good without an acknowledgement.
///
/// gRPC's and Finagle's clients both hold that a peer which accepts and hangs up is a failing peer. Five
/// seconds is longer than any greeting takes and as long as `connect_timeout`: who lived so long was not
/// turned away at the door.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// How long a target is left alone after an error that trying again cannot cure: long enough to cost
/// nothing, short enough that a corrected peer is found without a restart.
const PARK: Duration = Duration::from_secs(60);

/// Spreads the return of many clients that were turned away together.
const PARK_JITTER: f64 = 0.25;

/// A year: longer than any process waits, short enough for every clock.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steady() -> LazyConfig {
        LazyConfig {
            jitter: 0.0,
            ..LazyConfig::default()
        }
    }

    fn fail(machine: &mut Machine, config: &LazyConfig, now: Instant) -> Duration {
        machine.failed(config, false, now, 0.5);
        machine.wait(now)
    }

    #[test]
    fn the_first_attempt_waits_for_nothing() {
        let machine = Machine::new(u32::MAX);
        assert_eq!(machine.wait(Instant::now()), Duration::ZERO);
        assert_eq!(machine.pause_until(), None);
    }

    #[test]
    fn each_failure_lengthens_the_pause_up_to_the_cap() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        let waits: Vec<_> = (0..12)
            .map(|_| fail(&mut machine, &config, now).as_millis())
            .collect();
        assert_eq!(waits[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(waits[9..], [30_000, 30_000, 30_000]);
        assert_eq!(machine.failures(), 12);
    }

    #[test]
    fn failures_beyond_the_growth_limit_are_counted_but_lengthen_nothing() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(3);
        let waits: Vec<_> = (0..5)
            .map(|_| fail(&mut machine, &config, now).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 400, 400]);
        assert_eq!(machine.failures(), 5);
    }

    #[test]
    fn a_connection_alone_does_not_forget_failures() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        fail(&mut machine, &config, now);
        machine.connected(now);
        assert_eq!(machine.failures(), 1);
        machine.lost(&config, Redial::AtOnce, now, 0.5);
        assert_eq!(machine.failures(), 2);
        assert_eq!(machine.wait(now), Duration::from_millis(200));
    }

    #[test]
    fn an_acknowledgement_or_five_seconds_forget_them() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        fail(&mut machine, &config, now);
        machine.connected(now);
        machine.proved();
        assert_eq!(machine.failures(), 0);
        machine.lost(&config, Redial::AtOnce, now, 0.5);
        assert_eq!(machine.wait(now), Duration::ZERO);

        for (lived, failures) in [(4_999, 2), (5_000, 0)] {
            let mut machine = Machine::new(u32::MAX);
            fail(&mut machine, &config, now);
            machine.connected(now);
            let end = now + Duration::from_millis(lived);
            machine.lost(&config, Redial::AtOnce, end, 0.5);
            assert_eq!(machine.failures(), failures, "lived {lived} ms");
        }
    }

    #[test]
    fn a_link_spreads_its_first_redial_over_the_retry_delay() {
        let (config, now) = (steady(), Instant::now());
        for (unit, millis) in [(0.0, 0), (0.25, 25), (0.75, 75)] {
            let mut machine = Machine::new(u32::MAX);
            machine.connected(now);
            machine.proved();
            machine.lost(&config, Redial::Spread, now, unit);
            assert_eq!(machine.wait(now), Duration::from_millis(millis));
        }
    }

    #[test]
    fn news_of_a_loss_counts_once() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        machine.connected(now);
        machine.lost(&config, Redial::AtOnce, now, 0.5);
        machine.lost(&config, Redial::AtOnce, now, 0.5);
        machine.proved();
        assert_eq!(machine.failures(), 1);
    }

    #[test]
    fn a_permanent_error_parks_for_a_minute_but_not_for_ever() {
        let (config, now) = (steady(), Instant::now());
        for (unit, seconds) in [(0.0, 45), (0.5, 60), (1.0, 75)] {
            let mut machine = Machine::new(u32::MAX);
            machine.failed(&config, true, now, unit);
            assert_eq!(machine.wait(now), Duration::from_secs(seconds));
            assert!(machine.is_parked(now));
            assert!(!machine.is_parked(now + Duration::from_secs(seconds)));
            machine.unpark(&config, 0.5);
            assert!(!machine.is_parked(now));
            assert_eq!(machine.wait(now), Duration::from_millis(100));
        }
    }

    #[test]
    fn closing_on_purpose_is_neither_failure_nor_proof() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        fail(&mut machine, &config, now);
        machine.connected(now);
        machine.released(now);
        assert_eq!((machine.failures(), machine.wait(now)), (1, Duration::ZERO));
        machine.lost(&config, Redial::AtOnce, now, 0.5);
        assert_eq!(machine.failures(), 1, "it is gone already");
    }

    #[test]
    fn closed_on_purpose_after_five_seconds_it_was_a_good_connection() {
        let (config, now) = (steady(), Instant::now());
        let mut machine = Machine::new(u32::MAX);
        fail(&mut machine, &config, now);
        machine.connected(now);
        machine.released(now + HEALTHY_AFTER);
        assert_eq!(machine.failures(), 0);
    }

    #[test]
    fn a_pause_that_no_clock_can_express_is_a_year() {
        let now = Instant::now();
        let config = LazyConfig {
            retry_delay: Duration::MAX,
            max_retry_delay: Duration::MAX,
            ..steady()
        };
        let year = Duration::from_secs(31_536_000);
        assert_eq!(fail(&mut Machine::new(u32::MAX), &config, now), year);
    }

    /// Every value a literal can hold, the senseless ones included.
    fn any_config() -> impl Strategy<Value = LazyConfig> {
        let delay = prop_oneof![
            (0_u64..=u64::MAX).prop_map(Duration::from_nanos),
            Just(Duration::MAX),
            Just(Duration::ZERO),
        ];
        let number = || {
            prop_oneof![
                any::<f64>(),
                Just(f64::NAN),
                Just(f64::INFINITY),
                Just(f64::MAX),
                Just(-1.0),
            ]
        };
        (delay.clone(), delay, number(), number()).prop_map(|(retry, cap, multiplier, jitter)| {
            LazyConfig {
                retry_delay: retry,
                max_retry_delay: cap,
                backoff_multiplier: multiplier,
                jitter,
                ..LazyConfig::default()
            }
        })
    }

    proptest! {
        #[test]
        fn the_pause_grows_by_the_multiplier_within_jitter_and_cap(
            multiplier in 1.0_f64..4.0,
            jitter in 0.0_f64..=1.0,
            retry in 1_u64..1_000,
            cap in 1_u64..60_000,
            failures in 1_u32..40,
            unit in 0.0_f64..1.0,
        ) {
            let config = LazyConfig {
                retry_delay: Duration::from_millis(retry),
                max_retry_delay: Duration::from_millis(cap),
                backoff_multiplier: multiplier,
                jitter,
                ..LazyConfig::default()
            };
            let now = Instant::now();
            let mut machine = Machine::new(u32::MAX);
            for _ in 0..failures {
                machine.failed(&config, false, now, unit);
            }
            let (cap, retry) = (cap as f64 / 1e3, retry as f64 / 1e3);
            let base = (retry * multiplier.powi(failures as i32 - 1)).min(cap);
            let wait = machine.wait(now).as_secs_f64();
            prop_assert!(wait >= base * (1.0 - jitter) - 1e-6, "{wait} is too short for {base}");
            prop_assert!(wait <= (base * (1.0 + jitter)).min(cap) + 1e-6, "{wait} is too long");
        }

        #[test]
        fn no_setting_and_no_number_panics_or_exceeds_the_cap(
            config in any_config(),
            unit in any::<f64>(),
            failures in 1_u32..200,
        ) {
            let now = Instant::now();
            let mut machine = Machine::new(u32::MAX);
            for _ in 0..failures {
                machine.failed(&config, false, now, unit);
            }
            prop_assert!(machine.wait(now) <= config.max_retry_delay);
            machine.failed(&config, true, now, unit);
            machine.unpark(&config, unit);
            machine.connected(now);
            machine.lost(&config, Redial::Spread, now, unit);
            machine.connected(now);
            machine.proved();
            machine.lost(&config, Redial::Spread, now, unit);
            prop_assert!(machine.wait(now) <= config.max_retry_delay);
        }
    }
}
