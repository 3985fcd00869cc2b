//! The test vectors of `docs/wire-protocol.md`, held against the code in both directions.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use bytes::{Bytes, BytesMut};
use minicbor::{Decode, Encode};

use super::SessionId;
use super::data;
use super::frame::{self, Carrier, Header, Kind};
use super::hello::{
    self, Code, Consumer, Gap, Hello, Limits, PositionList, Producer, Reject, Requester, Start,
    Welcome,
};
use super::negotiation::{ProtocolNegotiation, ProtocolType};
use super::refusal::{self, Reason, Refusal};
use super::scan::{Piece, Scanner};
use super::session::Position;
use crate::message::{Message, MessagePriority, Precision};
use crate::security::Credentials;

const SESSION: SessionId = SessionId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const NODE: SessionId = SessionId(0xf0e0_d0c0_b0a0_9080_7060_5040_3020_1000);
const LIMITS: Limits = Limits {
    frame: 1_048_576,
    idle_ms: 60_000,
    ping_ms: 5_000,
};

fn producer_hello() -> Hello {
    Hello {
        oldest: 1,
        newest: 1,
        service: "ticks".to_owned(),
        limits: LIMITS,
        producer: Some(Producer {
            session: SESSION,
            first_owed: 1,
            at_most_once: false,
            urges: Some(true),
        }),
        consumer: None,
        requester: None,
        probe: None,
        credentials: None,
        offer: None,
    }
}

fn consumer_hello() -> Hello {
    Hello {
        producer: None,
        consumer: Some(Consumer {
            name: Some("ledger".to_owned()),
            id: NODE,
            at_most_once: false,
            start: Start::Owed,
            positions: 1,
        }),
        ..producer_hello()
    }
}

fn offer() -> ProtocolNegotiation {
    ProtocolNegotiation::offering([ProtocolType::Tls, ProtocolType::Tcp])
}

fn encrypted_hello() -> Hello {
    Hello {
        credentials: Some(Credentials::new("feed", "s3cret")),
        offer: Some(offer()),
        ..producer_hello()
    }
}

fn encrypted_welcome() -> Welcome {
    Welcome {
        offer: Some(offer()),
        ..welcome()
    }
}

fn unprotected() -> Reject {
    Reject {
        code: Code::Unprotected,
        text: "TLS is required here".to_owned(),
        retry_after_ms: 0,
    }
}

fn positions() -> PositionList {
    PositionList {
        positions: vec![Position {
            session: SESSION,
            processed: 2,
            have: 3,
        }],
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        limits: LIMITS,
        acked: 2,
        have: 3,
        consumers: 1,
        node: NODE,
        offer: None,
        in_flight: None,
        hold_ms: Some(25),
    }
}

fn requester_hello() -> Hello {
    Hello {
        producer: None,
        requester: Some(Requester { in_flight: 64 }),
        ..producer_hello()
    }
}

fn welcome_to_requester() -> Welcome {
    Welcome {
        acked: 0,
        have: 0,
        consumers: 0,
        in_flight: Some(32),
        hold_ms: None,
        ..welcome()
    }
}

fn order_asked() -> Message {
    Message::new("buy")
        .with_type(41)
        .with_priority(MessagePriority::High)
        .with_target("desk")
}

fn order_answered() -> Message {
    Message::new("done").with_type(42)
}

fn overloaded() -> Refusal {
    Refusal {
        reason: Reason::Overloaded,
        text: "too much to do".to_owned(),
    }
}

fn carried(kind: Kind, message: &Message, within_ms: Option<u32>, checksummed: bool) -> Bytes {
    let carrier = Carrier {
        kind,
        sequence: 9,
        within_ms,
    };
    let mut out = BytesMut::new();
    frame::encode_carried(message, carrier, checksummed, &mut out);
    out.freeze()
}

fn rejected() -> Reject {
    Reject {
        code: Code::Service,
        text: "`quotes` is served here, not `ticks`".to_owned(),
        retry_after_ms: 0,
    }
}

fn goodbye() -> Reject {
    Reject {
        code: Code::Done,
        text: "done".to_owned(),
        retry_after_ms: 0,
    }
}

const GAP: Gap = Gap {
    session: SESSION,
    after: 41,
    filtered: false,
};

/// The bodies of all control frames that carry a map.
pub(super) fn bodies() -> Vec<Vec<u8>> {
    vec![
        minicbor::to_vec(producer_hello()).unwrap(),
        minicbor::to_vec(consumer_hello()).unwrap(),
        minicbor::to_vec(encrypted_hello()).unwrap(),
        minicbor::to_vec(encrypted_welcome()).unwrap(),
        minicbor::to_vec(offer()).unwrap(),
        minicbor::to_vec(positions()).unwrap(),
        minicbor::to_vec(welcome()).unwrap(),
        minicbor::to_vec(rejected()).unwrap(),
        minicbor::to_vec(GAP).unwrap(),
        minicbor::to_vec(requester_hello()).unwrap(),
        minicbor::to_vec(welcome_to_requester()).unwrap(),
        minicbor::to_vec(overloaded()).unwrap(),
    ]
}

