//! A sink that remembers what it was sent and answers as a script says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::error::{Failure, SinkError, TrySendError};
use crate::message::Message;
use crate::outbox::Ledger;
use crate::sink::{
    ConnectionState, Flushing, MessageSink, Report, Sending, SinkMetadata, SinkReport,
};

/// How a [`RecordingSink`] answers to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Accepts and delivers it.
    Accept,
    /// Refuses it and gives it back: [`SinkError::SendFailed`].
    Refuse,
    /// Loses the connection and gives it back, so that it was certainly not delivered: [`SinkError::ConnectionLost`].
    Disconnect,
    /// Loses the connection and the message with it, so that nobody knows: [`SinkError::ConnectionLost`].
    Lose,
    /// Takes it after so long.
    Delay(Duration),
    /// Takes it when [`RecordingSink::release`] is called.
    Stall,
    /// Accepts and delivers it twice.
    Duplicate,
    /// Accepts it, and delivers it after the next one; until then it waits.
    Swap,
}

/// A sink that remembers what it was sent and answers as a script says; clones share everything.
///
/// A message that it accepts is delivered, except as its [`Answer`] says. For a program that makes its own sinks from
/// names there is [`Network`](super::Network).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use wakewire::testing::{Answer, RecordingSink, assert_ledger};
/// use wakewire::{CompositeSink, Message, MessageSink};
///
/// let [first, second] = ["first", "second"].map(RecordingSink::new);
/// first.by(|_| Answer::Refuse);
/// let targets = [("first", first.clone()), ("second", second.clone())];
/// let targets = targets.map(|(name, sink)| (name.to_owned(), std::sync::Arc::new(sink) as _));
/// let both = CompositeSink::failover("both", targets.into())?;
///
/// both.send(Message::new("buy")).await?;
/// assert!(first.messages().is_empty());
/// assert_eq!(second.messages()[0].payload, "buy");
/// assert_ledger(&second.ledger());
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RecordingSink(Arc<Inner>);

type Script = Box<dyn FnMut(u64) -> Answer + Send>;

struct Inner {
    name: String,
    state: Mutex<State>,
    script: Mutex<Script>,
    released: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    asked: u64,
    refused: u64,
    ledger: Ledger,
    delivered: Vec<Message>,
    swapped: Option<Message>,
    lost: bool,
    closed: bool,
}

impl RecordingSink {
    /// Makes one that accepts everything.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            state: Mutex::default(),
            script: Mutex::new(Box::new(|_| Answer::Accept)),
            released: watch::Sender::default(),
        }))
    }

    /// Answers from now on as the script says; it is given the number of the message, counted from 0 over all that were
    /// ever offered.
    pub fn by(&self, script: impl FnMut(u64) -> Answer + Send + 'static) {
        *self.0.script.lock() = Box::new(script);
    }

    /// Takes every message that [stalls](Answer::Stall).
    pub fn release(&self) {
        self.0.released.send_replace(());
    }

    /// Returns what was delivered, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.0.state.lock().delivered.clone()
    }

    /// Returns where every accepted message is.
    pub fn ledger(&self) -> Ledger {
        self.0.state.lock().ledger
    }

    fn failure(&self) -> Failure {
        Failure::new(self.0.name.as_str())
    }

    /// Returns the answer to the next message.
    fn answer(&self) -> Answer {
        let number = {
            let mut state = self.0.state.lock();
            state.asked += 1;
            state.asked - 1
        };
        (*self.0.script.lock())(number)
    }

    /// Does what is done at once.
    fn take(&self, message: Message, answer: &Answer) -> Result<(), SinkError> {
        let state = &mut *self.0.state.lock();
        let refusal = if state.closed {
            Some(SinkError::Closed(self.failure()).returning(message.clone()))
        } else {
            match answer {
                Answer::Refuse => {
                    Some(SinkError::SendFailed(self.failure()).returning(message.clone()))
                }
                Answer::Disconnect => {
                    Some(SinkError::ConnectionLost(self.failure()).returning(message.clone()))
                }
                Answer::Lose => Some(SinkError::ConnectionLost(self.failure())),
                Answer::Accept
                | Answer::Delay(_)
                | Answer::Stall
                | Answer::Duplicate
                | Answer::Swap => None,
            }
        };
        state.lost = matches!(answer, Answer::Disconnect | Answer::Lose);
        if let Some(error) = refusal {
            state.refused += 1;
            return Err(error);
        }
        state.ledger.accepted += 1;
        if *answer == Answer::Swap && state.swapped.is_none() {
            state.ledger.waiting += 1;
            state.swapped = Some(message);
            return Ok(());
        }
        if *answer == Answer::Duplicate {
            state.delivered.push(message.clone());
        }
        state.delivered.push(message);
        state.ledger.delivered += 1;
        state.deliver_swapped();
        Ok(())
    }
}

