//! The receiving end of a direct service: a relay with one consumer inside the same process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::task::{AbortHandle, JoinSet};

use super::SourceConfig;
use super::acker::{Acker, HOLD_MS};
use super::connection::{Connection, End, Origin};
use super::inbox::Inbox;
use crate::randomness::random;
use crate::transport::door::{Door, Visitor, reject};
use crate::transport::log_rate::{Event, LogLine};
use crate::wire::SessionId;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Code, Producer, VERSION, Welcome};

/// Serves producers until the inbox is closed and every connection has said goodbye.
pub(super) async fn run(
    config: SourceConfig,
    inbox: Arc<Inbox>,
    acker: Arc<Acker>,
    mut door: Door,
) {
    let node = SessionId(random());
    let mut connections = JoinSet::new();
    let mut newest: HashMap<SessionId, AbortHandle> = HashMap::new();
    loop {
        tokio::select! {
            visitor = door.next() => {
                let session = visitor.hello.producer.as_ref().map(|producer| producer.session);
                if let Some(old) = session.and_then(|session| newest.remove(&session)) {
                    // Rule R2: nothing further is read from the old connection.
                    old.abort();
                }
                let task = connections.spawn(serve(config.clone(), Arc::clone(&inbox), visitor, node));
                if let Some(session) = session {
                    newest.retain(|_, task| !task.is_finished());
                    newest.insert(session, task);
                }
            }
            Some(_) = connections.join_next() => {}
            () = acker.due(|| inbox.is_closing()) => {
                if inbox.is_closing() {
                    break;
                }
            }
        }
    }
    drop(door);
    while connections.join_next().await.is_some() {}
}

async fn serve(config: SourceConfig, inbox: Arc<Inbox>, visitor: Visitor, node: SessionId) {
    let Visitor {
        hello,
        offer,
        mut reader,
        mut writer,
        pulse,
        pass,
        ..
    } = visitor;
    let checksummed = config.endpoint().is_checksummed();
    let service = &config.service;
    let Some(Producer {
        session,
        first_owed,
        urges,
        ..
    }) = hello.producer
    else {
        let text = if hello.requester.is_some() {
            format!("`{service}` takes messages, it answers no requests")
        } else {
            format!("`{service}` is a direct service: its one consumer is the process that listens")
        };
        if let Err(error) = reject(&mut writer, checksummed, Code::Role, &text).await {
            tracing::debug!(%service, %error, "a peer was not told that it is refused");
        }
        return;
    };
    let (acked, have, progress) = inbox.greeted(session, first_owed.max(1));
    let acker = progress.acker();
    let urges = urges == Some(true);
    acker.begin(acked, urges);
    let limits = config.limits();
    let welcome = Welcome {
        version: VERSION,
        limits,
        acked,
        have,
        consumers: 1,
        node,
        offer,
        in_flight: None,
        hold_ms: urges.then_some(HOLD_MS),
    };
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Welcome, &welcome, checksummed, &mut bytes);
    reader.scanner().limit = limits.frame;
    reader.scanner().admission = config.admission.if_any();
    let welcomed = async {
        writer.write_all(&bytes).await?;
        writer.flush().await
    };
    if let Err(error) = welcomed.await {
        tracing::debug!(%service, %error, "a producer left while it was greeted");
        return;
    }
    tracing::debug!(%service, ?session, acked, have, "producer connected");
    let origin = Origin {
        session,
        progress,
        told: acked,
    };
    let origins = BTreeMap::from([(0, origin)]);
    match Connection::new(&inbox, acker, config.endpoint(), pulse, origins)
        .welcomed(have, urges)
        .run(reader, writer)
        .await
    {
        End::Closed => {}
        End::Left(reason) => {
            tracing::debug!(%service, ?session, reason = %reason.text, "producer left");
        }
        End::Lost(cause) => {
            if let Some(LogLine { withheld }) = pass.log(Event::Gone) {
                tracing::info!(%service, ?session, %cause, withheld, "producer connection lost");
            }
        }
    }
}
