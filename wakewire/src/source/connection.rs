//! One connection that messages come from: reads and queues, acknowledges what was processed, watches the pulse.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::acker::Acker;
use super::inbox::Inbox;
use super::progress::Progress;
use crate::domain::Refusal;
use crate::endpoint::Endpoint;
use crate::part::Part;
use crate::transport::door::{Reader, Writer};
use crate::transport::pulse::Pulse;
use crate::transport::reader::ReadError;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::hello::{self, Code, Gap, Reject};
use crate::wire::scan::Piece;
use crate::wire::session::MOST_SESSIONS;
use crate::wire::{ProtocolError, SessionId};

/// A greeted connection of a source.
pub(super) struct Connection<'a> {
    inbox: &'a Inbox,
    acker: Arc<Acker>,
    checksummed: bool,
    /// Where frames get lost, so does the gap that names an origin: it is asked for again.
    loses_frames: bool,
    /// Acknowledgements that the peer does not wait for are held.
    holds: bool,
    /// The origin to ask for.
    unknown: Mutex<Option<u32>>,
    /// Whose frames come over it, by their number.
    origins: Mutex<BTreeMap<u32, Origin>>,
    /// Up to where the peer has no reason to send anything, if it has to know.
    heard: Option<u64>,
    pulse: Pulse,
    /// Why the connection is ended: the peer has sent what the service does not take.
    refusal: Mutex<Option<Refusal>>,
    /// Something was received.
    proved: AtomicBool,
}

