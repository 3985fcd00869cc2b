//! Hears a newcomer out: who it is, whether that is enough, whether there is room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep};

use super::acceptor::Arrival;
use super::budget::Budget;
use super::dial::Target;
use super::line::{Duplex, Line};
use super::log_rate::{Event, LogLine, LogRate};
use super::password;
use super::pulse::Pulse;
use super::reader::FrameReader;
use super::turnstile::{Ticket, Turnstile};
use super::unreached::Unreached;
use crate::error::Phase;
use crate::security::Identity;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::hello::{
    self, Code, Hello, Limits, POSITIONS_LIMIT, PositionList, Reject, VERSION, Welcome,
};
use crate::wire::negotiation::ProtocolNegotiation;
use crate::wire::scan::{GREETING_LIMIT, Piece, Scanner};
use crate::wire::session::{MOST_SESSIONS, Position};
use crate::wire::temper::Temper;
use crate::wire::{ProtocolError, SessionId};

/// The reading half of an accepted connection.
pub(crate) type Reader = FrameReader<ReadHalf<Box<dyn Duplex>>>;

/// The writing half of an accepted connection.
pub(crate) type Writer = WriteHalf<Box<dyn Duplex>>;

/// Somebody who has said who it is.
pub(crate) struct Visitor {
    pub(crate) hello: Hello,
    /// What a consumer has and has processed.
    pub(crate) positions: Vec<Position>,
    /// Who it has proved to be. The sessions of its hello are already told apart by it.
    pub(crate) identity: Identity,
    /// What we offered it in the clear, for our answer to repeat.
    pub(crate) offer: Option<ProtocolNegotiation>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) pulse: Pulse,
    /// Its place inside, kept until it leaves.
    pub(crate) pass: Pass,
}

/// The place of somebody inside; free again when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    house: Arc<House>,
    ticket: Ticket,
}

impl Pass {
    /// Returns whether this event may be logged now.
    pub(crate) fn log(&self, event: Event) -> Option<LogLine> {
        self.house.log(event)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.house.turnstile.lock().left(self.ticket);
    }
}

/// What is served where, and to whom.
#[derive(Debug)]
pub(super) struct House {
    pub(super) service: String,
    pub(super) checksummed: bool,
    pub(super) target: Target,
    pub(super) turnstile: Mutex<Turnstile>,
    pub(super) budget: Arc<Budget>,
    pub(super) log_rates: Mutex<HashMap<Event, LogRate>>,
}

/// Hears somebody out; refuses what cannot be served.
pub(super) async fn greet(
    house: &Arc<House>,
    arrival: Arrival,
    ticket: Ticket,
) -> Result<Visitor, Unreached> {
    let Line {
        stream,
        signs,
        identity,
        is_private,
        offers,
        address,
        ..
    } = arrival.open(&house.target, house.budget.share()).await?;
    let pulse = Pulse::new(signs);
    let (reader, mut writer) = split(stream);
    let mut reader =
        FrameReader::new(reader, Scanner::new(house.checksummed)).sharing(house.budget.share());
    let read = async {
        let hello = house.read_hello(&mut reader).await?;
        if offers.as_ref().map(|offers| &offers.theirs) != hello.offer.as_ref() {
            let text = "what was offered in the clear is not what is said now: somebody changed it";
            return Err((Code::Protocol, text.to_owned()));
        }
        let identity = house
            .authenticate(&hello, identity, is_private, ticket)
            .await?;
        if hello.probe == Some(true) {
            let ours = offers.as_ref().map(|offers| offers.ours.clone());
            return Err(house
                .answer_probe(&mut reader, &mut writer, &pulse, ours)
                .await);
        }
        let positions = read_positions(&mut reader, &hello).await?;
        let pass = house.enter(ticket)?;
        Ok((hello, identity, positions, pass))
    };
    match read.await {
        Ok((mut hello, identity, positions, pass)) => {
            tracing::debug!(service = %house.service, ?address, %identity, "greeted");
            // From here on a session is what this identity means by it.
            if let Some(producer) = &mut hello.producer {
                producer.session = SessionId(identity.own(producer.session.0));
            }
            if let Some(consumer) = &mut hello.consumer {
                consumer.id = SessionId(identity.own(consumer.id.0));
            }
            Ok(Visitor {
                hello,
                positions,
                identity,
                offer: offers.map(|offers| offers.ours),
                reader,
                writer,
                pulse,
                pass,
            })
        }
        Err((code, text)) => {
            reject(&mut writer, house.checksummed, code, &text).await?;
            Err(Unreached::for_now(Phase::Handshake, text))
        }
    }
}

