//! The course of a schedule: what happens at random, what breaks, how it ends, and what must hold then.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::super::effects::{Outgoing, Wake};
use super::super::hub::Hub;
use super::outbox::Outbox;
use super::{
    Connection, Consumer, Down, Fault, Kind, OUTBOX, PIPE, Producer, Rng, Seen, Setup, Up, World,
    config, store,
};
use crate::wire::SessionId;
use crate::wire::run::{Run, frame_length};
use crate::wire::session::{Positions, Side};

impl World {
    pub(super) fn new(seed: u64, setup: Setup, fault: Fault, now: Instant) -> Self {
        let producer = |i: usize| Producer {
            outbox: Outbox::new(SessionId((i as u128 + 1) << 64), !setup.at_least_once),
            connection: None,
            welcomed: false,
            attached: None,
        };
        let consumer = |&kind: &Kind| Consumer {
            kind,
            life: 0,
            fresh: true,
            connection: None,
            positions: Positions::new(Side::Consumer),
            queue: VecDeque::new(),
            hand: None,
            sessions: HashMap::new(),
            origins: BTreeMap::new(),
            really: BTreeMap::new(),
            taken: BTreeMap::new(),
            missed: BTreeMap::new(),
        };
        let (kept, hub) = match store::Kept::new(setup, fault) {
            Some((kept, hub)) => (Some(kept), hub),
            None => (None, Hub::new(config(setup, fault))),
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
            10 => self.relay_loses_patience(),
            // as if a new session needed the place
            11..=12 => self.seen.forgotten += u64::from(self.hub.sessions.forget_one()),
            _ => {}
        }
    }

    /// One thing of everything that can happen, in order.
    pub(super) fn round(&mut self, with_consumers: bool) {
        for i in 0..self.producers.len() {
            self.producer_dials(i);
            self.producer_reads(i);
            self.producer_writes(i);
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
        self.producers.iter().all(drained) && (!with_consumers || self.consumers.iter().all(idle))
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

    pub(super) fn consumers_leave(&mut self) {
        for k in 0..self.consumers.len() {
            if let Some(c) = self.consumers[k].connection.take() {
                self.cut(c);
            }
        }
    }

    /// Promise 5, or what `accept` promises instead: what happens with nobody there.
    pub(super) fn with_nobody(&mut self) -> Result<(), String> {
        self.consumers_leave();
        for _ in 0..4 {
            self.round(false);
        }
        let before: Vec<u64> = self.producers.iter().map(|p| p.outbox.acked()).collect();
        for _ in 0..3 {
            for producer in &mut self.producers {
                if producer.outbox.next() - producer.outbox.first_owed() < OUTBOX {
                    producer.outbox.append();
                }
            }
            for _ in 0..4 {
                self.round(false);
            }
        }
        if !self.setup.hold || !self.setup.at_least_once {
            return self.drain(false);
        }
        for (producer, before) in self.producers.iter().zip(before) {
            assert_eq!(producer.outbox.acked(), before, "nobody has it");
            assert_eq!(producer.attached, Some(false), "promise 5");
        }
        Ok(())
    }

    /// Returns (lost for named or only consumers, missed untold, messages).
    pub(super) fn verdict(&self) -> (usize, usize, u64) {
        let (mut lost, mut untold, mut total) = (0, 0, 0);
        let owed_all =
            |u: &Consumer| u.kind.named || (self.consumers.len() == 1 && self.setup.hold);
        for producer in &self.producers {
            let (session, n) = (producer.outbox.session(), producer.outbox.next() - 1);
            total += n;
            for u in &self.consumers {
                let has = |q: &u64| u.taken.contains_key(&(session, *q));
                let missing = (1..=n).filter(|q| !has(q));
                if owed_all(u) && self.setup.at_least_once {
                    lost += missing.count();
                    let told = u.missed.contains_key(&session);
                    assert!(!told || u.life > 0, "told of a loss that was none");
                } else if u.life == 0 {
                    let first = (1..=n).find(has).unwrap_or(n + 1);
                    let told = |q: u64| {
                        let missed = u.missed.get(&session);
                        missed.is_some_and(|all| all.iter().any(|&(a, b)| a <= q && q <= b))
                    };
                    untold += missing.filter(|&q| q > first && !told(q)).count();
                }
            }
        }
        (lost, untold, total)
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
