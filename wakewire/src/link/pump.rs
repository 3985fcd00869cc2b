//! One greeted connection: writes what is owed, reads what is acknowledged, watches the peer's pulse.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Shared;
use crate::error::{Phase as ErrorPhase, SinkError};
use crate::part::Part;
use crate::transport::door::{Reader, Writer};
use crate::transport::greeting::Host;
use crate::transport::pulse::Pulse;
use crate::transport::unreached::Unreached;
use crate::transport::write_pieces;
use crate::wire::ProtocolError;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::hello::{self, Code, Reject};
use crate::wire::liveness::LOOK_EVERY;
use crate::wire::scan::Piece;

/// How a connection ended.
pub(super) enum End {
    /// We closed it: nothing to do, or told to.
    Rested,
    /// The peer closed it and said so.
    Left(String),
    /// The peer does not take what it is sent, and would not if it were sent again.
    Refused(SinkError),
    /// It broke.
    Lost(SinkError),
}

/// What the three parts of a connection tell each other.
struct Signals {
    pulse: Pulse,
    /// There has been nothing to do for long enough.
    idle: AtomicBool,
    /// The peer has acknowledged something.
    proved: AtomicBool,
}

/// Runs the connection to its end; returns also whether the peer has acknowledged something over it.
pub(super) async fn run(shared: &Shared, host: Host) -> (End, bool) {
    let Host {
        reader,
        writer,
        pulse,
        welcome,
        ..
    } = host;
    let signals = Signals {
        pulse,
        idle: AtomicBool::new(false),
        proved: AtomicBool::new(false),
    };
    let idle = idle_limit(shared.config.idle_timeout, welcome.limits.idle_ms);
    let is_held = welcome.hold_ms.is_some();
    let reading = pin!(read(shared, &signals, reader));
    let writing = pin!(write(shared, &signals, writer, is_held));
    let watching = pin!(signals.pulse.watch(|| shared.owed.notify_one()));
    let resting = pin!(grow_idle(shared, &signals, idle));
    let end = tokio::select! {
        end = Part::new(reading) => end,
        end = Part::new(writing) => end,
        dead = Part::new(watching) => lost(shared, ErrorPhase::Read, dead),
        () = Part::new(resting) => End::Rested,
    };
    (end, signals.proved.load(Relaxed))
}

/// If acknowledgements are held, the peer is told when somebody waits for one.
async fn write(shared: &Shared, signals: &Signals, mut writer: Writer, is_held: bool) -> End {
    let checksummed = shared.config.checksummed;
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut control = BytesMut::new();
    let mut urged = 0;
    loop {
        signals.pulse.speak(checksummed, &mut control);
        if !control.is_empty() {
            pieces.push(control.split().freeze());
        }
        let mut forgets = false;
        let rests = {
            let mut lane = shared.lane.lock();
            let idle =
                signals.idle.swap(false, Relaxed) && lane.outbox.is_empty() && lane.connects == 0;
            let rests = lane.rest.is_some() || idle;
            if !rests {
                forgets =
                    lane.outbox.take(WRITE_LIMIT, &mut pieces) && lane.outbox.forgets_on_write();
                if is_held && let Some(sequence) = lane.awaits().filter(|awaited| *awaited > urged)
                {
                    urged = sequence;
                    let urge = Header {
                        sequence,
                        ..Header::control(Kind::Urge)
                    };
                    frame::encode_control(urge, &[], checksummed, &mut control);
                    pieces.push(control.split().freeze());
                }
                lane.parked = pieces.is_empty();
            }
            rests
        };
        if rests {
            let goodbye = Reject {
                code: Code::Done,
                text: "done".to_owned(),
                retry_after_ms: 0,
            };
            hello::encode(Kind::Close, &goodbye, checksummed, &mut control);
            pieces.push(control.split().freeze());
        }
        if pieces.is_empty() {
            shared.owed.notified().await;
            continue;
        }
        let written = async {
            write_pieces(&mut writer, &mut pieces).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return lost(shared, ErrorPhase::Write, error);
        }
        if rests {
            // The peer reads the goodbye before the end; whatever it still says is of no concern.
            return match writer.shutdown().await {
                Ok(()) | Err(_) => End::Rested,
            };
        }
        if forgets {
            let mut lane = shared.lane.lock();
            lane.outbox.written();
            let told = lane.waiters > 0;
            drop(lane);
            if told {
                shared.changed.notify_waiters();
            }
        }
    }
}

