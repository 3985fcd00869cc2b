//! What a message is sent to: one trait for relay, direct and composite sinks, and for a user's own.

mod backed;
pub(crate) mod composite;
pub(crate) mod direct;
pub(crate) mod lazy;
pub(crate) mod pool;
pub(crate) mod relay;
pub(crate) mod together;

pub use self::pool::{PoolConfig, PoolStats};

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{SinkError, TrySendError};
use crate::message::Message;
use crate::outbox::Ledger;

/// Something that takes messages: the one seam between a program and its wires.
///
/// [`send`](Self::send) is `Ok` when the sink has *accepted* the message: from then on the sink owes it.
/// A sink without a buffer accepts by delivering. Only `send`, `is_connected` and `metadata` must be
/// written; the rest has defaults for sinks that keep nothing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use tokio::io::AsyncWriteExt;
/// use wakewire::{Message, MessageSink, Sending, SinkMetadata};
///
/// #[derive(Debug)]
/// pub struct Mine(tokio::sync::Mutex<tokio::io::DuplexStream>);
///
/// impl MessageSink for Mine {
///     fn send(&self, message: Message) -> Sending<'_> {
///         Sending::new(async move {
///             self.0.lock().await.write_all(&message.payload).await?;
///             Ok(())
///         })
///     }
///     fn is_connected(&self) -> bool {
///         true
///     }
///     fn metadata(&self) -> SinkMetadata {
///         SinkMetadata::new("mine", "duplex")
///     }
/// }
///
/// let (near, _far) = tokio::io::duplex(64);
/// let sink = Mine(near.into());
/// sink.send(Message::new("tick")).await?;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub trait MessageSink: Send + Sync + fmt::Debug {
    /// Takes a message over; see the sink for what `Ok` means. A refused message is in the error.
    ///
    /// # Cancel safety
    ///
    /// A [`Sending`] that is pending when dropped has not accepted its message.
    fn send(&self, message: Message) -> Sending<'_>;

    /// Returns whether a connection stands right now; never blocks. A sleeping sink is not connected,
    /// and nothing is wrong with it.
    fn is_connected(&self) -> bool;

    /// Returns a snapshot of name, kind, state and counters; never blocks on I/O.
    fn metadata(&self) -> SinkMetadata;

    /// Takes the message at once or gives it back.
    ///
    /// # Errors
    ///
    /// [`TrySendError::WouldWait`] when [`send`](Self::send) might take it after waiting, which is what the
    /// default says of every message; [`TrySendError::Refused`] otherwise.
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        Err(TrySendError::WouldWait(message))
    }

    /// Sends these messages in order; stops at the first that is refused. Those that were not accepted come
    /// back in the error: [`SinkError::into_messages`].
    fn send_batch(&self, messages: Vec<Message>) -> Sending<'_> {
        Sending::new(async move {
            let mut messages = messages.into_iter();
            while let Some(message) = messages.next() {
                if let Err(error) = self.send(message).await {
                    return Err(error.returning_rest(messages.collect()));
                }
            }
            Ok(())
        })
    }

    /// Opens the connection now rather than with the first message.
    fn connect(&self) -> Sending<'_> {
        Sending::ready(Ok(()))
    }

    /// Delivers what is owed, as long as the sink's drain timeout allows, and closes the connection; a
    /// later send wakes it again. `Err(Timeout)` when something is still owed.
    fn disconnect(&self) -> Sending<'_> {
        Sending::ready(Ok(()))
    }

    /// Waits until everything accepted before the call is delivered, at most this long, and reports.
    fn flush(&self, within: Duration) -> Flushing<'_> {
        let _ = within;
        Sending::ready(Ok(Report::default()))
    }

    /// Returns the state alone; cheaper than [`metadata`](Self::metadata), for composites that ask often.
    fn state(&self) -> ConnectionState {
        self.metadata().state
    }

    /// Closes the sink for good: what is not delivered within this time is given up, counted and reported, or
    /// with a spool stays there and is reported as waiting; every later send gets `Closed`. [`SinkFactory::close`](crate::SinkFactory::close) calls it.
    fn close(&self, within: Duration) -> Flushing<'_> {
        self.flush(within)
    }
}

impl<S: MessageSink + ?Sized> MessageSink for Arc<S> {
    fn send(&self, message: Message) -> Sending<'_> {
        (**self).send(message)
    }
    fn is_connected(&self) -> bool {
        (**self).is_connected()
    }
    fn metadata(&self) -> SinkMetadata {
        (**self).metadata()
    }
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        (**self).try_send(message)
    }
    fn send_batch(&self, messages: Vec<Message>) -> Sending<'_> {
        (**self).send_batch(messages)
    }
    fn connect(&self) -> Sending<'_> {
        (**self).connect()
    }
    fn disconnect(&self) -> Sending<'_> {
        (**self).disconnect()
    }
    fn flush(&self, within: Duration) -> Flushing<'_> {
        (**self).flush(within)
    }
    fn state(&self) -> ConnectionState {
        (**self).state()
    }
    fn close(&self, within: Duration) -> Flushing<'_> {
        (**self).close(within)
    }
}

