//! What may be done again, and when.
//!
//! A request that was certainly never written may be repeated by anybody. One that may have been processed may be
//! repeated only if that does no harm, and this only the caller knows.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::budget::Window;
use super::clock;
use super::config::RetryConfig;
use crate::backoff::LazyConfig;
use crate::error::{Phase, SinkError};
use crate::randomness::random;

/// Returns whether repeating what failed like this can help and cannot do it twice.
///
/// It can when nobody answered, or the peer had too much to do, or the connection broke or the time ran out before the
/// request was written: its message is in the error, or the phase is one before writing. It cannot when the peer does
/// not let us in, speaks another version, shows the wrong certificate or calls the request bad. `docs/connections.md`
/// has the whole table.
///
/// ```
/// use wakewire::connection::{is_retryable, is_retryable_if_idempotent};
/// use wakewire::{Failure, Message, SinkError};
///
/// let lost = SinkError::ConnectionLost(Failure::new("db"));
/// assert!(!is_retryable(&lost)); // it may have been processed
/// assert!(is_retryable_if_idempotent(&lost));
/// assert!(is_retryable(&lost.returning(Message::new("q")))); // it was never written
/// assert!(!is_retryable(&SinkError::Unauthorized(Failure::new("db"))));
/// ```
pub fn is_retryable(error: &SinkError) -> bool {
    is_retryable_if_idempotent(error) && was_never_written(error)
}

/// Returns the same for a request that does no harm when it is processed twice: it may be repeated as well when the
/// connection broke, or the time ran out, after it was written.
pub fn is_retryable_if_idempotent(error: &SinkError) -> bool {
    match error {
        SinkError::ConnectionFailed(_)
        | SinkError::ConnectionLost(_)
        | SinkError::Timeout(_)
        | SinkError::BufferFull(_)
        | SinkError::Overloaded(_) => !is_bad_certificate(error),
        SinkError::Io(_) => io_kind(error).is_some_and(is_passing),
        _ => false,
    }
}

/// Whether the peer cannot have seen the request.
fn was_never_written(error: &SinkError) -> bool {
    let failure = error.failure();
    let early = matches!(
        failure.failed_phase(),
        Some(Phase::Resolve | Phase::Accept | Phase::Dial | Phase::Tls | Phase::Handshake)
    );
    let refused = match error {
        SinkError::ConnectionFailed(_) | SinkError::BufferFull(_) | SinkError::Overloaded(_) => {
            true
        }
        SinkError::Io(_) => io_kind(error).is_some_and(is_refusal),
        _ => false,
    };
    failure.message().is_some() || early || refused
}

/// What TLS says about the other's certificate or our own reaches us as invalid data. It stays so.
fn is_bad_certificate(error: &SinkError) -> bool {
    error.failure().failed_phase() == Some(Phase::Tls)
        && io_kind(error) == Some(io::ErrorKind::InvalidData)
}

fn io_kind(error: &SinkError) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// Nobody was there.
const fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        // A Unix socket that does not exist yet is `NotFound`.
        Kind::ConnectionRefused
            | Kind::NotFound
            | Kind::AddrNotAvailable
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

/// It may go better next time.
const fn is_passing(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    is_refusal(kind)
        || matches!(
            kind,
            Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::BrokenPipe
                | Kind::NotConnected
                | Kind::UnexpectedEof
                | Kind::TimedOut
                | Kind::NetworkDown
        )
}

impl RetryConfig {
    /// Returns the longest wait before this retry, counted from 1: `initial_backoff_ms`, growing by the multiplier up
    /// to `max_backoff_ms`.
    pub fn base_delay(&self, retry: u32) -> Duration {
        let growth = LazyConfig {
            retry_delay: Duration::from_millis(self.initial_backoff_ms),
            max_retry_delay: Duration::from_millis(self.max_backoff_ms),
            backoff_multiplier: self.backoff_multiplier,
            ..LazyConfig::default()
        };
        growth.base_delay(retry)
    }

    /// Returns the wait before this retry: a part of the longest. `unit` is a uniform random number in [0, 1).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wakewire::connection::RetryConfig;
    ///
    /// let config = RetryConfig::default();
    /// assert_eq!(config.delay(2, 0.5), Duration::from_millis(100));
    /// assert_eq!(config.delay(60, 0.5), Duration::from_millis(2500));
    /// ```
    pub fn delay(&self, retry: u32, unit: f64) -> Duration {
        let longest = self.base_delay(retry);
        let part = longest.as_secs_f64() * unit.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(part).map_or(longest, |wait| wait.min(longest))
    }
}

