//! The same without a relay: producers and one listener, which is a relay with one consumer in its own process. Those
//! with a cursor have producers with spools, and those without forget sessions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::outbox::Outbox;
use super::{Fault, OUTBOX, PIPE, Rng, STEPS, number};
use crate::cursor::InMemory;
use crate::delivery::Fsync;
use crate::wire::SessionId;
use crate::wire::run::Run;
use crate::wire::session::{MOST_SESSIONS, Positions, Side};

enum Up {
    Hello(u64),
    Data(Run),
}

/// Acked, and have where it is a welcome.
struct Down(u64, Option<u64>);

struct Connection {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    open: bool,
    life: u64,
    producer: usize,
    ended: bool,
}

struct Direct {
    rng: Rng,
    at_least_once: bool,
    durable: bool,
    outboxes: Vec<Outbox>,
    /// Each producer's connection, and whether it was welcomed.
    current: Vec<Option<(usize, bool)>>,
    connections: Vec<Connection>,
    /// The first connection that may still be alive.
    oldest: usize,
    life: u64,
    /// How many sessions the listener remembers.
    most: usize,
    positions: Positions,
    /// What its connections acknowledge.
    progress: [u64; 2],
    /// Grows whenever a session is forgotten.
    memory: [u64; 2],
    cursor: InMemory,
    queue: VecDeque<(usize, u64)>,
    hand: Option<(usize, u64)>,
    last: BTreeMap<usize, u64>,
    /// In which life it was processed, and what was remembered then.
    taken: BTreeMap<(usize, u64), (u64, u64)>,
    /// Processed, and not in the cursor when it died.
    uncertain: BTreeSet<(usize, u64)>,
    missed: BTreeMap<(usize, u64), u64>,
}

const fn session(producer: usize) -> SessionId {
    SessionId(producer as u128 + 1)
}

impl Direct {
    fn new(seed: u64, at_least_once: bool, durable: bool) -> Self {
        let outbox = |i| match (durable, seed % 3) {
            (true, 0) => Outbox::spooled(session(i), Fsync::BeforeAccept, Fault::None),
            (true, 1) => Outbox::spooled(session(i), Fsync::Interval, Fault::None),
            _ => Outbox::new(session(i), !at_least_once),
        };
        let most = match (at_least_once && !durable, seed % 2) {
            (true, 0) => 1,
            _ => MOST_SESSIONS,
        };
        Self {
            rng: Rng::new(seed),
            at_least_once,
            durable,
            outboxes: (0..2).map(outbox).collect(),
            current: vec![None; 2],
            connections: Vec::new(),
            oldest: 0,
            life: 0,
            most,
            positions: Positions::bounded(side(at_least_once), most),
            progress: [0; 2],
            memory: [0; 2],
            cursor: InMemory::new(None),
            queue: VecDeque::new(),
            hand: None,
            last: BTreeMap::new(),
            taken: BTreeMap::new(),
            uncertain: BTreeSet::new(),
            missed: BTreeMap::new(),
        }
    }

    fn cut(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        if connection.open {
            connection.open = false;
            let (up, down) = (connection.up.len(), connection.down.len());
            connection.up.truncate(self.rng.below(up + 1));
            connection.down.truncate(self.rng.below(down + 1));
        }
    }

    fn producer(&mut self, i: usize) {
        let outbox = &mut self.outboxes[i];
        let Some((c, welcomed)) = &mut self.current[i] else {
            if outbox.owes() {
                self.current[i] = Some((self.connections.len(), false));
                self.connections.push(Connection {
                    up: VecDeque::from([Up::Hello(outbox.first_owed())]),
                    down: VecDeque::new(),
                    open: true,
                    life: self.life,
                    producer: i,
                    ended: false,
                });
            }
            return;
        };
        let connection = &mut self.connections[*c];
        match connection.down.pop_front() {
            Some(Down(acked, Some(have))) => {
                outbox.welcomed(acked, have);
                *welcomed = true;
            }
            Some(Down(acked, None)) => outbox.acknowledged(acked),
            None if !connection.open => self.current[i] = None,
            None if *welcomed && connection.up.len() < PIPE => {
                let run = outbox.take();
                connection.up.extend(run.map(Up::Data));
            }
            None => {}
        }
    }

