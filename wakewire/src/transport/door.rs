//! Takes connections at an endpoint and hears each one out before anybody deals with it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::reader::FrameReader;
use super::{Acceptor, Duplex};
use crate::endpoint::Endpoint;
use crate::wire::ProtocolError;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Code, Hello, POSITIONS_LIMIT, PositionList, Reject, VERSION};
use crate::wire::scan::{Piece, Scanner};
use crate::wire::session::{MOST_SESSIONS, Position};

/// The reading half of an accepted connection.
pub(crate) type Reader = FrameReader<ReadHalf<Box<dyn Duplex>>>;

/// The writing half of an accepted connection.
pub(crate) type Writer = WriteHalf<Box<dyn Duplex>>;

/// Somebody who has said who it is.
pub(crate) struct Visitor {
    pub(crate) hello: Hello,
    /// What a consumer has and has processed.
    pub(crate) positions: Vec<Position>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// A bound endpoint, and those who have not finished greeting.
pub(crate) struct Door {
    acceptor: Acceptor,
    service: String,
    checksummed: bool,
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
    pub(crate) async fn open(endpoint: &Endpoint, service: &str) -> io::Result<Self> {
        let give_up = Instant::now() + BIND_WITHIN;
        let acceptor = loop {
            match Acceptor::bind(endpoint).await {
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
            service: service.to_owned(),
            checksummed: endpoint.is_checksummed(),
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
                    Ok(stream) => self.admit(stream),
                    Err(error) => {
                        // Out of descriptors, mostly: others must end first, and asking again at once would spin.
                        tracing::warn!(service = %self.service, %error, "no connection accepted");
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

    fn admit(&mut self, stream: Box<dyn Duplex>) {
        self.order.retain(|handle| !handle.is_finished());
        if self.order.len() >= GREETINGS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let (service, checksummed) = (self.service.clone(), self.checksummed);
        self.order.push_back(self.greeting.spawn(async move {
            match timeout(GREETING_WITHIN, greet(stream, &service, checksummed)).await {
                Ok(Ok(visitor)) => Some(visitor),
                Ok(Err(error)) => {
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

/// Reads the `Hello` and what belongs to it; refuses what cannot be served.
async fn greet(stream: Box<dyn Duplex>, service: &str, checksummed: bool) -> io::Result<Visitor> {
    let (reader, mut writer) = split(stream);
    let mut reader = FrameReader::new(reader, Scanner::new(checksummed));
    let result = read_hello(&mut reader, service).await;
    match result {
        Ok((hello, positions)) => Ok(Visitor {
            hello,
            positions,
            reader,
            writer,
        }),
        Err((code, text)) => {
            reject(&mut writer, checksummed, code, &text).await?;
            Err(io::Error::other(text))
        }
    }
}

async fn read_hello(
    reader: &mut Reader,
    service: &str,
) -> Result<(Hello, Vec<Position>), (Code, String)> {
    let protocol = |error: ProtocolError| (Code::Protocol, error.to_string());
    let hello: Hello = match reader.next().await {
        Ok(Some(Piece::Control { header, body })) if header.kind == Kind::Hello => {
            hello::decode(Kind::Hello, &body).map_err(protocol)?
        }
        Ok(Some(_)) => return Err((Code::Protocol, "the first frame is not a hello".to_owned())),
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
    if !hello.service.is_empty() && hello.service != service {
        return Err((
            Code::Service,
            format!("`{service}` is served here, not `{}`", hello.service),
        ));
    }
    if hello.producer.is_some() == hello.consumer.is_some() {
        return Err((
            Code::Protocol,
            "a hello is either a producer's or a consumer's".to_owned(),
        ));
    }
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
    Ok((hello, positions))
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
