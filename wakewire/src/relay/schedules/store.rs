//! A relay that stores: with the real files on a disk that fails, tears and loses its power, it dies at any moment and
//! comes back with what its disk has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::super::hub::Hub;
use super::super::store::Store;
use super::setups::{TWO_NAMED, run_caught, schedules};
use super::{Fault, HOLD, NAMED, Setup, World, config, hub};
use crate::delivery::Fsync;
use crate::spool::bad::{Faults, Memory};
use crate::spool::format::Boot;

/// A relay's disk over its lives.
pub(super) struct Kept {
    disk: Memory,
    boot: Boot,
    fsync: Fsync,
    store: Store,
}

impl Kept {
    pub(super) fn new(setup: Setup, fault: Fault) -> Option<(Self, Hub)> {
        let (disk, boot, fsync) = (Memory::default(), Boot(1), setup.stores?);
        let (store, hub) = open(&disk, boot, setup, fault);
        let kept = Self {
            disk,
            boot,
            fsync,
            store,
        };
        Some((kept, hub))
    }
}

fn open(disk: &Memory, boot: Boot, setup: Setup, fault: Fault) -> (Store, Hub) {
    let (disk, fsync) = (Arc::new(disk.clone()), setup.stores.unwrap());
    let path = PathBuf::from("/nowhere");
    let (store, kept) = Store::on(disk, path, fsync, boot, SEGMENTS).unwrap();
    (store, Hub::storing(config(setup, fault), kept))
}

impl World {
    /// The disk gets what is there, or fails to.
    pub(super) fn relay_stores(&mut self) {
        let Some(kept) = &self.kept else { return };
        let notes = self.rng.below(3) == 0;
        let most = self.rng.below(2000);
        let Some(chunk) = self.hub.poll_store(most, notes) else {
            return;
        };
        if self.rng.below(8) == 0 {
            kept.disk.fails(Faults {
                room: (self.rng.below(2) == 0).then(|| self.rng.below(400)),
                cut: self.rng.below(2) == 0,
                sync: self.rng.below(2) == 0,
                create: self.rng.below(4) == 0,
            });
        }
        let written = match self.fault {
            Fault::StoredUnwritten => Ok(()),
            _ => kept.store.write(&chunk),
        };
        kept.disk.fails(Faults::default());
        match written {
            Ok(()) => self.hub.stored(&chunk, &mut self.wake),
            Err(_) => self.hub.not_stored(&chunk),
        }
        self.seen.stored += 1;
        self.wake();
    }

    /// What a relay finds that was killed, perhaps in the middle of a write, or whose machine has lost its power.
    pub(super) fn relay_comes_back(&mut self) -> Hub {
        let Some(kept) = &mut self.kept else {
            return hub(self.setup, self.fault);
        };
        if self.rng.below(2) == 0
            && let Some(chunk) = self.hub.poll_store(usize::MAX, true)
        {
            kept.disk.fails(Faults {
                room: Some(self.rng.below(600)),
                cut: true,
                ..Faults::default()
            });
            drop(kept.store.write(&chunk));
            kept.disk.fails(Faults::default());
        }
        if kept.fsync == Fsync::BeforeAccept && self.rng.below(3) == 0 {
            kept.disk.loses_power(|below| self.rng.below(below));
            kept.boot = Boot(kept.boot.0 + 1);
        }
        let (store, hub) = open(&kept.disk, kept.boot, self.setup, self.fault);
        kept.store = store;
        hub
    }

    /// With nobody there, producers get rid of what fits into the log, and it comes when somebody is there again,
    /// though the relay has died.
    pub(super) fn stores_for_who_comes(&mut self) -> Result<(), String> {
        self.consumers_leave();
        for _ in 0..4 {
            self.round(false);
        }
        let before: Vec<u64> = self.producers.iter().map(|p| p.outbox.acked()).collect();
        for producer in &mut self.producers {
            producer.outbox.append();
        }
        for _ in 0..8 {
            self.round(false);
        }
        let acked = self.producers.iter().map(|p| p.outbox.acked());
        if !before
            .into_iter()
            .zip(acked)
            .any(|(before, now)| now > before)
        {
            return Err("nothing is acknowledged without a consumer".to_owned());
        }
        self.relay_killed();
        self.drain(true)?;
        match self.verdict() {
            (0, 0, _) => Ok(()),
            (lost, untold, _) => Err(format!("{lost} lost, {untold} missed untold at the end")),
        }
    }
}

/// Small files, so that there are many.
const SEGMENTS: u64 = 500;

const STORING: Setup = Setup {
    producers: 2,
    stores: Some(Fsync::BeforeAccept),
    ..HOLD
};

#[test]
fn a_relay_that_stores() {
    schedules("storing: 2 producers, 1 unnamed consumer", STORING);
}

#[test]
fn a_relay_that_stores_without_syncing() {
    let setup = Setup {
        stores: Some(Fsync::Never),
        ..STORING
    };
    schedules("storing, never synced: 2 producers, 1 unnamed", setup);
}

#[test]
fn a_relay_that_stores_for_named_ones() {
    let setup = Setup {
        stores: Some(Fsync::BeforeAccept),
        ..TWO_NAMED
    };
    schedules("storing: 2 producers, 2 named consumers", setup);
}

#[test]
fn a_relay_that_stores_for_durable_ones() {
    let setup = Setup {
        stores: Some(Fsync::Interval),
        consumers: &[NAMED, NAMED],
        durable: true,
        ..STORING
    };
    schedules("storing: 2 producers, 2 named, durable cursors", setup);
}

/// What is acknowledged before it is written is lost with the relay.
#[test]
fn an_acknowledgement_before_the_write_is_noticed() {
    let now = Instant::now();
    let first = (1..=200).find_map(|seed| {
        let result = run_caught(seed, STORING, Fault::StoredUnwritten, 1500, now);
        result.err().map(|what| (seed, what))
    });
    println!("{first:?}");
    assert!(first.is_some());
}
