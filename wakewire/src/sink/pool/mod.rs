//! Several lazy connections to one service, for load that one connection does not carry.
//!
//! A pool of connections destroys the order of what is sent through it. So order has to be asked for, by
//! key: all messages of one key take one lane, and wait for it rather than overtake each other elsewhere.
//!
//! A lane is a place for a member. The choice of lanes is a value without a clock (`choice`); `lane` keeps a
//! member from being put to sleep under a message; `search` brings a message without a key to somebody who
//! takes it; `lanes` watches for idle members. Health and probes are those of the targets of a composite.

mod choice;
mod config;
mod keyed;
mod lane;
mod lanes;
mod search;
mod stats;
mod whole;

use crate::atomic::{AtomicU64, Ordering};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::config::PoolConfig;
pub use self::stats::PoolStats;

use self::lanes::Lanes;
use self::search::{Search, Step};
use super::handing::{ForReceipt, Plainly};
use super::lazy::LazyMessageSink;
use super::{ConnectionState, Flushing, MessageSink, Receipt, Sending, SinkMetadata};
use crate::error::{Failure, Phase, SinkError, TrySendError};
use crate::message::Message;

/// Several [`LazyMessageSink`]s to one service, opened as the load asks for them.
///
/// Nothing is opened before the first [`send`](MessageSink::send). A message goes to the member with the
/// fewest sends in flight, equals in turn; one more member is opened, up to
/// [`max_size`](PoolConfig::max_size), when a send is pending on all that are open, or they fail. A member
/// that is idle for [`idle_timeout`](PoolConfig::idle_timeout) disconnects, down to
/// [`min_idle`](PoolConfig::min_idle). Since equals take turns, a steady trickle keeps what a burst opened.
///
/// # Order
///
/// **Without keys there is none**, not even for one caller who awaits each send: the next message takes
/// another connection. With [`ordered_by`](Self::ordered_by) all messages of one key go through one lane as
/// long as the pool lives, and members take them in the order of the sends, for a caller that awaits each
/// send before the next of that key. Between keys there is no order, nor between callers. Who needs all in
/// one order uses one `LazyMessageSink`.
///
/// # Failures
///
/// A member that fails is passed over by messages without a key, and connected again in the background: 1 s
/// later, then at growing distances up to 30 s, as long as something is sent. A message without a key that
/// *came back* from a member is tried on others, on each at most once, and it waits for one member's
/// dialling at most. A message with a key stays with its lane: it waits there, and comes back with that
/// lane's error. One that did not come back is *in doubt*: the caller gets the error, and it is never sent
/// elsewhere.
///
/// The pool buffers nothing: `Ok` means that a member's connection said `Ok`.
///
/// ```
/// use wakewire::sink::PoolConfig;
/// use wakewire::{LazyConnectionPool, Message, MessageSink, Sending, SinkMetadata};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// impl MessageSink for Printer {
///     fn send(&self, message: Message) -> Sending<'_> {
///         println!("{:?}", message.payload);
///         Sending::ready(Ok(()))
///     }
///     fn is_connected(&self) -> bool {
///         true
///     }
///     fn metadata(&self) -> SinkMetadata {
///         SinkMetadata::new("printer", "stdout")
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), wakewire::SinkError> {
/// let config = PoolConfig { max_size: 4, ..PoolConfig::default() };
/// let pool = LazyConnectionPool::new(|| async { Ok(Printer) }, config)?.ordered_by_target();
/// assert_eq!(pool.stats().open, 0);
/// pool.send(Message::new("first").with_target("WETH/USDC")).await?;
/// pool.send(Message::new("second").with_target("WETH/USDC")).await?;
/// assert_eq!(pool.stats().open, 1);
/// # Ok(())
/// # }
/// ```
pub struct LazyConnectionPool<S> {
    name: Arc<str>,
    config: PoolConfig,
    member: Box<dyn Fn(String) -> LazyMessageSink<S> + Send + Sync>,
    key: Option<Box<Key>>,
    /// None before the first use.
    lanes: OnceLock<Arc<Lanes>>,
    sent: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// The hash of a message's key, if it has one.
type Key = dyn Fn(&Message) -> Option<u64> + Send + Sync;

impl<S: MessageSink + 'static> LazyConnectionPool<S> {
    /// Makes a pool whose members call `factory` whenever they need a connection; opens nothing yet.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with the field that is wrong and what it may be.
    pub fn new<F, Fut>(factory: F, config: PoolConfig) -> Result<Self, SinkError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, SinkError>> + Send + 'static,
    {
        config.validate()?;
        let factory = Arc::new(factory);
        let lazy = config.lazy_config.clone();
        let member = move |name: String| {
            let factory = Arc::clone(&factory);
            LazyMessageSink::new(move || factory(), lazy.clone()).with_name(name)
        };
        Ok(Self {
            name: Arc::from(UNNAMED),
            config,
            member: Box::new(member),
            key: None,
            lanes: OnceLock::new(),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_error: Mutex::new(None),
        })
    }

    /// Gives the pool a name, for its errors, events and metadata; `pool` without one. Its members are called
    /// by it and their number, as in `market_data#3`. To be called before the first use.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Keeps the order of messages of one key: all of them take one lane; see [Order](Self#order). A message
    /// for which `key` is `None` goes anywhere. To be called before the first use.
    ///
    /// Many more keys than lanes are needed for an even load. The closure is called for each message.
    ///
    /// ```
    /// # use wakewire::sink::PoolConfig;
    /// # use wakewire::{Failure, LazyConnectionPool, Message, MessageSink, Sending, SinkError, SinkMetadata};
    /// # #[derive(Debug)]
    /// # struct Nobody;
    /// # impl MessageSink for Nobody {
    /// #     fn send(&self, _: Message) -> Sending<'_> { Sending::ready(Ok(())) }
    /// #     fn is_connected(&self) -> bool { true }
    /// #     fn metadata(&self) -> SinkMetadata { SinkMetadata::new("nobody", "none") }
    /// # }
    /// # let open = || async { Err::<Nobody, _>(SinkError::ConnectionFailed(Failure::new(""))) };
    /// let pool = LazyConnectionPool::new(open, PoolConfig::default())?
    ///     .ordered_by(|message| (message.message_type != 0).then_some(message.message_type));
    /// assert_eq!(pool.stats().members, 0);
    /// # Ok::<(), SinkError>(())
    /// ```
    #[must_use]
    pub fn ordered_by<K: Hash>(
        mut self,
        key: impl Fn(&Message) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        // Random for each pool, so that nobody can choose keys that all take one lane.
        let hasher = RandomState::new();
        self.key = Some(Box::new(move |message| {
            Some(hasher.hash_one(key(message)?))
        }));
        self
    }

    /// Keeps the order of messages of one [`target`](Message::target); those without one go anywhere.
    #[must_use]
    pub fn ordered_by_target(self) -> Self {
        self.ordered_by(|message| message.target.clone())
    }

    /// Returns the settings it was made with.
    pub const fn config(&self) -> &PoolConfig {
        &self.config
    }

    fn lanes(&self) -> &Arc<Lanes> {
        self.lanes.get_or_init(|| {
            let member = |name| Arc::new((self.member)(name)) as Arc<dyn MessageSink>;
            Arc::new(Lanes::new(&self.name, self.config.clone(), member))
        })
    }

    fn counted<T>(&self, result: Result<T, SinkError>) -> Result<T, SinkError> {
        match &result {
            Ok(_) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                *self.last_error.lock() = Some(error.to_string());
            }
        }
        result
    }

    fn closed(&self) -> SinkError {
        let failure = Failure::new(Arc::clone(&self.name)).phase(Phase::Accept);
        SinkError::Closed(failure.hint("it was closed by this program"))
    }
}