impl House {
    /// Returns how the service is called in what peers are told.
    fn name(&self) -> String {
        match &*self.service {
            "" => "this service".to_owned(),
            name => format!("`{name}`"),
        }
    }

    /// Returns whether this event may be logged now: who floods the service is not to flood its log.
    pub(super) fn log(&self, event: Event) -> Option<LogLine> {
        let mut rates = self.log_rates.lock();
        rates
            .entry(event)
            .or_default()
            .line(Instant::now().into_std())
    }

    /// Gives somebody who has greeted a place inside, if there is one.
    fn enter(self: &Arc<Self>, ticket: Ticket) -> Result<Pass, (Code, String)> {
        if self.budget.is_exhausted() {
            let text = "too much that was received is unfinished, see `max_inbound_bytes`";
            return Err((Code::Busy, text.to_owned()));
        }
        self.turnstile
            .lock()
            .enter(ticket)
            .map_err(|full| (Code::Busy, full.to_string()))?;
        Ok(Pass {
            house: Arc::clone(self),
            ticket,
        })
    }

    /// Finds out who it is, and whether that is enough. Whoever is wrong is told so after a second, in the same
    /// words whatever was wrong, and after a few times is not believed for a minute: so nobody tries them all.
    async fn authenticate(
        &self,
        hello: &Hello,
        known: Identity,
        is_private: bool,
        ticket: Ticket,
    ) -> Result<Identity, (Code, String)> {
        #[cfg(all(feature = "unix", unix))]
        if let Identity::Uid(uid) = known
            && !super::unix::may_enter(uid, &self.target.security().allow_uids)
        {
            let text = format!("user {uid} may not connect to {}", self.name());
            return Err((Code::Unauthorized, text));
        }
        let demanded = password::credentials(self.target.security()).map_err(|error| {
            if let Some(LogLine { withheld }) = self.log(Event::Unguarded) {
                tracing::error!(service = %self.service, %error, withheld, "nobody can be let in");
            }
            let text = "the service cannot check passwords at present";
            (Code::Busy, text.to_owned())
        })?;
        let Some(demanded) = demanded else {
            return Ok(known);
        };
        let now = Instant::now().into_std();
        let believed = !self.turnstile.lock().is_locked_out(ticket, now);
        let shown = hello.credentials.as_ref();
        if believed && is_private && shown.is_some_and(|shown| demanded.admit(shown)) {
            return Ok(Identity::User(demanded.username));
        }
        if believed {
            self.turnstile.lock().wrong_password(ticket, now);
        }
        sleep(WRONG_PASSWORD_PAUSE).await;
        let text = format!("{} demands a user and a password", self.name());
        Err((Code::Unauthorized, text))
    }

