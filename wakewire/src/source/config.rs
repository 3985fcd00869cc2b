//! What a source needs to know of its service, and how it says what went wrong.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::backoff::LazyConfig;
use crate::domain::Admission;
use crate::endpoint::Endpoint;
use crate::error::{Failure, Phase, SinkError};
use crate::transport::dial::Target;
use crate::wire::frame::frame_limit;
use crate::wire::hello::{Limits, Start};
use crate::wire::liveness::ASK_AFTER;

/// What a source needs to know of its service.
#[derive(Clone, Debug)]
pub(crate) struct SourceConfig {
    pub(crate) service: Arc<str>,
    pub(crate) target: Target,
    /// Subscribe to a relay; else bind the endpoint and listen.
    pub(crate) subscribes: bool,
    pub(crate) at_most_once: bool,
    pub(crate) admission: Admission,
    pub(crate) lazy: LazyConfig,
    /// The name by which a relay waits for this consumer.
    pub(crate) consumer: Option<String>,
    pub(crate) start: Start,
}

impl SourceConfig {
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.target.endpoint()
    }

    pub(super) fn failure(&self) -> Failure {
        Failure::new(Arc::clone(&self.service)).endpoint(self.endpoint().to_string())
    }

    pub(super) fn error(&self, phase: Phase, cause: &str) -> SinkError {
        SinkError::ConnectionFailed(self.failure().phase(phase).because(cause))
    }

    /// What this side may be sent.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            frame: frame_limit(self.admission.max_message_bytes),
            idle_ms: 0,
            ping_ms: u32::try_from(ASK_AFTER.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// Says why an endpoint cannot be listened at.
pub(crate) fn listen_error(failure: Failure, error: std::io::Error) -> SinkError {
    let failure = failure.phase(Phase::Listen);
    let hint = match error.kind() {
        ErrorKind::InvalidInput => {
            let hint = "correct `cert`, `key` and `client_ca` of the service that listens";
            return SinkError::InvalidConfig(failure.because(error).hint(hint));
        }
        ErrorKind::AddrInUse => "one process at a time listens at an endpoint",
        ErrorKind::NotFound => "create the directory of the socket",
        _ => "may this process bind that endpoint?",
    };
    SinkError::Io(failure.because(error).hint(hint))
}
