//! The course of a schedule: what happens at random, what breaks, how it ends, and what must hold then.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::super::effects::{Outgoing, Wake};
use super::outbox::Outbox;
use super::resumed::Said;
use super::{
    Connection, Consumer, Down, Fault, Kind, OUTBOX, PIPE, Producer, Rng, Seen, Setup, Up, World,
    hub, store,
};
use crate::wire::SessionId;
use crate::wire::run::{Run, frame_length};

impl World {
    pub(super) fn new(seed: u64, setup: Setup, fault: Fault, now: Instant) -> Self {
        let outbox = |i: usize| {
            let session = SessionId((i as u128 + 1) << 64);
            match setup.spool {
                Some(fsync) => Outbox::spooled(session, fsync, fault),
                None => Outbox::new(session, !setup.at_least_once),
            }
        };
        let producer = |i: usize| Producer {
            outbox: outbox(i),
            connection: None,
            welcomed: false,
            attached: None,
        };
        let consumer = |&kind: &Kind| Consumer {
            kind,
            life: 0,
            fresh: true,
            connection: None,
            positions: setup.positions(),
            queue: VecDeque::new(),
            hand: None,
            sessions: HashMap::new(),
            origins: BTreeMap::new(),
            really: BTreeMap::new(),
            progress: BTreeMap::new(),
            taken: BTreeMap::new(),
            missed: BTreeMap::new(),
            memory: 0,
            forgot_all: 0,
            forgot: BTreeMap::new(),
            known: BTreeSet::new(),
            cursor: setup.cursor(),
            said: Said::default(),
            stalled: false,
            was_stalled: false,
        };
        let (kept, hub) = match store::Kept::new(setup, fault) {
            Some((kept, hub)) => (Some(kept), hub),
            None => (None, hub(setup, fault)),
        };
        Self {
            rng: Rng::new(seed),
            setup,
            fault,
            now,
            hub,
            kept,
            wake: Wake::default(),
            life: 0,
            connections: Vec::new(),
            oldest: 0,
            producers: (0..setup.producers).map(producer).collect(),
            consumers: setup.consumers.iter().map(consumer).collect(),
            out: Vec::new(),
            ledger: BTreeMap::new(),
            calm: setup.slow && seed.is_multiple_of(2),
            seen: Seen::default(),
        }
    }

    pub(super) fn dial(&mut self, hello: Up) -> usize {
        self.connections.push(Connection {
            is_producer: matches!(hello, Up::Producer { .. }),
            up: VecDeque::from([hello]),
            open: true,
            life: self.life,
            ..Connection::default()
        });
        self.connections.len() - 1
    }

    /// Breaks a connection: any suffix in flight is lost, in the middle of a run too.
    pub(super) fn cut(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        if !connection.open {
            return;
        }
        connection.open = false;
        let (up, down) = (connection.up.len(), connection.down.len());
        connection.up.truncate(self.rng.below(up + 1));
        connection.down.truncate(self.rng.below(down + 1));
        if let Some(Up::Data(run)) = connection.up.back_mut() {
            shorten(run, &mut self.rng);
        }
        if let Some(Down::Out(Outgoing::Data { run, .. })) = connection.down.back_mut() {
            shorten(run, &mut self.rng);
        }
    }

    /// What a shell does with a wake: it notes who has to poll.
    pub(super) fn wake(&mut self) {
        for c in self.wake.poll.drain(..) {
            self.connections[c.0 as usize].poll = true;
        }
        for c in self.wake.room.drain(..) {
            self.connections[c.0 as usize].room = true;
        }
        for c in self.wake.close.drain(..) {
            let connection = &mut self.connections[c.0 as usize];
            connection.ended = true;
            connection.open = false;
            self.seen.replaced += 1;
        }
    }

    pub(super) fn step(&mut self) {
        let (p, u) = (self.producers.len(), self.consumers.len());
        match self.rng.below((p + u) * 3 + 6) {
            x if x < p * 3 => match x % 3 {
                0 => {
                    let outbox = &mut self.producers[x / 3].outbox;
                    if outbox.next() - outbox.first_owed() < OUTBOX {
                        outbox.append();
                    }
                    self.producer_dials(x / 3);
                    if self.setup.spool.is_some() && self.rng.below(2) == 0 {
                        self.producers[x / 3].outbox.syncs();
                    }
                }
                1 => self.producer_reads(x / 3),
                _ => self.producer_writes(x / 3),
            },
            x if x < (p + u) * 3 => {
                let k = x / 3 - p;
                match x % 3 {
                    0 if self.rng.below(3) > 0 => self.consumer_dials(k),
                    1 => self.consumer_reads(k),
                    _ => self.consumer_asks(k),
                }
            }
            x => {
                let live = self.connections.len() - self.oldest;
                let c = self.oldest + self.rng.below(live);
                if c < self.connections.len() {
                    if x % 2 == 0 {
                        self.relay_reads(c);
                    } else {
                        self.relay_writes(c);
                    }
                }
            }
        }
        if self.kept.is_some() && self.rng.below(6) == 0 {
            self.relay_stores();
        }
        self.forget_dead_connections();
    }

