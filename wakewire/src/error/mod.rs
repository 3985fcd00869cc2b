//! What went wrong, where, how often it was tried, and what to do. No I/O, no clock.

mod failure;
mod phase;

use std::error::Error;
use std::fmt;
use std::io;

pub use self::failure::Failure;
pub use self::phase::Phase;
use crate::domain::Refusal;
use crate::message::Message;

/// Why a sink or source could not do what it was asked.
///
/// Every variant but [`Partial`](Self::Partial) carries a [`Failure`]: which service, which endpoint, in
/// which phase, after how many attempts, the underlying cause, and a hint. A refused message comes back:
/// [`into_message`](Self::into_message). Cloning is cheap, since one failed dial series answers many waiters.
///
/// ```
/// use wakewire::{Failure, Message, Phase, SinkError};
///
/// let error = SinkError::ConnectionFailed(
///     Failure::new("market_data_relay").endpoint("unix:///run/md.sock").phase(Phase::Dial).attempts(4),
/// )
/// .returning(Message::new("tick"));
/// assert!(error.to_string().starts_with("service `market_data_relay` at unix:///run/md.sock: no connection"));
/// assert_eq!(error.failure().attempts_made(), 4);
/// assert_eq!(&error.into_message().unwrap().payload[..], b"tick");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SinkError {
    /// Nobody answered, as often as it was tried.
    ConnectionFailed(Failure),
    /// There was a connection, and it broke.
    ConnectionLost(Failure),
    /// The connection stands, but this message could not be sent.
    SendFailed(Failure),
    /// There is no room, and none came in time.
    BufferFull(Failure),
    /// The sink or source was closed; it stays so.
    Closed(Failure),
    /// It was not done by its deadline.
    Timeout(Failure),
    /// The configuration does not allow it.
    InvalidConfig(Failure),
    /// The operating system refused.
    Io(Failure),
    /// The message is larger than the service takes.
    MessageTooLarge(Failure),
    /// The message's type is not of the service's domain.
    WrongDomain(Failure),
    /// The message's amounts are in a scale that the service does not take.
    WrongPrecision(Failure),
    /// There is no tokio runtime to work on.
    NoRuntime(Failure),
    /// There is no service of that name.
    UnknownService(Failure),
    /// The peer refused or broke the protocol; trying again will not help by itself.
    Protocol(Failure),
    /// The peer does not know who we are, or does not let us do that.
    Unauthorized(Failure),
    /// The peer has too much to do, and has done nothing with it.
    Overloaded(Failure),
    /// The peer took the request and says that it cannot answer it.
    RequestFailed(Failure),
    /// What was asked for is not to be had there, such as a receipt from a sink that hears no acknowledgements.
    Unsupported(Failure),
    /// Some targets of a fan-out took the message and some did not.
    Partial(PartialFailure),
}

