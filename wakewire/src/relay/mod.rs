//! The relay: frames of many producers in one log with a cursor per consumer.
//!
//! The rules are the [`hub`](hub::Hub)'s, which is pure; a connection moves bytes into it or out of it, and the
//! switchboard calls those connections for which something has changed.

mod attach;
mod connection;
mod consumer;
mod effects;
mod hub;
mod log;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod schedules;
mod sessions;
mod switchboard;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::connection::{Connection, End, Signals};
use self::effects::{ConsumerHello, ConsumerKey, HubConfig, Refused};
use self::hub::Hub;
use self::switchboard::Switchboard;
pub use self::view::{RelayConsumer, RelayStatus};
use crate::endpoint::Endpoint;
use crate::error::{Failure, SinkError};
use crate::source::{frame_limit, listen_error};
use crate::transport::door::{Door, Visitor, reject};
use crate::wire::SessionId;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Code, Consumer, Hello, Limits, Producer, VERSION, Welcome};
use crate::wire::liveness::ASK_AFTER;

/// What a relay is made from.
#[derive(Clone, Debug)]
pub(crate) struct RelayConfig {
    pub(crate) service: Arc<str>,
    pub(crate) endpoint: Endpoint,
    pub(crate) max_message_bytes: usize,
    /// The consumers that are waited for also while they are away.
    pub(crate) named: Vec<String>,
    pub(crate) hold: bool,
    pub(crate) at_least_once: bool,
    pub(crate) log_bytes: usize,
    pub(crate) unnamed_deadline: Duration,
    pub(crate) named_deadline: Option<Duration>,
}

/// Spreads the messages of a service's producers to its consumers; made by
/// [`SinkFactory::create_relay`](crate::SinkFactory::create_relay).
///
/// It keeps no promise of its own: it acknowledges to a producer only what the consumers that are waited for
/// have processed. So it may be killed and started again, any number of times, and nothing accepted is lost,
/// without a disk. With nobody attached it holds messages up to `log_bytes`, and then its producers do.
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
}

impl Relay {
    /// Makes one that listens nowhere yet.
    pub(crate) fn new(config: RelayConfig) -> Self {
        let hub = Hub::new(HubConfig {
            named: config.named.clone(),
            hold: config.hold,
            at_least_once: config.at_least_once,
            log_bytes: config.log_bytes,
            unnamed_deadline: config.unnamed_deadline,
            named_deadline: config.named_deadline,
        });
        Self {
            config,
            board: Arc::new(Switchboard::new(hub)),
            node: SessionId(rand::random()),
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
            let failure =
                || Failure::new(Arc::clone(&config.service)).endpoint(config.endpoint.to_string());
            let door = Door::open(&config.endpoint, &config.service).await;
            self.door = Some(door.map_err(|error| listen_error(failure(), error))?);
            let Self { config, .. } = self;
            tracing::info!(service = %config.service, endpoint = %config.endpoint, "relay listens");
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
        let mut ticks = interval(OVERDUE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(door) = &mut self.door {
            tokio::select! {
                visitor = door.next() => {
                    let (config, board) = (self.config.clone(), Arc::clone(&self.board));
                    self.connections.spawn(serve(config, board, self.node, visitor));
                }
                Some(_) = self.connections.join_next() => {}
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
        self.board.with(|hub, _| hub.status())
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
        })
        .await
        .is_ok();
        self.connections.abort_all();
        ended
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("service", &self.config.service)
            .field("endpoint", &self.config.endpoint.to_string())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Serves one who has greeted.
async fn serve(config: RelayConfig, board: Arc<Switchboard>, node: SessionId, visitor: Visitor) {
    let Visitor {
        hello,
        positions,
        mut reader,
        mut writer,
    } = visitor;
    let Hello {
        producer, consumer, ..
    } = hello;
    let checksummed = config.endpoint.is_checksummed();
    let service = &config.service;
    let limits = Limits {
        frame: frame_limit(config.max_message_bytes),
        idle_ms: 0,
        ping_ms: u32::try_from(ASK_AFTER.as_millis()).unwrap_or(u32::MAX),
    };
    let (id, bell) = board.enter();
    let connection = Connection {
        board: Arc::clone(&board),
        id,
        bell,
        checksummed,
        pulse: Signals::default(),
    };
    let mut welcome = Welcome {
        version: VERSION,
        limits,
        acked: 0,
        have: 0,
        consumers: 0,
        node,
    };
    let produces = producer.is_some();
    let taken = match (&producer, consumer) {
        (
            Some(Producer {
                session,
                first_owed,
                ..
            }),
            _,
        ) => board
            .with(|hub, wake| hub.producer_hello(*session, *first_owed, id, wake))
            .map(|greeted| {
                reader.scanner().stamp = Some(greeted.origin);
                (welcome.acked, welcome.have) = (greeted.acked, greeted.have);
                welcome.consumers = u32::from(greeted.consumers_attached);
                format!("producer {session:?}")
            }),
        (
            None,
            Some(Consumer {
                name,
                id: life,
                at_most_once,
                start,
                ..
            }),
        ) => {
            let who = name.as_ref().map_or_else(
                || format!("consumer {life:?}"),
                |name| format!("consumer `{name}`"),
            );
            let key = name.map_or(ConsumerKey::Id(life.0), ConsumerKey::Name);
            let at_most_once = at_most_once || !config.at_least_once;
            let hello = ConsumerHello {
                key,
                at_most_once,
                start,
                positions,
            };
            let now = Instant::now().into_std();
            board
                .with(|hub, wake| hub.consumer_hello(hello, id, now, wake))
                .map(|()| who)
        }
        // The door takes nobody who is neither.
        (None, None) => return,
    };
    let who = match taken {
        Ok(who) => who,
        Err(refused) => {
            tracing::warn!(%service, %refused, "refused");
            let code = match refused {
                Refused::TooManySessions { .. } | Refused::TooManyConsumers { .. } => Code::Busy,
                Refused::LatestIsLossy | Refused::NamedIsWaitedFor { .. } => Code::Refused,
                Refused::TooManyPositions { .. } | Refused::Protocol(_) => Code::Protocol,
            };
            if let Err(error) = reject(&mut writer, checksummed, code, &refused.to_string()).await {
                tracing::debug!(%service, %error, "a peer was not told that it is refused");
            }
            return;
        }
    };
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Welcome, &welcome, checksummed, &mut bytes);
    // A consumer sends control frames only.
    reader.scanner().limit = if produces {
        limits.frame
    } else {
        hello::POSITIONS_LIMIT
    };
    if let Err(error) = writer.write_all(&bytes).await {
        tracing::debug!(%service, %who, %error, "left while it was greeted");
        return;
    }
    tracing::info!(%service, %who, "connected");
    let end = if produces {
        connection.produce(reader, writer).await
    } else {
        connection.consume(reader, writer).await
    };
    match end {
        End::Left => tracing::info!(%service, %who, "left"),
        End::Lost(cause) => tracing::info!(%service, %who, %cause, "lost"),
        End::Told(code) => tracing::info!(%service, %who, ?code, "disconnected"),
    }
}

/// How often to look for consumers that hold a full log: a second more or less is nothing beside their deadline.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);
