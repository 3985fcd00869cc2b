//! Where messages come from: a relay that is subscribed to, or an endpoint that is listened at.

mod acker;
mod closer;
mod config;
mod connection;
mod delivery;
mod inbox;
mod listener;
mod progress;
mod resumed;
mod server;
mod stats;
mod subscriber;
mod view;

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout};

use self::acker::Acker;
pub(crate) use self::closer::Closer;
pub(crate) use self::config::{SourceConfig, listen_error};
pub use self::delivery::{Delivered, Deliveries};
use self::inbox::{Inbox, Item};
use self::progress::{Progress, Unsaid};
pub use self::server::{DrainReport, HandlerError, Peer, Request, Server, ServerHandle, serve};
use self::stats::MISSED_KEPT;
pub use self::stats::{Missed, SourceStats};
pub use self::view::{Batch, MessageView, Views};
use crate::cursor::{Cursor, Mark};
use crate::error::{Phase, SinkError};
use crate::message::Message;
use crate::transport::door::Door;
use crate::transport::log_rate::{LogLine, LogRate};
use crate::wire::SessionId;
use crate::wire::data::{DataView, decode_carried, plain_message};
pub use crate::wire::hello::Start;
use crate::wire::run::Run;
use crate::wire::session::Side;
use crate::wire::text;

/// Receives the messages of one service; owned by one reader.
///
/// It opens nothing before the first [`recv`](Self::recv): then it subscribes to a relay, which may be
/// started later, or binds a direct service's endpoint. It heals by itself. Asking for the next message says
/// that the previous one was processed, and that is what is acknowledged: a process that dies with a message
/// in hand gets it again, or another one does. A source that is not asked stops the sender, not the memory.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("source.sock");
/// use wakewire::{Message, SinkFactory};
///
/// let text = format!("[services.ticks]\ntype = 'direct'\nendpoint = 'unix://{}'", path.display());
/// let factory = SinkFactory::from_config_str(&text)?;
/// let sink = factory.create_sink("ticks").await?;
/// sink.send(Message::new("3412.07")).await?; // nobody listens yet: it waits
///
/// let mut source = factory.create_source("ticks").await?;
/// let message = source.recv().await?.expect("not closed");
/// assert_eq!(&message.payload[..], b"3412.07");
/// source.close(std::time::Duration::from_secs(1)).await; // says that it was processed
/// factory.close(std::time::Duration::from_secs(1)).await;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct MessageSource {
    config: SourceConfig,
    inbox: Arc<Inbox>,
    /// Of a subscriber's connection; of a listener itself, to tell it that it is closed.
    acker: Arc<Acker>,
    task: Option<JoinHandle<()>>,
    queue: VecDeque<Item>,
    current: Option<Current>,
    unsaid: Unsaid,
    cursor: Option<Arc<Cursor>>,
    /// To be written with the next position.
    mark: Option<Mark>,
    stats: SourceStats,
    missed: Vec<Missed>,
    log_rate: LogRate,
    closed: bool,
}

/// The run that messages are taken from.
#[derive(Debug)]
struct Current {
    progress: Arc<Progress>,
    run: Run,
    /// What was handed out last, processed when the next one is asked for.
    in_hand: Option<u64>,
}

impl MessageSource {
    /// Makes one that has opened nothing yet.
    pub(crate) fn new(config: SourceConfig) -> Self {
        let side = match (config.subscribes, config.at_most_once) {
            (true, _) => Side::Consumer,
            (false, false) => Side::Listener,
            (false, true) => Side::LossyListener,
        };
        Self {
            inbox: Arc::new(Inbox::new(side)),
            acker: Arc::new(Acker::default()),
            config,
            task: None,
            queue: VecDeque::new(),
            current: None,
            unsaid: Unsaid::default(),
            cursor: None,
            mark: None,
            stats: SourceStats::default(),
            missed: Vec::new(),
            log_rate: LogRate::default(),
            closed: false,
        }
    }

