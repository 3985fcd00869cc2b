//! What is repeated, how often and when.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::connection::config::RetryConfig;
use crate::connection::retry::{
    Retrier, RetryBudget, execute_with_retry, is_retryable, is_retryable_if_idempotent,
};
use crate::error::{Failure, Phase, SinkError};
use crate::message::Message;

fn failure() -> Failure {
    Failure::new("db")
}

fn refused() -> SinkError {
    SinkError::ConnectionFailed(failure().phase(Phase::Dial))
}

fn io(kind: io::ErrorKind) -> SinkError {
    io::Error::from(kind).into()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_may_be_repeated() {
    let back = |error: SinkError| error.returning(Message::new("q"));
    let tls = |kind| {
        let failure = failure().phase(Phase::Tls).because(io::Error::from(kind));
        SinkError::ConnectionFailed(failure)
    };
    use io::ErrorKind as Kind;
    for (name, error, always, idempotent) in [
        ("refused", refused(), true, true),
        (
            "refused by the system",
            io(Kind::ConnectionRefused),
            true,
            true,
        ),
        ("no socket", io(Kind::NotFound), true, true),
        (
            "reset, perhaps written",
            io(Kind::ConnectionReset),
            false,
            true,
        ),
        (
            "reset, not written",
            back(io(Kind::ConnectionReset)),
            true,
            true,
        ),
        (
            "lost, perhaps written",
            SinkError::ConnectionLost(failure()),
            false,
            true,
        ),
        (
            "lost, not written",
            back(SinkError::ConnectionLost(failure())),
            true,
            true,
        ),
        (
            "time ran out, perhaps written",
            SinkError::Timeout(failure().phase(Phase::Read)),
            false,
            true,
        ),
        (
            "time ran out, not written",
            back(SinkError::Timeout(failure())),
            true,
            true,
        ),
        (
            "time ran out while dialing",
            SinkError::Timeout(failure().phase(Phase::Dial)),
            true,
            true,
        ),
        (
            "the pool is empty",
            SinkError::Timeout(failure().phase(Phase::Accept)),
            true,
            true,
        ),
        ("overloaded", SinkError::Overloaded(failure()), true, true),
        ("no room", SinkError::BufferFull(failure()), true, true),
        ("reset in TLS", tls(Kind::ConnectionReset), true, true),
        ("wrong name in TLS", tls(Kind::InvalidData), false, false),
        (
            "unauthorized",
            SinkError::Unauthorized(failure()),
            false,
            false,
        ),
        ("version", SinkError::Protocol(failure()), false, false),
        (
            "bad request",
            SinkError::RequestFailed(failure()),
            false,
            false,
        ),
        (
            "configuration",
            SinkError::InvalidConfig(failure()),
            false,
            false,
        ),
        (
            "too large",
            back(SinkError::MessageTooLarge(failure())),
            false,
            false,
        ),
        ("closed", back(SinkError::Closed(failure())), false, false),
        ("no runtime", SinkError::NoRuntime(failure()), false, false),
        ("no permission", io(Kind::PermissionDenied), false, false),
    ] {
        assert_eq!(is_retryable(&error), always, "{name}");
        assert_eq!(is_retryable_if_idempotent(&error), idempotent, "{name}");
    }
}

/// Calls an operation that always fails; returns the moments of its calls.
async fn calls(config: RetryConfig, error: fn() -> SinkError) -> Vec<Duration> {
    let start = Instant::now();
    let calls = Mutex::new(Vec::new());
    let result = execute_with_retry(&config, || async {
        let count = {
            let mut calls = calls.lock();
            calls.push(start.elapsed());
            u32::try_from(calls.len()).unwrap()
        };
        let failure = error().failure().clone().attempts(count);
        Err::<(), _>(match error() {
            SinkError::Unauthorized(_) => SinkError::Unauthorized(failure),
            _ => SinkError::ConnectionFailed(failure),
        })
    })
    .await;
    let calls = calls.into_inner();
    let last = result.unwrap_err().failure().attempts_made() as usize;
    assert_eq!(last, calls.len(), "the last error");
    calls
}

#[tokio::test(start_paused = true)]
async fn the_documented_delays() {
    let config = RetryConfig {
        max_retries: 8,
        ..RetryConfig::default()
    };
    let at = calls(config.clone(), refused).await;
    let waits: Vec<_> = at
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    let longest = [100, 200, 400, 800, 1600, 3200, 5000, 5000];
    for ((retry, wait), longest) in (1..).zip(&waits).zip(longest) {
        assert_eq!(config.base_delay(retry).as_millis(), longest);
        assert!(*wait < longest + 3, "{waits:?}");
    }
    assert_eq!(waits.len(), 8);
    let mut ends = Vec::new();
    for _ in 0..50 {
        ends.extend(calls(config.clone(), refused).await.pop());
    }
    let mean = ends.iter().sum::<Duration>() / 50;
    // Half of 16,300 ms; the deviation of the mean of 50 is 350 ms.
    assert!((6500..9800).contains(&mean.as_millis()), "{mean:?}");
    let spread = ends
        .iter()
        .max()
        .unwrap()
        .abs_diff(*ends.iter().min().unwrap());
    assert!(spread.as_secs() >= 2, "nobody returns together: {ends:?}");
    assert_eq!(
        calls(
            RetryConfig::default(),
            || SinkError::Unauthorized(failure())
        )
        .await
        .len(),
        1
    );
    assert_eq!(
        calls(
            RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            },
            refused
        )
        .await
        .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_first_success_and_the_caller_declares_what_is_idempotent() {
    let third = |count: &'static AtomicU32| async move {
        match count.fetch_add(1, SeqCst) {
            2 => Ok(7),
            _ => Err(SinkError::ConnectionLost(failure())),
        }
    };
    static CAREFUL: AtomicU32 = AtomicU32::new(0);
    static FREE: AtomicU32 = AtomicU32::new(0);
    let retrier = Retrier::new(RetryConfig::default());
    assert!(retrier.execute(|| third(&CAREFUL)).await.is_err());
    assert_eq!(CAREFUL.load(SeqCst), 1, "perhaps processed: not again");
    assert_eq!(
        retrier.idempotent().execute(|| third(&FREE)).await.unwrap(),
        7
    );
    assert_eq!(FREE.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn one_budget_bounds_all_retries() {
    let budget = RetryBudget::new();
    let config = RetryConfig {
        max_retries: 1000,
        initial_backoff_ms: 1,
        max_backoff_ms: 1,
        ..RetryConfig::default()
    };
    let count = AtomicU32::new(0);
    let fails = || async {
        count.fetch_add(1, SeqCst);
        Err::<(), _>(refused())
    };
    let one = Retrier::new(config.clone()).with_budget(budget.clone());
    one.execute(fails).await.unwrap_err();
    assert_eq!(count.load(SeqCst), 101, "the reserve of ten seconds");
    let other = Retrier::new(config).with_budget(budget.clone());
    other.execute(fails).await.unwrap_err();
    assert_eq!(
        count.load(SeqCst),
        102,
        "nothing left: the error comes at once"
    );
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(budget.left(), 100);
}

#[test]
fn outside_of_a_runtime_nothing_is_repeated_and_nothing_panics() {
    let fails = || async { Err::<(), _>(refused()) };
    let retrier = Retrier::new(RetryConfig::default());
    let mut future = Box::pin(retrier.execute(fails));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let done = Future::poll(future.as_mut(), &mut cx);
    assert!(done.is_ready());
}

fn any_config() -> impl Strategy<Value = RetryConfig> {
    (0_u32..8, 1_u64..2000, 0_u64..20_000, 1.0..10.0).prop_map(
        |(max_retries, initial_backoff_ms, more, backoff_multiplier)| RetryConfig {
            max_retries,
            initial_backoff_ms,
            max_backoff_ms: initial_backoff_ms + more,
            backoff_multiplier,
        },
    )
}

#[tokio::test(start_paused = true)]
async fn the_last_error_says_how_often_it_was_tried() {
    for (max_retries, said) in [(0, "after 1 attempt"), (2, "after 3 attempts")] {
        let config = RetryConfig {
            max_retries,
            ..RetryConfig::default()
        };
        let failing = || async { Err::<(), _>(refused()) };
        let error = execute_with_retry(&config, failing).await.unwrap_err();
        assert_eq!(error.failure().attempts_made(), max_retries + 1);
        assert!(error.to_string().contains(said), "{error}");
    }
}

proptest! {
    /// M37 (2): delays grow by the multiplier up to the cap, and jitter takes a part of them.
    #[test]
    fn delays_grow_by_the_multiplier_up_to_the_cap(config in any_config(), unit in 0.0..1.0) {
        let cap = Duration::from_millis(config.max_backoff_ms);
        for retry in 1..20 {
            let base = config.base_delay(retry).as_secs_f64();
            let next = config.base_delay(retry + 1).as_secs_f64();
            let grown = (base * config.backoff_multiplier).min(cap.as_secs_f64());
            prop_assert!((next - grown).abs() < 1e-6, "{next} {grown}");
            let delay = config.delay(retry, unit);
            prop_assert!(delay <= cap);
            prop_assert!((delay.as_secs_f64() - base * unit).abs() < 1e-6);
            prop_assert!(config.delay(retry, f64::NAN) <= cap);
        }
        prop_assert_eq!(config.base_delay(1), Duration::from_millis(config.initial_backoff_ms));
    }

    /// M37 (27): at most `max_retries` retries, within delays that grow.
    #[test]
    fn at_most_so_many_retries_with_growing_delays(config in any_config()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let at = runtime.block_on(calls(config.clone(), refused));
        prop_assert_eq!(at.len(), config.max_retries as usize + 1);
        let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut longest = Duration::ZERO;
        for (retry, wait) in (1_u32..).zip(&waits) {
            let delay = config.base_delay(retry);
            prop_assert!(delay >= longest);
            longest = delay;
            // The timer counts in whole milliseconds.
            prop_assert!(*wait <= delay + Duration::from_millis(2), "{waits:?}");
        }
    }
}
