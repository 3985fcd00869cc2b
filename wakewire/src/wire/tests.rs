//! Whatever is sent is read again, however the stream is cut; whatever is broken is refused, and nothing panics.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::data::{DataView, decode_message};
use super::frame::{self, EXTENSIONS, HEADER, Header, Kind, SEQUENCE_LIMIT};
use super::hello::{self, Code, Gap, Hello, PositionList, Reject, Welcome};
use super::scan::{GREETING_LIMIT, Piece, Scanner};
use super::session::Position;
use super::{ProtocolError, SessionId};
use crate::message::{Message, MessagePriority, Precision};

/// One frame to send.
#[derive(Clone, Debug)]
enum Sent {
    Data {
        message: Message,
        /// Added to the sequence that would be next: 0 goes on, anything else starts a new run.
        jump: u64,
        origin: u32,
    },
    Control {
        kind: Kind,
        sequence: u64,
        body: Vec<u8>,
    },
}

/// One frame as it was read.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Data {
        origin: u32,
        sequence: u64,
        message: Message,
    },
    Control {
        kind: Kind,
        sequence: u64,
        body: Bytes,
    },
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(String::new())),
        1 => Just(Some("x".repeat(255))),
        2 => ".{0,60}".prop_map(Some),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        8 => vec(any::<u8>(), 0..100),
        1 => (any::<u8>(), 0_usize..20_000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let priority = prop_oneof![
        Just(MessagePriority::Low),
        Just(MessagePriority::Normal),
        Just(MessagePriority::High),
        Just(MessagePriority::Critical),
    ];
    let precision = prop_oneof![
        Just(None),
        Just(Some(Precision::TokenNative)),
        Just(Some(Precision::FixedPoint8)),
    ];
    let numbers = (any::<u64>(), any::<u16>());
    (payload(), text(), text(), numbers, priority, precision).prop_map(
        |(payload, target, id, (timestamp, message_type), priority, precision)| Message {
            payload: payload.into(),
            target: target.map(Into::into),
            correlation_id: id.map(Into::into),
            timestamp,
            message_type,
            priority,
            precision,
        },
    )
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = (1_u8..=14)
        .prop_filter_map("Data is the other half", |byte| {
            let mut header = [0; HEADER];
            header[4] = byte;
            Header::parse(&header).ok().map(|header| header.kind)
        })
        .prop_filter("Data is the other half", |&kind| kind != Kind::Data);
    prop_oneof![
        4 => (message(), prop_oneof![5 => Just(0), 1 => 1_u64..9], 0_u32..3)
            .prop_map(|(message, jump, origin)| Sent::Data { message, jump, origin }),
        1 => (kind, 0..SEQUENCE_LIMIT, vec(any::<u8>(), 0..40))
            .prop_map(|(kind, sequence, body)| Sent::Control { kind, sequence, body }),
    ]
}

/// Encodes the frames, and says what is to be read of them.
fn encode(frames: &[Sent], checksummed: bool, stamp: Option<u32>) -> (BytesMut, Vec<Read>) {
    let (mut stream, mut expected, mut next) = (BytesMut::new(), Vec::new(), 1);
    for frame in frames {
        match frame {
            Sent::Data {
                message,
                jump,
                origin,
            } => {
                let (start, sequence) = (stream.len(), next + jump);
                frame::encode_message(message, sequence, checksummed, &mut stream);
                frame::stamp_origin(&mut stream[start..], *origin);
                assert_eq!(stream.len() - start, frame::encoded_length(message));
                expected.push(Read::Data {
                    origin: stamp.unwrap_or(*origin),
                    sequence,
                    message: message.clone(),
                });
                next = sequence + 1;
            }
            Sent::Control {
                kind,
                sequence,
                body,
            } => {
                let header = Header {
                    sequence: *sequence,
                    ..Header::control(*kind)
                };
                frame::encode_control(header, body, checksummed, &mut stream);
                expected.push(Read::Control {
                    kind: *kind,
                    sequence: *sequence,
                    body: body.clone().into(),
                });
            }
        }
    }
    (stream, expected)
}