async fn read(shared: &Shared, signals: &Signals, mut reader: Reader) -> End {
    loop {
        let piece = match reader.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return lost(shared, ErrorPhase::Read, "the peer closed the connection"),
            Err(error) => return lost(shared, ErrorPhase::Read, error),
        };
        let Piece::Control { header, body } = piece else {
            return lost(
                shared,
                ErrorPhase::Read,
                ProtocolError::Unexpected { kind: Kind::Data },
            );
        };
        match header.kind {
            Kind::Ack => {
                let mut lane = shared.lane.lock();
                match lane.outbox.acknowledged(header.sequence) {
                    Ok(freed) => {
                        if freed > 0 {
                            signals.proved.store(true, Relaxed);
                        }
                    }
                    Err(error) => {
                        drop(lane);
                        return lost(shared, ErrorPhase::Ack, error);
                    }
                }
                lane.consumers = Some(u32::from(header.message_type));
                let told = lane.waiters > 0;
                let acknowledged = lane.outbox.first_owed() - 1;
                let is_all = lane.outbox.is_empty();
                drop(lane);
                shared.note_acknowledged(acknowledged, is_all);
                if told {
                    shared.changed.notify_waiters();
                }
            }
            kind @ (Kind::Ping | Kind::Pong) => {
                if let Err(error) = signals.pulse.beat(kind) {
                    return lost(shared, ErrorPhase::Read, error);
                }
                shared.owed.notify_one();
            }
            Kind::Close => {
                let Ok(Reject { code, text, .. }) = hello::decode(Kind::Close, &body) else {
                    return End::Left(String::new());
                };
                if code.is_permanent() {
                    return End::Refused(Unreached::refused(code, text).error(shared.failure()));
                }
                return End::Left(text);
            }
            kind => return lost(shared, ErrorPhase::Read, ProtocolError::Unexpected { kind }),
        }
    }
}

/// Tells the writing part when there has been nothing to do for this long, and frees what traffic needed when there is
/// none; never returns.
async fn grow_idle(shared: &Shared, signals: &Signals, limit: Option<Duration>) {
    let look_every = limit.map_or(LOOK_EVERY, |limit| LOOK_EVERY.min(limit));
    let mut ticks = interval(look_every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut busy) = (0, Instant::now());
    loop {
        let now = ticks.tick().await;
        let mut lane = shared.lane.lock();
        let accepted = lane.outbox.last();
        let rests = lane.outbox.is_empty() && lane.connects == 0;
        if !rests || accepted != last {
            (last, busy) = (accepted, now);
            continue;
        }
        let for_long = now.duration_since(busy);
        if for_long >= CALM {
            lane.outbox.rest();
        }
        drop(lane);
        if limit.is_some_and(|limit| for_long >= limit) {
            signals.idle.store(true, Relaxed);
            shared.owed.notify_one();
        }
    }
}

fn lost(
    shared: &Shared,
    phase: ErrorPhase,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> End {
    End::Lost(SinkError::ConnectionLost(
        shared.failure().phase(phase).because(cause),
    ))
}

/// The smaller of our own limit and 0.8 of what the peer announced: whoever may dial again retires first.
fn idle_limit(ours: Option<Duration>, announced_ms: u32) -> Option<Duration> {
    let peers = (announced_ms > 0).then(|| Duration::from_millis(u64::from(announced_ms)) * 4 / 5);
    match (ours, peers) {
        (Some(ours), Some(peers)) => Some(ours.min(peers)),
        (ours, peers) => ours.or(peers),
    }
}

/// Without a message for so long, there is no traffic to keep memory for.
const CALM: Duration = Duration::from_secs(1);

/// What is handed to the system at once: half of what it holds for a peer on the same machine, so that while the peer
/// reads one there is room for the next.
const WRITE_LIMIT: usize = 256 * 1024;