    /// Answers pings until the peer leaves, or its time to greet is over; returns how it ended.
    async fn answer_probe(
        &self,
        reader: &mut Reader,
        writer: &mut Writer,
        pulse: &Pulse,
        offer: Option<ProtocolNegotiation>,
    ) -> (Code, String) {
        let welcome = Welcome {
            version: VERSION,
            limits: Limits {
                frame: GREETING_LIMIT,
                idle_ms: 0,
                ping_ms: 0,
            },
            acked: 0,
            have: 0,
            consumers: 0,
            node: SessionId(0),
            offer,
            in_flight: None,
            hold_ms: None,
        };
        let mut temper = Temper::new(Instant::now().into_std());
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Welcome, &welcome, self.checksummed, &mut bytes);
        loop {
            if let Err(error) = pulse.write_in_time(writer, &bytes).await {
                return (Code::Done, error.to_string());
            }
            bytes.clear();
            match reader.next().await {
                Ok(Some(Piece::Control { header, .. })) if header.kind == Kind::Ping => {
                    if let Err(error) = temper.useless(Kind::Ping, Instant::now().into_std()) {
                        return (Code::Protocol, error.to_string());
                    }
                    let pong = Header::control(Kind::Pong);
                    frame::encode_control(pong, &[], self.checksummed, &mut bytes);
                }
                Ok(_) => return (Code::Done, "it has seen that we are here".to_owned()),
                Err(error) => return (Code::Protocol, error.to_string()),
            }
        }
    }

    async fn read_hello(&self, reader: &mut Reader) -> Result<Hello, (Code, String)> {
        let service = &self.service;
        let hello: Hello = match reader.next().await {
            Ok(Some(Piece::Control { header, body })) if header.kind == Kind::Hello => {
                hello::decode(Kind::Hello, &body).map_err(protocol)?
            }
            Ok(Some(_)) => {
                return Err((Code::Protocol, "the first frame is not a hello".to_owned()));
            }
            Ok(None) => return Err((Code::Done, "closed before the hello".to_owned())),
            Err(error) => return Err((Code::Protocol, error.to_string())),
        };
        if hello.oldest > VERSION || hello.newest < VERSION {
            let Hello { oldest, newest, .. } = hello;
            return Err((
                Code::Version,
                format!("this side speaks version {VERSION}, the other {oldest} to {newest}"),
            ));
        }
        // Whoever names none takes any.
        if !hello.service.is_empty() && !service.is_empty() && hello.service != *service {
            return Err((
                Code::Service,
                format!("`{service}` is served here, not `{}`", hello.service),
            ));
        }
        let Hello {
            producer,
            consumer,
            requester,
            probe,
            ..
        } = &hello;
        let roles = [
            producer.is_some(),
            consumer.is_some(),
            requester.is_some(),
            *probe == Some(true),
        ];
        if roles.into_iter().filter(|is| *is).count() != 1 {
            let text = "a hello is a producer's, a consumer's or a requester's";
            return Err((Code::Protocol, text.to_owned()));
        }
        Ok(hello)
    }
}

/// Reads what a consumer has and has processed.
async fn read_positions(
    reader: &mut Reader,
    hello: &Hello,
) -> Result<Vec<Position>, (Code, String)> {
    let announced = hello
        .consumer
        .as_ref()
        .map_or(0, |consumer| consumer.positions) as usize;
    if announced > MOST_SESSIONS {
        return Err((
            Code::Protocol,
            format!("{announced} positions, at most {MOST_SESSIONS} are taken"),
        ));
    }
    // The hello was taken, so that more than its 4 KiB may be read now.
    reader.scanner().limit = POSITIONS_LIMIT;
    let mut positions = Vec::new();
    while positions.len() < announced {
        match reader.next().await {
            Ok(Some(Piece::Control { header, body })) if header.kind == Kind::Positions => {
                let list: PositionList = hello::decode(Kind::Positions, &body).map_err(protocol)?;
                if list.positions.is_empty() {
                    return Err((Code::Protocol, "an empty list of positions".to_owned()));
                }
                positions.extend(list.positions);
            }
            Ok(_) => {
                return Err((
                    Code::Protocol,
                    "positions were announced and did not come".to_owned(),
                ));
            }
            Err(error) => return Err((Code::Protocol, error.to_string())),
        }
    }
    Ok(positions)
}

fn protocol(error: ProtocolError) -> (Code, String) {
    (Code::Protocol, error.to_string())
}

/// Refuses a connection with a reason.
///
/// # Cancel safety
///
/// Dropped early, the peer sees the connection end without a reason.
pub(crate) async fn reject(
    writer: &mut Writer,
    checksummed: bool,
    code: Code,
    text: &str,
) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    let reject = Reject {
        code,
        text: text.to_owned(),
        retry_after_ms: 0,
    };
    hello::encode(Kind::Reject, &reject, checksummed, &mut bytes);
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

/// Before a wrong password is called that.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);