impl<S> LazyConnectionPool<S> {
    /// Returns how many members there are and how they fare; never blocks.
    pub fn stats(&self) -> PoolStats {
        let lanes = self.lanes.get();
        lanes.map_or_else(PoolStats::default, |lanes| lanes.stats())
    }
}

impl<S: MessageSink + 'static> MessageSink for LazyConnectionPool<S> {
    /// Sends through the lane of its key, else through the least busy member that works; no allocation
    /// when a member takes the message at once.
    ///
    /// # Errors
    ///
    /// What the last member said that had the message: see [`LazyMessageSink`]; `Closed`. The message is in
    /// the error unless it is in doubt.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the message was not accepted by any member, as far as the inner sinks keep to
    /// that themselves.
    fn send(&self, message: Message) -> Sending<'_> {
        self.hand::<Plainly>(message)
    }

    fn send_with_receipt(&self, message: Message) -> Sending<'_, Receipt> {
        self.hand::<ForReceipt>(message)
    }

    /// Returns whether any member is connected.
    fn is_connected(&self) -> bool {
        let connected = |lanes: &Arc<Lanes>| {
            let mut all = lanes.list.iter();
            !lanes.is_closed() && all.any(|lane| lane.target.sink.is_connected())
        };
        self.lanes.get().is_some_and(connected)
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new(&*self.name, "pool");
        let mut members = self.lanes.get().into_iter().flat_map(|lanes| &*lanes.list);
        metadata.endpoint = members.find_map(|lane| lane.target.sink.metadata().endpoint);
        metadata.state = self.state();
        metadata.messages_sent = self.sent.load(Ordering::Relaxed);
        metadata.messages_failed = self.failed.load(Ordering::Relaxed);
        metadata.last_error.clone_from(&self.last_error.lock());
        metadata
    }

    /// Takes the message if a member that is open takes it at once; opens none for it.
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        let lanes = self.lanes();
        if lanes.is_closed() {
            let refused = self.counted(Err(self.closed().returning(message)));
            return refused.map_err(TrySendError::Refused);
        }
        if let Some(lane) = self.bound_to(&message) {
            return self.try_send_bound(lanes, lane, message);
        }
        match Search::<Plainly>::begin(lanes, message) {
            (_, Step::Taken(())) => self.counted(Ok(())).map_err(TrySendError::Refused),
            (_, Step::Over(error)) => self.counted(Err(error)).map_err(TrySendError::Refused),
            (search, Step::WaitOn(..)) => Err(TrySendError::WouldWait(search.into_message())),
        }
    }

    /// Opens `min_idle` members now, at least one, and again those that lost their connection.
    ///
    /// # Errors
    ///
    /// The last member's error when none could be connected; `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Some members may be connected; dial series that have begun go on.
    fn connect(&self) -> Sending<'_> {
        Sending::new(async move {
            let lanes = self.lanes();
            if lanes.is_closed() {
                return Err(self.closed());
            }
            lanes.connect().await
        })
    }

    /// Disconnects all members at the same time; each drains as long as its own drain timeout allows.
    ///
    /// # Errors
    ///
    /// `Timeout` when a member still owes something; else the first error of a member.
    ///
    /// # Cancel safety
    ///
    /// Some members may be disconnected.
    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            match self.lanes.get() {
                Some(lanes) => lanes.disconnect().await,
                None => Ok(()),
            }
        })
    }

    /// Flushes all members at the same time; the report adds them up under the pool's name.
    ///
    /// # Errors
    ///
    /// That of the first member that could not even report.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the report.
    fn flush(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            let Some(lanes) = self.lanes.get() else {
                return self.merged(Vec::new());
            };
            let flush = |number: usize| lanes.list[number].target.sink.flush(within);
            self.merged(lanes.ask(|_| true, flush).await)
        })
    }

    /// Returns the best state of the members that take part: `Connected`, `Connecting`, `Disconnected`,
    /// `Failed`. One that is failing counts as `Failed` whatever it says.
    fn state(&self) -> ConnectionState {
        let lanes = self.lanes.get();
        lanes.map_or(ConnectionState::Disconnected, |lanes| lanes.state())
    }

    /// Closes all members for good at the same time; every later send gets `Closed`.
    ///
    /// # Errors
    ///
    /// That of the first member that could not even report; it is closed nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Every later send gets `Closed`; some inner sinks may be dropped as they stand.
    fn close(&self, within: Duration) -> Flushing<'_> {
        let lanes = self.lanes();
        lanes.close();
        Sending::new(async move {
            let close = |number: usize| lanes.list[number].target.sink.close(within);
            self.merged(lanes.ask(|_| true, close).await)
        })
    }
}

impl<S> Drop for LazyConnectionPool<S> {
    fn drop(&mut self) {
        if let Some(lanes) = self.lanes.get() {
            lanes.stop_watching();
        }
    }
}

impl<S> fmt::Debug for LazyConnectionPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyConnectionPool")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("is_ordered", &self.key.is_some())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

const UNNAMED: &str = "pool";
