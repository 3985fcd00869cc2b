//! A producer's outbox, as small as it can be: only so much as the schedules need.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::LOG_BYTES;
use crate::message::Message;
use crate::wire::SessionId;
use crate::wire::frame::encode_message;
use crate::wire::run::Run;

/// What a producer owes (P1–P5).
pub(super) struct Outbox {
    pub(super) session: SessionId,
    at_most_once: bool,
    /// What is owed, from `acked + 1` on.
    frames: VecDeque<Bytes>,
    pub(super) next: u64,
    pub(super) acked: u64,
    pub(super) cursor: u64,
}

impl Outbox {
    pub(super) fn new(session: SessionId, at_most_once: bool) -> Self {
        Self {
            session,
            at_most_once,
            frames: VecDeque::new(),
            next: 1,
            acked: 0,
            cursor: 1,
        }
    }
    pub(super) fn append(&mut self) {
        let mut out = BytesMut::new();
        let payload = Bytes::from(payload(self.session, self.next));
        let message = Message {
            payload,
            ..Message::default()
        };
        encode_message(&message, self.next, false, &mut out);
        self.frames.push_back(out.freeze());
        self.next += 1;
    }
    pub(super) fn owes(&self) -> bool {
        self.acked + 1 < self.next
    }
    pub(super) fn first_owed(&self) -> u64 {
        self.acked + 1
    }
    pub(super) fn take(&mut self, most: usize) -> Option<Run> {
        let first = self.cursor;
        let last = (self.next - 1).min(first + most as u64 - 1);
        if first > last {
            return None;
        }
        let skip = (first - self.acked - 1) as usize;
        let frames = self.frames.iter().skip(skip);
        let bytes: Vec<u8> = frames
            .take((last + 1 - first) as usize)
            .flat_map(|frame| frame.iter().copied())
            .collect();
        self.cursor = last + 1;
        if self.at_most_once {
            self.forget(last);
        }
        Some(Run {
            first,
            last,
            bytes: bytes.into(),
        })
    }
    pub(super) fn forget(&mut self, to: u64) {
        while self.acked < to {
            self.acked += 1;
            self.frames.pop_front();
        }
    }
    pub(super) fn welcomed(&mut self, acked: u64, have: u64) {
        assert!(
            have < self.next && acked <= have,
            "welcome beyond what was sent"
        );
        self.forget(acked);
        self.cursor = have.max(self.acked) + 1;
    }
    pub(super) fn acknowledged(&mut self, to: u64) {
        assert!(to < self.next, "acknowledgement beyond what was sent");
        self.forget(to);
        self.cursor = self.cursor.max(self.acked + 1);
    }
    pub(super) fn disconnected(&mut self) {}
}

pub(super) fn payload(session: SessionId, sequence: u64) -> Vec<u8> {
    // one in eleven is larger than the whole log
    let length = if sequence.is_multiple_of(11) {
        2 * LOG_BYTES
    } else {
        3 + (sequence % 5) as usize * 4
    };
    let mut bytes = vec![
        (session.0 >> 64) as u8,
        sequence as u8,
        (sequence >> 8) as u8,
    ];
    bytes.resize(length, sequence as u8);
    bytes
}
