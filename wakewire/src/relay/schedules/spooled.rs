//! Senders that die, or lose their power, and go on with what their spools have; disks that are full or fail.
//!
//! It does what `link/spooled.rs` and `link/syncing.rs` do, step by step, so that everything can happen in between.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;

use bytes::Bytes;

use super::outbox::{limits, payload, serial};
use super::{Fault, LOG_BYTES, Rng, World};
use crate::delivery::{Delivery, Fsync};
use crate::message::Message;
use crate::outbox::Outbox;
use crate::spool::bad::{Faults, Memory};
use crate::spool::format::{Boot, Contents};
use crate::spool::journal::{Journal, Terms, Unsynced};
use crate::wire::SessionId;
use crate::wire::data::DataView;

/// The spool of one sender, and what its application was promised.
pub(super) struct Spooled {
    disk: Memory,
    journal: Journal,
    terms: Terms,
    fsync: Fsync,
    fault: Fault,
    /// Syncing it is under way.
    under_way: Option<Unsynced>,
    /// With [`Fault::SpoolBehind`]: what should be in the file.
    late: Option<(u64, Vec<u8>)>,
    /// The message that each number of this session stands for.
    numbers: BTreeMap<u64, u64>,
    /// The last message that was offered.
    serial: u64,
    /// What was accepted, without what a loss of power may take.
    promised: BTreeSet<u64>,
}

impl Spooled {
    pub(super) fn new(session: SessionId, fsync: Fsync, fault: Fault) -> (Self, Outbox) {
        let disk = Memory::default();
        let terms = Terms {
            contents: Contents::OneSession,
            segment_bytes: LOG_BYTES as u64,
            syncs: fsync != Fsync::Never,
            holds_back: fsync == Fsync::BeforeAccept,
            boot: Boot(1),
            fresh: session,
        };
        let (journal, _) = Journal::open(Arc::new(disk.clone()), terms).unwrap();
        let mut outbox = Outbox::new(session, limits(Delivery::AtLeastOnce, true));
        if terms.holds_back {
            outbox.hold_back();
        }
        let spooled = Self {
            disk,
            journal,
            terms,
            fsync,
            fault,
            under_way: None,
            late: None,
            numbers: BTreeMap::new(),
            serial: 0,
            promised: BTreeSet::new(),
        };
        (spooled, outbox)
    }

    /// Offers the next message; a disk that does not take it refuses it.
    pub(super) fn append(&mut self, outbox: &mut Outbox) {
        self.serial += 1;
        let message = Message::new(Bytes::from(payload(outbox.session(), self.serial)));
        let before = outbox.last();
        let (count, bytes) = outbox.append_run(slice::from_ref(&message));
        assert_eq!(count, 1, "it is never full");
        let next = outbox.last() + 1;
        let written = if self.fault == Fault::SpoolBehind {
            let late = self.late.replace((next, outbox.newest(bytes).to_vec()));
            late.map_or(Ok(()), |(next, frames)| self.journal.append(next, &frames))
        } else {
            self.journal.append(next, outbox.newest(bytes))
        };
        if written.is_err() {
            outbox.retract(before);
            return;
        }
        self.numbers.insert(before + 1, self.serial);
        if !self.terms.holds_back {
            self.promised.insert(self.serial);
        } else if self.fault == Fault::SentUnsynced {
            outbox.ready(before + 1);
        }
    }

    /// Begins to sync, or has done so.
    pub(super) fn syncs(&mut self, outbox: &mut Outbox) {
        if self.fsync == Fsync::Never {
            return;
        }
        let Some(unsynced) = self.under_way.take() else {
            outbox.closed_up();
            self.under_way = self.journal.unsynced();
            return;
        };
        let well = unsynced.sync().is_ok();
        if well {
            self.journal.has_synced(&unsynced);
        } else {
            self.journal.has_not_synced();
            self.disk.fails(Faults::default());
        }
        if !self.terms.holds_back {
            return;
        }
        let reached = self.journal.synced();
        if well {
            outbox.ready(reached);
        } else {
            outbox.retract(reached);
            self.numbers.split_off(&(reached + 1));
        }
        let accepted = self.numbers.range(..=reached).map(|(_, serial)| *serial);
        self.promised.extend(accepted);
    }

