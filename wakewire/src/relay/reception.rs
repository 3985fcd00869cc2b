//! Enters one who has greeted into the hub, answers, and serves the connection to its end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::RelayConfig;
use super::connection::{Connection, End};
use super::effects::{ConnectionId, ConsumerHello, ConsumerKey, Refused};
use super::switchboard::Switchboard;
use crate::security::Identity;
use crate::transport::door::{Visitor, reject};
use crate::transport::log_rate::{Event, LogLine};
use crate::wire::SessionId;
use crate::wire::frame::{Kind, frame_limit};
use crate::wire::hello::{self, Code, Consumer, Hello, Limits, Producer, VERSION, Welcome};
use crate::wire::liveness::ASK_AFTER;
use crate::wire::session::Position;

/// What a relay is to one who has greeted.
struct Entered {
    /// For logs.
    who: String,
    welcome: Welcome,
    /// The origin to stamp into a producer's frames; none for a consumer.
    origin: Option<u32>,
}

/// Serves one who has greeted.
pub(super) async fn serve(
    config: RelayConfig,
    board: Arc<Switchboard>,
    node: SessionId,
    visitor: Visitor,
) {
    let Visitor {
        hello,
        positions,
        offer,
        mut reader,
        mut writer,
        pulse,
        identity,
        pass,
    } = visitor;
    let checksummed = config.target.endpoint().is_checksummed();
    let service = &config.service;
    let (id, bell) = board.enter();
    let connection = Connection {
        board: Arc::clone(&board),
        id,
        bell,
        checksummed,
        loses_frames: config.target.endpoint().loses_frames(),
        excused: AtomicU64::new(0),
        pulse,
    };
    let Entered {
        who,
        mut welcome,
        origin,
    } = match enter(&config, &board, id, &identity, hello, positions) {
        Ok(entered) => entered,
        Err(refused) => {
            if let Some(LogLine { withheld }) = pass.log(Event::Refused) {
                tracing::warn!(%service, %refused, withheld, "refused");
            }
            if let Err(error) = reject(
                &mut writer,
                checksummed,
                code(&refused),
                &refused.to_string(),
            )
            .await
            {
                tracing::debug!(%service, %error, "a peer was not told that it is refused");
            }
            return;
        }
    };
    (welcome.node, welcome.offer) = (node, offer);
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Welcome, &welcome, checksummed, &mut bytes);
    let scanner = reader.scanner();
    (scanner.stamp, scanner.admission) = (origin, config.admission.if_any());
    // A consumer sends control frames only.
    let commands = hello::POSITIONS_LIMIT;
    scanner.limit = origin.map_or(commands, |_| welcome.limits.frame);
    let welcomed = async {
        writer.write_all(&bytes).await?;
        writer.flush().await
    };
    if let Err(error) = welcomed.await {
        tracing::debug!(%service, %who, %error, "left while it was greeted");
        return;
    }
    if let Some(LogLine { withheld }) = pass.log(Event::Connected) {
        tracing::info!(%service, %who, withheld, "connected");
    }
    let end = if origin.is_some() {
        connection.produce(reader, writer, welcome.have).await
    } else {
        connection.consume(reader, writer).await
    };
    let Some(LogLine { withheld }) = pass.log(Event::Gone) else {
        return;
    };
    match end {
        End::Left => tracing::info!(%service, %who, withheld, "left"),
        End::Lost(cause) => tracing::info!(%service, %who, %cause, withheld, "lost"),
        End::Refused(refusal) => tracing::warn!(%service, %who, %refusal, withheld, "refused"),
        End::Told(code) => tracing::info!(%service, %who, ?code, withheld, "disconnected"),
    }
}

/// Rules R1 and C1.
fn enter(
    config: &RelayConfig,
    board: &Switchboard,
    id: ConnectionId,
    identity: &Identity,
    hello: Hello,
    positions: Vec<Position>,
) -> Result<Entered, Refused> {
    let limits = Limits {
        frame: frame_limit(config.admission.max_message_bytes),
        idle_ms: 0,
        ping_ms: u32::try_from(ASK_AFTER.as_millis()).unwrap_or(u32::MAX),
    };
    let mut welcome = Welcome {
        version: VERSION,
        limits,
        acked: 0,
        have: 0,
        consumers: 0,
        node: SessionId(0),
        offer: None,
        in_flight: None,
        hold_ms: None,
    };
    if let Some(Consumer {
        name,
        id: life,
        at_most_once,
        start,
        ..
    }) = hello.consumer
    {
        if let Some(name) = &name {
            board.claim(name, identity)?;
        }
        let who = match &name {
            Some(name) => format!("consumer `{name}`"),
            None => format!("consumer {life:?}"),
        };
        let key = name.map_or(ConsumerKey::Id(life.0), ConsumerKey::Name);
        let at_most_once = at_most_once || !config.hub.at_least_once;
        let hello = ConsumerHello {
            key,
            at_most_once,
            start,
            positions,
        };
        let now = Instant::now().into_std();
        board.with(|hub, wake| hub.consumer_hello(hello, id, now, wake))?;
        return Ok(Entered {
            who,
            welcome,
            origin: None,
        });
    }
    let Some(Producer {
        session,
        first_owed,
        ..
    }) = hello.producer
    else {
        return Err(Refused::NoRequests);
    };
    let greeted = board.with(|hub, wake| hub.producer_hello(session, first_owed, id, wake))?;
    (welcome.acked, welcome.have) = (greeted.acked, greeted.have);
    welcome.consumers = u32::from(greeted.consumers_attached);
    Ok(Entered {
        who: format!("producer {session:?}"),
        welcome,
        origin: Some(greeted.origin),
    })
}

const fn code(refused: &Refused) -> Code {
    match refused {
        Refused::TooManySessions { .. } | Refused::TooManyConsumers { .. } => Code::Busy,
        Refused::AnothersName { .. } => Code::Unauthorized,
        Refused::LatestIsLossy | Refused::NamedIsWaitedFor { .. } => Code::Refused,
        Refused::NoRequests => Code::Role,
        Refused::TooManyPositions { .. } | Refused::Protocol(_) => Code::Protocol,
    }
}
