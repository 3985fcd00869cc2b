//! Speaks wakewire in the place of a WebSocket peer that does not: plain payloads on one side, frames on the
//! other. Nobody above knows that nothing confirms what such a peer took. No I/O, no clock.

use bytes::{Bytes, BytesMut};

use crate::message::Message;
use crate::security::Credentials;
use crate::wire::data::DataView;
use crate::wire::frame::{self, HEADER, Header, Kind};
use crate::wire::hello::{
    self, Code, Consumer, Gap, Hello, Limits, Producer, Reject, Start, VERSION, Welcome,
};
use crate::wire::liveness::ASK_AFTER;
use crate::wire::{ProtocolError, SessionId};

/// What stands between frames and payloads.
#[derive(Debug)]
pub(super) struct Translator {
    checksummed: bool,
    /// The session of what the peer sends, or the peer's name as a consumer.
    id: SessionId,
    /// Where we have dialed; for errors.
    server: String,
    /// By which number our side knows the session.
    origin: u32,
    /// Whether what the peer sends is wanted.
    is_heard: bool,
    /// The last message that it has sent.
    last: u64,
    /// What our side has not read yet.
    frames: BytesMut,
}

/// What a frame of ours means to a foreign peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saying {
    /// One message.
    Payload(Bytes),
    /// A question whether it is there.
    Ping,
    /// The end, with a code of RFC 6455 §7.4.
    Close { code: u16, reason: String },
}

impl Translator {
    fn new(id: SessionId, checksummed: bool) -> Self {
        Self {
            checksummed,
            id,
            server: String::new(),
            origin: 0,
            is_heard: false,
            last: 0,
            frames: BytesMut::new(),
        }
    }

    /// Makes one for a server that we have dialed; our `Hello` says what we want of it.
    pub(super) fn for_server(server: String, id: SessionId, checksummed: bool) -> Self {
        Self {
            server,
            ..Self::new(id, checksummed)
        }
    }

    /// Makes one for a client that sends messages.
    pub(super) fn for_producer(
        id: SessionId,
        credentials: Option<Credentials>,
        checksummed: bool,
    ) -> Self {
        let mut translator = Self {
            is_heard: true,
            ..Self::new(id, checksummed)
        };
        translator.greet(Hello {
            producer: Some(Producer {
                session: id,
                first_owed: 1,
                at_most_once: true,
                urges: None,
            }),
            credentials,
            ..nobody()
        });
        translator
    }

    /// Makes one for a client that wants to be sent what comes from now on.
    pub(super) fn for_consumer(
        id: SessionId,
        credentials: Option<Credentials>,
        checksummed: bool,
    ) -> Self {
        let mut translator = Self::new(id, checksummed);
        translator.greet(Hello {
            consumer: Some(Consumer {
                name: None,
                id,
                at_most_once: true,
                start: Start::Latest,
                positions: 0,
            }),
            credentials,
            ..nobody()
        });
        translator
    }

    fn greet(&mut self, hello: Hello) {
        hello::encode(Kind::Hello, &hello, self.checksummed, &mut self.frames);
    }

    /// Takes a frame of ours; returns what is to be said to the peer, if anything.
    pub(super) fn say(&mut self, frame: Bytes) -> Result<Option<Saying>, ProtocolError> {
        let view = DataView::at(&frame)?;
        Ok(match view.header.kind {
            Kind::Hello => {
                self.answer(&hello::decode(Kind::Hello, view.body)?);
                None
            }
            Kind::Data => {
                let start = HEADER + view.payload_at()?;
                Some(Saying::Payload(frame.slice(start..)))
            }
            Kind::Ping => Some(Saying::Ping),
            kind @ (Kind::Close | Kind::Reject) => Some(goodbye(hello::decode(kind, view.body)?)),
            // What only a wakewire peer understands.
            Kind::Welcome
            | Kind::Ack
            | Kind::Gap
            | Kind::Request
            | Kind::Response
            | Kind::Failure
            | Kind::Pong
            | Kind::Negotiate
            | Kind::Positions
            | Kind::Cookie
            | Kind::Urge => None,
        })
    }

