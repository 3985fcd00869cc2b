//! Several sinks behind one name: to all, in turn, or to the first that works.
//!
//! What is known of a target's health is a value without a clock (`standing`); `target` is its shell;
//! `errand` finds the one target of a round robin or failover.

mod errand;
mod failover;
mod fanout;
mod round_robin;
mod standing;
pub(super) mod target;
pub(super) mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::errand::{Errand, Order, Step};
use self::target::Target;
use super::handing::{ForReceipt, Handing, Plainly};
use super::{ConnectionState, Flushing, MessageSink, Receipt, Sending, SinkMetadata};
use crate::error::{Failure, Phase, SinkError, TrySendError};
use crate::message::Message;

/// Several sinks behind one name: [`fanout`](Self::fanout), [`round_robin`](Self::round_robin) or
/// [`failover`](Self::failover).
///
/// It keeps no message and has no ledger: `Ok` means what it means for the targets. A target that fails
/// is *failing* from then on: it is passed over, or not waited for, until it takes a message or until a
/// background `connect()` to it succeeds, so that one dead target does not cost every message a wait.
/// Such probes are started by sends, 1 s after the failure and then at growing distances up to 30 s, one
/// at a time per target; while nothing is sent, nothing runs.
///
/// A target may itself be a composite. Where two ways lead to the same sink, a message that goes both
/// ways arrives there twice; reports count the sink once, by its name.
///
/// ```
/// use std::sync::Arc;
/// use wakewire::{CompositeSink, ConnectionState, Message, MessageSink, Sending, SinkMetadata};
///
/// #[derive(Debug)]
/// struct Printer(&'static str);
///
/// impl MessageSink for Printer {
///     fn send(&self, message: Message) -> Sending<'_> {
///         println!("{}: {} bytes", self.0, message.payload.len());
///         Sending::ready(Ok(()))
///     }
///     fn is_connected(&self) -> bool {
///         true
///     }
///     fn metadata(&self) -> SinkMetadata {
///         SinkMetadata::new(self.0, "printer")
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), wakewire::SinkError> {
/// let archive = CompositeSink::fanout(
///     "archive",
///     vec![
///         ("left".to_owned(), Arc::new(Printer("left")) as Arc<dyn MessageSink>),
///         ("right".to_owned(), Arc::new(Printer("right"))),
///     ],
/// )?;
/// archive.send(Message::new("tick")).await?;
/// assert_eq!(archive.metadata().messages_sent, 1);
/// assert_eq!(archive.state(), ConnectionState::Connected);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CompositeSink {
    name: Arc<str>,
    targets: Box<[Target]>,
    rule: Rule,
    closed: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Rule {
    Fanout,
    /// With the number of turns so far.
    RoundRobin(AtomicUsize),
    Failover,
}

impl CompositeSink {
    /// Makes a sink that sends every message to every target, to all of them at the same time.
    ///
    /// A send is `Ok` when all targets accepted. Otherwise it is [`SinkError::Partial`], which names those
    /// that accepted and those that did not, also when nobody accepted, and the message comes back in it;
    /// sending it again to the fan-out doubles it where it was accepted. An error of a target in it that
    /// returns no message is in doubt there.
    ///
    /// A slow or dead target delays no other: each is offered the message before any is waited for. A
    /// caller who sends one message after the other waits for such a target once per outage: a send that
    /// waited for it and failed makes it failing, and until it works again it gets its messages only if it
    /// takes them at once; else they fail with its last error.
    ///
    /// `try_send` is `WouldWait` without touching anything, unless there is exactly one target: a message
    /// cannot be taken back from a target that took it.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when there is no target.
    pub fn fanout(
        name: impl Into<Arc<str>>,
        targets: Vec<(String, Arc<dyn MessageSink>)>,
    ) -> Result<Self, SinkError> {
        Self::new(name.into(), targets, Rule::Fanout)
    }

    /// Makes a sink that sends each message to one target; those that are up take turns.
    ///
    /// A target that takes the message at once is preferred to one that would wait (which is woken in the
    /// background if it sleeps); when all would wait, it waits for the one whose turn it is. Another target
    /// is tried only when the message surely came back: an error without the message is in doubt and goes
    /// to the caller, never elsewhere. A failing target is passed over; failing ones are tried when no
    /// other took it. When all refused, the last error comes with the message.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when there is no target.
    pub fn round_robin(
        name: impl Into<Arc<str>>,
        targets: Vec<(String, Arc<dyn MessageSink>)>,
    ) -> Result<Self, SinkError> {
        Self::new(name.into(), targets, Rule::RoundRobin(AtomicUsize::new(0)))
    }

    /// Makes a sink that sends each message to the first target, in this order, that works.
    ///
    /// A target that failed is passed over, so that a dead primary costs one failed send and not one per
    /// message. It is gone back to when it has been seen healthy for 30 s, so that a flapping one costs at
    /// most one failed send per half minute. Another target is tried only when the message surely came
    /// back, as with [`round_robin`](Self::round_robin). When all are failing, all are tried in order
    /// anyway. A target that would wait but is not failing is waited for: that is how a sleeping primary is
    /// woken.
    ///
    /// Order holds within a target, not across a change of targets.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when there is no target.
    pub fn failover(
        name: impl Into<Arc<str>>,
        targets: Vec<(String, Arc<dyn MessageSink>)>,
    ) -> Result<Self, SinkError> {
        Self::new(name.into(), targets, Rule::Failover)
    }

    fn new(
        name: Arc<str>,
        targets: Vec<(String, Arc<dyn MessageSink>)>,
        rule: Rule,
    ) -> Result<Self, SinkError> {
        if targets.is_empty() {
            return Err(SinkError::InvalidConfig(
                Failure::new(name)
                    .because("a composite needs at least one target")
                    .hint("list the services it sends to in `targets`"),
            ));
        }
        let targets = targets
            .into_iter()
            .map(|(name, sink)| Target::new(name, sink))
            .collect();
        Ok(Self {
            name,
            targets,
            rule,
            closed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_error: Mutex::new(None),
        })
    }

    /// Begins the search for the one target that takes the message; `None` for a fan-out.
    fn errand<H: Handing>(
        &self,
        message: Message,
    ) -> Result<(Errand<'_, H>, Step<H::Yield>), Message> {
        let order = match &self.rule {
            Rule::Fanout => return Err(message),
            Rule::RoundRobin(turns) => {
                Order::Rotation(turns.fetch_add(1, Ordering::Relaxed) % self.targets.len())
            }
            Rule::Failover => Order::Preference,
        };
        let mut errand = Errand::new(&self.targets, order, message);
        let step = errand.advance();
        if let (Rule::RoundRobin(turns), Order::Rotation(start)) = (&self.rule, order)
            && let Step::Taken(index, _) | Step::WaitOn(index) = &step
            && *index != start
        {
            // Those passed over have had their turn; else the next one would get two.
            let count = self.targets.len();
            turns.fetch_add((index + count - start) % count, Ordering::Relaxed);
        }
        Ok((errand, step))
    }

    /// Hands the message to the one target that takes it; gives it back in a fan-out.
    fn hand<H: Handing>(&self, message: Message) -> Result<Sending<'_, H::Yield>, Message> {
        Ok(match self.errand::<H>(message)? {
            (_, Step::Taken(_, taken)) => Sending::ready(self.counted(Ok(taken))),
            (_, Step::Over(error)) => Sending::ready(self.counted(Err(error))),
            (errand, Step::WaitOn(index)) => {
                Sending::new(async move { self.counted(errand.finish(index).await) })
            }
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

    fn refuse_if_closed(&self, message: Message) -> Result<Message, SinkError> {
        if !self.closed.load(Ordering::Acquire) {
            return Ok(message);
        }
        let failure = Failure::new(Arc::clone(&self.name)).phase(Phase::Accept);
        Err(SinkError::Closed(failure).returning(message))
    }
}

impl MessageSink for CompositeSink {
    /// Sends to all targets, to the one whose turn it is, or to the first that works.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the message of a round robin or failover was not accepted by anyone, as far
    /// as its targets keep to that themselves. That of a fan-out may have been accepted by some targets.
    fn send(&self, message: Message) -> Sending<'_> {
        let message = match self.refuse_if_closed(message) {
            Ok(message) => message,
            Err(error) => return Sending::ready(self.counted(Err(error))),
        };
        match self.hand::<Plainly>(message) {
            Ok(sending) => sending,
            Err(message) => fanout::send(self, message),
        }
    }

    /// Sends as [`send`](Self::send) does; the receipt is that of the target that took the message, and of a fan-out
    /// it ends when all targets have confirmed.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Where no target has receipts, `Unsupported`; a fan-out in which some have none says
    /// so in its `Partial`, and the others have the message.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    fn send_with_receipt(&self, message: Message) -> Sending<'_, Receipt> {
        let message = match self.refuse_if_closed(message) {
            Ok(message) => message,
            Err(error) => return Sending::ready(self.counted(Err(error))),
        };
        match self.hand::<ForReceipt>(message) {
            Ok(sending) => sending,
            Err(message) => fanout::send_with_receipt(self, message),
        }
    }

    /// Returns whether a connection stands to every target of a fan-out, or to one usable target of a
    /// round robin or failover.
    fn is_connected(&self) -> bool {
        self.connected_over_all()
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new(&*self.name, "composite");
        metadata.state = self.state();
        metadata.messages_sent = self.sent.load(Ordering::Relaxed);
        metadata.messages_failed = self.failed.load(Ordering::Relaxed);
        metadata.last_error.clone_from(&self.last_error.lock());
        metadata
    }

    /// Takes the message at once or gives it back; see the constructors for what each kind does.
    ///
    /// # Errors
    ///
    /// [`TrySendError::WouldWait`] with the message: always from a fan-out to several targets.
    /// [`TrySendError::Refused`] as [`send`](Self::send) would.
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        let message = match self.refuse_if_closed(message) {
            Ok(message) => message,
            Err(error) => return self.counted(Err(error)).map_err(TrySendError::Refused),
        };
        match self.errand::<Plainly>(message) {
            Err(message) => fanout::try_send(self, message),
            Ok((_, Step::Taken(..))) => self.counted(Ok(())).map_err(TrySendError::Refused),
            Ok((_, Step::Over(error))) => self.counted(Err(error)).map_err(TrySendError::Refused),
            Ok((errand, Step::WaitOn(_))) => Err(TrySendError::WouldWait(errand.into_message())),
        }
    }

    /// Connects all targets at the same time.
    ///
    /// # Errors
    ///
    /// Of a fan-out, [`SinkError::Partial`] when any target could not be connected; of the others, the
    /// last target's error when none could.
    ///
    /// # Cancel safety
    ///
    /// Some targets may be connected.
    fn connect(&self) -> Sending<'_> {
        Sending::new(async move {
            let mut ended = self.ask(|sink| sink.connect()).await;
            if matches!(self.rule, Rule::Fanout) {
                return self.all_or_partial(ended, Phase::Dial);
            }
            if ended.iter().any(|one| one.result.is_ok()) {
                return Ok(());
            }
            ended.pop().map_or(Ok(()), |one| one.result)
        })
    }

    /// Disconnects all targets at the same time; each drains as long as its own drain timeout allows.
    ///
    /// # Errors
    ///
    /// [`SinkError::Partial`] with the targets that could not, `Timeout` where something is still owed.
    ///
    /// # Cancel safety
    ///
    /// Some targets may be disconnected.
    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            let ended = self.ask(|sink| sink.disconnect()).await;
            self.all_or_partial(ended, Phase::Close)
        })
    }

    /// Flushes all targets at the same time; the report is over their sinks, each counted once.
    ///
    /// # Errors
    ///
    /// [`SinkError::Partial`] when a target could not even report.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: what is owed stays owed.
    fn flush(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            let ended = self.ask(|sink| sink.flush(within)).await;
            self.merged(ended, Phase::Ack)
        })
    }

    /// Returns the state over all targets; one that is failing counts as `Failed` whatever it says.
    ///
    /// A fan-out needs all: `Failed` if any is failed or closed, else `Connected` if all are, else
    /// `Connecting` if any is, else `Disconnected`. The others need one: the best of `Connected`,
    /// `Connecting`, `Disconnected`, `Failed`. `Closed` when it, or every target, is closed.
    fn state(&self) -> ConnectionState {
        self.state_over_all()
    }

    /// Closes all targets for good at the same time, those shared with others too; the report is over
    /// their sinks, each counted once.
    ///
    /// # Errors
    ///
    /// [`SinkError::Partial`] when a target could not even report; it is closed nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Every later send gets `Closed`; some targets may not be closed. Call it again.
    fn close(&self, within: Duration) -> Flushing<'_> {
        self.closed.store(true, Ordering::Release);
        self.targets.iter().for_each(Target::stop_probing);
        Sending::new(async move {
            let ended = self.ask(|sink| sink.close(within)).await;
            self.merged(ended, Phase::Close)
        })
    }
}