/// Takes every whole piece off the buffer; each frame of a run must itself be a whole, sound frame.
fn scan(
    scanner: &Scanner,
    buffer: &mut BytesMut,
    read: &mut Vec<Read>,
) -> Result<(), ProtocolError> {
    while let Some(piece) = scanner.next(buffer)? {
        match piece {
            Piece::Control { header, body } => read.push(Read::Control {
                kind: header.kind,
                sequence: header.sequence,
                body,
            }),
            Piece::Run { mut run, .. } => {
                assert!(run.count() > 0);
                while let Some(frame) = run.pop() {
                    let alone = Scanner {
                        stamp: None,
                        ..scanner.clone()
                    };
                    let again = alone.next(&mut BytesMut::from(&frame[..]));
                    assert!(matches!(again, Ok(Some(Piece::Run { .. }))), "{again:?}");
                    let view = DataView::at(&frame).unwrap();
                    assert_eq!(view.header.frame_length(), frame.len());
                    assert_eq!(view.header.sequence, run.first - 1);
                    read.push(Read::Data {
                        origin: view.header.origin,
                        sequence: view.header.sequence,
                        // The scanner has taken it, so it can be read.
                        message: decode_message(frame.clone()).unwrap(),
                    });
                }
                assert!(run.bytes.is_empty(), "a run holds its frames and no more");
            }
        }
    }
    Ok(())
}