    /// Answers our own `Hello` in the server's place.
    fn answer(&mut self, hello: &Hello) {
        let acked = match (&hello.producer, &hello.consumer) {
            (Some(producer), _) if producer.at_most_once => producer.first_owed.saturating_sub(1),
            (Some(_), _) => {
                return self
                    .reject("nothing confirms what it took; set `delivery = \"at_most_once\"`");
            }
            // Who only asks whether somebody is there is answered by the pongs.
            (None, None) if hello.probe != Some(true) => {
                return self.reject("nothing there answers requests");
            }
            (None, _) => 0,
        };
        let welcome = Welcome {
            version: VERSION,
            limits: limits(),
            acked,
            have: acked,
            consumers: 1,
            node: self.id,
            offer: None,
            in_flight: None,
            hold_ms: None,
        };
        hello::encode(Kind::Welcome, &welcome, self.checksummed, &mut self.frames);
        if hello.consumer.is_some() {
            self.is_heard = true;
            self.origin = FEED;
            let header = Header {
                origin: FEED,
                ..Header::control(Kind::Gap)
            };
            let gap = Gap {
                session: self.id,
                after: 0,
                filtered: false,
            };
            hello::encode_with(header, &gap, self.checksummed, &mut self.frames);
        }
    }

    fn reject(&mut self, why: &str) {
        let reject = Reject {
            code: Code::Refused,
            text: format!("the peer at {} is no wakewire peer: {why}", self.server),
            retry_after_ms: 0,
        };
        hello::encode(Kind::Reject, &reject, self.checksummed, &mut self.frames);
    }

    /// Takes a message of the peer's.
    pub(super) fn hear(&mut self, payload: Bytes) {
        if !self.is_heard {
            return;
        }
        self.last += 1;
        let start = self.frames.len();
        let message = Message::new(payload);
        frame::encode_message(&message, self.last, self.checksummed, &mut self.frames);
        frame::stamp_origin(&mut self.frames[start..], self.origin);
    }

    /// The peer has answered our question whether it is there.
    pub(super) fn answered(&mut self) {
        let pong = Header::control(Kind::Pong);
        frame::encode_control(pong, &[], self.checksummed, &mut self.frames);
    }

    /// The peer has said goodbye.
    pub(super) fn left(&mut self, reason: &str) {
        let close = Reject {
            code: Code::Done,
            text: format!("the WebSocket peer closed the connection: {reason:?}"),
            retry_after_ms: 0,
        };
        hello::encode(Kind::Close, &close, self.checksummed, &mut self.frames);
    }

    /// Takes the frames that our side is to read.
    pub(super) fn take(&mut self) -> Bytes {
        self.frames.split().freeze()
    }
}

/// A `Hello` without a role.
const fn nobody() -> Hello {
    Hello {
        oldest: VERSION,
        newest: VERSION,
        service: String::new(),
        limits: limits(),
        producer: None,
        consumer: None,
        requester: None,
        probe: None,
        credentials: None,
        offer: None,
    }
}

/// A foreign peer announces none.
#[expect(clippy::cast_possible_truncation, reason = "5,000")]
const fn limits() -> Limits {
    Limits {
        frame: u32::MAX,
        idle_ms: 0,
        ping_ms: ASK_AFTER.as_millis() as u32,
    }
}

/// Says a goodbye or a refusal in the words of RFC 6455 §7.4.
fn goodbye(Reject { code, mut text, .. }: Reject) -> Saying {
    let code = match code {
        Code::Done => 1000,
        Code::Leaving => 1001,
        Code::Protocol => 1002,
        Code::Busy | Code::Replaced | Code::Overdue => 1013,
        Code::Version
        | Code::Service
        | Code::Role
        | Code::Refused
        | Code::Unauthorized
        | Code::Unprotected => 1008,
    };
    while text.len() > MOST_REASON {
        text.pop();
    }
    Saying::Close { code, reason: text }
}

