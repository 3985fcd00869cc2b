//! What relay and direct sinks have in common: a link behind the trait.

use std::sync::Arc;
use std::time::Duration;

use super::{ConnectionState, Flushing, Receipt, Report, Sending, SinkMetadata, SinkReport};
use crate::delivery::{Delivery, WhenFull};
use crate::domain::{Admission, PrecisionContext};
use crate::endpoint::Endpoint;
use crate::error::{Failure, Phase as ErrorPhase, SinkError, TrySendError};
use crate::link::{Link, LinkConfig, Phase, Snapshot};
use crate::message::{Message, MessageRef};
use crate::outbox::Limits;
use crate::security::{ListenLimits, Security};
use crate::transport::dial::Target;

/// Makes a link with the defaults of `services.toml`, for a sink that is made without it. Opens nothing.
pub(super) fn link(
    endpoint: &str,
    buffer_size: usize,
    security: Security,
) -> Result<Link, SinkError> {
    let failure = || {
        let failure = Failure::new(endpoint).endpoint(endpoint);
        failure.phase(ErrorPhase::Resolve)
    };
    let invalid =
        |cause: String, hint: &str| SinkError::InvalidConfig(failure().because(cause).hint(hint));
    let parsed: Endpoint = endpoint
        .parse()
        .map_err(|error: crate::endpoint::EndpointError| {
            invalid(error.to_string(), error.hint())
        })?;
    let target = Target::new(parsed.clone(), security, ListenLimits::default()).sound();
    let target = target.map_err(|unreached| unreached.error(failure()))?;
    if buffer_size == 0 {
        return Err(invalid(
            "a buffer of no messages".to_owned(),
            "give it room for one at least",
        ));
    }
    let limits = Limits {
        messages: buffer_size,
        bytes: BUFFER_BYTES,
        delivery: Delivery::usual_over(parsed.scheme()),
        when_full: WhenFull::Block,
        checksummed: parsed.is_checksummed(),
        loses_frames: parsed.loses_frames(),
    };
    let config = LinkConfig {
        service: endpoint.into(),
        asks_for: "".into(),
        endpoint: endpoint.into(),
        checksummed: parsed.is_checksummed(),
        admission: Admission {
            max_message_bytes: parsed.usual_message(),
            domain: None,
            precision: PrecisionContext::Mixed,
        },
        lazy: Arc::default(),
        idle_timeout: Some(IDLE_TIMEOUT),
        drain_timeout: DRAIN_TIMEOUT,
    };
    Ok(Link::new(config, limits, Box::new(target)))
}

/// The default `buffer_bytes`: 8 MiB, since a count alone says nothing of memory.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// The default `idle_timeout_secs`: below the 60 s after which load balancers drop a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The default `drain_timeout_secs`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn try_send(link: &Link, message: Message) -> Result<(), TrySendError> {
    link.try_accept(message)
}

pub(super) fn send(link: &Link, message: Message) -> Sending<'_> {
    match link.try_accept(message) {
        Ok(()) => Sending::ready(Ok(())),
        Err(TrySendError::Refused(error)) => Sending::ready(Err(error)),
        Err(TrySendError::WouldWait(message)) => Sending::new(link.accept(message)),
    }
}

pub(super) fn send_ref<'a>(link: &'a Link, message: &MessageRef<'_>) -> Sending<'a> {
    match link.try_accept_ref(message) {
        Ok(()) => Sending::ready(Ok(())),
        Err(TrySendError::Refused(error)) => Sending::ready(Err(error)),
        Err(TrySendError::WouldWait(message)) => Sending::new(link.accept(message)),
    }
}

pub(super) fn send_with_receipt(link: &Link, message: Message) -> Sending<'_, Receipt> {
    Sending::new(async move {
        let receipt = link.accept_for_receipt(message).await?;
        Ok(Sending::new(receipt))
    })
}

pub(super) fn state(link: &Link) -> ConnectionState {
    match link.phase() {
        Phase::Asleep => ConnectionState::Disconnected,
        Phase::Dialing => ConnectionState::Connecting,
        Phase::Up => ConnectionState::Connected,
        Phase::Failed => ConnectionState::Failed,
        Phase::Closed => ConnectionState::Closed,
    }
}

pub(super) fn metadata(link: &Link, sink_type: &'static str) -> SinkMetadata {
    let Snapshot {
        ledger,
        refused,
        last_error,
        ..
    } = link.snapshot();
    let mut metadata = SinkMetadata::new(&*link.config().service, sink_type);
    metadata.endpoint = Some(link.config().endpoint.to_string());
    metadata.state = state(link);
    metadata.messages_sent = ledger.accepted;
    metadata.messages_failed = refused;
    metadata.last_error = last_error.map(|error| error.to_string());
    metadata
}

pub(super) fn flush(link: &Link, within: Duration) -> Flushing<'_> {
    Sending::new(async move {
        link.flush(within).await;
        Ok(report(link))
    })
}

pub(super) fn close(link: &Link, within: Duration) -> Flushing<'_> {
    Sending::new(async move {
        link.close(within).await;
        Ok(report(link))
    })
}

fn report(link: &Link) -> Report {
    let Snapshot {
        ledger,
        last_error,
        connects,
        wakes,
        ..
    } = link.snapshot();
    let name = &*link.config().service;
    let mut sink = SinkReport::new(name, ledger, last_error.map(|error| error.to_string()));
    sink.kept_in = link.kept_in().map(Into::into);
    sink.connects = connects;
    sink.wakes = wakes;
    Report::over([sink])
}

/// Implements the trait for a sink whose only field is `link`.
macro_rules! link_backed {
    ($sink:ty, $sink_type:literal) => {
        impl $crate::sink::MessageSink for $sink {
            fn send(&self, message: $crate::Message) -> $crate::Sending<'_> {
                $crate::sink::backed::send(&self.link, message)
            }
            fn send_ref(&self, message: &$crate::MessageRef<'_>) -> $crate::Sending<'_> {
                $crate::sink::backed::send_ref(&self.link, message)
            }
            fn is_connected(&self) -> bool {
                self.link.is_up()
            }
            fn metadata(&self) -> $crate::SinkMetadata {
                $crate::sink::backed::metadata(&self.link, $sink_type)
            }
            fn try_send(&self, message: $crate::Message) -> Result<(), $crate::TrySendError> {
                $crate::sink::backed::try_send(&self.link, message)
            }
            fn send_batch(&self, messages: Vec<$crate::Message>) -> $crate::Sending<'_> {
                $crate::Sending::new(self.link.accept_batch(messages))
            }
            fn send_with_receipt(
                &self,
                message: $crate::Message,
            ) -> $crate::Sending<'_, $crate::Receipt> {
                $crate::sink::backed::send_with_receipt(&self.link, message)
            }
            fn connect(&self) -> $crate::Sending<'_> {
                $crate::Sending::new(self.link.connect())
            }
            fn disconnect(&self) -> $crate::Sending<'_> {
                $crate::Sending::new(self.link.disconnect())
            }
            fn flush(&self, within: std::time::Duration) -> $crate::Flushing<'_> {
                $crate::sink::backed::flush(&self.link, within)
            }
            fn state(&self) -> $crate::ConnectionState {
                $crate::sink::backed::state(&self.link)
            }
            fn close(&self, within: std::time::Duration) -> $crate::Flushing<'_> {
                $crate::sink::backed::close(&self.link, within)
            }
        }
    };
}

pub(super) use link_backed;
