//! One connection of a server: reads requests, runs a handler for each, writes the answers.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::House;
use super::handling::Handling;
use super::request::{Peer, Request};
use crate::message::Message;
use crate::part::Part;
use crate::transport::door::{Reader, Visitor, reject};
use crate::transport::outflow::Outflow;
use crate::transport::pulse::Pulse;
use crate::wire::ProtocolError;
use crate::wire::data;
use crate::wire::frame::{Header, Kind};
use crate::wire::hello::{self, Code, Hello, Limits, Reject, Requester, VERSION, Welcome};
use crate::wire::liveness::ASK_AFTER;
use crate::wire::refusal::{self, Reason, Refusal};
use crate::wire::scan::Piece;

/// The requests whose answers are wanted, by number.
pub(super) type Open = Arc<Mutex<HashMap<u64, AbortHandle>>>;

/// One greeted requester.
struct Connection {
    house: Arc<House>,
    peer: Peer,
    outflow: Arc<Outflow>,
    pulse: Pulse,
    most: usize,
    open: Open,
}

/// Serves one who has greeted, to the end.
pub(super) async fn serve(house: Arc<House>, visitor: Visitor) {
    let Visitor {
        hello,
        identity,
        offer,
        mut reader,
        mut writer,
        pulse,
        pass: _pass,
        ..
    } = visitor;
    let (service, checksummed) = (&house.service, house.checksummed);
    let Hello {
        requester: Some(Requester { in_flight }),
        limits: theirs,
        ..
    } = hello
    else {
        let text = "this endpoint answers requests: it has no producers and no consumers";
        if let Err(error) = reject(&mut writer, checksummed, Code::Role, text).await {
            tracing::debug!(%service, %error, "a peer was not told that it is refused");
        }
        return;
    };
    let wanted = if in_flight == 0 { u32::MAX } else { in_flight };
    let most = house.max_per_connection.min(wanted as usize);
    let welcome = house.welcome(most, offer);
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Welcome, &welcome, checksummed, &mut bytes);
    reader.scanner().limit = welcome.limits.frame;
    reader.takes_once(house.over_datagrams);
    if let Err(error) = pulse.write_in_time(&mut writer, &bytes).await {
        tracing::debug!(%service, %error, "a requester left while it was greeted");
        return;
    }
    let outflow = Arc::new(Outflow::new(checksummed));
    let peer = Peer {
        id: house.next_visitor(),
        identity: identity.to_string().into(),
        service: Arc::clone(service),
        outflow: Arc::clone(&outflow),
        next: Arc::new(AtomicU64::new(1)),
        limit: theirs.frame.min(house.largest),
    };
    tracing::debug!(%service, ?peer, "requester connected");
    let connection = Connection {
        house: Arc::clone(&house),
        peer,
        outflow,
        pulse,
        most,
        open: Open::default(),
    };
    let outflow = Closing(&connection.outflow);
    // Handlers live as long as this, so that none runs for a peer that is gone.
    let mut handlers = JoinSet::new();
    let end = {
        let reading = pin!(connection.read(&mut reader, &mut handlers));
        let writing = pin!(outflow.0.run(&mut writer, &connection.pulse, |_| {}));
        let watching = pin!(connection.pulse.watch(|| connection.outflow.wake()));
        tokio::select! {
            end = Part::new(reading) => end,
            written = Part::new(writing) => match written {
                Ok(()) => "it was closed".to_owned(),
                Err(error) => error.to_string(),
            },
            dead = Part::new(watching) => dead.to_owned(),
        }
    };
    tracing::debug!(%service, peer = ?connection.peer, %end, "requester gone");
    drop(handlers);
    if *house.leaving.borrow() {
        // A socket that is closed with something unread in it is reset, and answers that were not read are gone.
        let heard = async { while let Ok(Some(_)) = reader.next().await {} };
        timeout(LINGER, heard).await.ok();
    }
}

/// When the connection ends, those who still want to write are told.
struct Closing<'a>(&'a Outflow);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.cut(None);
    }
}