    pub(super) fn forget_dead_connections(&mut self) {
        while let Some(connection) = self.connections.get(self.oldest) {
            if connection.life == self.life && !connection.ended {
                break;
            }
            self.oldest += 1;
        }
    }

    pub(super) fn fault(&mut self) {
        if self.setup.slow {
            self.slowness();
        }
        if self.calm {
            return;
        }
        match self.rng.below(300) {
            0 => self.relay_killed(),
            1 => {
                let k = self.rng.below(self.consumers.len());
                self.consumer_killed(k);
            }
            2..=8 if !self.connections.is_empty() => {
                let from = self.connections.len().saturating_sub(6);
                let c = from + self.rng.below(self.connections.len() - from);
                self.cut(c);
            }
            9 => {
                // half-open: given up by the client, which dials anew at once
                let i = self.rng.below(self.producers.len());
                self.producers[i].connection = None;
                self.producer_dials(i);
                let k = self.rng.below(self.consumers.len());
                self.consumers[k].connection = None;
                self.consumer_dials(k);
            }
            10 if !self.setup.slow => self.relay_loses_patience(),
            // as if a new session needed the place
            11..=12 => self.seen.forgotten += u64::from(self.hub.sessions.forget_one()),
            13..=20 if self.setup.spool.is_some() => self.disk_or_sender_fails(),
            21..=40 if self.setup.most.is_some() => {
                let i = self.rng.below(self.producers.len());
                self.producer_sleeps(i);
            }
            _ => {}
        }
        if self.fault == Fault::NeverUnsure {
            for (_, session) in self.hub.sessions.iter_mut() {
                for slot in 0..self.consumers.len() {
                    session.place_mut(slot).unsure = false;
                }
            }
        }
    }

    /// One thing of everything that can happen, in order.
    pub(super) fn round(&mut self, with_consumers: bool) {
        for i in 0..self.producers.len() {
            self.producers[i].outbox.syncs();
            self.producer_dials(i);
            self.producer_reads(i);
            self.producer_writes(i);
            if self.setup.most.is_some() {
                self.producer_sleeps(i);
            }
        }
        for k in (0..self.consumers.len()).filter(|_| with_consumers) {
            self.consumer_dials(k);
            self.consumer_reads(k);
            self.consumer_asks(k);
        }
        for c in self.oldest..self.connections.len() {
            for _ in 0..PIPE {
                self.relay_reads(c);
            }
            self.relay_writes(c);
        }
        self.relay_stores();
        self.hub.check_invariants();
        self.forget_dead_connections();
    }

    pub(super) fn is_quiet(&self, with_consumers: bool) -> bool {
        let idle = |consumer: &Consumer| {
            consumer.connection.is_some_and(|c| {
                let connection = &self.connections[c];
                connection.open
                    && !connection.poll
                    && connection.up.is_empty()
                    && connection.down.is_empty()
            }) && consumer.queue.is_empty()
                && consumer.hand.is_none()
        };
        let drained = |producer: &Producer| {
            !producer.outbox.owes()
                && producer.connection.is_none_or(|c| {
                    let connection = &self.connections[c];
                    connection.open && connection.up.is_empty() && connection.held.is_none()
                })
        };
        let mut awake = self.consumers.iter().filter(|u| !u.stalled);
        self.producers.iter().all(drained) && (!with_consumers || awake.all(idle))
    }

    /// What liveness does: connections that a client has given up come to an end.
    pub(super) fn abandoned_end(&mut self) {
        let producers = self.producers.iter().map(|p| p.connection);
        let consumers = self.consumers.iter().map(|u| u.connection);
        let alive: Vec<usize> = producers.chain(consumers).flatten().collect();
        for c in self.oldest..self.connections.len() {
            if !alive.contains(&c) {
                self.cut(c);
            }
        }
    }

    pub(super) fn drain(&mut self, with_consumers: bool) -> Result<(), String> {
        self.abandoned_end();
        for _ in 0..600 {
            self.round(with_consumers);
            if self.is_quiet(with_consumers) {
                return Ok(());
            }
        }
        let stuck: Vec<_> = self
            .producers
            .iter()
            .map(|p| (p.outbox.acked(), p.outbox.next()))
            .collect();
        Err(format!(
            "not drained: {stuck:?} {:?} {:?}",
            self.hub.status(),
            self.hub.connections
        ))
    }
}

fn shorten(run: &mut Run, rng: &mut Rng) {
    let keep = 1 + rng.below(run.count() as usize);
    let mut end = 0;
    for _ in 0..keep {
        end += frame_length(&run.bytes[end..]);
    }
    run.last = run.first + keep as u64 - 1;
    run.bytes.truncate(end);
}
