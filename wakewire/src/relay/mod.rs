//! The relay: frames of many producers in one log with a cursor per consumer.
//!
//! The rules are the [`hub`](hub::Hub)'s, which is pure; a connection moves bytes into it or out of it, and the
//! switchboard calls those connections for which something has changed.

mod attach;
mod connection;
mod consumer;
mod effects;
mod gaps;
mod hub;
mod keeping;
mod log;
mod owners;
mod reception;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod schedules;
mod sessions;
pub(crate) mod store;
mod switchboard;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub(crate) use self::effects::HubConfig;
use self::hub::Hub;
use self::store::Store;
use self::switchboard::{Bell, Switchboard};
pub use self::view::{RelayConsumer, RelayStatus, RelayStore};
use crate::domain::Admission;
use crate::error::{Failure, SinkError};
use crate::randomness::random;
use crate::source::listen_error;
use crate::spool::shared::Kept;
use crate::transport::dial::Target;
use crate::transport::door::Door;
use crate::wire::SessionId;
use crate::wire::hello::Code;

/// What a relay is made from.
#[derive(Clone, Debug)]
pub(crate) struct RelayConfig {
    pub(crate) service: Arc<str>,
    pub(crate) target: Target,
    pub(crate) admission: Admission,
    pub(crate) hub: HubConfig,
}

/// Spreads the messages of a service's producers to its consumers; made by
/// [`SinkFactory::create_relay`](crate::SinkFactory::create_relay).
///
/// It keeps no promise of its own: it acknowledges to a producer only what the consumers that are waited for
/// have processed. So it may be killed and started again, any number of times, and nothing accepted is lost,
/// without a disk. With nobody attached it holds messages up to `log_bytes`, and then its producers do.
///
/// With [`store_and_forward`](crate::ServiceConfig::store_and_forward) it has a disk, and acknowledges what is on that:
/// then producers may go before any consumer has come.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-relay-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("relay.sock");
/// use std::time::Duration;
/// use wakewire::{Message, MessageSink, SinkFactory};
///
/// let text = format!("[services.ticks]\ntype = 'relay'\nendpoint = 'unix://{}'", path.display());
/// let factory = SinkFactory::from_config_str(&text)?;
/// factory.create_sink("ticks").await?.send(Message::new("3412.07")).await?;
/// let mut source = factory.create_source("ticks").await?;
///
/// let mut relay = factory.create_relay("ticks").await?; // last of the three: the order does not matter
/// tokio::select! {
///     stopped = relay.run() => stopped?,
///     message = source.recv() => assert_eq!(&message?.unwrap().payload[..], b"3412.07"),
/// }
/// relay.close(Duration::from_secs(1)).await;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct Relay {
    config: RelayConfig,
    board: Arc<Switchboard>,
    /// A random number: another life of the same relay is another node.
    node: SessionId,
    door: Option<Door>,
    connections: JoinSet<()>,
    store: Option<Arc<Store>>,
    /// What writes to the disk.
    storing: JoinSet<()>,
    leaving: Arc<Bell>,
}

impl Relay {
    /// Makes one that listens nowhere yet, with a disk if it stores, and what that has kept.
    pub(crate) fn new(config: RelayConfig, store: Option<(Store, Kept)>) -> Self {
        let (store, hub) = match store {
            Some((store, kept)) => (
                Some(Arc::new(store)),
                Hub::storing(config.hub.clone(), kept),
            ),
            None => (None, Hub::new(config.hub.clone())),
        };
        Self {
            board: Arc::new(Switchboard::new(hub)),
            store,
            storing: JoinSet::new(),
            leaving: Arc::default(),
            config,
            node: SessionId(random()),
            door: None,
            connections: JoinSet::new(),
        }
    }

    /// Binds the endpoint, if it is not bound yet; [`run`](Self::run) does it too. For whoever wants to say that
    /// the relay is ready before it serves.
    ///
    /// # Errors
    ///
    /// [`SinkError::Io`] when the endpoint cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub async fn bind(&mut self) -> Result<(), SinkError> {
        if self.door.is_none() {
            let Self { config, .. } = self;
            let failure = || {
                Failure::new(Arc::clone(&config.service))
                    .endpoint(config.target.endpoint().to_string())
            };
            let door = Door::open(&config.target, &config.service).await;
            self.door = Some(door.map_err(|error| listen_error(failure(), error))?);
            let Self { config, .. } = self;
            tracing::info!(service = %config.service, endpoint = %config.target.endpoint(), "relay listens");
        }
        Ok(())
    }

    /// Serves until it is dropped; binds the endpoint first.
    ///
    /// # Errors
    ///
    /// [`SinkError::Io`] when the endpoint cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, connections stay as they are; called again, it goes on with them.
    pub async fn run(&mut self) -> Result<(), SinkError> {
        self.bind().await?;
        if let Some(store) = self.store.as_ref().filter(|_| self.storing.is_empty()) {
            self.leaving = Arc::default();
            let (service, board) = (Arc::clone(&self.config.service), Arc::clone(&self.board));
            let writing = Arc::clone(store).run(service, board, Arc::clone(&self.leaving));
            self.storing.spawn(writing);
        }
        let mut ticks = interval(OVERDUE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(door) = &mut self.door {
            tokio::select! {
                visitor = door.next() => {
                    let (config, board) = (self.config.clone(), Arc::clone(&self.board));
                    self.connections.spawn(reception::serve(config, board, self.node, visitor));
                }
                Some(_) = self.connections.join_next() => {}
                Some(ended) = self.storing.join_next() => {
                    let failure = Failure::new(Arc::clone(&self.config.service));
                    let cause = ended.err().map_or_else(String::new, |error| error.to_string());
                    let hint = "start the relay anew: what it has not acknowledged is kept by its senders";
                    let failure = failure.because(format!("nothing is stored any more: {cause}"));
                    return Err(SinkError::Io(failure.hint(hint)));
                }
                now = ticks.tick() => {
                    // Rule C5.
                    let overdue = self.board.with(|hub, _| hub.overdue(now.into_std()));
                    self.board.close(&overdue, Code::Overdue);
                }
            }
        }
        Ok(())
    }

    /// Returns what the relay holds and whom it serves.
    pub fn status(&self) -> RelayStatus {
        let mut status = self.board.with(|hub, _| hub.status());
        status.store = self.store.as_ref().map(|store| RelayStore {
            directory: store.path().to_owned(),
            fault: store.fault(),
        });
        status
    }

    /// Frees the endpoint and says goodbye to everybody; returns whether that was done within this time. What the
    /// relay holds and nobody has processed stays with its producers.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, connections end when the relay is dropped.
    pub async fn close(&mut self, within: Duration) -> bool {
        self.door = None;
        self.board.close_all(Code::Leaving);
        let ended = timeout(within, async {
            while self.connections.join_next().await.is_some() {}
            self.leaving.close(Code::Leaving);
            while self.storing.join_next().await.is_some() {}
        })
        .await
        .is_ok();
        self.connections.abort_all();
        self.storing.abort_all();
        ended
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("service", &self.config.service)
            .field("endpoint", &self.config.target.endpoint().to_string())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// How often to look for consumers that hold a full log: a second more or less is nothing beside their deadline.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);
