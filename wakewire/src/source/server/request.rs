//! What a handler is given, and what it may say instead of an answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout};

use crate::error::{Failure, Phase, SinkError};
use crate::message::Message;
use crate::transport::outflow::{Gone, Outflow};
use crate::wire::frame::{self, Carrier, HEADER, Kind};
use crate::wire::refusal::{Reason, Refusal};

/// One request, or one message that expects no answer.
///
/// ```
/// use wakewire::Message;
/// use wakewire::source::{HandlerError, Request};
///
/// async fn answer(request: Request) -> Result<Message, HandlerError> {
///     let who = request.peer().identity(); // such as `uid 1000`
///     if request.message.payload.is_empty() {
///         return Err(HandlerError::new(format!("{who} asks nothing")));
///     }
///     Ok(request.message)
/// }
/// # let _server = wakewire::source::serve("unix:///tmp/x.sock", answer);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// What is asked.
    pub message: Message,
    pub(super) peer: Peer,
    pub(super) deadline: Option<Instant>,
    pub(super) expects_reply: bool,
}

impl Request {
    /// Returns how long the answer is still wanted; none when the peer set no limit. At that moment the handler's
    /// future is dropped.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns whether the handler's answer is sent: a one-way message has none.
    pub const fn expects_reply(&self) -> bool {
        self.expects_reply
    }

    /// Returns who asks. Cheap to clone and to keep: it can be sent messages later.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// One that is connected to a server.
#[derive(Clone)]
pub struct Peer {
    pub(super) id: u64,
    /// Whom it has proved to be.
    pub(super) identity: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) outflow: Arc<Outflow>,
    pub(super) next: Arc<AtomicU64>,
    /// The most bytes after a header that it takes.
    pub(super) limit: u32,
}

impl Peer {
    /// Returns the number of its connection; no other connection to this server has it.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Returns whom it has proved to be, for people: `uid 1000` over a Unix socket, `user "desk"` who knows that
    /// password, `certificate "CN=desk"`, else `nobody in particular`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sends it a message of our own accord, at most once. Waits for room, up to 5 s.
    ///
    /// # Errors
    ///
    /// `Closed` when it is not connected any more, `MessageTooLarge` when it takes no such message, `Timeout` when it
    /// does not read. The message is in the error: it was not sent.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the message is not sent.
    pub async fn push(&self, message: Message) -> Result<(), SinkError> {
        let failure = Failure::new(Arc::clone(&self.service)).phase(Phase::Write);
        if let Some(text) = self.refuses(&message) {
            return Err(SinkError::MessageTooLarge(failure.because(text)).returning(message));
        }
        let number = self.next.fetch_add(1, Relaxed);
        let frame = self.frame(Kind::Data, number, &message);
        match timeout(PUSH_WITHIN, self.outflow.push(number, frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Gone)) => {
                let failure = failure.because("the peer is not connected any more");
                Err(SinkError::Closed(failure).returning(message))
            }
            Err(_) => {
                let failure = failure.because("the peer does not read");
                Err(SinkError::Timeout(failure).returning(message))
            }
        }
    }

    /// Says why it would not take this.
    pub(super) fn refuses(&self, message: &Message) -> Option<String> {
        let bytes = frame::encoded_length(message) - HEADER;
        let fields = [&message.target, &message.correlation_id];
        if fields.into_iter().flatten().any(|text| text.len() > 255) {
            return Some("a target or correlation id is longer than 255 bytes".to_owned());
        }
        let limit = self.limit;
        (bytes > limit as usize)
            .then(|| format!("the message has {bytes} bytes, the peer takes {limit}"))
    }

    pub(super) fn frame(&self, kind: Kind, sequence: u64, message: &Message) -> Bytes {
        let carrier = Carrier {
            kind,
            sequence,
            within_ms: None,
        };
        let mut bytes = BytesMut::with_capacity(frame::encoded_length(message));
        frame::encode_carried(message, carrier, self.outflow.is_checksummed(), &mut bytes);
        bytes.freeze()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} ({})", self.id, self.identity)
    }
}

/// Why a handler does not answer; the text is sent to the peer.
///
/// ```
/// use wakewire::source::HandlerError;
///
/// let refused = HandlerError::from("no such symbol");
/// assert_eq!(refused.to_string(), "no such symbol");
/// ```
#[derive(Clone, Debug)]
pub struct HandlerError(Refusal);

impl HandlerError {
    /// It cannot be answered, and asking again will not help. The peer gets `RequestFailed` with this text, of which
    /// at most 500 characters.
    pub fn new(text: impl Into<String>) -> Self {
        Self::because(Reason::Failed, text.into())
    }

    /// Nothing was done with it, for lack of room: another node may, or this one later. The peer gets `Overloaded`
    /// with its message in it.
    pub fn overloaded(text: impl Into<String>) -> Self {
        Self::because(Reason::Overloaded, text.into())
    }

    pub(super) fn because(reason: Reason, mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
            text.truncate(end);
        }
        Self(Refusal { reason, text })
    }

    pub(super) const fn refusal(&self) -> &Refusal {
        &self.0
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for HandlerError {}

impl From<String> for HandlerError {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for HandlerError {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// As long as a sender waits by default.
const PUSH_WITHIN: Duration = Duration::from_secs(5);

/// Characters of a reason: for people, and within the smallest limit of a peer.
const MOST_TEXT: usize = 500;