fn tick() -> Message {
    Message::new("WETH 3412.07")
        .with_type(7)
        .with_timestamp(1_700_000_000_000_000_000)
}

fn order() -> Message {
    Message::new("buy")
        .with_type(41)
        .with_priority(MessagePriority::High)
        .with_target("desk")
        .with_correlation_id("a-1")
        .with_precision(Precision::FixedPoint8)
}

fn data(message: &Message, sequence: u64, checksummed: bool) -> Bytes {
    let mut out = BytesMut::new();
    frame::encode_message(message, sequence, checksummed, &mut out);
    out.freeze()
}

fn control(header: Header, body: &[u8], checksummed: bool) -> Bytes {
    let mut out = BytesMut::new();
    frame::encode_control(header, body, checksummed, &mut out);
    out.freeze()
}

fn map(header: Header, body: &impl Encode<()>, checksummed: bool) -> Bytes {
    let mut out = BytesMut::new();
    hello::encode_with(header, body, checksummed, &mut out);
    out.freeze()
}

/// What `transport/udp` makes of a nonce and a value.
const COOKIE: [u8; 16] = [
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99,
];

fn numbered(kind: Kind, sequence: u64) -> Header {
    Header {
        sequence,
        ..Header::control(kind)
    }
}

/// Every vector by its name, as the code writes it.
fn written() -> Vec<(&'static str, Bytes)> {
    let of = Header::control;
    let ack = Header {
        message_type: 1,
        ..numbered(Kind::Ack, 3)
    };
    let gap = Header {
        origin: 5,
        ..of(Kind::Gap)
    };
    let cookie = Header {
        message_type: 2,
        ..of(Kind::Cookie)
    };
    let mut forwarded = BytesMut::from(&data(&tick(), 1, true)[..]);
    frame::stamp_origin(&mut forwarded, 5);
    vec![
        ("data", data(&tick(), 1, false)),
        ("data-checksummed", data(&tick(), 1, true)),
        ("data-forwarded", forwarded.freeze()),
        ("data-extensions", data(&order(), 2, false)),
        ("data-extensions-checksummed", data(&order(), 2, true)),
        (
            "hello-producer",
            map(of(Kind::Hello), &producer_hello(), true),
        ),
        (
            "hello-consumer",
            map(of(Kind::Hello), &consumer_hello(), false),
        ),
        (
            "negotiate-checksummed",
            map(of(Kind::Negotiate), &offer(), true),
        ),
        (
            "hello-after-negotiation-checksummed",
            map(of(Kind::Hello), &encrypted_hello(), true),
        ),
        (
            "welcome-after-negotiation-checksummed",
            map(of(Kind::Welcome), &encrypted_welcome(), true),
        ),
        (
            "reject-unprotected-checksummed",
            map(of(Kind::Reject), &unprotected(), true),
        ),
        ("positions", map(of(Kind::Positions), &positions(), false)),
        ("welcome", map(of(Kind::Welcome), &welcome(), false)),
        ("reject", map(of(Kind::Reject), &rejected(), false)),
        ("ack", control(ack, &[], false)),
        ("urge", control(numbered(Kind::Urge, 3), &[], false)),
        ("gap", map(gap, &GAP, false)),
        ("ping", control(of(Kind::Ping), &[], false)),
        ("pong-checksummed", control(of(Kind::Pong), &[], true)),
        ("cookie-checksummed", control(cookie, &COOKIE, true)),
        ("close", map(of(Kind::Close), &goodbye(), false)),
        (
            "hello-requester",
            map(of(Kind::Hello), &requester_hello(), false),
        ),
        (
            "welcome-requester",
            map(of(Kind::Welcome), &welcome_to_requester(), false),
        ),
        (
            "request-checksummed",
            carried(Kind::Request, &order_asked(), Some(5000), true),
        ),
        (
            "response",
            carried(Kind::Response, &order_answered(), None, false),
        ),
        ("failure", refusal::failure(9, &overloaded(), false)),
        (
            "ping-numbered",
            control(numbered(Kind::Ping, 10), &[], false),
        ),
    ]
}