/// How many retries all calls that share it may make: a fifth of the calls and ten a second, over ten seconds.
///
/// Clones share one budget. Without it a cluster in trouble is asked four times as much as one in health, and stays in
/// trouble. The numbers are Finagle's and tower's.
///
/// ```
/// use wakewire::connection::{Retrier, RetryBudget, RetryConfig};
///
/// let budget = RetryBudget::new();
/// assert_eq!(budget.left(), 100); // ten a second, over ten seconds
/// // Reads and writes of one cluster: together they ask it no more often than this.
/// let reads = Retrier::new(RetryConfig::default()).with_budget(budget.clone()).idempotent();
/// let writes = Retrier::new(RetryConfig::default()).with_budget(budget);
/// # drop((reads, writes));
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Mutex<Window>>);

impl RetryBudget {
    /// Makes a full budget.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Window::new(clock::now()))))
    }

    /// Returns how many retries may be made now.
    pub fn left(&self) -> u64 {
        self.0.lock().left(clock::now())
    }

    fn called(&self) {
        self.0.lock().called(clock::now());
    }

    fn take(&self) -> bool {
        self.0.lock().take(clock::now())
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("left", &self.left())
            .finish()
    }
}

/// Repeats what failed, within a budget.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use wakewire::connection::{Retrier, RetryConfig};
/// use wakewire::{Failure, SinkError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let calls = AtomicU32::new(0);
/// let third_time = || async {
///     match calls.fetch_add(1, Ordering::Relaxed) {
///         2 => Ok("answer"),
///         _ => Err(SinkError::ConnectionFailed(Failure::new("db"))),
///     }
/// };
/// let retrier = Retrier::new(RetryConfig::default());
/// assert_eq!(retrier.execute(third_time).await.unwrap(), "answer");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Retrier {
    config: RetryConfig,
    budget: RetryBudget,
    idempotent: bool,
}

impl Retrier {
    /// Makes one with a budget of its own; clones share it.
    pub fn new(config: RetryConfig) -> Self {
        Self {
            config,
            budget: RetryBudget::new(),
            idempotent: false,
        }
    }

    /// Lets it share this budget with others.
    #[must_use]
    pub fn with_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Declares that what it executes does no harm when it is processed twice.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Returns the budget.
    pub const fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Calls `operation` until it succeeds, fails in a way that repeating cannot help, was repeated `max_retries`
    /// times, or the budget is used up.
    ///
    /// The error alone decides: an operation that makes several requests is repeated as a whole. There is no limit over
    /// all attempts; a timeout around it is one.
    ///
    /// # Errors
    ///
    /// The last error of `operation`.
    ///
    /// # Cancel safety
    ///
    /// Dropped in a wait, nothing is under way; dropped later, what `operation` promises holds.
    pub async fn execute<T, F, Fut>(&self, mut operation: F) -> Result<T, SinkError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, SinkError>>,
    {
        self.budget.called();
        let mut retries = 0_u32;
        loop {
            let error = match operation().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let retryable = if self.idempotent {
                is_retryable_if_idempotent(&error)
            } else {
                is_retryable(&error)
            };
            // Outside of a runtime nobody could wait.
            if !retryable || retries >= self.config.max_retries || Handle::try_current().is_err() {
                return Err(error.after(retries + 1));
            }
            if !self.budget.take() {
                tracing::debug!(%error, retries, "not repeated: the retry budget is used up");
                return Err(error.after(retries + 1));
            }
            retries += 1;
            let pause = self.config.delay(retries, random());
            tracing::debug!(%error, retries, ?pause, "repeated after a pause");
            tokio::time::sleep(pause).await;
        }
    }
}

/// Calls `operation` until it succeeds or repeating cannot help, at most `max_retries` times more: a [`Retrier`] with
/// a budget of its own, for something that must not be processed twice.
///
/// Each call has a fresh budget, so many calls bound each other in nothing: for those keep a [`Retrier`]. It is not the
/// `execute` of a manager: `operation` chooses its node itself.
///
/// ```
/// use wakewire::connection::{Connection, ConnectionSettings, RetryConfig, execute_with_retry};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let eager = RetryConfig { initial_backoff_ms: 1, max_backoff_ms: 5, ..RetryConfig::default() };
/// let opened = execute_with_retry(&eager, || {
///     Connection::open("unix:///nobody/listens.sock", ConnectionSettings::default())
/// });
/// let error = opened.await.unwrap_err(); // of the fourth attempt
/// assert!(matches!(error, wakewire::SinkError::ConnectionFailed(_)));
/// # });
/// ```
///
/// # Errors
///
/// The last error of `operation`.
///
/// # Cancel safety
///
/// Dropped in a wait, nothing is under way; dropped later, what `operation` promises holds.
pub async fn execute_with_retry<T, F, Fut>(
    config: &RetryConfig,
    operation: F,
) -> Result<T, SinkError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SinkError>>,
{
    Retrier::new(config.clone()).execute(operation).await
}
