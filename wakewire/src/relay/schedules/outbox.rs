//! A producer: the real outbox, with payloads that say whose they are.

use bytes::Bytes;

use super::spooled::Spooled;
use super::{Fault, LOG_BYTES};
use crate::delivery::{Delivery, Fsync, WhenFull};
use crate::message::Message;
use crate::outbox::{Appended, Limits};
use crate::wire::SessionId;
use crate::wire::run::Run;

/// What a producer owes (P1–P5).
pub(super) struct Outbox {
    pub(super) outbox: crate::outbox::Outbox,
    at_most_once: bool,
    pub(super) spool: Option<Spooled>,
}

impl Outbox {
    pub(super) fn new(session: SessionId, at_most_once: bool) -> Self {
        let delivery = if at_most_once {
            Delivery::AtMostOnce
        } else {
            Delivery::AtLeastOnce
        };
        let limits = limits(delivery, false);
        Self {
            outbox: crate::outbox::Outbox::new(session, limits),
            at_most_once,
            spool: None,
        }
    }
    /// Makes one that is kept on a disk.
    pub(super) fn spooled(session: SessionId, fsync: Fsync, fault: Fault) -> Self {
        let (spool, outbox) = Spooled::new(session, fsync, fault);
        Self {
            outbox,
            at_most_once: false,
            spool: Some(spool),
        }
    }
    pub(super) fn session(&self) -> SessionId {
        self.outbox.session()
    }
    pub(super) fn next(&self) -> u64 {
        self.outbox.last() + 1
    }
    pub(super) fn acked(&self) -> u64 {
        self.outbox.first_owed() - 1
    }
    pub(super) fn append(&mut self) {
        if let Some(spool) = &mut self.spool {
            return spool.append(&mut self.outbox);
        }
        let payload = Bytes::from(payload(self.session(), self.next()));
        assert_eq!(
            self.outbox.append(&Message::new(payload)),
            Appended::Accepted
        );
    }
    pub(super) fn owes(&self) -> bool {
        !self.outbox.is_empty()
    }
    pub(super) fn first_owed(&self) -> u64 {
        self.outbox.first_owed()
    }
    /// Takes what was appended since it last took, or one such piece of what is to be sent again.
    pub(super) fn take(&mut self) -> Option<Run> {
        let mut pieces = Vec::new();
        if !self.outbox.take(1, &mut pieces) {
            return None;
        }
        if self.at_most_once {
            self.outbox.written();
        }
        let bytes = Bytes::from(pieces.concat());
        let mut sequences = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let frame = crate::wire::run::frame_length(rest);
            sequences.push(
                crate::wire::data::DataView::at(rest)
                    .unwrap()
                    .header
                    .sequence,
            );
            rest = &rest[frame..];
        }
        let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
        assert_eq!(
            last + 1 - first,
            sequences.len() as u64,
            "P4: without holes"
        );
        Some(Run::new(first, last, bytes))
    }
    pub(super) fn welcomed(&mut self, acked: u64, have: u64) {
        self.outbox
            .welcomed(acked, have)
            .expect("welcome beyond what was sent");
        self.settled();
    }
    pub(super) fn acknowledged(&mut self, to: u64) {
        self.outbox
            .acknowledged(to)
            .expect("acknowledgement beyond what was sent");
        self.settled();
    }
    pub(super) fn disconnected(&mut self) {
        self.outbox.disconnected();
        self.check();
    }
    /// Goes on syncing its spool, if it has one.
    pub(super) fn syncs(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.syncs(&mut self.outbox);
        }
    }
    fn settled(&mut self) {
        self.check();
        if let Some(spool) = &mut self.spool {
            spool.acknowledged(&self.outbox);
        }
    }
    fn check(&self) {
        let ledger = self.outbox.ledger();
        assert!(ledger.adds_up(), "{ledger}");
    }
}

pub(super) const fn limits(delivery: Delivery, checksummed: bool) -> Limits {
    Limits {
        messages: usize::MAX,
        bytes: usize::MAX,
        delivery,
        when_full: WhenFull::Block,
        checksummed,
        loses_frames: false,
    }
}

/// What a producer's message of this number says; its number in the session, unless the producer dies.
pub(super) fn payload(session: SessionId, serial: u64) -> Vec<u8> {
    // one in eleven is larger than the whole log
    let length = if serial.is_multiple_of(11) {
        2 * LOG_BYTES
    } else {
        3 + (serial % 5) as usize * 4
    };
    let mut bytes = vec![(session.0 >> 64) as u8, serial as u8, (serial >> 8) as u8];
    bytes.resize(length, serial as u8);
    bytes
}

/// Returns the number of the message that says this.
pub(super) fn serial(payload: &[u8]) -> u64 {
    u64::from(payload[1]) | u64::from(payload[2]) << 8
}