fn unlimited(checksummed: bool, stamp: Option<u32>) -> Scanner {
    Scanner {
        limit: u32::MAX,
        checksummed,
        stamp,
        admission: None,
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig::with_cases(cases)
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn what_was_sent_is_read_however_the_stream_is_cut(
        frames in vec(sent(), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        (checksummed, stamp) in (any::<bool>(), prop::option::of(any::<u32>())),
    ) {
        let (stream, expected) = encode(&frames, checksummed, stamp);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let scanner = unlimited(checksummed, stamp);
        let (mut buffer, mut read, mut start) = (BytesMut::new(), Vec::new(), 0);
        for cut in cuts {
            buffer.extend_from_slice(&stream[start..cut]);
            start = cut;
            scan(&scanner, &mut buffer, &mut read).unwrap();
            prop_assert!(buffer.is_empty() || scanner.missing(&buffer) > 0);
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_flipped_bit_makes_another_message(
        frames in vec(sent(), 1..4),
        (bit, limited) in (any::<prop::sample::Index>(), any::<bool>()),
    ) {
        let (mut stream, expected) = encode(&frames, true, None);
        let bit = bit.index(stream.len() * 8);
        flip(&mut stream, bit, &expected, if limited { 20_000 } else { u32::MAX });
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), limit in any::<u32>()) {
        let scanner = Scanner { limit, checksummed: false, stamp: Some(1) , admission: None};
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = scanner.next(&mut buffer) {}
        read_anything(&bytes);
    }

    #[test]
    fn nearly_sound_frames_never_panic(
        message in message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut stream = BytesMut::new();
        frame::encode_message(&message, 1, false, &mut stream);
        for (at, byte) in changes {
            // Kind and size stay, so that what lies behind them is reached.
            let at = 5 + at.index(stream.len().min(HEADER + 600) - 5);
            stream[at] = byte;
        }
        stream[5] &= 0b111;
        let whole = stream.clone().freeze();
        let scanned = unlimited(false, None).next(&mut stream);
        let read = decode_message(whole.clone());
        // The scanner takes exactly what can be read (and what has a number).
        if let Ok(Some(Piece::Run { .. })) = scanned {
            prop_assert!(read.is_ok(), "{:?}", read);
        } else if read.is_ok() {
            prop_assert!(matches!(scanned, Err(ProtocolError::Sequence(_))), "{:?}", scanned);
        }
    }

    #[test]
    fn nearly_sound_greetings_never_panic(
        which in 0_usize..6,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let bodies = super::vectors::bodies();
        let mut body = bodies[which % bodies.len()].clone();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        read_anything(&body);
    }
}

/// Reads the bytes as every kind of thing there is.
fn read_anything(bytes: &[u8]) {
    let owned = Bytes::copy_from_slice(bytes);
    if let Ok(view) = DataView::at(&owned) {
        // What checks out can be read.
        let is_sound = view.check().is_ok();
        assert_eq!(is_sound, decode_message(owned.clone()).is_ok());
        assert!(!is_sound || view.payload_at().is_ok());
    }
    if let Ok(hello) = hello::decode::<Hello>(Kind::Hello, bytes)
        && let Some(producer) = hello.producer
    {
        assert!((1..SEQUENCE_LIMIT).contains(&producer.first_owed));
    }
    if let Ok(welcome) = hello::decode::<Welcome>(Kind::Welcome, bytes) {
        assert!(welcome.acked.max(welcome.have) < SEQUENCE_LIMIT);
    }
    if let Ok(gap) = hello::decode::<Gap>(Kind::Gap, bytes) {
        assert!(gap.after < SEQUENCE_LIMIT);
    }
    if let Ok(list) = hello::decode::<PositionList>(Kind::Positions, bytes) {
        assert!(
            list.positions
                .iter()
                .all(|p| p.processed.max(p.have) < SEQUENCE_LIMIT)
        );
    }
    drop(hello::decode::<Reject>(Kind::Reject, bytes));
}

/// Flips a bit: what is read then is the beginning of what was sent, or the stream ends in an error. Only the
/// origin may differ: it is not covered, because a relay writes it into frames that it does not sum again.
fn flip(stream: &mut BytesMut, bit: usize, expected: &[Read], limit: u32) {
    stream[bit / 8] ^= 1 << (bit % 8);
    let scanner = Scanner {
        limit,
        ..unlimited(true, None)
    };
    let (mut buffer, mut read) = (stream.clone(), Vec::new());
    let outcome = scan(&scanner, &mut buffer, &mut read);
    stream[bit / 8] ^= 1 << (bit % 8);
    for (read, expected) in read.iter().zip(expected) {
        assert_eq!(read, expected, "bit {bit}");
    }
    let is_whole = read.len() == expected.len();
    assert!(read.len() <= expected.len(), "bit {bit}");
    assert!(
        is_whole || outcome.is_err() || scanner.missing(&buffer) > 0,
        "bit {bit}: {outcome:?}"
    );
}

fn plain(message: &Message, checksummed: bool) -> BytesMut {
    let mut stream = BytesMut::new();
    frame::encode_message(message, 1, checksummed, &mut stream);
    stream
}

fn full() -> Message {
    Message::new("amount")
        .with_target("desk")
        .with_correlation_id("42")
        .with_precision(Precision::FixedPoint8)
}

#[test]
fn each_flipped_bit_is_noticed() {
    let frames = [
        Sent::Data {
            message: full(),
            jump: 0,
            origin: 0,
        },
        Sent::Control {
            kind: Kind::Ack,
            sequence: 7,
            body: Vec::new(),
        },
        Sent::Data {
            message: Message::new("tick"),
            jump: 0,
            origin: 5,
        },
    ];
    let (mut stream, expected) = encode(&frames, true, None);
    for bit in 0..stream.len() * 8 {
        flip(&mut stream, bit, &expected, 1024);
    }
}

#[test]
fn a_large_message_is_read() {
    let message = Message::new(vec![7; 5_000_000]).with_target("t");
    for checksummed in [false, true] {
        let mut stream = plain(&message, checksummed);
        let mut read = Vec::new();
        scan(&unlimited(checksummed, Some(9)), &mut stream, &mut read).unwrap();
        assert_eq!(
            read,
            [Read::Data {
                origin: 9,
                sequence: 1,
                message: message.clone()
            }]
        );
    }
}

#[test]
fn a_length_bomb_is_refused_by_its_header() {
    let mut header = Header {
        length: u32::MAX,
        ..Header::control(Kind::Hello)
    };
    let refused = |header: &Header| {
        let mut buffer = BytesMut::from(&header.encode()[..]);
        let capacity = buffer.capacity();
        let outcome = Scanner::new(false).next(&mut buffer);
        assert_eq!(buffer.capacity(), capacity, "nothing was allocated for it");
        outcome
    };
    let expected = ProtocolError::TooLong {
        length: u32::MAX,
        limit: GREETING_LIMIT,
    };
    assert_eq!(refused(&header).unwrap_err(), expected);
    header.length = GREETING_LIMIT + 1;
    assert!(refused(&header).is_err());
    header.length = GREETING_LIMIT;
    assert!(refused(&header).unwrap().is_none(), "waits for the body");
}

#[test]
fn headers_of_no_version_are_refused() {
    let sound = Header {
        sequence: 1,
        ..Header::control(Kind::Data)
    };
    let change = |change: fn(&mut [u8; HEADER])| {
        let mut bytes = sound.encode();
        change(&mut bytes);
        Scanner::new(false).next(&mut BytesMut::from(&bytes[..]))
    };
    assert!(change(|_| {}).unwrap().is_some());
    for kind in [0, 17, 255] {
        let mut bytes = sound.encode();
        bytes[4] = kind;
        assert_eq!(Header::parse(&bytes), Err(ProtocolError::UnknownKind(kind)));
    }
    for flag in 4..8 {
        let mut bytes = sound.encode();
        bytes[5] = 1 << flag;
        let refused = ProtocolError::ReservedFlags(1 << flag);
        assert_eq!(Header::parse(&bytes), Err(refused));
    }
    for sequence in [SEQUENCE_LIMIT, u64::MAX] {
        let header = Header { sequence, ..sound };
        let refused = ProtocolError::Sequence(sequence);
        assert_eq!(Header::parse(&header.encode()), Err(refused));
    }
    let last = Header {
        sequence: SEQUENCE_LIMIT - 1,
        ..sound
    };
    assert_eq!(Header::parse(&last.encode()), Ok(last));
    let zero = change(|bytes| bytes[8..16].fill(0)).unwrap_err();
    assert_eq!(zero, ProtocolError::Sequence(0), "messages start at 1");
}

#[test]
fn a_frame_without_checksum_is_refused_where_one_is_needed() {
    let outcome = Scanner::new(true).next(&mut plain(&full(), false));
    assert_eq!(outcome.unwrap_err(), ProtocolError::NoChecksum);
    // Where none is needed, one that is there must match.
    let mut stream = plain(&full(), true);
    let last = stream.len() - 1;
    stream[last] ^= 1;
    let outcome = Scanner::new(false).next(&mut stream);
    assert_eq!(outcome.unwrap_err(), ProtocolError::Checksum);
}

#[test]
fn malformed_extensions_are_refused_before_the_application_meets_them() {
    let framed = |body: &[u8]| {
        let header = Header {
            flags: EXTENSIONS,
            sequence: 1,
            ..Header::control(Kind::Data)
        };
        let mut stream = BytesMut::new();
        frame::encode_control(header, body, false, &mut stream);
        Scanner::new(false).next(&mut stream)
    };
    let long = {
        let mut body = vec![3, 1, 1, 0, 1];
        body.extend([b'x'; 256]);
        body
    };
    for (what, body) in [
        ("no length", &b""[..]),
        ("half a length", &[0]),
        ("longer than the frame", &[1, 0]),
        ("half a head", &[2, 0, 1, 0]),
        ("a value cut off", &[4, 0, 1, 2, 0, b'x']),
        (
            "a value that reaches into the payload",
            &[3, 0, 1, 1, 0, b'x'],
        ),
        ("a target that is not UTF-8", &[4, 0, 1, 1, 0, 0xff]),
        ("an id that is not UTF-8", &[4, 0, 2, 1, 0, 0xff]),
        ("a target of 256 bytes", &long),
    ] {
        let outcome = framed(body);
        assert!(
            matches!(outcome, Err(ProtocolError::Malformed { .. })),
            "{what}: {outcome:?}"
        );
    }
    for (what, body) in [
        ("an empty block", &[0, 0][..]),
        ("an unknown tag", &[5, 0, 200, 2, 0, 0xff, 0xff, b'p']),
        ("an unknown scale", &[4, 0, 3, 1, 0, 99]),
    ] {
        let outcome = framed(body);
        assert!(matches!(outcome, Ok(Some(_))), "{what}: {outcome:?}");
    }
}

#[test]
fn an_error_behind_whole_frames_is_told_after_them() {
    let mut stream = plain(&full(), false);
    stream.extend_from_slice(&[0xff; HEADER]);
    let scanner = unlimited(false, None);
    assert!(matches!(
        scanner.next(&mut stream),
        Ok(Some(Piece::Run { .. }))
    ));
    assert!(scanner.next(&mut stream).is_err());
}

#[test]
fn sequences_in_greetings_are_in_range() {
    let gap = |after| {
        let gap = Gap {
            session: SessionId(1),
            after,
            filtered: false,
        };
        minicbor::to_vec(gap).unwrap()
    };
    let decode = |body: &[u8]| hello::decode::<Gap>(Kind::Gap, body);
    assert!(decode(&gap(SEQUENCE_LIMIT - 1)).is_ok());
    assert!(decode(&gap(SEQUENCE_LIMIT)).is_err());
    let mut followed = gap(1);
    followed.push(0);
    assert!(decode(&followed).is_err(), "something follows the map");
}

#[test]
fn the_code_says_what_is_permanent() {
    for (code, permanent) in [
        (Code::Done, false),
        (Code::Leaving, false),
        (Code::Busy, false),
        (Code::Replaced, false),
        (Code::Overdue, false),
        (Code::Version, true),
        (Code::Service, true),
        (Code::Protocol, false),
        (Code::Role, true),
        (Code::Refused, true),
    ] {
        assert_eq!(code.is_permanent(), permanent, "{code:?}");
    }
}

#[test]
fn a_frame_without_a_checksum_is_given_an_origin_and_no_checksum() {
    let mut frame = BytesMut::new();
    frame::encode_message(&Message::new("x"), 1, false, &mut frame);
    let before = DataView::at(&frame).unwrap().header;
    frame::stamp_origin(&mut frame, 7);
    let after = DataView::at(&frame).unwrap().header;
    assert_eq!(
        after,
        Header {
            origin: 7,
            ..before
        }
    );
}

#[test]
fn the_largest_payload_may_have_the_largest_extensions_beside_it() {
    let message = Message::new(vec![7; 1000])
        .with_target("x".repeat(255))
        .with_correlation_id("x".repeat(255))
        .with_precision(Precision::FixedPoint8);
    let mut bytes = BytesMut::new();
    frame::encode_message(&message, 1, false, &mut bytes);
    let view = DataView::at(&bytes).unwrap();
    assert!(view.header.length <= frame::frame_limit(1000));
    assert_eq!(view.payload_at().unwrap(), view.body.len() - 1000);
}

#[test]
fn as_many_positions_as_go_into_a_frame_are_below_its_limit() {
    let longest = Position {
        session: SessionId(u128::MAX),
        processed: SEQUENCE_LIMIT - 1,
        have: SEQUENCE_LIMIT - 1,
    };
    let positions = vec![longest; hello::POSITIONS_PER_FRAME];
    let body = minicbor::to_vec(PositionList { positions }).unwrap();
    assert!(body.len() < hello::POSITIONS_LIMIT as usize);
}

#[test]
fn a_run_goes_on_while_messages_of_one_origin_follow_each_other() {
    let data = |sequence, origin| {
        let mut frame = BytesMut::new();
        frame::encode_message(&Message::new("x"), sequence, false, &mut frame);
        frame::stamp_origin(&mut frame, origin);
        frame
    };
    let mut ack = BytesMut::new();
    let header = Header {
        sequence: 8,
        ..Header::control(Kind::Ack)
    };
    frame::encode_control(header, &[], false, &mut ack);
    let mut stream = BytesMut::new();
    for (sequence, origin) in [(1, 0), (2, 0), (3, 0), (4, 5), (4, 5), (6, 5), (7, 0)] {
        stream.extend_from_slice(&data(sequence, origin));
    }
    stream.extend_from_slice(&ack);
    let mut runs = Vec::new();
    while let Some(Piece::Run { origin, run }) = Scanner::new(false).next(&mut stream).unwrap() {
        runs.push((origin, run.first, run.last));
    }
    let expected = [(0, 1, 3), (5, 4, 4), (5, 4, 4), (5, 6, 6), (0, 7, 7)];
    assert_eq!(runs, expected, "then the acknowledgement, by itself");
    assert!(stream.is_empty());
}

#[test]
fn a_frame_lacks_its_header_and_then_what_its_header_says() {
    let mut frame = BytesMut::new();
    frame::encode_message(&Message::new(vec![7; 100]), 1, false, &mut frame);
    let missing = |there| Scanner::new(false).missing(&frame[..there]);
    assert_eq!((missing(0), missing(3)), (HEADER, HEADER - 3));
    assert_eq!((missing(4), missing(HEADER)), (HEADER + 96, 100));
    assert_eq!((missing(frame.len() - 1), missing(frame.len())), (1, 0));
}
