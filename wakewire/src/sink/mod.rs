//! What a message is sent to: one trait for relay, direct and composite sinks, and for a user's own.

mod backed;
pub(crate) mod composite;
pub(crate) mod direct;
mod handing;
pub(crate) mod lazy;
pub(crate) mod pool;
pub(crate) mod relay;
mod report;
mod sending;
pub(crate) mod together;

pub use self::pool::{PoolConfig, PoolStats};
pub use self::report::{Report, SinkReport};
pub use self::sending::{Flushing, Receipt, Sending};

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Failure, Phase, SinkError, TrySendError};
use crate::message::{Message, MessageRef};

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
    /// A sink with a buffer leaves the writing to a task of its own, which may have no turn before the sender's task waits
    /// for something. Who computes for long after a send, or blocks the thread, awaits
    /// [`yield_now`](tokio::task::yield_now) first, also in a runtime of many threads: tokio leaves a task that was just
    /// woken to the thread that woke it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory).unwrap();
    /// # let path = directory.join("yield.sock");
    /// # use wakewire::{Message, SinkFactory};
    /// # let text = format!("[services.desk]\ntype = 'direct'\nendpoint = 'unix://{}'", path.display());
    /// # let factory = SinkFactory::from_config_str(&text)?;
    /// # let mut source = factory.create_source("desk").await?;
    /// # fn decide_on_the_next() {}
    /// let sink = factory.create_sink("desk").await?;
    /// sink.send(Message::new("buy 100")).await?;
    /// tokio::task::yield_now().await; // the order is on its way, if a connection stood
    /// decide_on_the_next();
    /// # assert_eq!(source.recv().await?.expect("not closed").payload, "buy 100");
    /// # Ok::<(), wakewire::SinkError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A [`Sending`] that is pending when dropped has not accepted its message.
    fn send(&self, message: Message) -> Sending<'_>;

    /// Takes over a message that lies in the caller's memory; as [`send`](Self::send), without an allocation where the
    /// sink puts it at once where it is to wait. The default copies it into a [`Message`] first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory).unwrap();
    /// # let path = directory.join("ref.sock");
    /// use wakewire::{MessageRef, SinkFactory};
    ///
    /// let text = format!("[services.ticks]\ntype = 'direct'\nendpoint = 'unix://{}'", path.display());
    /// let factory = SinkFactory::from_config_str(&text)?;
    /// let mut source = factory.create_source("ticks").await?;
    /// let sink = factory.create_sink("ticks").await?;
    /// let mut buffer = [0; 8];
    /// for price in 3412_u64..3415 {
    ///     buffer.copy_from_slice(&price.to_le_bytes());
    ///     sink.send_ref(&MessageRef::new(&buffer)).await?;
    /// }
    /// let first = source.recv().await?.expect("not closed");
    /// assert_eq!(first.payload, 3412_u64.to_le_bytes()[..]);
    /// # Ok::<(), wakewire::SinkError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); a copy of the message is in the error.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    fn send_ref(&self, message: &MessageRef<'_>) -> Sending<'_> {
        self.send(message.to_message())
    }

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

    /// Takes a message over as [`send`](Self::send) does, and gives a [`Receipt`] for it, which ends when the message
    /// is acknowledged: processed by all who are waited for. Many may be open at a time, so that nobody has to
    /// wait for one message before the next is sent.
    ///
    /// A sink that hears no acknowledgements has no receipts, and says so rather than to give one that means nothing.
    /// Lazy sinks, pools and composites pass on what their targets give.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory).unwrap();
    /// # let path = directory.join("receipt.sock");
    /// use wakewire::{Message, MessageSink, SinkFactory};
    ///
    /// let text = format!("[services.orders]\ntype = 'direct'\nendpoint = 'unix://{}'", path.display());
    /// let factory = SinkFactory::from_config_str(&text)?;
    /// let mut source = factory.create_source("orders").await?;
    /// tokio::spawn(async move { while let Ok(Some(_)) = source.recv().await {} });
    ///
    /// let sink = factory.create_sink("orders").await?;
    /// let first = sink.send_with_receipt(Message::new("buy")).await?;
    /// let second = sink.send_with_receipt(Message::new("sell")).await?;
    /// first.await?; // whoever listens has processed "buy"
    /// second.await?;
    /// sink.send_confirmed(Message::new("hold")).await?; // both at once
    /// # Ok::<(), wakewire::SinkError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the message; and [`SinkError::Unsupported`], which is what the default says.
    /// For what a receipt says see [`Receipt`].
    ///
    /// # Cancel safety
    ///
    /// Pending when dropped, the message was not accepted. A receipt may be dropped at any time: the message is owed
    /// and delivered all the same, and only the news of it is lost.
    fn send_with_receipt(&self, message: Message) -> Sending<'_, Receipt> {
        let failure = Failure::new(self.metadata().name).phase(Phase::Accept);
        let hint = "use a relay or direct sink, or `send`";
        let cause = "this sink hears no acknowledgements";
        let error = SinkError::Unsupported(failure.because(cause).hint(hint));
        Sending::ready(Err(error.returning(message)))
    }

    /// Sends a message and waits until it is acknowledged: processed by all who are waited for. It sets no deadline;
    /// put a timeout around it where nobody may be listening.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the message, when it was not accepted. Without it when it was, as
    /// [`Receipt`] says.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the message may have been accepted; if so, it is owed and delivered all the same. Whoever
    /// must know which takes the two steps of [`send_with_receipt`](Self::send_with_receipt).
    fn send_confirmed(&self, message: Message) -> Sending<'_> {
        Sending::new(async move { self.send_with_receipt(message).await?.await })
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
    fn send_ref(&self, message: &MessageRef<'_>) -> Sending<'_> {
        (**self).send_ref(message)
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
    fn send_with_receipt(&self, message: Message) -> Sending<'_, Receipt> {
        (**self).send_with_receipt(message)
    }
    fn send_confirmed(&self, message: Message) -> Sending<'_> {
        (**self).send_confirmed(message)
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