    pub(super) fn acknowledged(&mut self, outbox: &Outbox) {
        self.journal
            .acknowledged(outbox.first_owed().saturating_sub(1));
        if outbox.is_empty() {
            self.journal.rest();
        }
        self.numbers = self.numbers.split_off(&outbox.first_owed());
    }

    /// The machine loses its power: of what was not synced it keeps what it likes.
    fn loses_power(&mut self, rng: &mut Rng) {
        let unsynced = self.numbers.range(self.journal.synced() + 1..);
        for (_, serial) in unsynced {
            self.promised.remove(serial);
        }
        self.disk.loses_power(|below| rng.below(below));
        self.terms.boot = Boot(self.terms.boot.0 + 1);
    }

    /// The next life reads what the last one has left.
    fn recovered(&mut self, last: SessionId) -> Outbox {
        self.under_way = None;
        self.late = None;
        self.terms.fresh = SessionId(self.terms.fresh.0 + 1);
        let (journal, recovered) =
            Journal::open(Arc::new(self.disk.clone()), self.terms).expect("nothing is damaged");
        self.journal = journal;
        self.numbers.clear();
        for run in &recovered.runs {
            let mut run = run.clone();
            while let Some(frame) = run.pop() {
                let frame = DataView::at(&frame).unwrap();
                let (number, serial) = (frame.header.sequence, serial(frame.body));
                self.numbers.insert(number, serial);
            }
        }
        let session = match self.fault {
            Fault::SessionKept => last,
            _ => recovered.session.unwrap(),
        };
        let owed = (recovered.acked, recovered.next);
        let limits = limits(Delivery::AtLeastOnce, true);
        let mut outbox = Outbox::recovered(session, limits, owed, recovered.runs);
        if self.terms.holds_back {
            outbox.hold_back();
            // It is synced when it is opened.
            let found = self.numbers.values().copied();
            self.promised.extend(found);
        }
        outbox
    }

    pub(super) const fn offered(&self) -> u64 {
        self.serial
    }

    pub(super) const fn promised(&self) -> &BTreeSet<u64> {
        &self.promised
    }
}

impl World {
    /// A sender dies, perhaps within a write; or its machine loses its power; or its disk is full, or fails.
    pub(super) fn disk_or_sender_fails(&mut self) {
        let i = self.rng.below(self.producers.len());
        let cut = self.rng.below(4) == 0;
        let room = self.rng.below(300);
        let producer = &mut self.producers[i];
        let Some(spool) = &mut producer.outbox.spool else {
            return;
        };
        match self.rng.below(8) {
            0 => {
                let room = Some(room);
                let faults = Faults {
                    room,
                    cut,
                    ..Faults::default()
                };
                spool.disk.fails(faults);
                spool.append(&mut producer.outbox.outbox);
                spool.disk.fails(Faults::default());
            }
            // until it is synced next, or dies
            1 => spool.disk.fails(Faults {
                sync: true,
                ..Faults::default()
            }),
            2..=5 => self.producer_dies(i, false),
            _ => self.producer_dies(i, true),
        }
    }

    fn producer_dies(&mut self, i: usize, loses_power: bool) {
        if let Some(c) = self.producers[i].connection.take() {
            self.cut(c);
        }
        let is_new = self.producers[i].outbox.dies(&mut self.rng, loses_power);
        self.seen.senders += u64::from(!loses_power);
        self.seen.powerless += u64::from(loses_power);
        self.seen.renewed += u64::from(is_new);
    }
}

impl super::outbox::Outbox {
    /// Its process dies, perhaps within a write, or its machine; the next life goes on. Returns whether as a new session.
    pub(super) fn dies(&mut self, rng: &mut Rng, loses_power: bool) -> bool {
        let (last, Some(spool)) = (self.session(), &mut self.spool) else {
            return false;
        };
        spool.disk.fails(Faults::default());
        if rng.below(2) == 0 {
            // In the middle of a write, which nobody cuts off.
            spool.disk.fails(Faults {
                room: Some(rng.below(300)),
                cut: true,
                ..Faults::default()
            });
            for _ in 0..2 {
                spool.append(&mut self.outbox);
            }
            spool.disk.fails(Faults::default());
        }
        if loses_power {
            spool.loses_power(rng);
        }
        self.outbox = spool.recovered(last);
        let is_new = self.session() != last;
        assert!(loses_power || !is_new, "who is only killed goes on");
        is_new
    }
}