impl House {
    fn welcome(
        &self,
        most: usize,
        offer: Option<crate::wire::negotiation::ProtocolNegotiation>,
    ) -> Welcome {
        Welcome {
            version: VERSION,
            limits: Limits {
                frame: self.limit,
                idle_ms: self.idle_timeout.map_or(0, milliseconds),
                ping_ms: milliseconds(ASK_AFTER),
            },
            acked: 0,
            have: 0,
            consumers: 0,
            node: self.node,
            offer,
            in_flight: Some(u32::try_from(most).unwrap_or(u32::MAX)),
            hold_ms: None,
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Connection {
    /// Reads until the peer leaves or breaks the protocol, or it is over; says how it ended.
    async fn read(&self, reader: &mut Reader, handlers: &mut JoinSet<()>) -> String {
        let mut leaving = self.house.leaving.clone();
        let mut has_left = false;
        // When something was last done for the peer.
        let mut active = Instant::now();
        loop {
            let rests = handlers.is_empty();
            let patience = if has_left {
                Some(LINGER)
            } else {
                self.house.idle_timeout
            };
            let overdue = async {
                match patience {
                    Some(patience) if rests => sleep_until(active + patience).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                piece = self.next(reader) => {
                    let taken = match piece {
                        Ok(Some(piece)) => self.take(piece, handlers, has_left).await,
                        Ok(None) => return "the peer closed the connection".to_owned(),
                        Err(error) => return error,
                    };
                    match taken {
                        Ok(Taken::Message) => active = Instant::now(),
                        Ok(Taken::Control) => {}
                        Ok(Taken::Goodbye(text)) => return text,
                        Err(error) => return error.to_string(),
                    }
                }
                Some(ended) = handlers.join_next() => {
                    active = Instant::now();
                    self.log(ended);
                }
                () = told(&mut leaving), if !has_left => {
                    (has_left, active) = (true, Instant::now());
                    self.leave(Code::Leaving, "the server is shutting down");
                }
                () = overdue => {
                    if has_left {
                        // The peer has had its time to say goodbye.
                        self.outflow.finish(None);
                        return std::future::pending().await;
                    }
                    (has_left, active) = (true, Instant::now());
                    self.leave(Code::Done, "idle");
                }
            }
        }
    }

    /// No further requests are taken; open ones are answered.
    fn leave(&self, code: Code, text: &str) {
        self.outflow.hurry(&self.outflow.goodbye(code, text));
    }

    /// Reads the next piece. Who does not read our answers is not read either.
    async fn next(&self, reader: &mut Reader) -> Result<Option<Piece>, String> {
        self.pulse.pause(true);
        self.outflow.has_room().await;
        self.pulse.pause(false);
        reader.next().await.map_err(|error| error.to_string())
    }

    async fn take(
        &self,
        piece: Piece,
        handlers: &mut JoinSet<()>,
        has_left: bool,
    ) -> Result<Taken, ProtocolError> {
        let (header, body) = match piece {
            Piece::Run { mut run, .. } => {
                while let Some(frame) = run.pop() {
                    self.message(data::decode_message(frame)?, handlers).await;
                }
                return Ok(Taken::Message);
            }
            Piece::Control { header, body } => (header, body),
        };
        match header.kind {
            Kind::Request => self.request(header, body, handlers, has_left).await?,
            Kind::Failure => {
                let _: Refusal = hello::decode(Kind::Failure, &body)?;
                // One that is answered already crosses with its answer.
                if let Some(handler) = self.open.lock().remove(&header.sequence) {
                    handler.abort();
                }
            }
            Kind::Ping => {
                self.pulse.asked_by(header.sequence)?;
                self.outflow.wake();
                return Ok(Taken::Control);
            }
            Kind::Pong => {
                self.pulse.beat(Kind::Pong)?;
                return Ok(Taken::Control);
            }
            Kind::Close => {
                let Reject { text, .. } = hello::decode(Kind::Close, &body)?;
                return Ok(Taken::Goodbye(text));
            }
            kind => return Err(ProtocolError::Unexpected { kind }),
        }
        Ok(Taken::Message)
    }

    /// Starts a handler for a one-way message; holds up the connection until there is room for one.
    async fn message(&self, message: Message, handlers: &mut JoinSet<()>) {
        self.pulse.pause(true);
        let slot = Arc::clone(&self.house.slots).acquire_owned().await;
        self.pulse.pause(false);
        let Ok(slot) = slot else {
            return;
        };
        let request = self.asked(message, None, false);
        let handling = Handling::new(&self.house, slot, 0, &self.open);
        handlers.spawn(handling.run(Arc::clone(&self.house.handler), request));
    }

    async fn request(
        &self,
        header: Header,
        body: Bytes,
        handlers: &mut JoinSet<()>,
        has_left: bool,
    ) -> Result<(), ProtocolError> {
        let number = header.sequence;
        let deadline = data::wanted_within(&header, &body)?
            .map(|ms| Instant::now() + Duration::from_millis(u64::from(ms)));
        let message = data::decode_carried(&header, body)?;
        let opened = self.open.lock().len();
        let refusal = if has_left {
            Refusal {
                reason: Reason::Leaving,
                text: "the server is shutting down".to_owned(),
            }
        } else if opened < self.most
            && let Ok(slot) = Arc::clone(&self.house.slots).try_acquire_owned()
        {
            let request = self.asked(message, deadline, true);
            let handling = Handling::new(&self.house, slot, number, &self.open);
            let mut open = self.open.lock();
            if open.contains_key(&number) {
                return Err(ProtocolError::Sequence(number));
            }
            let task = handlers.spawn(handling.run(Arc::clone(&self.house.handler), request));
            open.insert(number, task);
            return Ok(());
        } else {
            Refusal {
                reason: Reason::Overloaded,
                text: "as many requests are being handled as may be".to_owned(),
            }
        };
        let frame = refusal::failure(number, &refusal, self.outflow.is_checksummed());
        // A connection that is gone is noticed elsewhere.
        self.outflow.push(number, frame).await.ok();
        Ok(())
    }

    fn asked(&self, message: Message, deadline: Option<Instant>, expects_reply: bool) -> Request {
        Request {
            message,
            peer: self.peer.clone(),
            deadline,
            expects_reply,
        }
    }

    fn log(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(service = %self.house.service, peer = ?self.peer, "a handler panicked");
        }
    }
}

/// Waits until the server is to be left.
pub(super) async fn told(leaving: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone, and so is this task at its next step.
    leaving.wait_for(|leaving| *leaving).await.ok();
}

/// What was read.
enum Taken {
    /// Something was asked for.
    Message,
    Control,
    /// The peer leaves, and says why.
    Goodbye(String),
}

/// How long a peer may take to hear what was written last.
const LINGER: Duration = Duration::from_secs(1);
