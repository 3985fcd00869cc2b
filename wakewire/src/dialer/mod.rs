//! When to connect: one attempt at a time, with growing waits between.
//!
//! The rules are in [`machine`]; here are the clock, the timer and the dice. A dialer knows no sink, no
//! link and no message: it is told how to open something and tells when.

mod machine;
#[cfg(test)]
mod model;

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

pub(crate) use machine::Redial;

use crate::backoff::LazyConfig;
use crate::error::{Failure, Phase, SinkError};
use crate::randomness::random;
use machine::Machine;

/// Opens connections to one target, never two at once and never in a hot loop.
///
/// Whoever owns it calls [`attempt`](Self::attempt) as often as it wants a connection, tells it
/// when the connection [proved](Self::proved) itself, and when it was [lost](Self::lost).
#[derive(Debug)]
pub(crate) struct Dialer {
    config: LazyConfig,
    machine: Machine,
}

impl Dialer {
    /// Makes the dialer of somebody who goes on for ever: pauses grow to `max_retry_delay`.
    pub(crate) const fn new(config: LazyConfig) -> Self {
        Self {
            config,
            machine: Machine::new(u32::MAX),
        }
    }

    /// Makes the dialer of somebody who gives up after `max_retries` and is asked again by the next
    /// caller: pauses grow no further than within one series, so that the caller's wait has a bound, but
    /// never below the first pause, or a dead target would be dialled as often as somebody asks.
    pub(crate) const fn on_demand(config: LazyConfig) -> Self {
        let growth_limit = if config.max_retries == 0 {
            1
        } else {
            config.max_retries
        };
        Self {
            config,
            machine: Machine::new(growth_limit),
        }
    }

    /// Waits out the pause, makes one attempt within `connect_timeout`, and records how it went.
    ///
    /// # Errors
    ///
    /// Whatever `open` gives; `ConnectionFailed` in phase [`Phase::Dial`] when it took too long, which is a
    /// failed attempt like any other.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the pause, nothing has happened and the pause stays as it was. Dropped later, the attempt
    /// is dropped with it and counts neither way.
    pub(crate) async fn attempt<T, F, Fut>(&mut self, open: F) -> Result<T, SinkError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, SinkError>>,
    {
        let pause = self.next_attempt_in();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let limit = self.config.connect_timeout;
        let result = tokio::time::timeout(limit, open())
            .await
            .unwrap_or_else(|_| Err(too_slow(limit)));
        match &result {
            Ok(_) => self.machine.connected(now()),
            Err(error) => self.failed(error),
        }
        result
    }

    /// Records an attempt that did not come to its end, and why.
    pub(crate) fn failed(&mut self, error: &SinkError) {
        let permanent = error.is_permanent();
        self.machine
            .failed(&self.config, permanent, now(), random());
    }

    /// The peer acknowledged something over the present connection.
    pub(crate) const fn proved(&mut self) {
        self.machine.proved();
    }

    /// The present connection broke.
    pub(crate) fn lost(&mut self, redial: Redial) {
        self.machine.lost(&self.config, redial, now(), random());
    }

    /// The present connection was closed on purpose.
    pub(crate) fn released(&mut self) {
        self.machine.released(now());
    }

    /// Somebody asks to try in spite of a permanent error.
    pub(crate) fn unpark(&mut self) {
        self.machine.unpark(&self.config, random());
    }

    /// Returns how many attempts in a row led to nothing.
    pub(crate) const fn failures(&self) -> u32 {
        self.machine.failures()
    }

    /// Returns the moment before which no attempt starts; none when it may start at once.
    #[cfg(test)]
    pub(crate) const fn pause_until(&self) -> Option<Instant> {
        self.machine.pause_until()
    }

    /// Returns how long the next attempt will wait before it starts.
    pub(crate) fn next_attempt_in(&self) -> Duration {
        self.machine.wait(now())
    }

    /// Returns whether a permanent error keeps the next attempt away for long.
    pub(crate) fn is_parked(&self) -> bool {
        self.machine.is_parked(now())
    }
}

