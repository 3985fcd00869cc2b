//! Why a peer was not reached, or has not taken us.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use crate::endpoint::Scheme;
use crate::error::{Failure, Phase, SinkError};
use crate::wire::hello::Code;

/// Why a peer was not reached, or has not taken us.
#[derive(Debug)]
pub(crate) struct Unreached {
    phase: Phase,
    cause: Box<dyn Error + Send + Sync>,
    hint: Option<Cow<'static, str>>,
    blame: Blame,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// It may be otherwise in a moment.
    Moment,
    /// The peer has too much to do.
    Load,
    /// One side must be changed.
    Peer,
    /// We are not who we should be, or the peer is not.
    Identity,
    /// Our own configuration must be changed.
    Configuration,
}

impl Unreached {
    /// Trying again may help.
    pub(crate) fn for_now(phase: Phase, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            phase,
            cause: cause.into(),
            hint: None,
            blame: Blame::Moment,
        }
    }

    /// The connection ended before the peer had answered; with TLS it may have said why.
    pub(crate) fn lost(error: io::Error) -> Self {
        #[cfg(feature = "tcp")]
        if let Some(refusal) = super::tls::refusal(&error) {
            return refusal;
        }
        Self::for_now(Phase::Handshake, error)
    }

    /// What answers is not what we expect, whenever we ask.
    pub(crate) fn foreign(phase: Phase, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            blame: Blame::Peer,
            ..Self::for_now(phase, cause)
        }
        .hint("is it a wakewire peer that listens there?")
    }

    /// One of the two is not who the other takes it for.
    pub(crate) fn unauthorized(
        phase: Phase,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            blame: Blame::Identity,
            ..Self::for_now(phase, cause)
        }
    }

    /// Our own configuration does not allow it.
    pub(crate) fn misconfigured(
        phase: Phase,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            blame: Blame::Configuration,
            ..Self::for_now(phase, cause)
        }
    }

    /// The peer says why it does not take us.
    pub(crate) fn refused(code: Code, text: String) -> Self {
        let blame = match code {
            Code::Unauthorized => Blame::Identity,
            Code::Busy => Blame::Load,
            code if code.is_permanent() => Blame::Peer,
            _ => Blame::Moment,
        };
        let refused = Self {
            blame,
            ..Self::for_now(Phase::Handshake, text)
        };
        match blame {
            Blame::Moment => refused,
            Blame::Load => refused.hint("it takes more connections when others have ended"),
            Blame::Identity => {
                refused.hint("compare user, password and certificates of both sides")
            }
            Blame::Peer | Blame::Configuration => {
                refused.hint("compare the configurations of both sides")
            }
        }
    }

    /// Says what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes it an error of a service.
    pub(crate) fn error(self, failure: Failure) -> SinkError {
        let mut failure = failure.phase(self.phase).because(self.cause);
        if let Some(hint) = self.hint {
            failure = failure.hint(hint.into_owned());
        }
        match self.blame {
            Blame::Moment => SinkError::ConnectionFailed(failure),
            Blame::Load => SinkError::Overloaded(failure),
            Blame::Peer => SinkError::Protocol(failure),
            Blame::Identity => SinkError::Unauthorized(failure),
            Blame::Configuration => SinkError::InvalidConfig(failure),
        }
    }
}

/// An attempt to open a connection that the system ended.
impl From<io::Error> for Unreached {
    fn from(error: io::Error) -> Self {
        let hint: Cow<'static, str> = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "nobody listens there: start the service, or correct the endpoint".into()
            }
            io::ErrorKind::PermissionDenied => "the socket belongs to another user".into(),
            io::ErrorKind::Unsupported => Scheme::advice().into(),
            _ => "is the peer reachable from here?".into(),
        };
        Self::for_now(Phase::Dial, error).hint(hint)
    }
}