impl State {
    fn deliver_swapped(&mut self) {
        if let Some(message) = self.swapped.take() {
            self.ledger.waiting -= 1;
            self.ledger.delivered += 1;
            self.delivered.push(message);
        }
    }
}

impl MessageSink for RecordingSink {
    fn send(&self, message: Message) -> Sending<'_> {
        let answer = self.answer();
        match answer {
            Answer::Delay(time) => Sending::new(async move {
                sleep(time).await;
                self.take(message, &answer)
            }),
            Answer::Stall => {
                let mut released = self.0.released.subscribe();
                Sending::new(async move {
                    // It fails only when the sink is gone, which is borrowed here.
                    released.changed().await.ok();
                    self.take(message, &answer)
                })
            }
            _ => Sending::ready(self.take(message, &answer)),
        }
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.answer() {
            Answer::Delay(_) | Answer::Stall => Err(TrySendError::WouldWait(message)),
            answer => self.take(message, &answer).map_err(TrySendError::Refused),
        }
    }

    fn is_connected(&self) -> bool {
        self.state() == ConnectionState::Connected
    }

    fn state(&self) -> ConnectionState {
        let state = self.0.state.lock();
        match (state.closed, state.lost) {
            (true, _) => ConnectionState::Closed,
            (false, true) => ConnectionState::Failed,
            (false, false) => ConnectionState::Connected,
        }
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new(self.0.name.as_str(), "recording");
        metadata.state = self.state();
        let state = self.0.state.lock();
        metadata.messages_sent = state.ledger.accepted;
        metadata.messages_failed = state.refused;
        metadata
    }

    /// Delivers also what waits for the next message to be swapped with.
    fn flush(&self, _: Duration) -> Flushing<'_> {
        let mut state = self.0.state.lock();
        state.deliver_swapped();
        let report = SinkReport::new(self.0.name.as_str(), state.ledger, None);
        Sending::ready(Ok(Report::over([report])))
    }

    fn close(&self, within: Duration) -> Flushing<'_> {
        self.0.state.lock().closed = true;
        self.flush(within)
    }
}

impl fmt::Debug for RecordingSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingSink")
            .field("name", &self.0.name)
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_ledger;

    fn message(text: &'static str) -> Message {
        Message::new(text)
    }

    fn texts(sink: &RecordingSink) -> Vec<Vec<u8>> {
        let messages = sink.messages();
        messages.iter().map(|one| one.payload.to_vec()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_answers_as_the_script_says_and_its_ledger_adds_up() {
        let sink = RecordingSink::new("x");
        let mut answers = [
            Answer::Duplicate,
            Answer::Swap,
            Answer::Delay(Duration::from_secs(9)),
            Answer::Refuse,
            Answer::Lose,
            Answer::Disconnect,
            Answer::Swap,
        ]
        .into_iter();
        sink.by(move |_| answers.next().unwrap_or(Answer::Accept));
        sink.send(message("a")).await.unwrap();
        sink.send(message("b")).await.unwrap();
        assert_eq!((sink.ledger().waiting, texts(&sink).len()), (1, 2));
        assert_ledger(&sink.ledger());
        let since = tokio::time::Instant::now();
        sink.send(message("c")).await.unwrap();
        assert_eq!(since.elapsed(), Duration::from_secs(9));
        assert_eq!(texts(&sink), [b"a", b"a", b"c", b"b"]);
        let error = sink.send(message("d")).await.unwrap_err();
        assert_eq!(error.into_message(), Some(message("d")));
        let error = sink.send(message("e")).await.unwrap_err();
        assert!(matches!(&error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(error.into_message(), None);
        assert!(!sink.is_connected());
        let error = sink.send(message("f")).await.unwrap_err();
        assert_eq!(error.into_message(), Some(message("f")));
        sink.send(message("g")).await.unwrap();
        let report = sink.close(Duration::ZERO).await.unwrap();
        assert_ledger(&report);
        assert_eq!((report.delivered, report.waiting), (4, 0));
        let error = sink.send(message("h")).await.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)), "{error}");
        assert_eq!(sink.metadata().messages_failed, 4);
    }

    #[tokio::test]
    async fn what_stalls_is_taken_when_it_is_released_and_not_if_it_was_dropped() {
        let sink = RecordingSink::new("x");
        sink.by(|_| Answer::Stall);
        let (kept, dropped) = (sink.send(message("a")), sink.send(message("b")));
        assert!(sink.try_send(message("c")).is_err());
        drop(dropped);
        sink.release();
        kept.await.unwrap();
        assert_eq!(texts(&sink), [b"a"]);
    }
}
