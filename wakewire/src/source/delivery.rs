//! Deliveries that are acknowledged one by one, in any order.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::MessageSource;
use super::progress::Progress;
use crate::cursor::Position;
use crate::error::SinkError;
use crate::message::Message;

/// A source whose messages are acknowledged explicitly; made by [`MessageSource::into_stream`].
///
/// A message counts as processed when it and all before it of the same producer were acknowledged. One that
/// is dropped without [`ack`](Delivered::ack) holds the acknowledgement back: it comes again in another life of
/// the consumer, or to another one.
#[derive(Debug)]
pub struct Deliveries(MessageSource);

/// One message, and the means to acknowledge it.
#[must_use = "dropped without `ack`, the message counts as not processed"]
pub struct Delivered {
    /// The message.
    pub message: Message,
    sequence: u64,
    progress: Arc<Progress>,
}

impl Delivered {
    /// Returns where the message stands, to be stored with what it brought about.
    pub fn position(&self) -> Position {
        self.progress.position(self.sequence)
    }

    /// Says that the message was processed; gives it back. With a [cursor](MessageSource::with_cursor) that is written
    /// before this returns; if it cannot be, the next call of [`next`](Deliveries::next) says so, and
    /// the message counts as not processed.
    pub fn ack(self) -> Message {
        self.progress.release(self.sequence);
        self.message
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("message", &self.message)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Deliveries {
    pub(super) const fn new(source: MessageSource) -> Self {
        Self(source)
    }

    /// Returns the next delivery; `None` when the source was closed.
    ///
    /// # Errors
    ///
    /// As [`MessageSource::recv`].
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn next(&mut self) -> Result<Option<Delivered>, SinkError> {
        let Some(message) = self.0.recv().await? else {
            return Ok(None);
        };
        let Some(current) = &mut self.0.current else {
            return Ok(None);
        };
        // Taken out of the source's hand: asking for the next one must not acknowledge this one.
        let Some(sequence) = current.in_hand.take() else {
            return Ok(None);
        };
        let progress = Arc::clone(&current.progress);
        progress.hold(sequence);
        Ok(Some(Delivered {
            message,
            sequence,
            progress,
        }))
    }

    /// Acknowledges what was acknowledged, and closes as [`MessageSource::close`] does.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the source closes in the background.
    pub async fn close(&mut self, within: Duration) -> bool {
        self.0.close(within).await
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivered, SinkError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // `next` keeps nothing across a poll that is pending, so a future per poll loses nothing.
        pin!(self.next()).poll(cx).map(Result::transpose)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::acker::Acker;
    use super::super::config::SourceConfig;
    use super::*;
    use crate::backoff::LazyConfig;
    use crate::domain::{Admission, PrecisionContext};
    use crate::security::{ListenLimits, Security};
    use crate::transport::dial::Target;
    use crate::wire::SessionId;
    use crate::wire::frame::encode_message;
    use crate::wire::hello::Start;
    use crate::wire::run::Run;

    fn run(first: u64, last: u64) -> Run {
        let mut bytes = BytesMut::new();
        for sequence in first..=last {
            encode_message(&Message::new("x"), sequence, false, &mut bytes);
        }
        Run::new(first, last, bytes.freeze())
    }

    fn source() -> MessageSource {
        MessageSource::new(SourceConfig {
            service: "relay".into(),
            target: Target::new(
                "unix:///tmp/wakewire-nobody.sock".parse().unwrap(),
                Security::default(),
                ListenLimits::default(),
            ),
            subscribes: true,
            at_most_once: false,
            admission: Admission {
                max_message_bytes: 100,
                domain: None,
                precision: PrecisionContext::Mixed,
            },
            lazy: LazyConfig::default(),
            consumer: None,
            start: Start::Owed,
        })
    }

    #[tokio::test]
    async fn those_who_read_and_acknowledge_have_a_turn_while_there_is_much_to_do() {
        let mut source = source();
        let (session, acker) = (SessionId(1), Arc::new(Acker::default()));
        let inbox = Arc::clone(&source.inbox);
        let progress = inbox.gap(session, 0, false, &acker);
        for first in (1..=10_000).step_by(100) {
            assert!(
                inbox
                    .data(session, &progress, run(first, first + 99))
                    .unwrap()
            );
        }
        let working = async {
            for _ in 0..10_000 {
                source.recv().await.unwrap().unwrap();
            }
        };
        let mut seen = vec![];
        let acknowledging = async {
            loop {
                seen.push(progress.processed());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = working => {}
            () = acknowledging => {}
        }
        // Before a run that would be longer, what was at hand before it is processed.
        assert_eq!(seen.len(), 4);
        let turns = seen.windows(2).all(|turn| turn[1] - turn[0] == 2_100);
        assert!(turns && seen[0] == 2_100, "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_does_not_acknowledge_what_is_still_held() {
        let source = source();
        let (session, acker) = (SessionId(1), Arc::new(Acker::default()));
        let inbox = Arc::clone(&source.inbox);
        let progress = inbox.gap(session, 0, false, &acker);
        assert!(inbox.data(session, &progress, run(1, 2)).unwrap());
        inbox.gap(session, 10, false, &acker);
        let mut stream = source.into_stream();
        let first = stream.next().await.unwrap().unwrap();
        let second = stream.next().await.unwrap().unwrap();
        let more = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
        assert!(
            more.is_err(),
            "nothing follows; but the gap has been passed"
        );
        assert_eq!(stream.0.stats().missed, 8);
        assert_eq!(progress.processed(), 0, "both are still held");
        second.ack();
        assert_eq!(progress.processed(), 0, "the first is still held");
        first.ack();
        assert_eq!(
            progress.processed(),
            10,
            "and with them what was missed is past"
        );
        // Nothing is held now: a gap is past at once.
        inbox.gap(session, 20, false, &acker);
        let more = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
        assert!(more.is_err());
        assert_eq!(progress.processed(), 20);
    }
}
