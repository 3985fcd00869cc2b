//! Who may dial: the one place where a lazy sink's state changes, and the words for what went wrong.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::dialer::Dialer;
use crate::error::{Failure, Phase, SinkError};
use crate::sink::ConnectionState;

/// How a dial series ended; `None` while it runs. Every caller that waits for it gets a clone.
pub(super) type Outcome = Option<Result<(), SinkError>>;

/// What is decided under one short lock, never held across an await, a user's code or a log line.
#[derive(Debug)]
pub(super) struct Gate {
    stage: Stage,
    /// Away while a series runs: the series has it, and brings it back however it ends.
    pub(super) dialer: Option<Dialer>,
    /// With `auto_reconnect = false`: why nothing is sent until `connect()`.
    pub(super) lost: Option<SinkError>,
    pub(super) name: Arc<str>,
    /// Where the last connection went; stays after it is gone.
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) last_series: u64,
}

/// What the sink is doing about its connection.
#[derive(Debug)]
pub(super) enum Stage {
    Asleep,
    Dialing(Series),
    Up,
    /// The last series failed with this.
    Failed(SinkError),
    Closed,
}

/// A dial series that runs.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) id: u64,
    pub(super) outcome: watch::Receiver<Outcome>,
    /// None in the moment between its birth and its spawning.
    pub(super) abort: Option<AbortHandle>,
    /// Somebody wants it to end: it is aborted as soon as it can be.
    pub(super) unwanted: bool,
}

/// A change of state, to be told after the lock is released: a subscriber is a user's code.
#[must_use]
#[derive(Debug)]
pub(super) struct Change {
    name: Arc<str>,
    from: ConnectionState,
    to: ConnectionState,
    error: Option<Arc<str>>,
}

impl Gate {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            stage: Stage::Asleep,
            dialer: Some(dialer),
            lost: None,
            name: Arc::from(""),
            endpoint: None,
            last_error: None,
            last_series: 0,
        }
    }

    pub(super) const fn stage(&self) -> &Stage {
        &self.stage
    }

    pub(super) const fn state(&self) -> ConnectionState {
        match &self.stage {
            Stage::Asleep => ConnectionState::Disconnected,
            Stage::Dialing(_) => ConnectionState::Connecting,
            Stage::Up => ConnectionState::Connected,
            Stage::Failed(_) => ConnectionState::Failed,
            Stage::Closed => ConnectionState::Closed,
        }
    }

    pub(super) fn shift(&mut self, stage: Stage) -> Change {
        let from = self.state();
        self.stage = stage;
        let to = self.state();
        let error = matches!(to, ConnectionState::Failed | ConnectionState::Disconnected)
            .then(|| self.last_error.clone())
            .flatten();
        Change {
            name: Arc::clone(&self.name),
            from,
            to,
            error,
        }
    }

    /// Returns the series of this number if it is the one that runs.
    pub(super) const fn series(&mut self, id: u64) -> Option<&mut Series> {
        match &mut self.stage {
            Stage::Dialing(series) if series.id == id => Some(series),
            _ => None,
        }
    }

    /// Marks the running series as unwanted; who gets the handle aborts it, outside the lock.
    pub(super) fn dismiss(&mut self) -> Option<(Option<AbortHandle>, watch::Receiver<Outcome>)> {
        match &mut self.stage {
            Stage::Dialing(series) => {
                series.unwanted = true;
                Some((series.abort.take(), series.outcome.clone()))
            }
            _ => None,
        }
    }

    /// Starts the details of an error of this sink.
    pub(super) fn failure(&self) -> Failure {
        let failure = Failure::new(Arc::clone(&self.name));
        match &self.endpoint {
            Some(endpoint) => failure.endpoint(Arc::clone(endpoint)),
            None => failure,
        }
    }

    pub(super) fn closed(&self) -> SinkError {
        SinkError::Closed(self.failure().hint("it was closed by this program"))
    }

    pub(super) fn no_runtime(&self) -> SinkError {
        SinkError::NoRuntime(
            self.failure().hint(
                "make the sink, or first use it, inside a tokio runtime that goes on running",
            ),
        )
    }

    /// The series was ended by `disconnect()` before it had a result.
    pub(super) fn dismissed(&self) -> SinkError {
        SinkError::ConnectionFailed(
            self.failure()
                .phase(Phase::Dial)
                .because("`disconnect()` was called while connecting"),
        )
    }

    pub(super) fn panicked(&self) -> SinkError {
        SinkError::ConnectionFailed(
            self.failure()
                .phase(Phase::Dial)
                .because("the code that opens the connection panicked"),
        )
    }

    pub(super) fn peer_closed(&self) -> SinkError {
        SinkError::ConnectionLost(self.failure().because("the connection is no longer up"))
    }

    /// Says `ConnectionLost` in this sink's name, with what the inner sink said as the cause.
    pub(super) fn connection_lost(&self, cause: SinkError) -> SinkError {
        match cause {
            SinkError::ConnectionLost(_) => cause,
            cause => SinkError::ConnectionLost(self.failure().because(cause)),
        }
    }

    /// Says how a series ended that made so many attempts, the last of which failed with this.
    ///
    /// A permanent error stays what it is: it says better than "no connection" what to do. `Closed` does
    /// not, since it would say that this sink was closed.
    pub(super) fn series_failed(&self, mut last: SinkError, attempts: u32) -> SinkError {
        // A message in it would be a stranger's.
        drop(last.take_message());
        match last {
            SinkError::ConnectionFailed(failure)
                if failure.source().is_some() && *failure.service() == *self.name =>
            {
                SinkError::ConnectionFailed(failure.attempts(attempts))
            }
            last if last.is_permanent() && !matches!(last, SinkError::Closed(_)) => last,
            last => {
                let known = last.failure();
                let mut failure = self.failure().attempts(attempts);
                failure = failure.phase(known.failed_phase().unwrap_or(Phase::Dial));
                if !known.endpoint_name().is_empty() {
                    failure = failure.endpoint(known.endpoint_name());
                }
                SinkError::ConnectionFailed(failure.because(last))
            }
        }
    }
}