    fn listener_reads(&mut self, c: usize) {
        let known = |world: &Self| [0, 1].map(|i| world.positions.get(session(i)).is_some());
        let before = known(self);
        self.reads(c);
        let after = known(self);
        for i in [0, 1] {
            if before[i] && !after[i] {
                self.memory[i] += 1;
                self.last.remove(&i);
            }
        }
    }

    fn reads(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        if connection.ended || connection.life != self.life || self.queue.len() > 8 {
            return;
        }
        let producer = connection.producer;
        match connection.up.pop_front() {
            Some(Up::Hello(first_owed)) => {
                if self.positions.get(session(producer)).is_none() {
                    self.progress[producer] = 0;
                }
                let greeting = self.positions.hello(session(producer), first_owed);
                self.confirms(producer, greeting.acked);
                let connection = &mut self.connections[c];
                let welcome = Down(greeting.acked, Some(greeting.have));
                connection.down.push_back(welcome);
                for q in greeting.missed.into_iter().flatten() {
                    self.missed.insert((producer, q), self.life);
                }
                // R2: nothing further is read from an older one
                for (other, old) in self.connections.iter_mut().enumerate() {
                    if old.producer == producer && other != c && !old.ended {
                        old.ended = other < c;
                        old.open &= !old.ended;
                    }
                }
            }
            Some(Up::Data(run)) => {
                let data = self.positions.data(session(producer), run.first, run.last);
                let verdict = data.unwrap();
                for q in verdict.missed.into_iter().flatten() {
                    self.missed.insert((producer, q), self.life);
                }
                let new = verdict.drop_before..=run.last;
                self.queue.extend(new.map(|q| (producer, q)));
            }
            None if !connection.open => connection.ended = true,
            None => {}
        }
    }

    /// Everything up to here is processed: first that is in the cursor.
    fn confirms(&mut self, producer: usize, q: u64) {
        if self.durable {
            self.cursor.advance(session(producer), q);
        }
        self.positions.processed(session(producer), q);
        self.progress[producer] = self.progress[producer].max(q);
    }

    fn takes(&mut self, producer: usize, q: u64) {
        let now = (self.life, self.memory[producer]);
        let before = self.taken.insert((producer, q), now);
        let uncertain = self.uncertain.remove(&(producer, q));
        let fine = before.is_none_or(|before| uncertain || (before != now && !self.durable));
        assert!(fine, "twice in one life: {producer} {q}");
        let last = self.last.insert(producer, q);
        assert!(
            last.is_none_or(|last| last < q || uncertain),
            "out of order"
        );
    }

    fn application_asks(&mut self) {
        if let Some((producer, q)) = self.hand.take() {
            self.takes(producer, q);
            self.confirms(producer, q);
        }
        self.hand = self.queue.pop_front();
        for (i, current) in self.current.iter().enumerate() {
            if let &Some((c, true)) = current
                && self.connections[c].open
                && self.connections[c].life == self.life
                && self.connections[c].down.len() < PIPE
            {
                self.connections[c]
                    .down
                    .push_back(Down(self.progress[i], None));
            }
        }
    }

    fn listener_killed(&mut self) {
        for c in 0..self.connections.len() {
            self.cut(c);
            self.connections[c].up.clear();
        }
        let moment = self.rng.below(4);
        if let Some((producer, q)) = self.hand.take().filter(|_| self.durable && moment > 0) {
            // It dies behind the effect, within the cursor's record, or behind that.
            self.takes(producer, q);
            if moment == 3 {
                self.confirms(producer, q);
            } else {
                let bytes = self.rng.below(InMemory::RECORD) * (moment - 1);
                self.cursor.advance_torn(session(producer), q, bytes);
                self.uncertain.insert((producer, q));
            }
        }
        self.life += 1;
        self.queue.clear();
        self.progress = [0; 2];
        self.positions = Positions::bounded(side(self.at_least_once), self.most);
        if self.durable {
            self.cursor.recover();
            for (session, processed) in self.cursor.positions() {
                self.positions.restore(session, processed);
            }
        } else {
            self.last.clear();
        }
    }