/// tokio's clock, so that paused time is obeyed.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn too_slow(limit: Duration) -> SinkError {
    let text = format!("no connection within {limit:?}");
    SinkError::ConnectionFailed(
        Failure::new("")
            .phase(Phase::Dial)
            .because(io::Error::new(io::ErrorKind::TimedOut, text))
            .hint("is the peer overloaded? `connect_timeout` bounds one attempt"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady() -> LazyConfig {
        LazyConfig {
            jitter: 0.0,
            ..LazyConfig::default()
        }
    }

    async fn hang() -> Result<(), SinkError> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_a_failed_attempt_and_lengthens_the_pause() {
        let mut dialer = Dialer::new(steady());
        for pause in [100, 200, 400] {
            let error = dialer.attempt(hang).await.unwrap_err();
            assert!(matches!(error, SinkError::ConnectionFailed(_)));
            assert_eq!(error.failure().failed_phase(), Some(Phase::Dial));
            assert!(error.to_string().contains("within 5s"), "{error}");
            assert_eq!(dialer.next_attempt_in(), Duration::from_millis(pause));
        }
        assert_eq!(dialer.failures(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_waits_out_the_pause_before_it_opens() {
        let mut dialer = Dialer::new(steady());
        let refused = || async { Err::<(), _>(io::Error::other("refused").into()) };
        let start = tokio::time::Instant::now();
        dialer.attempt(refused).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let opened = dialer
            .attempt(|| async { Ok(tokio::time::Instant::now()) })
            .await
            .unwrap();
        assert!(opened - start >= Duration::from_millis(100));
        assert!(opened - start < Duration::from_millis(110));
        assert_eq!(dialer.failures(), 1, "connected is not yet proved");
        dialer.proved();
        assert_eq!(dialer.failures(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_in_the_pause_it_keeps_the_pause() {
        let mut dialer = Dialer::new(steady());
        dialer.attempt(hang).await.unwrap_err();
        let until = dialer.pause_until();
        let early = tokio::time::timeout(Duration::from_millis(50), dialer.attempt(hang)).await;
        assert!(early.is_err());
        assert_eq!(dialer.pause_until(), until);
        assert_eq!(dialer.next_attempt_in(), Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn senseless_settings_do_not_panic() {
        let mut dialer = Dialer::on_demand(LazyConfig {
            max_retries: 0,
            connect_timeout: Duration::MAX,
            retry_delay: Duration::MAX,
            max_retry_delay: Duration::MAX,
            backoff_multiplier: f64::NAN,
            jitter: f64::NAN,
            ..LazyConfig::default()
        });
        let refused = || async { Err::<(), _>(io::Error::other("refused").into()) };
        dialer.attempt(refused).await.unwrap_err();
        let second = dialer.attempt(refused);
        assert!(
            tokio::time::timeout(Duration::from_secs(86_400), second)
                .await
                .is_err()
        );
        assert!(!dialer.is_parked());
    }

    #[tokio::test(start_paused = true)]
    async fn without_retries_there_is_still_a_pause() {
        let mut dialer = Dialer::on_demand(LazyConfig {
            max_retries: 0,
            ..steady()
        });
        dialer.attempt(hang).await.unwrap_err();
        assert_eq!(dialer.next_attempt_in(), Duration::from_millis(100));
    }

    async fn up() -> Result<(), SinkError> {
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_lost_at_once_is_a_failure() {
        let mut dialer = Dialer::new(steady());
        dialer.attempt(up).await.unwrap();
        dialer.lost(Redial::AtOnce);
        assert_eq!(dialer.failures(), 1);
        assert_eq!(dialer.next_attempt_in(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_closed_cannot_be_lost() {
        let mut dialer = Dialer::new(steady());
        dialer.attempt(up).await.unwrap();
        dialer.released();
        dialer.lost(Redial::AtOnce);
        assert_eq!(dialer.failures(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_permanent_error_nothing_is_tried_until_somebody_asks() {
        let mut dialer = Dialer::new(steady());
        dialer.failed(&SinkError::Closed(Failure::new("")));
        assert!(dialer.is_parked());
        assert!(dialer.next_attempt_in() >= Duration::from_secs(45));
        dialer.unpark();
        assert!(!dialer.is_parked());
        assert_eq!(dialer.next_attempt_in(), Duration::from_millis(100));
    }
}
