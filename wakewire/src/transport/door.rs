//! Takes connections at an endpoint and hears each one out before anybody deals with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::acceptor::{Acceptor, Arrival};
use super::dial::Target;
use super::line::{Duplex, Line};
use super::password;
use super::reader::FrameReader;
use super::unreached::Unreached;
use crate::error::{Failure, Phase};
use crate::security::Identity;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Code, Hello, POSITIONS_LIMIT, PositionList, Reject, VERSION};
use crate::wire::negotiation::ProtocolNegotiation;
use crate::wire::scan::{Piece, Scanner};
use crate::wire::session::{MOST_SESSIONS, Position};
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
}

/// What is served where, and to whom.
#[derive(Debug)]
struct House {
    service: String,
    checksummed: bool,
    target: Target,
}

/// A bound endpoint, and those who have not finished greeting.
pub(crate) struct Door {
    acceptor: Acceptor,
    house: Arc<House>,
    greeting: JoinSet<Option<Visitor>>,
    /// Oldest first; some may have ended.
    order: VecDeque<AbortHandle>,
}

impl Door {
    /// Binds the endpoint of a service. One that is in use may be that of somebody in this process who was just
    /// dropped and whose task ends a moment later: it is tried again for a short while.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub(crate) async fn open(target: &Target, service: &str) -> io::Result<Self> {
        let give_up = Instant::now() + BIND_WITHIN;
        let acceptor = loop {
            match Acceptor::bind(target).await {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up =>
                {
                    sleep(BIND_WITHIN / 25).await;
                }
                bound => break bound?,
            }
        };
        Ok(Self {
            acceptor,
            house: Arc::new(House {
                service: service.to_owned(),
                checksummed: target.endpoint().is_checksummed(),
                target: target.clone(),
            }),
            greeting: JoinSet::new(),
            order: VecDeque::new(),
        })
    }

    /// Returns the next who has greeted. Silent connections never stand in the way of others: accepting goes
    /// on, and beyond a bound the oldest that has not greeted is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nobody is lost.
    pub(crate) async fn next(&mut self) -> Visitor {
        loop {
            tokio::select! {
                accepted = self.acceptor.accept() => match accepted {
                    Ok(arrival) => self.admit(arrival),
                    Err(error) => {
                        // Out of descriptors, mostly: others must end first, and asking again at once would spin.
                        tracing::warn!(service = %self.house.service, %error, "no connection accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(greeted) = self.greeting.join_next() => {
                    if let Ok(Some(visitor)) = greeted {
                        return visitor;
                    }
                }
            }
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        self.order.retain(|handle| !handle.is_finished());
        if self.order.len() >= GREETINGS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let house = Arc::clone(&self.house);
        self.order.push_back(self.greeting.spawn(async move {
            let service = &house.service;
            match timeout(GREETING_WITHIN, house.greet(arrival)).await {
                Ok(Ok(visitor)) => Some(visitor),
                Ok(Err(unreached)) => {
                    let error = unreached.error(Failure::new(service.as_str()));
                    tracing::debug!(%service, %error, "a connection did not greet");
                    None
                }
                Err(_) => {
                    tracing::debug!(%service, "a connection was silent for {GREETING_WITHIN:?}");
                    None
                }
            }
        }));
    }
}

impl House {
    /// Reads the `Hello` and what belongs to it; refuses what cannot be served.
    async fn greet(&self, arrival: Arrival) -> Result<Visitor, Unreached> {
        let Line {
            stream,
            identity,
            is_private,
            offers,
            ..
        } = arrival.open(&self.target).await?;
        let (reader, mut writer) = split(stream);
        let mut reader = FrameReader::new(reader, Scanner::new(self.checksummed));
        let read = async {
            let hello = self.read_hello(&mut reader).await?;
            if offers.as_ref().map(|offers| &offers.theirs) != hello.offer.as_ref() {
                let text =
                    "what was offered in the clear is not what is said now: somebody changed it";
                return Err((Code::Protocol, text.to_owned()));
            }
            let identity = self.authenticate(&hello, identity, is_private)?;
            let positions = read_positions(&mut reader, &hello).await?;
            Ok((hello, identity, positions))
        };
        match read.await {
            Ok((mut hello, identity, positions)) => {
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
                })
            }
            Err((code, text)) => {
                reject(&mut writer, self.checksummed, code, &text).await?;
                Err(Unreached::for_now(Phase::Handshake, text))
            }
        }
    }

    /// Finds out who it is, and whether that is enough.
    fn authenticate(
        &self,
        hello: &Hello,
        known: Identity,
        is_private: bool,
    ) -> Result<Identity, (Code, String)> {
        let demanded = password::credentials(self.target.security()).map_err(|error| {
            tracing::error!(service = %self.service, %error, "nobody can be let in");
            (
                Code::Busy,
                "the service cannot check passwords at present".to_owned(),
            )
        })?;
        let Some(demanded) = demanded else {
            return Ok(known);
        };
        match &hello.credentials {
            Some(shown) if is_private && demanded.admit(shown) => {
                Ok(Identity::User(demanded.username))
            }
            // The same words for a wrong user, a wrong password and none.
            _ => Err((
                Code::Unauthorized,
                format!("`{}` demands a user and a password", self.service),
            )),
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
        if !hello.service.is_empty() && hello.service != *service {
            return Err((
                Code::Service,
                format!("`{service}` is served here, not `{}`", hello.service),
            ));
        }
        let Hello {
            producer,
            consumer,
            requester,
            ..
        } = &hello;
        let roles = [producer.is_some(), consumer.is_some(), requester.is_some()];
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
) -> io::Result<()> {
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

/// Longer than a dropped task needs to end, shorter than anybody notices.
const BIND_WITHIN: Duration = Duration::from_millis(250);

/// From being accepted to having greeted, however slowly the bytes drip.
const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// Connections that may be greeting at a time.
const GREETINGS: usize = 1024;

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
