//! One connection of a relay: the bytes of a producer into the hub, or out of it to a consumer.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::effects::{ConnectionId, Offered, Outgoing};
use super::switchboard::{Bell, Switchboard};
use crate::domain::Refusal;
use crate::part::Part;
use crate::transport::door::{Reader, Writer};
use crate::transport::pulse::Pulse;
use crate::transport::reader::ReadError;
use crate::transport::write_pieces;
use crate::wire::ProtocolError;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::hello::{self, Code, Gap, Reject};
use crate::wire::run::Run;
use crate::wire::scan::Piece;

/// A greeted connection.
pub(super) struct Connection {
    pub(super) board: Arc<Switchboard>,
    pub(super) id: ConnectionId,
    pub(super) bell: Arc<Bell>,
    pub(super) checksummed: bool,
    /// Over it frames come twice and in any order though everybody is honest.
    pub(super) loses_frames: bool,
    /// Acknowledgements that may say nothing new: a consumer says again where it is when it is sent what it has.
    pub(super) excused: AtomicU64,
    pub(super) pulse: Pulse,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer said goodbye.
    Left,
    /// It broke, or the peer broke the protocol.
    Lost(String),
    /// We end it, for this reason; what was written ends with a whole frame.
    Told(Code),
    /// So do we, since it has brought a message that the service does not take.
    Refused(Refusal),
}

impl Connection {
    /// Runs a producer's connection to its end. It was told that everything up to `have` is here.
    pub(super) async fn produce(&self, mut reader: Reader, mut writer: Writer, have: u64) -> End {
        let reading = self.read(&mut reader, Some(have));
        let end = self.run(reading, self.acknowledge(&mut writer)).await;
        let end = self.part(&mut writer, end).await;
        if let End::Refused(_) = end {
            // A socket that is closed with something unread in it is reset, and the reason with it.
            drop(timeout(LINGER, reader.discard()).await);
        }
        end
    }

    /// Runs a consumer's connection to its end.
    pub(super) async fn consume(&self, mut reader: Reader, mut writer: Writer) -> End {
        let reading = self.read(&mut reader, None);
        let end = self.run(reading, self.forward(&mut writer)).await;
        self.part(&mut writer, end).await
    }

    /// Reads and writes until one of them ends, or the peer is silent, or we are told to end. It is [`End::Told`] only
    /// when everything that was begun is written: a goodbye in the middle of a frame would be taken for a part of it.
    async fn run(
        &self,
        reading: impl Future<Output = End>,
        writing: impl Future<Output = End>,
    ) -> End {
        let mut writing = pin!(writing);
        let reading = pin!(reading);
        let watching = pin!(self.pulse.watch(|| self.bell.poll.notify_one()));
        let closing = pin!(self.bell.closed());
        let end = tokio::select! {
            end = Part::new(reading) => end,
            end = Part::new(writing.as_mut()) => return end,
            dead = Part::new(watching) => End::Lost(dead.to_owned()),
            code = Part::new(closing) => End::Told(code),
        };
        let code = match end {
            End::Told(code) => code,
            End::Refused(_) => Code::Refused,
            End::Left | End::Lost(_) => return end,
        };
        self.bell.close(code);
        self.bell.poll.notify_one();
        let unread = || {
            End::Lost(format!(
                "it is to end ({code:?}), and reads too slowly to be told"
            ))
        };
        match timeout(PARTING, writing).await {
            Ok(End::Told(_)) => end,
            Ok(other) => other,
            Err(_) => unread(),
        }
    }