impl Change {
    /// Logs the change and returns whether there was one.
    pub(super) fn tell(&self) -> bool {
        let Self {
            name,
            from,
            to,
            error,
        } = self;
        if from == to {
            return false;
        }
        let error = error.as_deref().unwrap_or("");
        match to {
            ConnectionState::Failed => {
                tracing::warn!(service = %name, ?from, ?to, error, "no connection");
            }
            ConnectionState::Disconnected if *from == ConnectionState::Connected => {
                tracing::info!(service = %name, ?from, ?to, error, "connection gone");
            }
            _ => tracing::debug!(service = %name, ?from, ?to, "state changed"),
        }
        true
    }
}

/// What an inner sink's error says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The connection is of no further use; the message, if it came back, may be sent over another.
    Connection,
    /// The connection is of no further use, and another would not help this message.
    Both,
    /// The message was refused, before anything was sent; the connection is as good as before.
    Message,
    /// Neither is at fault: no room, no time, no runtime.
    Neither,
}

/// Judges an inner sink's error.
pub(super) fn blame(error: &SinkError) -> Blame {
    match error {
        SinkError::ConnectionFailed(_)
        | SinkError::ConnectionLost(_)
        | SinkError::Closed(_)
        | SinkError::Io(_) => Blame::Connection,
        // A field too long for the wire is refused on acceptance; any other failed send leaves a
        // connection of which nobody knows how much of the message it carries.
        SinkError::SendFailed(failure) => match failure.failed_phase() {
            Some(Phase::Accept) => Blame::Message,
            _ => Blame::Connection,
        },
        SinkError::Protocol(_) | SinkError::Unauthorized(_) => Blame::Both,
        SinkError::MessageTooLarge(_)
        | SinkError::WrongDomain(_)
        | SinkError::WrongPrecision(_)
        | SinkError::Unsupported(_) => Blame::Message,
        SinkError::BufferFull(_)
        | SinkError::Overloaded(_)
        | SinkError::Timeout(_)
        | SinkError::RequestFailed(_)
        | SinkError::InvalidConfig(_)
        | SinkError::NoRuntime(_)
        | SinkError::UnknownService(_)
        // Sent again, it would reach those twice who have it.
        | SinkError::Partial(_) => Blame::Neither,
    }
}