/// The outcome of a send, now or later; ready without allocation when the message was accepted at once.
///
/// Dropped while pending, it has not accepted its message; never polled, it may have.
#[must_use = "a send does nothing further, and its refusal is not seen, unless awaited"]
pub struct Sending<'a, T = ()>(Progress<'a, T>);

/// The outcome of a flush or close: a [`Report`].
pub type Flushing<'a> = Sending<'a, Report>;

enum Progress<'a, T> {
    Ready(Option<Result<T, SinkError>>),
    Waiting(Pin<Box<dyn Future<Output = Result<T, SinkError>> + Send + 'a>>),
}

impl<'a, T> Sending<'a, T> {
    /// Makes one that is already decided; no allocation.
    pub const fn ready(result: Result<T, SinkError>) -> Self {
        Self(Progress::Ready(Some(result)))
    }

    /// Makes one from a future; one allocation.
    pub fn new(future: impl Future<Output = Result<T, SinkError>> + Send + 'a) -> Self {
        Self(Progress::Waiting(Box::pin(future)))
    }
}

impl<T: Unpin> Future for Sending<'_, T> {
    type Output = Result<T, SinkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                // Polled again after it was ready: like a fused future, never ready again.
                None => Poll::Pending,
            },
            Progress::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Progress::Ready(Some(Ok(_))) => "Sending(ready: accepted)",
            Progress::Ready(Some(Err(_))) => "Sending(ready: refused)",
            Progress::Ready(None) => "Sending(taken)",
            Progress::Waiting(_) => "Sending(waiting)",
        })
    }
}

/// What a sink is and how it fares, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SinkMetadata {
    /// The service name, or whatever the sink calls itself.
    pub name: String,
    /// `"relay"`, `"direct"` or `"composite"` for what a factory makes; anything for a user's sink.
    pub sink_type: Cow<'static, str>,
    /// The endpoint as configured; none for a composite.
    pub endpoint: Option<String>,
    /// The state of its connection.
    pub state: ConnectionState,
    /// Messages accepted.
    pub messages_sent: u64,
    /// Messages refused.
    pub messages_failed: u64,
    /// The last thing that went wrong, as text; stays after it went right again.
    pub last_error: Option<String>,
}

impl SinkMetadata {
    /// Makes the metadata of a sink that counts nothing and is always connected.
    pub fn new(name: impl Into<String>, sink_type: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            sink_type: sink_type.into(),
            endpoint: None,
            state: ConnectionState::Connected,
            messages_sent: 0,
            messages_failed: 0,
            last_error: None,
        }
    }
}

/// The state of a sink's connection. Only `Closed` is final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Asleep: nothing is owed, nothing is open.
    #[default]
    Disconnected,
    /// A connection is being opened.
    Connecting,
    /// A connection stands.
    Connected,
    /// The last attempt failed; another follows if something is owed.
    Failed,
    /// Closed for good.
    Closed,
}

/// What was delivered and what was not, over one sink or many.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Acknowledged since the sink was made.
    pub delivered: u64,
    /// Written at most once and not confirmed.
    pub in_doubt: u64,
    /// Given up.
    pub undelivered: u64,
    /// Still owed; of a closed sink what its spool keeps.
    pub waiting: u64,
    /// The same by sink, with the whole ledger.
    pub per_sink: Vec<SinkReport>,
}

/// The part of a [`Report`] that concerns one sink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SinkReport {
    /// The sink's name.
    pub name: String,
    /// Where its messages are.
    pub ledger: Ledger,
    /// Why something is not delivered, where that is known.
    pub last_error: Option<String>,
    /// The directory of its spool: what waits there is kept when the sink is closed, and sent by its next life.
    pub kept_in: Option<PathBuf>,
    /// Connections made since the sink was made: each wake that succeeds and each heal is one.
    pub connects: u64,
    /// Times that a message, or `connect()`, woke the sink from its sleep.
    pub wakes: u64,
}

impl SinkReport {
    /// Makes the report of one sink.
    pub fn new(name: impl Into<String>, ledger: Ledger, last_error: Option<String>) -> Self {
        Self {
            name: name.into(),
            ledger,
            last_error,
            kept_in: None,
            connects: 0,
            wakes: 0,
        }
    }
}

impl Report {
    /// Makes the report over these sinks.
    pub fn over(per_sink: impl IntoIterator<Item = SinkReport>) -> Self {
        let mut report = Self::default();
        for sink in per_sink {
            report.add(sink);
        }
        report
    }

    /// Adds one sink; a sink of the same name that is already there is not counted twice.
    pub fn add(&mut self, sink: SinkReport) {
        if self.per_sink.iter().any(|known| known.name == sink.name) {
            return;
        }
        self.delivered += sink.ledger.delivered;
        self.in_doubt += sink.ledger.in_doubt;
        self.undelivered += sink.ledger.undelivered;
        self.waiting += sink.ledger.waiting;
        self.per_sink.push(sink);
    }

    /// Returns whether everything that was accepted has been delivered.
    pub const fn is_complete(&self) -> bool {
        self.in_doubt == 0 && self.undelivered == 0 && self.waiting == 0
    }
}