/// One session on a connection.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) session: SessionId,
    pub(super) progress: Arc<Progress>,
    /// What the peer has been told.
    pub(super) told: u64,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// We were closed.
    Closed,
    /// The peer said goodbye.
    Left(Reject),
    /// It broke.
    Lost(String),
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        inbox: &'a Inbox,
        acker: Arc<Acker>,
        endpoint: &Endpoint,
        pulse: Pulse,
        origins: BTreeMap<u32, Origin>,
    ) -> Self {
        Self {
            inbox,
            acker,
            checksummed: endpoint.is_checksummed(),
            loses_frames: endpoint.loses_frames(),
            holds: false,
            unknown: Mutex::new(None),
            origins: Mutex::new(origins),
            heard: None,
            pulse,
            refusal: Mutex::new(None),
            proved: AtomicBool::new(false),
        }
    }

    /// Says that the peer was told in our `Welcome` that everything up to here is here: rule P4, it sends what follows;
    /// and whether acknowledgements are held that it does not wait for.
    pub(super) fn welcomed(mut self, have: u64, holds: bool) -> Self {
        self.holds = holds;
        // Where frames get lost they come twice, too.
        self.heard = (!self.loses_frames).then_some(have);
        self
    }

    /// Runs it to its end.
    pub(super) async fn run(&self, mut reader: Reader, mut writer: Writer) -> End {
        let end = {
            let reading = pin!(self.read(&mut reader));
            let writing = pin!(self.write(&mut writer));
            let watching = pin!(self.pulse.watch(|| self.acker.urge()));
            tokio::select! {
                end = Part::new(reading) => end,
                end = Part::new(writing) => end,
                dead = Part::new(watching) => End::Lost(dead.to_owned()),
            }
        };
        if matches!(end, End::Closed) {
            // A socket that is closed with something unread in it is reset, and the acknowledgements that the
            // peer has not read yet are gone: what comes is read until the peer has heard the goodbye.
            let heard = async { while let Ok(Some(_)) = reader.next().await {} };
            if timeout(LINGER, heard).await.is_err() {
                tracing::debug!("the peer does not hear the goodbye");
            }
        }
        end
    }

    /// Returns whether anything was received over it.
    pub(super) fn has_received(&self) -> bool {
        self.proved.load(Relaxed)
    }

    async fn read(&self, reader: &mut Reader) -> End {
        let mut heard = self.heard;
        loop {
            if !self.inbox.has_room() {
                self.pulse.pause(true);
                self.inbox.room().await;
                self.pulse.pause(false);
            }
            let piece = match reader.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return End::Lost("the peer closed the connection".to_owned()),
                Err(ReadError::Protocol(ProtocolError::NotTaken(refusal))) => {
                    return self.refuse(refusal, reader).await;
                }
                Err(error) => return End::Lost(error.to_string()),
            };
            self.proved.store(true, Relaxed);
            match self.take(piece, &mut heard) {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Lost(error.to_string()),
            }
        }
    }

    /// Has the peer told, and reads on meanwhile: a socket that is closed with something unread in it is reset, and the
    /// reason with it.
    async fn refuse(&self, refusal: Refusal, reader: &mut Reader) -> End {
        *self.refusal.lock() = Some(refusal);
        self.acker.urge();
        drop(timeout(LINGER, reader.discard()).await);
        End::Lost(refusal.to_string())
    }

    fn take(&self, piece: Piece, heard: &mut Option<u64>) -> Result<Option<End>, ProtocolError> {
        match piece {
            Piece::Run { origin, run } => {
                if let Some(heard) = heard {
                    let is_old = run.first <= *heard;
                    *heard = run.last.max(*heard);
                    if is_old {
                        self.pulse.useless(Kind::Data)?;
                    }
                }
                let found = {
                    let origins = self.origins.lock();
                    origins
                        .get(&origin)
                        .map(|known| (known.session, Arc::clone(&known.progress)))
                };
                let Some((session, progress)) = found else {
                    if !self.loses_frames {
                        return Err(ProtocolError::UnknownOrigin(origin));
                    }
                    *self.unknown.lock() = Some(origin);
                    self.acker.urge();
                    return Ok(None);
                };
                if !self.inbox.data(session, &progress, run)? {
                    // Rule K4: it is told again.
                    self.untell(origin);
                }
            }
            Piece::Control { header, body } => match header.kind {
                Kind::Gap => self.gap(header.origin, hello::decode(Kind::Gap, &body)?)?,
                kind @ (Kind::Ping | Kind::Pong) => {
                    self.pulse.beat(kind)?;
                    self.acker.urge();
                }
                Kind::Urge if self.holds => {
                    // There is no more to wait for than has come.
                    let has_come = heard.is_none_or(|heard| header.sequence <= heard);
                    if !has_come || !self.acker.await_to(header.sequence) {
                        self.pulse.useless(Kind::Urge)?;
                    }
                }
                Kind::Close => return Ok(Some(End::Left(hello::decode(Kind::Close, &body)?))),
                kind => return Err(ProtocolError::Unexpected { kind }),
            },
        }
        Ok(None)
    }

    fn gap(
        &self,
        number: u32,
        Gap {
            session,
            after,
            filtered,
        }: Gap,
    ) -> Result<(), ProtocolError> {
        let progress = self.inbox.gap(session, after, filtered, &self.acker);
        let mut origins = self.origins.lock();
        if let Some(known) = origins.get_mut(&number) {
            (known.session, known.progress) = (session, progress);
        } else if origins.len() < MOST_ORIGINS {
            let told = 0;
            let origin = Origin {
                session,
                progress,
                told,
            };
            origins.insert(number, origin);
        } else {
            return Err(ProtocolError::TooManyOrigins(MOST_ORIGINS));
        }
        Ok(())
    }

    fn untell(&self, number: u32) {
        let mut origins = self.origins.lock();
        if let Some(known) = origins.get_mut(&number) {
            known.told = 0;
        }
        drop(origins);
        self.acker.urge();
    }

    async fn write(&self, writer: &mut Writer) -> End {
        let mut bytes = BytesMut::new();
        loop {
            self.acker.due(|| self.has_news()).await;
            let closing = self.inbox.is_closing();
            let refusal = *self.refusal.lock();
            self.acknowledge(&mut bytes);
            self.pulse.speak(self.checksummed, &mut bytes);
            let goodbye = match refusal {
                Some(refusal) => Some((Code::Refused, refusal.to_string())),
                None => closing.then(|| (Code::Leaving, "it was closed".to_owned())),
            };
            if let Some((code, text)) = goodbye {
                let goodbye = Reject {
                    code,
                    text,
                    retry_after_ms: 0,
                };
                hello::encode(Kind::Close, &goodbye, self.checksummed, &mut bytes);
            }
            if let Err(error) = self.pulse.write_in_time(writer, &bytes).await {
                return End::Lost(error.to_string());
            }
            bytes.clear();
            if refusal.is_some() {
                // Who reads on says when it is over.
                drop(writer.shutdown().await);
                return std::future::pending().await;
            }
            if closing {
                return match writer.shutdown().await {
                    Ok(()) | Err(_) => End::Closed,
                };
            }
        }
    }

    fn has_news(&self) -> bool {
        self.origins
            .lock()
            .values()
            .any(|origin| origin.progress.processed() > origin.told)
    }

    /// Rule K4: cumulative, one frame a session.
    fn acknowledge(&self, bytes: &mut BytesMut) {
        if let Some(origin) = self.unknown.lock().take() {
            let header = Header {
                origin,
                ..Header::control(Kind::Ack)
            };
            frame::encode_control(header, &[], self.checksummed, bytes);
        }
        for (&number, origin) in self.origins.lock().iter_mut() {
            let processed = origin.progress.processed();
            if processed > origin.told {
                origin.told = processed;
                self.acker.say(processed);
                // The listener of a direct service is the one consumer there is.
                let header = Header {
                    sequence: processed,
                    origin: number,
                    message_type: 1,
                    ..Header::control(Kind::Ack)
                };
                frame::encode_control(header, &[], self.checksummed, bytes);
            }
        }
    }
}

