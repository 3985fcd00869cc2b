//! What is under way for one caller.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::shared::Shared;
use crate::error::{Phase, SinkError};
use crate::message::Message;
use crate::wire::frame::{self, Carrier, Kind};

/// Returns the moment so long from now; one that no clock can show is a lifetime away.
pub(super) fn after(within: Duration) -> Instant {
    Instant::now() + within.min(LIFETIME)
}

/// Thirty years.
const LIFETIME: Duration = Duration::from_secs(30 * 365 * 86_400);

/// What is under way; when it is dropped before it is settled, it is forgotten on both sides.
pub(super) struct Ticket<'a> {
    pub(super) shared: &'a Shared,
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) message: Message,
    /// It waits to be written, or did.
    pub(super) is_pushed: bool,
}

impl Ticket<'_> {
    /// Encodes it, with the time that is left.
    pub(super) fn frame(&self, deadline: Instant) -> Bytes {
        let within = deadline.saturating_duration_since(Instant::now());
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX).max(1);
        let carrier = Carrier {
            kind: self.kind,
            sequence: self.number,
            within_ms: (self.kind == Kind::Request).then_some(within_ms),
        };
        let mut bytes = BytesMut::new();
        let checksummed = self.shared.outflow.is_checksummed();
        frame::encode_carried(&self.message, carrier, checksummed, &mut bytes);
        bytes.freeze()
    }

    /// Gives up at the deadline.
    pub(super) fn overdue(&self) -> SinkError {
        let failure = self.shared.failure.clone();
        if self.forget() {
            let failure = failure.phase(Phase::Write).because("it still waited");
            return SinkError::Timeout(failure).returning(self.message.clone());
        }
        let failure = failure.phase(Phase::Read).because("no answer");
        SinkError::Timeout(failure.hint("allow more with `timeout` or `send_request_within`"))
    }

    fn forget(&self) -> bool {
        self.shared.forget(self.number, self.kind, self.is_pushed)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}
