//! The receiving end of a relay: attaches lazily, heals by itself, goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::SourceConfig;
use super::acker::Acker;
use super::connection::{Connection, End};
use super::inbox::Inbox;
use crate::dialer::{Dialer, Redial};
use crate::error::{Phase, SinkError};
use crate::randomness::random;
use crate::transport::dial::Dial;
use crate::transport::door::{Reader, Writer};
use crate::transport::greeting::{Host, greet};
use crate::transport::pulse::Pulse;
use crate::wire::SessionId;
use crate::wire::frame::Kind;
use crate::wire::hello::{
    self, Code, Consumer, Hello, POSITIONS_PER_FRAME, PositionList, Reject, Start, VERSION,
};

/// Stays attached until the inbox is closed. If the relay is away then, it is waited for, as long as the source's
/// `close` allows: what was processed would not be acknowledged otherwise.
pub(super) async fn run(config: SourceConfig, inbox: Arc<Inbox>, acker: Arc<Acker>) {
    let id = SessionId(random());
    let mut dialer = Dialer::new(config.lazy.clone());
    let service = &config.service;
    while !inbox.is_closing() || inbox.has_processed() {
        let attached = tokio::select! {
            attached = dialer.attempt(|| attach(&config, &inbox, id)) => attached,
            // Closed: what was processed is still said, in the hello.
            () = acker.due(|| inbox.is_closing()), if !inbox.is_closing() => continue,
        };
        let (pulse, reader, writer) = match attached {
            Ok(attached) => attached,
            Err(error) => {
                let failures = dialer.failures();
                if error.is_permanent() {
                    inbox.fail(error);
                } else if failures == 1 {
                    tracing::info!(%service, %error, "not attached yet");
                } else {
                    tracing::debug!(%service, %error, failures, "not attached yet");
                }
                continue;
            }
        };
        inbox.connected();
        tracing::debug!(%service, "attached");
        let connection = Connection::new(
            &inbox,
            Arc::clone(&acker),
            config.endpoint(),
            pulse,
            BTreeMap::new(),
        );
        let end = connection.run(reader, writer).await;
        if connection.has_received() {
            dialer.proved();
        }
        match end {
            End::Closed => return,
            End::Left(Reject {
                code: Code::Replaced,
                text,
                ..
            }) => {
                tracing::warn!(%service, %text, "another process listens under this name");
                // Not proved, whatever was received: two processes of one name would oust each other for ever.
                dialer.failed(&config.error(Phase::Read, &text));
            }
            End::Left(reason) => {
                tracing::info!(%service, reason = %reason.text, "the relay closed the connection");
                dialer.lost(Redial::Spread);
            }
            End::Lost(cause) => {
                tracing::info!(%service, %cause, "connection to the relay lost");
                dialer.lost(Redial::Spread);
            }
        }
    }
}

/// Dials and greets (rule C1).
async fn attach(
    config: &SourceConfig,
    inbox: &Inbox,
    id: SessionId,
) -> Result<(Pulse, Reader, Writer), SinkError> {
    let checksummed = config.endpoint().is_checksummed();
    let mut positions = inbox.positions();
    if config.endpoint().loses_frames() {
        // What must come through whole is one datagram: of the others the relay sends again what we have.
        positions.drain(..positions.len().saturating_sub(POSITIONS_PER_DATAGRAM));
    }
    let hello = Hello {
        oldest: VERSION,
        newest: VERSION,
        service: config.service.to_string(),
        limits: config.limits(),
        producer: None,
        consumer: Some(Consumer {
            name: config.consumer.clone(),
            id,
            at_most_once: config.at_most_once || config.start == Start::Latest,
            start: config.start,
            positions: u32::try_from(positions.len()).unwrap_or(u32::MAX),
        }),
        requester: None,
        probe: None,
        credentials: None,
        offer: None,
    };
    let mut further = BytesMut::new();
    for part in positions.chunks(POSITIONS_PER_FRAME) {
        let list = PositionList {
            positions: part.to_vec(),
        };
        hello::encode(Kind::Positions, &list, checksummed, &mut further);
    }
    let reach = async {
        let line = config.target.dial().await?;
        greet(line, hello, &further, checksummed).await
    };
    let Host {
        mut reader,
        writer,
        pulse,
        ..
    } = reach
        .await
        .map_err(|unreached| unreached.error(config.failure()))?;
    reader.scanner().limit = config.limits().frame;
    Ok((pulse, reader, writer))
}

/// A `Positions` frame with so many has at most 1200 bytes.
const POSITIONS_PER_DATAGRAM: usize = 32;