/// A control frame has 125 bytes, two of them for the code.
const MOST_REASON: usize = 123;

/// The one session of a foreign feed.
const FEED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::data;
    use crate::wire::scan::{Piece, Scanner};

    const ID: SessionId = SessionId(77);

    fn server(checksummed: bool) -> Translator {
        Translator::for_server("ws://h:80/".to_owned(), ID, checksummed)
    }

    /// What our side reads, through the scanner that it reads everything with.
    fn read(translator: &mut Translator) -> Vec<Piece> {
        let mut scanner = Scanner::new(translator.checksummed);
        scanner.limit = u32::MAX;
        let mut bytes = BytesMut::from(&translator.take()[..]);
        let mut pieces = Vec::new();
        while let Some(piece) = scanner.next(&mut bytes).unwrap() {
            pieces.push(piece);
        }
        assert!(bytes.is_empty());
        pieces
    }

    fn control<'b, T: minicbor::Decode<'b, ()>>(piece: &'b Piece, kind: Kind) -> T {
        match piece {
            Piece::Control { header, body } if header.kind == kind => {
                hello::decode(kind, body).unwrap()
            }
            other => panic!("no {kind:?}: {other:?}"),
        }
    }

    fn hello(producer: Option<bool>, consumer: bool) -> Bytes {
        let hello = Hello {
            producer: producer.map(|at_most_once| Producer {
                session: SessionId(1),
                first_owed: 9,
                at_most_once,
                urges: None,
            }),
            consumer: consumer.then_some(Consumer {
                name: None,
                id: SessionId(2),
                at_most_once: false,
                start: Start::Owed,
                positions: 0,
            }),
            ..nobody()
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Hello, &hello, true, &mut bytes);
        bytes.freeze()
    }

    fn said(message: &Message, sequence: u64) -> Bytes {
        let mut bytes = BytesMut::new();
        frame::encode_message(message, sequence, true, &mut bytes);
        bytes.freeze()
    }

    #[test]
    fn a_server_takes_a_producer_that_wants_no_confirmation() {
        for checksummed in [true, false] {
            let mut server = server(checksummed);
            assert_eq!(server.say(hello(Some(true), false)), Ok(None));
            let pieces = read(&mut server);
            let welcome: Welcome = control(&pieces[0], Kind::Welcome);
            assert_eq!((welcome.acked, welcome.have, welcome.consumers), (8, 8, 1));
            // Extensions are of no use to it; the payload is all it gets.
            let message = Message::new("tick").with_target("x").with_type(3);
            let saying = Saying::Payload("tick".into());
            assert_eq!(server.say(said(&message, 9)), Ok(Some(saying)));
            server.hear("whatever it says".into());
            assert!(read(&mut server).is_empty());
        }
    }

    #[test]
    fn who_wants_confirmations_or_answers_is_told_that_there_are_none() {
        for (hello, words) in [
            (
                hello(Some(false), false),
                "set `delivery = \"at_most_once\"`",
            ),
            (hello(None, false), "answers requests"),
        ] {
            let mut server = server(true);
            assert_eq!(server.say(hello), Ok(None));
            let pieces = read(&mut server);
            let reject: Reject = control(&pieces[0], Kind::Reject);
            assert!(reject.code.is_permanent());
            let text = reject.text;
            assert!(
                text.contains("ws://h:80/") && text.contains(words),
                "{text}"
            );
        }
    }

    #[test]
    fn who_only_asks_whether_it_is_there_is_welcome() {
        let mut server = server(true);
        let hello = Hello {
            probe: Some(true),
            ..nobody()
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Hello, &hello, true, &mut bytes);
        assert_eq!(server.say(bytes.freeze()), Ok(None));
        let _: Welcome = control(&read(&mut server)[0], Kind::Welcome);
    }

    #[test]
    fn a_feed_is_one_session_from_its_first_message() {
        let mut server = server(true);
        assert_eq!(server.say(hello(None, true)), Ok(None));
        server.hear("one".into());
        server.hear("two".into());
        server.left("enough");
        let pieces = read(&mut server);
        let _: Welcome = control(&pieces[0], Kind::Welcome);
        let gap: Gap = control(&pieces[1], Kind::Gap);
        assert_eq!((gap.session, gap.after, gap.filtered), (ID, 0, false));
        let Piece::Run { origin, run } = &pieces[2] else {
            panic!("{pieces:?}");
        };
        assert_eq!((*origin, run.first, run.last), (FEED, 1, 2));
        let message = data::decode_message(run.bytes.clone()).unwrap();
        assert_eq!(message, Message::new("one"));
        let close: Reject = control(&pieces[3], Kind::Close);
        assert!(close.text.contains("enough"));
    }

    #[test]
    fn a_client_is_a_producer_with_a_session_of_its_own() {
        let shown = Credentials::new("alice", "hunter2".to_owned());
        let mut client = Translator::for_producer(ID, Some(shown.clone()), true);
        client.hear("x".into());
        let pieces = read(&mut client);
        let hello: Hello = control(&pieces[0], Kind::Hello);
        let producer = hello.producer.unwrap();
        assert_eq!((producer.session, producer.first_owed), (ID, 1));
        assert!(producer.at_most_once && hello.consumer.is_none());
        assert!(hello.service.is_empty());
        assert_eq!(hello.credentials, Some(shown));
        assert!(matches!(&pieces[1], Piece::Run { origin: 0, run } if run.first == 1));
        let mut ack = BytesMut::new();
        frame::encode_control(Header::control(Kind::Ack), &[], true, &mut ack);
        assert_eq!(client.say(ack.freeze()), Ok(None));
    }

    #[test]
    fn a_client_that_consumes_is_sent_payloads_and_not_heard() {
        let mut client = Translator::for_consumer(ID, None, false);
        client.hear("subscribe".into());
        let pieces = read(&mut client);
        let hello: Hello = control(&pieces[0], Kind::Hello);
        let consumer = hello.consumer.unwrap();
        assert!(consumer.at_most_once && consumer.name.is_none());
        assert_eq!((consumer.start, pieces.len()), (Start::Latest, 1));
        let saying = Saying::Payload("y".into());
        assert_eq!(client.say(said(&Message::new("y"), 4)), Ok(Some(saying)));
    }

    #[test]
    fn pings_and_goodbyes_become_those_of_a_web_socket() {
        let mut client = Translator::for_producer(ID, None, true);
        client.take();
        let mut ping = BytesMut::new();
        frame::encode_control(Header::control(Kind::Ping), &[], true, &mut ping);
        assert_eq!(client.say(ping.freeze()), Ok(Some(Saying::Ping)));
        client.answered();
        let pieces = read(&mut client);
        assert!(matches!(&pieces[0], Piece::Control { header, .. } if header.kind == Kind::Pong));
        for (kind, code, expected) in [
            (Kind::Close, Code::Leaving, 1001),
            (Kind::Reject, Code::Unauthorized, 1008),
            (Kind::Reject, Code::Busy, 1013),
        ] {
            let reject = Reject {
                code,
                text: "é".repeat(100),
                retry_after_ms: 0,
            };
            let mut bytes = BytesMut::new();
            hello::encode(kind, &reject, true, &mut bytes);
            let Ok(Some(Saying::Close { code, reason })) = client.say(bytes.freeze()) else {
                panic!("no goodbye");
            };
            assert_eq!(
                (code, reason.len()),
                (expected, 122),
                "whole characters, at most 123 bytes"
            );
        }
    }
}