    /// The sender goes on with what its spool has.
    fn producer_killed(&mut self, i: usize) {
        if let Some((c, _)) = self.current[i].take() {
            self.cut(c);
        }
        self.outboxes[i].dies(&mut self.rng, false);
    }

    fn step(&mut self, faults: bool) {
        let i = self.rng.below(2);
        let live = |c: &Connection| !c.ended && c.life == self.life;
        while self.connections.get(self.oldest).is_some_and(|c| !live(c)) {
            self.oldest += 1;
        }
        let c = self.oldest + self.rng.below(self.connections.len() - self.oldest);
        match self.rng.below(8) {
            0 if faults && self.outboxes[i].next() - self.outboxes[i].first_owed() < OUTBOX => {
                self.outboxes[i].append();
            }
            1..=3 => {
                self.outboxes[i].syncs();
                self.producer(i);
            }
            4..=6 if c < self.connections.len() => self.listener_reads(c),
            _ => self.application_asks(),
        }
        match self.rng.below(200) {
            0 if faults => self.listener_killed(),
            1..=4 if faults && c < self.connections.len() => self.cut(c),
            5 if faults => self.current[i] = None,
            6..=8 if faults && self.outboxes[i].spool.is_some() => self.producer_killed(i),
            // It goes to sleep.
            9..=14 if self.most == 1 && !self.outboxes[i].owes() => {
                if let Some((c, _)) = self.current[i].take() {
                    self.cut(c);
                }
            }
            _ => {}
        }
    }

    fn run(mut self) -> u64 {
        for _ in 0..STEPS {
            self.step(true);
        }
        for outbox in &mut self.outboxes {
            outbox.append();
        }
        let owed = |world: &Self| world.outboxes.iter().any(Outbox::owes);
        let mut left = 5_000;
        while owed(&self) {
            self.step(false);
            left -= 1;
            assert!(left > 0, "not drained");
        }
        // what an at-most-once outbox has let go of may still be on its way
        for _ in 0..500 {
            self.step(false);
        }
        let mut total = 0;
        for (i, outbox) in self.outboxes.iter().enumerate() {
            total += outbox.next() - 1;
            let known = |q: u64| self.taken.contains_key(&(i, q));
            let told = |q: u64| self.missed.contains_key(&(i, q));
            let lost: Vec<u64> = (1..outbox.next()).filter(|&q| !known(q)).collect();
            assert!(!self.at_least_once || lost.is_empty(), "lost {lost:?}");
            let first = (1..outbox.next()).find(|&q| known(q)).unwrap_or(u64::MAX);
            let untold = lost.iter().any(|&q| q > first && !told(q));
            assert!(!untold || self.life > 0, "missed untold: {lost:?}");
        }
        assert!(
            !self.at_least_once || self.missed.is_empty(),
            "falsely told"
        );
        total
    }
}

const fn side(at_least_once: bool) -> Side {
    if at_least_once {
        Side::Listener
    } else {
        Side::LossyListener
    }
}

#[test]
fn a_listener_keeps_the_promises() {
    let count = number("WAKEWIRE_SCHEDULES").unwrap_or(10_000);
    let seeds = number("WAKEWIRE_SEED").map_or(1..=count, |seed| seed..=seed);
    let start = Instant::now();
    for (at_least_once, durable) in [(true, false), (true, true), (false, false)] {
        let mut messages = 0;
        for seed in seeds.clone() {
            let run = || Direct::new(seed, at_least_once, durable).run();
            match std::panic::catch_unwind(run) {
                Ok(sent) => messages += sent,
                Err(_) => panic!("durable {durable}, WAKEWIRE_SEED={seed}"),
            }
        }
        println!(
            "listener, at_least_once {at_least_once}, durable {durable}: {messages} messages, {:?}",
            start.elapsed()
        );
    }
}