impl SinkError {
    /// Returns the details. For [`Partial`](Self::Partial) those of the fan-out itself.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::ConnectionFailed(failure)
            | Self::ConnectionLost(failure)
            | Self::SendFailed(failure)
            | Self::BufferFull(failure)
            | Self::Closed(failure)
            | Self::Timeout(failure)
            | Self::InvalidConfig(failure)
            | Self::Io(failure)
            | Self::MessageTooLarge(failure)
            | Self::WrongDomain(failure)
            | Self::WrongPrecision(failure)
            | Self::NoRuntime(failure)
            | Self::UnknownService(failure)
            | Self::Protocol(failure)
            | Self::Unauthorized(failure)
            | Self::Overloaded(failure)
            | Self::RequestFailed(failure)
            | Self::Unsupported(failure) => failure,
            Self::Partial(partial) => &partial.0.failure,
        }
    }

    /// Attaches the refused message, so that the caller gets it back.
    #[must_use]
    pub fn returning(mut self, message: Message) -> Self {
        self.failure_mut().0.message = Some(message);
        self
    }

    /// Says after how many attempts in a row it was given up.
    #[must_use]
    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.failure_mut().0.attempts = attempts;
        self
    }

    /// Takes out the refused message. `None` means that the message may have been sent.
    pub fn into_message(mut self) -> Option<Message> {
        self.take_message()
    }

    /// Takes out the refused message and leaves the error.
    pub fn take_message(&mut self) -> Option<Message> {
        self.failure_mut().0.message.take()
    }

    /// Attaches the messages behind the refused one, which were not looked at.
    #[must_use]
    pub(crate) fn returning_rest(mut self, rest: Vec<Message>) -> Self {
        self.failure_mut().0.rest = rest;
        self
    }

    /// Takes out all messages of a batch that were not accepted, in order.
    pub fn into_messages(mut self) -> Vec<Message> {
        let details = &mut self.failure_mut().0;
        details
            .message
            .take()
            .into_iter()
            .chain(details.rest.drain(..))
            .collect()
    }

    /// Returns whether trying again without changing anything cannot help.
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Closed(_)
                | Self::InvalidConfig(_)
                | Self::MessageTooLarge(_)
                | Self::WrongDomain(_)
                | Self::WrongPrecision(_)
                | Self::NoRuntime(_)
                | Self::UnknownService(_)
                | Self::Protocol(_)
                | Self::Unauthorized(_)
                | Self::RequestFailed(_)
                | Self::Unsupported(_)
        )
    }

    /// Makes the error for a message that a service does not take.
    pub(crate) fn refused(refusal: Refusal, failure: Failure) -> Self {
        let failure = failure.phase(Phase::Accept).because(refusal.to_string());
        match refusal {
            Refusal::TooLarge { .. } => Self::MessageTooLarge(
                failure.hint("send smaller messages, or raise `max_message_bytes` on both sides"),
            ),
            Refusal::WrongType { .. } => Self::WrongDomain(
                failure.hint("send it to a service of its domain, or give it the right type"),
            ),
            Refusal::WrongPrecision { .. } => Self::WrongPrecision(
                failure.hint("send it to a service of that context, or convert it exactly"),
            ),
            Refusal::LongField { .. } => Self::SendFailed(failure.hint("put it into the payload")),
        }
    }

    const fn what(&self) -> &'static str {
        match self {
            Self::ConnectionFailed(_) => "no connection",
            Self::ConnectionLost(_) => "connection lost",
            Self::SendFailed(_) => "not sent",
            Self::BufferFull(_) => "buffer full",
            Self::Closed(_) => "closed",
            Self::Timeout(_) => "not done in time",
            Self::InvalidConfig(_) => "invalid configuration",
            Self::Io(_) => "input/output error",
            Self::MessageTooLarge(_) => "message too large",
            Self::WrongDomain(_) => "wrong domain",
            Self::WrongPrecision(_) => "wrong precision",
            Self::NoRuntime(_) => "no tokio runtime",
            Self::UnknownService(_) => "unknown service",
            Self::Protocol(_) => "refused by the peer",
            Self::Unauthorized(_) => "not authorized",
            Self::Overloaded(_) => "the peer is overloaded",
            Self::RequestFailed(_) => "the request failed",
            Self::Unsupported(_) => "not supported",
            Self::Partial(_) => "not all targets took it",
        }
    }

    const fn failure_mut(&mut self) -> &mut Failure {
        match self {
            Self::ConnectionFailed(failure)
            | Self::ConnectionLost(failure)
            | Self::SendFailed(failure)
            | Self::BufferFull(failure)
            | Self::Closed(failure)
            | Self::Timeout(failure)
            | Self::InvalidConfig(failure)
            | Self::Io(failure)
            | Self::MessageTooLarge(failure)
            | Self::WrongDomain(failure)
            | Self::WrongPrecision(failure)
            | Self::NoRuntime(failure)
            | Self::UnknownService(failure)
            | Self::Protocol(failure)
            | Self::Unauthorized(failure)
            | Self::Overloaded(failure)
            | Self::RequestFailed(failure)
            | Self::Unsupported(failure) => failure,
            Self::Partial(partial) => &mut partial.0.failure,
        }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.failure().0;
        match (&*details.service, &*details.endpoint) {
            ("", "") => {}
            ("", endpoint) => write!(f, "{endpoint}: ")?,
            (service, "") => write!(f, "service `{service}`: ")?,
            (service, endpoint) => write!(f, "service `{service}` at {endpoint}: ")?,
        }
        f.write_str(self.what())?;
        if let Some(phase) = details.phase {
            write!(f, " (while {phase})")?;
        }
        if details.attempts > 0 {
            let plural = if details.attempts == 1 { "" } else { "s" };
            write!(f, " after {} attempt{plural}", details.attempts)?;
        }
        if let Self::Partial(partial) = self {
            for (name, error) in partial.failed() {
                write!(f, "; `{name}`: {error}")?;
            }
        }
        if let Some(cause) = &details.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(hint) = &details.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure()
            .0
            .cause
            .as_ref()
            .map(|cause| &**cause as &(dyn Error + 'static))
    }
}

/// So that a user's own sink can write `?` on its I/O. The message does not come back: it is in doubt.
impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(Failure::new("").because(error))
    }
}

/// Which targets of a fan-out took the message and which did not.
#[derive(Clone, Debug)]
pub struct PartialFailure(Box<PartialDetails>);

#[derive(Clone, Debug)]
struct PartialDetails {
    failure: Failure,
    accepted: Vec<String>,
    failed: Vec<(String, SinkError)>,
}

impl PartialFailure {
    /// Makes one from the fan-out's own details and the outcome by target.
    pub fn new(failure: Failure, accepted: Vec<String>, failed: Vec<(String, SinkError)>) -> Self {
        Self(Box::new(PartialDetails {
            failure,
            accepted,
            failed,
        }))
    }

    /// Returns the targets that took the message; sending it again to the fan-out doubles it there.
    pub fn accepted(&self) -> &[String] {
        &self.0.accepted
    }

    /// Returns the targets that did not, each with its error.
    pub fn failed(&self) -> &[(String, SinkError)] {
        &self.0.failed
    }
}

/// Why `try_send` did not take a message. Either way the message is not lost.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// Taking it needs waiting, for room or for a connection: `send` would.
    #[error("taking the message needs waiting")]
    WouldWait(Message),
    /// It is refused, with the reason.
    #[error(transparent)]
    Refused(SinkError),
}
