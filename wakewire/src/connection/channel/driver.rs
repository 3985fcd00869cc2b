//! The one task of a connection: writes, reads, watches the peer's pulse.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::shared::Shared;
use crate::error::{Phase, SinkError};
use crate::part::Part;
use crate::transport::door::{Reader, Writer};
use crate::wire::ProtocolError;
use crate::wire::data::decode_message;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Reject};
use crate::wire::scan::Piece;

/// Runs the connection to its end.
pub(super) async fn run(driving: Driving, reader: Reader, writer: Writer) {
    let shared = &*driving.0;
    // Dropped before it, so that nothing is left when it tells.
    let (mut reader, mut writer) = (reader, writer);
    let cause = {
        let handed = |number| shared.handed(number);
        let reading = pin!(read(shared, &mut reader));
        let writing = pin!(shared.outflow.run(&mut writer, &shared.pulse, handed));
        let watching = pin!(shared.pulse.watch(|| shared.outflow.wake()));
        let closing = pin!(overdue(shared));
        tokio::select! {
            lost = Part::new(reading) => Some(lost),
            written = Part::new(writing) => {
                written.err().map(|error| shared.lost(Phase::Write, error))
            }
            dead = Part::new(watching) => Some(shared.lost(Phase::Read, dead)),
            () = Part::new(closing) => Some(shared.lost(Phase::Close, "the goodbye took too long")),
        }
    };
    if let Some(cause) = cause {
        shared.end(cause);
    } else {
        shared.end(shared.lost(Phase::Close, "it was closed"));
        // A socket that is closed with something unread in it is reset, and the peer may miss what was written last.
        let heard = async { while let Ok(Some(_)) = reader.next().await {} };
        if timeout(FAREWELL, heard).await.is_err() {
            tracing::debug!("the peer does not hear the goodbye");
        }
    }
}

/// Returns when the goodbye takes too long.
async fn overdue(shared: &Shared) {
    shared.closing.notified().await;
    sleep(FAREWELL).await;
}

/// Reads until the connection breaks; says how.
async fn read(shared: &Shared, reader: &mut Reader) -> SinkError {
    loop {
        let piece = match reader.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return shared.lost(Phase::Read, "the peer closed the connection"),
            Err(error) => return shared.lost(Phase::Read, error),
        };
        if let Err(error) = take(shared, piece) {
            return shared.lost(Phase::Read, error);
        }
    }
}

fn take(shared: &Shared, piece: Piece) -> Result<(), ProtocolError> {
    match piece {
        Piece::Run { mut run, .. } => {
            while let Some(frame) = run.pop() {
                shared.inbox.push(decode_message(frame)?);
            }
        }
        Piece::Control { header, body } => match header.kind {
            Kind::Response | Kind::Failure => shared.answered(&header, body)?,
            Kind::Ping => {
                shared.pulse.asked_by(header.sequence)?;
                shared.outflow.wake();
            }
            Kind::Pong => {
                if !shared.ponged(header.sequence) {
                    shared.pulse.beat(Kind::Pong)?;
                }
            }
            Kind::Close => {
                let Reject { text, .. } = hello::decode(Kind::Close, &body)?;
                shared.drain(text);
            }
            kind => return Err(ProtocolError::Unexpected { kind }),
        },
    }
    Ok(())
}

impl Shared {
    fn lost(&self, phase: Phase, cause: impl Into<Box<dyn Error + Send + Sync>>) -> SinkError {
        SinkError::ConnectionLost(self.failure.clone().phase(phase).because(cause))
    }
}

/// The existence of the driver; however it ends, also before it began, everybody is told.
pub(super) struct Driving(pub(super) Arc<Shared>);

impl Drop for Driving {
    fn drop(&mut self) {
        let cause = self.0.lost(Phase::Close, "the runtime has ended");
        self.0.end(cause);
        self.0.over();
    }
}

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);