/// Reads the fenced blocks of language `hex`, each with its name; a semicolon starts a comment.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire-protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut vectors = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else {
            continue;
        };
        let digits: String = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .filter_map(|line| line.split(';').next())
            .flat_map(|line| line.chars().filter(|c| !c.is_whitespace()))
            .collect();
        let digits = digits.as_bytes();
        assert!(digits.len().is_multiple_of(2), "{name}: half a byte");
        let bytes = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert!(vectors.insert(name.to_owned(), bytes).is_none(), "{name}");
    }
    vectors
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        for byte in line {
            write!(text, "{byte:02x} ").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_code_writes_what_the_document_says() {
    let mut documented = documented();
    let mut wrong = String::new();
    for (name, bytes) in written() {
        if documented.remove(name).as_deref() != Some(&bytes[..]) {
            write!(wrong, "```hex {name}\n{}```\n\n", hex(&bytes)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "the code writes:\n{wrong}");
    assert!(documented.is_empty(), "unknown vectors: {documented:?}");
}

fn piece(vectors: &BTreeMap<String, Vec<u8>>, name: &str) -> Piece {
    let mut buffer = BytesMut::from(&vectors[name][..]);
    let scanner = Scanner::new(name.ends_with("checksummed"));
    let piece = scanner.next(&mut buffer).unwrap().expect("a whole frame");
    assert!(buffer.is_empty(), "{name}");
    piece
}

#[test]
fn the_code_reads_what_the_document_says() {
    let vectors = documented();
    for (name, sequence, origin, message) in [
        ("data", 1, 0, tick()),
        ("data-checksummed", 1, 0, tick()),
        ("data-forwarded", 1, 5, tick()),
        ("data-extensions", 2, 0, order()),
        ("data-extensions-checksummed", 2, 0, order()),
    ] {
        let Piece::Run { origin: from, run } = piece(&vectors, name) else {
            panic!("{name}");
        };
        assert_eq!((from, run.first, run.last), (origin, sequence, sequence));
        assert_eq!(
            data::decode_message(run.bytes.clone()).unwrap(),
            message,
            "{name}"
        );
    }
    reads(&vectors, "hello-producer", Kind::Hello, &producer_hello());
    reads(&vectors, "hello-consumer", Kind::Hello, &consumer_hello());
    let (hello, welcome) = (encrypted_hello(), encrypted_welcome());
    let name = "hello-after-negotiation-checksummed";
    reads(&vectors, name, Kind::Hello, &hello);
    let name = "welcome-after-negotiation-checksummed";
    reads(&vectors, name, Kind::Welcome, &welcome);
    reads(&vectors, "negotiate-checksummed", Kind::Negotiate, &offer());
    let name = "reject-unprotected-checksummed";
    reads(&vectors, name, Kind::Reject, &unprotected());
    reads(&vectors, "positions", Kind::Positions, &positions());
    reads(&vectors, "welcome", Kind::Welcome, &self::welcome());
    reads(&vectors, "reject", Kind::Reject, &rejected());
    reads(&vectors, "close", Kind::Close, &goodbye());
    let Piece::Control { header, body } = piece(&vectors, "cookie-checksummed") else {
        panic!("a cookie");
    };
    assert_eq!((header.kind, header.message_type), (Kind::Cookie, 2));
    assert_eq!(body, COOKIE[..]);
    let header = reads(&vectors, "gap", Kind::Gap, &GAP);
    assert_eq!(header.origin, 5);
    reads(&vectors, "hello-requester", Kind::Hello, &requester_hello());
    reads(
        &vectors,
        "welcome-requester",
        Kind::Welcome,
        &welcome_to_requester(),
    );
    let header = reads(&vectors, "failure", Kind::Failure, &overloaded());
    assert_eq!(header.sequence, 9);
    for (name, kind, within, message) in [
        (
            "request-checksummed",
            Kind::Request,
            Some(5000),
            order_asked(),
        ),
        ("response", Kind::Response, None, order_answered()),
    ] {
        let Piece::Control { header, body } = piece(&vectors, name) else {
            panic!("{name}");
        };
        assert_eq!((header.kind, header.sequence), (kind, 9), "{name}");
        assert_eq!(data::wanted_within(&header, &body).unwrap(), within);
        assert_eq!(data::decode_carried(&header, body).unwrap(), message);
    }
    for (name, kind, sequence, message_type) in [
        ("ack", Kind::Ack, 3, 1),
        ("ping", Kind::Ping, 0, 0),
        ("ping-numbered", Kind::Ping, 10, 0),
        ("pong-checksummed", Kind::Pong, 0, 0),
    ] {
        let Piece::Control { header, body } = piece(&vectors, name) else {
            panic!("{name}");
        };
        assert!(body.is_empty());
        let found = (header.kind, header.sequence, header.message_type);
        assert_eq!(found, (kind, sequence, message_type), "{name}");
    }
}

fn reads<T: for<'b> Decode<'b, ()> + PartialEq + Debug>(
    vectors: &BTreeMap<String, Vec<u8>>,
    name: &str,
    kind: Kind,
    expected: &T,
) -> Header {
    let Piece::Control { header, body } = piece(vectors, name) else {
        panic!("{name}");
    };
    assert_eq!(header.kind, kind, "{name}");
    assert_eq!(
        &hello::decode::<T>(kind, &body).unwrap(),
        expected,
        "{name}"
    );
    header
}
