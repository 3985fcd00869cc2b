//! What the fuzz targets outside this crate need of its inside. No I/O, no clock.
//!
//! Each takes whatever there is and panics where a promise is broken; built with `--cfg fuzzing`, and for tests.

use bytes::{Bytes, BytesMut};
use minicbor::{Decode, Encode};

use crate::wire::ProtocolError;
use crate::wire::data::decode_message;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Gap, Hello, PositionList, Reject, Welcome};
use crate::wire::scan::{GREETING_LIMIT, Piece, Scanner};

/// What a scanner made of some bytes: the frames in order, then how it ended.
#[derive(Debug, PartialEq)]
struct Scanned {
    frames: Vec<Bytes>,
    end: Result<usize, ProtocolError>,
}

/// Reads frames from a stream, in one piece and cut by the second byte; the first says how the peer is read.
pub fn frames(input: &[u8]) {
    let [how, cut, stream @ ..] = input else {
        return;
    };
    let scanner = Scanner {
        limit: if how & 1 == 0 {
            GREETING_LIMIT
        } else {
            1 << 20
        },
        checksummed: how & 2 != 0,
        admission: None,
        stamp: (how & 4 != 0).then_some(7),
    };
    let whole = scan(&scanner, stream, stream.len());
    let pieces = scan(&scanner, stream, usize::from(*cut));
    assert_eq!(whole, pieces, "it matters how the stream was cut");
}

fn scan(scanner: &Scanner, stream: &[u8], cut: usize) -> Scanned {
    let mut frames = Vec::new();
    let mut buffer = BytesMut::new();
    for part in stream.chunks(cut.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match scanner.next(&mut buffer) {
                Ok(Some(piece)) => take(piece, &mut frames),
                Ok(None) => break,
                Err(error) => {
                    let end = Err(error);
                    return Scanned { frames, end };
                }
            }
        }
        assert!(scanner.missing(&buffer) > 0, "a whole frame is left");
    }
    let end = Ok(buffer.len());
    Scanned { frames, end }
}

fn take(piece: Piece, frames: &mut Vec<Bytes>) {
    match piece {
        Piece::Control { header, body } => {
            assert_eq!(header.length as usize, body.len());
            frames.push(body);
        }
        Piece::Run { mut run, .. } => {
            let (first, last) = (run.first, run.last);
            let mut count = 0;
            while let Some(frame) = run.pop() {
                // What a scanner lets through, an application can read.
                assert!(decode_message(frame.clone()).is_ok());
                frames.push(frame);
                count += 1;
            }
            assert_eq!(count, last - first + 1);
        }
    }
}

/// Reads the bodies of control frames; what can be read, is written and read again.
pub fn greeting(input: &[u8]) {
    again::<Hello>(Kind::Hello, input);
    again::<Welcome>(Kind::Welcome, input);
    again::<Reject>(Kind::Reject, input);
    again::<Gap>(Kind::Gap, input);
    again::<PositionList>(Kind::Positions, input);
}

/// Recovers the files of a spool, cut out of these bytes.
pub fn spool(input: &[u8]) {
    crate::spool::arbitrary::files(input);
}

/// Recovers the files of a relay that stores, cut out of these bytes.
pub fn store(input: &[u8]) {
    crate::spool::arbitrary::files_of_many(input);
}

/// Reads a cursor's file.
pub fn cursor(input: &[u8]) {
    crate::cursor::any_file(input);
}

fn again<T>(kind: Kind, input: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + std::fmt::Debug,
{
    let Ok(value) = hello::decode::<T>(kind, input) else {
        return;
    };
    let mut bytes = BytesMut::new();
    hello::encode(kind, &value, true, &mut bytes);
    let mut scanner = Scanner::new(true);
    scanner.limit = u32::MAX;
    let written = match scanner.next(&mut bytes) {
        Ok(Some(Piece::Control { body, .. })) => body,
        _ => Bytes::new(),
    };
    assert_eq!(hello::decode::<T>(kind, &written), Ok(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;
    use crate::wire::SessionId;
    use crate::wire::frame::{Header, encode_control, encode_message};

    /// A stream as a peer writes it.
    fn stream(checksummed: bool) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        let gap = Gap {
            session: SessionId(3),
            after: 6,
            filtered: false,
        };
        hello::encode(Kind::Gap, &gap, checksummed, &mut bytes);
        for sequence in 7..=9 {
            let message = Message::new(vec![1; 40]).with_target("WETH/USDC");
            encode_message(&message, sequence, checksummed, &mut bytes);
        }
        for kind in [Kind::Ping, Kind::Urge] {
            encode_control(Header::control(kind), &[], checksummed, &mut bytes);
        }
        bytes.to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_stream_with_some_bytes_changed_is_read_the_same_however_it_is_cut(
            how in 0_u8..8,
            cut: u8,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut input = vec![how, cut];
            input.extend(stream(how & 2 != 0));
            for (place, byte) in changes {
                *place.get_mut(&mut input[2..]) = byte;
            }
            frames(&input);
        }

        #[test]
        fn a_control_frame_that_can_be_read_is_written_as_it_was(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut input = minicbor::to_vec(Gap {
                session: SessionId(3),
                after: 6,
                filtered: true,
            })
            .unwrap();
            for (place, byte) in changes {
                *place.get_mut(&mut input[..]) = byte;
            }
            greeting(&input);
        }
    }
}