/// How many origins one connection names: all the sessions that a relay knows when it begins, and as many that come
/// later. What is named beyond that is named on a new connection, without those that the relay has forgotten by then.
const MOST_ORIGINS: usize = 2 * MOST_SESSIONS;

/// How long a peer may take to hear a goodbye.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::transport::memory;
    use crate::wire::session::Side;

    #[tokio::test]
    async fn a_relay_names_so_many_origins_and_not_one_more() {
        let inbox = Inbox::new(Side::Consumer);
        let endpoint: Endpoint = "/s".parse().unwrap();
        let acker = Arc::default();
        let connection =
            Connection::new(&inbox, acker, &endpoint, memory::pulse(), BTreeMap::new());
        let gap = |session| Gap {
            session: SessionId(session),
            after: 7,
            filtered: false,
        };
        let most = u32::try_from(MOST_ORIGINS).unwrap();
        for number in (1..=most).rev() {
            connection.gap(number, gap(u128::from(number % 9))).unwrap();
        }
        let refused = connection.gap(most + 1, gap(1)).unwrap_err();
        assert_eq!(refused, ProtocolError::TooManyOrigins(MOST_ORIGINS));
        connection.gap(1, gap(2)).unwrap();
    }

    #[tokio::test]
    async fn a_peer_may_urge_once_for_what_has_come_and_not_without_measure() {
        let inbox = Inbox::new(Side::Listener);
        let endpoint: Endpoint = "/s".parse().unwrap();
        let connection = |holds| {
            let acker = Arc::new(Acker::default());
            acker.begin(0, true);
            Connection::new(&inbox, acker, &endpoint, memory::pulse(), BTreeMap::new())
                .welcomed(0, holds)
        };
        let urge = |sequence| Piece::Control {
            header: Header {
                sequence,
                ..Header::control(Kind::Urge)
            },
            body: Bytes::new(),
        };
        let who_holds = connection(true);
        let mut heard = Some(1000);
        for sequence in 1..=1000 {
            who_holds.take(urge(sequence), &mut heard).unwrap();
        }
        for useless in [1000, 1001] {
            let peer = connection(true);
            peer.take(urge(1000), &mut heard).unwrap();
            let refused = (0..1000).find_map(|_| peer.take(urge(useless), &mut heard).err());
            let refused = refused.expect("without measure");
            assert!(
                matches!(refused, ProtocolError::Useless { .. }),
                "{refused}"
            );
        }
        let refused = connection(false).take(urge(1), &mut heard).unwrap_err();
        assert_eq!(refused, ProtocolError::Unexpected { kind: Kind::Urge });
    }
}
