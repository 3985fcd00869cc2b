//! Cuts what is written into whole frames, for transports that carry one frame at a time. No I/O, no clock.

use bytes::{Bytes, BytesMut};

use super::run::frame_length;

/// What was written and is not yet a whole frame, or not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    bytes: BytesMut,
}

impl Cutter {
    /// Takes what comes next in the stream, cut anywhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole frame.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let length = frame_length(&self.bytes);
        (length <= self.bytes.len()).then(|| self.bytes.split_to(length).freeze())
    }
}

#[cfg(feature = "ws")]
/// Returns whether this is one frame, no less and no more.
pub(crate) fn is_one_frame(bytes: &[u8]) -> bool {
    frame_length(bytes) == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Header, Kind, encode_control};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..12),
            cuts in proptest::collection::vec(1_usize..70, 1..40),
        ) {
            let mut frames = Vec::new();
            for body in &bodies {
                let mut frame = BytesMut::new();
                encode_control(Header::control(Kind::Ping), body, true, &mut frame);
                frames.push(frame.freeze());
            }
            let stream = frames.concat();
            let mut rest = &stream[..];
            let (mut cutter, mut cut) = (Cutter::default(), Vec::new());
            for size in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, further) = rest.split_at((*size).min(rest.len()));
                cutter.push(piece);
                cut.extend(std::iter::from_fn(|| cutter.next()));
                rest = further;
            }
            prop_assert_eq!(cut, frames);
            prop_assert!(cutter.bytes.is_empty());
        }
    }
    #[cfg(feature = "ws")]
    #[test]
    fn one_frame_is_neither_part_of_one_nor_two() {
        let mut frame = BytesMut::new();
        encode_control(Header::control(Kind::Ping), b"body", true, &mut frame);
        assert!(is_one_frame(&frame));
        assert!(!is_one_frame(&[&frame[..], &frame].concat()));
        for length in 0..frame.len() {
            assert!(!is_one_frame(&frame[..length]), "{length}");
        }
    }
}