    /// Names this consumer. A relay that has the name in its `consumers` waits for it also while it is away.
    /// Without effect after the first message was asked for, and on a direct service.
    #[must_use]
    pub fn named(mut self, consumer: impl Into<String>) -> Self {
        self.config.consumer = Some(consumer.into());
        self
    }

    /// Says where to begin with what this consumer has not heard of; `Owed` by default, so that nothing
    /// accepted is passed over. Without effect after the first message was asked for, and on a direct service.
    #[must_use]
    pub const fn starting(mut self, start: Start) -> Self {
        self.config.start = start;
        self
    }

    /// Returns the next message; `None` when the source was closed. The one before counts as processed. Now and then it
    /// lets other tasks have a turn, also while messages are at hand, so that these are acknowledged and more are read.
    ///
    /// # Errors
    ///
    /// When the endpoint cannot be bound, when the peer refuses this consumer for good, when there is no
    /// tokio runtime. Calling again tries again. A relay that is not there is no error: it is waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn recv(&mut self) -> Result<Option<Message>, SinkError> {
        self.confirm()?;
        if !self.is_at_hand() && !self.find_run().await? {
            return Ok(None);
        }
        self.hand_out()
    }

    /// Returns all messages of the next run as views of the read buffer, without copying or counting
    /// references; `None` when the source was closed. Those of the batch before count as processed.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn recv_batch(&mut self) -> Result<Option<Batch<'_>>, SinkError> {
        self.recv_batch_up_to(usize::MAX).await
    }

    /// Like [`recv_batch`](Self::recv_batch), with so many messages at most, and one at least: for a reader
    /// who wants no more than these to count as processed.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn recv_batch_up_to(&mut self, most: usize) -> Result<Option<Batch<'_>>, SinkError> {
        self.confirm()?;
        if !self.is_at_hand() && !self.find_run().await? {
            return Ok(None);
        }
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let run = current.run.take(u64::try_from(most).unwrap_or(u64::MAX));
        current.in_hand = Some(run.last);
        self.unsaid.add(run.bytes.len());
        self.stats.received += run.count();
        let position = current.progress.position(run.last);
        Ok(Some(Batch::new(self, position, run)))
    }

    /// Turns the source into deliveries that are acknowledged one by one, in any order.
    pub fn into_stream(self) -> Deliveries {
        Deliveries::new(self)
    }

    /// Returns what was counted.
    pub fn stats(&self) -> SourceStats {
        SourceStats {
            connects: self.inbox.connects(),
            ..self.stats
        }
    }

    /// Takes out what this consumer has missed since the last call. At most 1000 entries are kept; the number
    /// in [`stats`](Self::stats) is exact.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        std::mem::take(&mut self.missed)
    }

    /// Says that the message in hand was processed, acknowledges, and closes the connection or frees the
    /// endpoint; returns whether all that was done within this time. A consumer whose relay is away at this
    /// moment waits for it as long, to say what it has processed. Received messages that were not asked for
    /// stay with their senders.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the source closes in the background.
    pub async fn close(&mut self, within: Duration) -> bool {
        self.finish();
        let Some(task) = &mut self.task else {
            return true;
        };
        let closed = timeout(within, &mut *task).await.is_ok();
        if !closed {
            task.abort();
        }
        self.task = None;
        closed
    }

    /// Returns what a factory closes this source with.
    pub(crate) fn closer(&self) -> Closer {
        Closer {
            inbox: Arc::downgrade(&self.inbox),
            acker: Arc::downgrade(&self.acker),
        }
    }

    /// Rule K5: on `close()` the message in hand counts as processed.
    fn finish(&mut self) {
        self.closed = true;
        if let Err(error) = self.confirm() {
            tracing::warn!(service = %self.config.service, %error, "what came last counts as not processed");
        }
        self.current = None;
        self.queue.clear();
        self.inbox.close();
        self.unsaid.urge();
        self.acker.urge();
    }

    /// Returns whether there are messages in the current run.
    #[inline]
    fn is_at_hand(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.run.first <= current.run.last)
    }

    /// Takes the next message of the current run.
    #[inline]
    fn hand_out(&mut self) -> Result<Option<Message>, SinkError> {
        let Some(Current { run, in_hand, .. }) = &mut self.current else {
            return Ok(None);
        };
        let header = match DataView::at(&run.bytes) {
            Ok(view) => view.header,
            Err(error) => return Err(self.config.error(Phase::Read, &error.to_string())),
        };
        *in_hand = Some(run.first);
        let body = run.pop_body(&header);
        self.unsaid.add(header.frame_length());
        self.stats.received += 1;
        if header.has_extensions() {
            let message = decode_carried(&header, body);
            return message
                .map(Some)
                .map_err(|error| self.config.error(Phase::Read, &error.to_string()));
        }
        Ok(Some(plain_message(&header, body)))
    }

    /// Makes the next run the current one; `false` when the source is closed.
    async fn find_run(&mut self) -> Result<bool, SinkError> {
        self.current = None;
        if self.unsaid.makes_way() {
            yield_now().await;
        }
        loop {
            match self.queue.pop_front() {
                Some(Item::Run { progress, run }) => {
                    self.unsaid.touch(&progress, run.count());
                    self.current = Some(Current {
                        progress,
                        run,
                        in_hand: None,
                    });
                    return Ok(true);
                }
                Some(Item::Past { progress, sequence }) => progress.pass(sequence),
                Some(Item::Missed { session, range }) => self.note_missed(session, range),
                None => {
                    if self.closed || self.inbox.is_closing() {
                        return Ok(false);
                    }
                    if self.task.is_none() {
                        // Apart, since it is large and done once: what `recv` gives back is moved for each message.
                        Box::pin(self.start()).await?;
                    }
                    if let Some(error) = self.inbox.take(&mut self.queue) {
                        return Err(error);
                    }
                    if self.queue.is_empty() {
                        self.unsaid.rest();
                        self.inbox.arrived().await;
                    }
                }
            }
        }
    }

    fn note_missed(&mut self, session: SessionId, range: RangeInclusive<u64>) {
        let service = &self.config.service;
        if let Some(LogLine { withheld }) = self.log_rate.line(Instant::now().into_std()) {
            tracing::warn!(%service, ?session, ?range, withheld, "messages missed");
        }
        self.stats.missed += range.end() + 1 - range.start();
        if self.missed.len() < MISSED_KEPT {
            self.missed.push(Missed {
                session: format!("{session:?}"),
                numbers: range,
            });
        }
    }

    /// Opens what is to be opened.
    async fn start(&mut self) -> Result<(), SinkError> {
        if let Some(fault) = self.config.consumer.as_deref().and_then(text::bad_name) {
            let failure = self.config.failure().phase(Phase::Resolve);
            let hint = "give `named` 1 to 255 bytes without control characters";
            return Err(SinkError::InvalidConfig(failure.because(fault).hint(hint)));
        }
        let runtime = Handle::try_current().map_err(|error| {
            SinkError::NoRuntime(
                self.config
                    .failure()
                    .because(error)
                    .hint("receive inside a tokio runtime"),
            )
        })?;
        let (config, inbox, acker) = (
            self.config.clone(),
            Arc::clone(&self.inbox),
            Arc::clone(&self.acker),
        );
        self.task = Some(if config.subscribes {
            runtime.spawn(subscriber::run(config, inbox, acker))
        } else {
            let door = Door::open(&config.target, &config.service)
                .await
                .map_err(|error| listen_error(config.failure(), error))?;
            tracing::info!(service = %config.service, endpoint = %config.endpoint(), "listening");
            runtime.spawn(listener::run(config, inbox, acker, door))
        });
        Ok(())
    }
}

impl Drop for MessageSource {
    /// Without a goodbye: the message in hand does not count as processed (rule K5).
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl fmt::Debug for MessageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSource")
            .field("service", &self.config.service)
            .field("endpoint", &self.config.endpoint().to_string())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
