//! Cuts what is written into frames, for a transport that carries them one by one. No I/O, no clock.

use bytes::{Bytes, BytesMut};

use crate::wire::frame::HEADER;

/// What was written and is not yet a whole frame.
#[derive(Debug, Default)]
pub(super) struct FrameCutter(BytesMut);

impl FrameCutter {
    /// Takes bytes as they are written, however they are cut.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Takes the next whole frame off.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let length = frame_length(&self.0)?;
        (self.0.len() >= length).then(|| self.0.split_to(length).freeze())
    }
}

/// Returns whether this is one frame, no less and no more.
pub(super) fn is_one_frame(bytes: &[u8]) -> bool {
    frame_length(bytes) == Some(bytes.len())
}

/// Returns how long the frame is that starts here, once its header says it.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk()?;
    HEADER.checked_add(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::wire::frame;

    fn frames() -> Vec<Bytes> {
        [&b""[..], b"x", b"three", &[7; 3000]]
            .into_iter()
            .enumerate()
            .map(|(at, payload)| {
                let mut bytes = BytesMut::new();
                let message = Message::new(payload);
                frame::encode_message(&message, at as u64 + 1, true, &mut bytes);
                bytes.freeze()
            })
            .collect()
    }

    #[test]
    fn however_it_is_written_whole_frames_come_out() {
        let frames = frames();
        let all = frames.concat();
        for step in [1, 3, 31, 32, 33, 1000, all.len()] {
            let mut cutter = FrameCutter::default();
            let mut cut = Vec::new();
            for part in all.chunks(step) {
                cutter.push(part);
                cut.extend(std::iter::from_fn(|| cutter.next()));
            }
            assert_eq!(cut, frames, "in pieces of {step}");
            assert!(cutter.0.is_empty());
        }
    }

    #[test]
    fn a_frame_is_not_handed_out_before_its_last_byte() {
        let frame = &frames()[2];
        let (last, rest) = frame.split_last().unwrap();
        let mut cutter = FrameCutter::default();
        cutter.push(rest);
        assert_eq!(cutter.next(), None);
        cutter.push(&[*last]);
        assert_eq!(cutter.next().as_ref(), Some(frame));
    }

    #[test]
    fn one_frame_is_neither_part_of_one_nor_two() {
        let frames = frames();
        assert!(frames.iter().all(|frame| is_one_frame(frame)));
        assert!(!is_one_frame(&frames.concat()));
        assert!(!is_one_frame(&frames[1][..32]));
        assert!(!is_one_frame(&[0; 31]));
        assert!(!is_one_frame(b""));
    }
}