    /// `heard` is up to where a producer need not say anything again.
    async fn read(&self, reader: &mut Reader, mut heard: Option<u64>) -> End {
        loop {
            let piece = match reader.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return End::Lost("the peer closed the connection".to_owned()),
                Err(ReadError::Protocol(ProtocolError::NotTaken(refusal))) => {
                    return End::Refused(refusal);
                }
                Err(error) => return End::Lost(error.to_string()),
            };
            let taken = match piece {
                Piece::Run { run, .. } => match self.judge(&run, &mut heard) {
                    Ok(()) => self.offer(run).await,
                    Err(error) => Err(error),
                },
                Piece::Control { header, .. } if header.kind == Kind::Ack && heard.is_some() => {
                    Err(ProtocolError::Unexpected { kind: Kind::Ack })
                }
                Piece::Control { header, .. } => self.control(header),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Lost(error.to_string()),
            }
        }
    }

    /// Rule P4: what the `Welcome` said to be here, and what came over this connection, is not sent again. Frames
    /// between, which an older connection has brought since, may be.
    fn judge(&self, run: &Run, heard: &mut Option<u64>) -> Result<(), ProtocolError> {
        let Some(heard) = heard else { return Ok(()) };
        let is_old = run.first <= *heard;
        *heard = run.last.max(*heard);
        if is_old && !self.loses_frames {
            self.pulse.useless(Kind::Data)?;
        }
        Ok(())
    }

    /// Rules R3 and R4: into the log, or wait for room and read nothing further.
    async fn offer(&self, mut run: Run) -> Result<Option<End>, ProtocolError> {
        loop {
            let now = Instant::now().into_std();
            match self
                .board
                .with(|hub, wake| hub.data(self.id, run, now, wake))?
            {
                Offered::Taken => {
                    self.pulse.pause(false);
                    return Ok(None);
                }
                Offered::Ended => return Ok(Some(End::Told(Code::Replaced))),
                Offered::Full(back) => {
                    run = back;
                    self.pulse.pause(true);
                    self.bell.room.notified().await;
                }
            }
        }
    }

    fn control(&self, header: Header) -> Result<Option<End>, ProtocolError> {
        match header.kind {
            Kind::Ack if header.sequence == 0 && header.message_type == 0 => {
                let origin = header.origin;
                if !self.loses_frames {
                    self.pulse.useless(Kind::Ack)?;
                }
                self.board
                    .with(|hub, wake| hub.name_again(self.id, origin, wake));
            }
            Kind::Ack => {
                let now = Instant::now().into_std();
                let Header {
                    origin, sequence, ..
                } = header;
                let is_news = self
                    .board
                    .with(|hub, wake| hub.acknowledge(self.id, origin, sequence, now, wake))?;
                if !is_news && !self.loses_frames && !self.excuse() {
                    self.pulse.useless(Kind::Ack)?;
                }
            }
            kind @ (Kind::Ping | Kind::Pong) => {
                self.pulse.beat(kind)?;
                self.bell.poll.notify_one();
            }
            Kind::Close => return Ok(Some(End::Left)),
            kind => return Err(ProtocolError::Unexpected { kind }),
        }
        Ok(None)
    }

    /// Takes one of the excuses, if there is one left.
    fn excuse(&self) -> bool {
        let taken = self
            .excused
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        taken.is_ok()
    }

    /// Tells a producer what may be forgotten (rule R5).
    async fn acknowledge(&self, writer: &mut Writer) -> End {
        let mut bytes = BytesMut::new();
        loop {
            if let Some(code) = self.bell.code() {
                return End::Told(code);
            }
            self.pulse.speak(self.checksummed, &mut bytes);
            if let Some(news) = self.board.with(|hub, _| hub.poll_producer(self.id)) {
                let header = Header {
                    sequence: news.acked,
                    message_type: u16::from(news.consumers_attached),
                    ..Header::control(Kind::Ack)
                };
                frame::encode_control(header, &[], self.checksummed, &mut bytes);
            }
            if bytes.is_empty() {
                self.bell.poll.notified().await;
                continue;
            }
            if let Err(error) = self.pulse.write_in_time(writer, &bytes).await {
                return End::Lost(error.to_string());
            }
            bytes.clear();
        }
    }

    /// Sends a consumer what comes next (rules C2 and C3).
    async fn forward(&self, writer: &mut Writer) -> End {
        let mut outgoing = Vec::new();
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut control = BytesMut::new();
        loop {
            if let Some(code) = self.bell.code() {
                return End::Told(code);
            }
            self.pulse.speak(self.checksummed, &mut control);
            let has_more = self
                .board
                .with(|hub, wake| hub.poll_consumer(self.id, WRITE_LIMIT, &mut outgoing, wake));
            self.excused.fetch_add(outgoing.len() as u64, Relaxed);
            for one in outgoing.drain(..) {
                match one {
                    Outgoing::Gap {
                        session,
                        origin,
                        after,
                    } => {
                        let header = Header {
                            origin,
                            ..Header::control(Kind::Gap)
                        };
                        let gap = Gap {
                            session,
                            after,
                            filtered: false,
                        };
                        hello::encode_with(header, &gap, self.checksummed, &mut control);
                    }
                    Outgoing::Data { run, .. } => {
                        if !control.is_empty() {
                            pieces.push(control.split().freeze());
                        }
                        pieces.push(run.bytes);
                    }
                }
            }
            if !control.is_empty() {
                pieces.push(control.split().freeze());
            }
            if pieces.is_empty() {
                if has_more {
                    // What it had was passed over, as much as is done at once: nobody will call for the rest.
                    yield_now().await;
                } else {
                    self.bell.poll.notified().await;
                }
                continue;
            }
            let written = async {
                write_pieces(writer, &mut pieces).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                return End::Lost(error.to_string());
            }
        }
    }

    /// Says goodbye where it is we who end it. A peer that does not read will not hear it: it is not waited for.
    async fn part(&self, writer: &mut Writer, end: End) -> End {
        let (code, text) = match &end {
            End::Refused(refusal) => (Code::Refused, refusal.to_string()),
            End::Told(code) => (*code, farewell(*code).to_owned()),
            End::Left | End::Lost(_) => return end,
        };
        let mut bytes = BytesMut::new();
        let goodbye = Reject {
            code,
            text,
            retry_after_ms: 0,
        };
        hello::encode(Kind::Close, &goodbye, self.checksummed, &mut bytes);
        let said = async {
            writer.write_all(&bytes).await?;
            writer.shutdown().await
        };
        match timeout(PARTING, said).await {
            Ok(_) | Err(_) => end,
        }
    }
}

const fn farewell(code: Code) -> &'static str {
    match code {
        Code::Replaced => "a newer connection took over",
        Code::Overdue => {
            "no progress for longer than `consumer_deadline_secs` while the log is full"
        }
        _ => "the relay is shutting down",
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.board.leave(self.id);
    }
}

/// What is taken from the hub at once.
const WRITE_LIMIT: usize = 256 * 1024;

/// How long a goodbye may take, and so long also what has to be written before it.
const PARTING: std::time::Duration = std::time::Duration::from_millis(100);

/// How long a peer that is refused may take to hear why.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
