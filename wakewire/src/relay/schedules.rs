//! Random schedules against the real hub and the real positions: connections break and lose any suffix in flight,
//! stay half-open, relay and consumers are killed, logs are full; afterwards the promises are checked.
//!
//! `WAKEWIRE_SCHEDULES=n` runs n schedules per setup, `WAKEWIRE_SEED=s` one of them, `WAKEWIRE_STEPS=n` makes them
//! longer. `BaselineNotPast` hurts once in some 10⁵ schedules: its test does something only when
//! `WAKEWIRE_BASELINE=n` says how many to look through.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::effects::{
    ConnectionId, ConsumerHello, ConsumerKey, HubConfig, Offered, Outgoing, Start, Wake,
};
use super::hub::Hub;
use crate::message::Message;
use crate::wire::SessionId;
use crate::wire::frame::{DataView, encode_message, stamp_origin};
use crate::wire::run::{Run, frame_length};
use crate::wire::session::{Position, Positions, Side};

const OUTBOX: u64 = 6;
const LOG_BYTES: usize = 700;
const PIPE: usize = 4;
const STEPS: u64 = 800;
const HOUR: Duration = Duration::from_secs(3600);

/// A rule that the driver breaks, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// The producer takes *have* for *acked* (P3).
    OneWatermark,
    /// The consumer neither says what it has nor drops it (K2).
    NoDedup,
    /// The relay acknowledges what it appended (R5).
    AckOnAppend,
    /// A new consumer starts behind what nobody has acknowledged (C1).
    LatestSkipsUnacked,
    /// What a gap passed over does not count as processed (K3).
    BaselineNotPast,
}

/// Who takes part.
#[derive(Clone, Copy)]
struct Setup {
    producers: usize,
    consumers: &'static [Kind],
    durable: bool,
    hold: bool,
    at_least_once: bool,
}

#[derive(Clone, Copy)]
struct Kind {
    named: bool,
    at_most_once: bool,
    start: Start,
}

const NAMED: Kind = Kind {
    named: true,
    at_most_once: false,
    start: Start::Owed,
};
const UNNAMED: Kind = Kind {
    named: false,
    ..NAMED
};
const EARLIEST: Kind = Kind {
    start: Start::Earliest,
    ..UNNAMED
};
const LATEST: Kind = Kind {
    start: Start::Latest,
    at_most_once: true,
    ..UNNAMED
};
const LOSSY: Kind = Kind {
    start: Start::Owed,
    ..LATEST
};
const HOLD: Setup = Setup {
    producers: 1,
    consumers: &[UNNAMED],
    durable: false,
    hold: true,
    at_least_once: true,
};

struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n.max(1)
    }
}

// ---- a producer's outbox, as small as it can be ---------------------------------------------------------------

struct Outbox {
    session: SessionId,
    at_most_once: bool,
    /// What is owed, from `acked + 1` on.
    frames: VecDeque<Bytes>,
    next: u64,
    acked: u64,
    cursor: u64,
}

impl Outbox {
    fn new(session: SessionId, at_most_once: bool) -> Self {
        Self {
            session,
            at_most_once,
            frames: VecDeque::new(),
            next: 1,
            acked: 0,
            cursor: 1,
        }
    }
    fn append(&mut self) {
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
    fn owes(&self) -> bool {
        self.acked + 1 < self.next
    }
    fn first_owed(&self) -> u64 {
        self.acked + 1
    }
    fn take(&mut self, most: usize) -> Option<Run> {
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
    fn forget(&mut self, to: u64) {
        while self.acked < to {
            self.acked += 1;
            self.frames.pop_front();
        }
    }
    fn welcomed(&mut self, acked: u64, have: u64) {
        assert!(
            have < self.next && acked <= have,
            "welcome beyond what was sent"
        );
        self.forget(acked);
        self.cursor = have.max(self.acked) + 1;
    }
    fn acknowledged(&mut self, to: u64) {
        assert!(to < self.next, "acknowledgement beyond what was sent");
        self.forget(to);
        self.cursor = self.cursor.max(self.acked + 1);
    }
    fn disconnected(&mut self) {}
}

fn payload(session: SessionId, sequence: u64) -> Vec<u8> {
    // one in eleven is larger than the whole log
    let length = if sequence % 11 == 0 {
        2 * LOG_BYTES
    } else {
        3 + (sequence % 5) as usize * 4
    };
    let mut bytes = vec![session.0 as u8, sequence as u8, (sequence >> 8) as u8];
    bytes.resize(length, sequence as u8);
    bytes
}

// ---- the wire -------------------------------------------------------------------------------------------------

enum Up {
    Producer { session: SessionId, first_owed: u64 },
    Consumer(ConsumerHello),
    Data(Run),
    Ack { origin: u32, sequence: u64 },
}

enum Down {
    Welcome {
        acked: u64,
        have: u64,
        attached: bool,
    },
    News {
        acked: u64,
        attached: bool,
    },
    Out(Outgoing),
}

/// One connection: two queues in flight. A broken one delivers what is left, then ends.
#[derive(Default)]
struct Connection {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    open: bool,
    life: u64,
    /// The relay has let go of it.
    ended: bool,
    origin: u32,
    held: Option<Run>,
    room: bool,
    poll: bool,
    is_producer: bool,
}

struct Producer {
    outbox: Outbox,
    connection: Option<usize>,
    welcomed: bool,
    attached: Option<bool>,
}

enum Item {
    Message(SessionId, u64),
    Past(SessionId, u64),
}

struct Consumer {
    kind: Kind,
    life: u64,
    fresh: bool,
    connection: Option<usize>,
    positions: Positions,
    queue: VecDeque<Item>,
    hand: Option<(SessionId, u64)>,
    /// What this connection said: which session an origin stands for.
    sessions: HashMap<u32, SessionId>,
    origins: BTreeMap<SessionId, u32>,
    /// What the application really processed, in this life.
    really: BTreeMap<SessionId, u64>,
    /// In which life it was processed.
    taken: BTreeMap<(SessionId, u64), u64>,
    missed: BTreeMap<SessionId, Vec<(u64, u64)>>,
}

struct World {
    rng: Rng,
    setup: Setup,
    fault: Fault,
    now: Instant,
    hub: Hub,
    wake: Wake,
    life: u64,
    connections: Vec<Connection>,
    /// The first connection that may still be alive.
    oldest: usize,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    out: Vec<Outgoing>,
    seen: Seen,
}

/// How often what is hard has happened, so that a schedule driver that no longer gets there is noticed.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    full: u64,
    replaced: u64,
    overdue: u64,
    killed: u64,
    missed: u64,
}

impl World {
    fn new(seed: u64, setup: Setup, fault: Fault, now: Instant) -> Self {
        let producer = |i: usize| Producer {
            outbox: Outbox::new(SessionId(i as u128 + 1), !setup.at_least_once),
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
        Self {
            rng: Rng::new(seed),
            setup,
            fault,
            now,
            hub: Hub::new(config(setup, fault)),
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

    fn dial(&mut self, hello: Up) -> usize {
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
    fn cut(&mut self, c: usize) {
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
    fn wake(&mut self) {
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

    // ---- producer ---------------------------------------------------------------------------------------------

    fn producer_dials(&mut self, i: usize) {
        let producer = &self.producers[i];
        if producer.connection.is_none() && producer.outbox.owes() {
            let (session, first_owed) = (producer.outbox.session, producer.outbox.first_owed());
            let c = self.dial(Up::Producer {
                session,
                first_owed,
            });
            self.producers[i].connection = Some(c);
            self.producers[i].welcomed = false;
        }
    }

    fn producer_reads(&mut self, i: usize) {
        let producer = &mut self.producers[i];
        let Some(c) = producer.connection else { return };
        match self.connections[c].down.pop_front() {
            Some(Down::Welcome {
                acked,
                have,
                attached,
            }) => {
                let one = self.fault == Fault::OneWatermark;
                producer
                    .outbox
                    .welcomed(if one { have } else { acked }, have);
                producer.welcomed = true;
                producer.attached = Some(attached);
            }
            Some(Down::News { acked, attached }) => {
                producer.outbox.acknowledged(acked);
                producer.attached = Some(attached);
            }
            Some(Down::Out(_)) => panic!("a producer got data"),
            None if !self.connections[c].open => {
                producer.outbox.disconnected();
                producer.connection = None;
            }
            None => {}
        }
    }

    fn producer_writes(&mut self, i: usize) {
        let producer = &mut self.producers[i];
        let Some(c) = producer.connection else { return };
        let connection = &mut self.connections[c];
        if producer.welcomed
            && connection.open
            && connection.up.len() < PIPE
            && let Some(run) = producer.outbox.take(1 + self.rng.below(3))
        {
            connection.up.push_back(Up::Data(run));
        }
    }

    // ---- relay ------------------------------------------------------------------------------------------------

    fn relay_reads(&mut self, c: usize) {
        let id = ConnectionId(c as u64);
        let connection = &mut self.connections[c];
        if connection.life != self.life || connection.ended {
            return;
        }
        if let Some(run) = connection.held.take() {
            if !connection.open && self.rng.below(4) == 0 {
                return self.relay_lost(c); // the shell notices without reading
            }
            if !connection.room {
                connection.held = Some(run);
                return;
            }
            connection.room = false;
            return self.offer(c, run);
        }
        match connection.up.pop_front() {
            Some(Up::Producer {
                session,
                first_owed,
            }) => {
                let welcome = self
                    .hub
                    .producer_hello(session, first_owed, id, &mut self.wake)
                    .unwrap();
                let connection = &mut self.connections[c];
                connection.origin = welcome.origin;
                if connection.open {
                    connection.down.push_back(Down::Welcome {
                        acked: welcome.acked,
                        have: welcome.have,
                        attached: welcome.consumers_attached,
                    });
                }
            }
            Some(Up::Data(run)) => {
                let run = stamped(run, connection.origin);
                self.offer(c, run);
            }
            Some(Up::Consumer(mut hello)) => {
                if self.fault == Fault::LatestSkipsUnacked && hello.positions.is_empty() {
                    let sessions = self.hub.view().sessions;
                    hello.positions = sessions
                        .iter()
                        .map(|s| Position {
                            session: s.session,
                            processed: s.have,
                            have: s.have,
                        })
                        .collect();
                }
                self.hub
                    .consumer_hello(hello, id, self.now, &mut self.wake)
                    .unwrap();
            }
            Some(Up::Ack { origin, sequence }) => {
                self.hub
                    .acknowledge(id, origin, sequence, self.now, &mut self.wake)
                    .unwrap();
            }
            None if !connection.open => self.relay_lost(c),
            None => {}
        }
        self.wake();
    }

    fn offer(&mut self, c: usize, run: Run) {
        let id = ConnectionId(c as u64);
        match self.hub.data(id, run, self.now, &mut self.wake).unwrap() {
            Offered::Taken => {}
            Offered::Full(run) => {
                self.connections[c].held = Some(run);
                self.seen.full += 1;
            }
            Offered::Ended => panic!("read from a connection that was replaced"),
        }
        self.wake();
    }

    fn relay_lost(&mut self, c: usize) {
        self.connections[c].ended = true;
        self.connections[c].open = false;
        self.hub.lost(ConnectionId(c as u64), &mut self.wake);
        self.wake();
    }

    /// A connection sends what the hub has for it, if it was woken and its pipe has room.
    fn relay_writes(&mut self, c: usize) {
        let id = ConnectionId(c as u64);
        let connection = &mut self.connections[c];
        if connection.life != self.life || !connection.poll || connection.ended {
            return;
        }
        if connection.open && connection.down.len() >= PIPE {
            return;
        }
        connection.poll = false;
        if connection.is_producer {
            let news = self.hub.poll_producer(id);
            if let Some(news) = news.filter(|_| connection.open) {
                connection.down.push_back(Down::News {
                    acked: news.acked,
                    attached: news.consumers_attached,
                });
            }
            return;
        }
        let most = self.rng.below(250);
        let more = self
            .hub
            .poll_consumer(id, most, &mut self.out, &mut self.wake);
        let connection = &mut self.connections[c];
        connection.poll |= more;
        // what is written to a broken connection is gone
        let out = self.out.drain(..).filter(|_| connection.open);
        connection.down.extend(out.map(Down::Out));
        self.wake();
    }

    fn relay_killed(&mut self) {
        for c in self.oldest..self.connections.len() {
            if self.connections[c].life == self.life {
                self.cut(c);
                self.connections[c].up.clear();
            }
        }
        self.life += 1;
        self.seen.killed += 1;
        self.wake = Wake::default();
        self.hub = Hub::new(config(self.setup, self.fault));
    }

    /// C5, as if its time had come.
    fn relay_loses_patience(&mut self) {
        assert!(self.hub.overdue(self.now).is_empty());
        let overdue = self.hub.overdue(self.now + HOUR);
        assert_eq!(overdue.is_empty(), self.hub.next_deadline().is_none());
        for id in overdue {
            self.seen.overdue += 1;
            let named = |u: &Consumer| u.kind.named && u.connection == Some(id.0 as usize);
            assert!(
                !self.consumers.iter().any(named),
                "no deadline is set for named ones"
            );
            self.cut(id.0 as usize);
            self.relay_lost(id.0 as usize);
        }
    }

    // ---- consumer ---------------------------------------------------------------------------------------------

    fn consumer_dials(&mut self, k: usize) {
        let consumer = &mut self.consumers[k];
        if consumer.connection.is_some() {
            return;
        }
        let fault = self.fault;
        let mut positions: Vec<Position> = consumer.positions.iter().collect();
        for position in &mut positions {
            position.processed = consumer.reported(position.session, fault);
            if fault == Fault::NoDedup {
                position.have = position.processed;
            }
        }
        if consumer.kind.start == Start::Latest && self.rng.below(2) == 0 {
            positions.clear(); // one that does not care
        }
        let key = if consumer.kind.named || k % 2 == 1 {
            ConsumerKey::Name(format!("c{k}"))
        } else {
            ConsumerKey::Id((k as u128) << 64 | u128::from(consumer.life))
        };
        let hello = ConsumerHello {
            key,
            at_most_once: consumer.kind.at_most_once,
            start: consumer.kind.start,
            positions,
        };
        consumer.fresh = false;
        consumer.sessions.clear();
        consumer.origins.clear();
        let c = self.dial(Up::Consumer(hello));
        self.consumers[k].connection = Some(c);
    }

    fn consumer_reads(&mut self, k: usize) {
        let consumer = &mut self.consumers[k];
        let Some(c) = consumer.connection else { return };
        match self.connections[c].down.pop_front() {
            Some(Down::Out(Outgoing::Gap {
                session,
                origin,
                after,
            })) => {
                consumer.sessions.insert(origin, session);
                consumer.origins.insert(session, origin);
                let passed = consumer.positions.gap(session, after, false);
                consumer.note_missed(session, passed.missed);
                if passed.mark {
                    consumer.queue.push_back(Item::Past(session, after));
                }
            }
            Some(Down::Out(Outgoing::Data { origin, run })) => {
                let session = consumer.sessions[&origin];
                check_frames(&run, session, origin);
                let verdict = consumer
                    .positions
                    .data(session, run.first, run.last)
                    .unwrap();
                consumer.note_missed(session, verdict.missed);
                let dedup = self.fault != Fault::NoDedup;
                let first = if dedup {
                    verdict.drop_before
                } else {
                    run.first
                };
                let messages = (first..=run.last).map(|q| Item::Message(session, q));
                consumer.queue.extend(messages);
            }
            Some(Down::Welcome { .. } | Down::News { .. }) => panic!("a consumer got an answer"),
            None if !self.connections[c].open => consumer.connection = None,
            None => {}
        }
    }

    /// The application asks for the next message: the one in hand is processed (K4, K5).
    fn consumer_asks(&mut self, k: usize) {
        let (fault, durable) = (self.fault, self.setup.durable);
        let consumer = &mut self.consumers[k];
        let mut owed = None;
        if let Some((session, q)) = consumer.hand.take() {
            let before = consumer.taken.insert((session, q), consumer.life);
            assert!(
                before.is_none_or(|life| life != consumer.life && !durable),
                "twice in one life: {session:?} {q}"
            );
            let last = consumer.really.insert(session, q);
            assert!(
                last.is_none_or(|last| last < q),
                "out of order: {session:?} {q}"
            );
            consumer.positions.processed(session, q);
            owed = Some(session);
        } else if !consumer.origins.is_empty() {
            // idle: say again where we are
            let at = self.rng.below(consumer.origins.len());
            owed = consumer.origins.keys().nth(at).copied();
        }
        while let Some(&Item::Past(session, after)) = consumer.queue.front() {
            consumer.positions.processed(session, after);
            consumer.queue.pop_front();
        }
        if let Some(&Item::Message(session, q)) = consumer.queue.front() {
            consumer.hand = Some((session, q));
            consumer.queue.pop_front();
        }
        let Some(c) = consumer.connection else { return };
        let connection = &mut self.connections[c];
        if connection.open
            && connection.up.len() < PIPE
            && let Some(session) = owed
            && let Some(&origin) = consumer.origins.get(&session)
        {
            let sequence = consumer.reported(session, fault);
            connection.up.push_back(Up::Ack { origin, sequence });
        }
    }

    fn consumer_killed(&mut self, k: usize) {
        if let Some(c) = self.consumers[k].connection.take() {
            self.cut(c);
        }
        let consumer = &mut self.consumers[k];
        consumer.life += 1;
        consumer.queue.clear();
        consumer.hand = None;
        let old = std::mem::replace(&mut consumer.positions, Positions::new(Side::Consumer));
        if self.setup.durable {
            for position in old.iter() {
                consumer
                    .positions
                    .restore(position.session, position.processed);
            }
        } else {
            consumer.really.clear();
            consumer.fresh = true;
        }
    }

    // ---- schedules --------------------------------------------------------------------------------------------

    fn step(&mut self) {
        let (p, u) = (self.producers.len(), self.consumers.len());
        match self.rng.below((p + u) * 3 + 6) {
            x if x < p * 3 => match x % 3 {
                0 => {
                    let outbox = &mut self.producers[x / 3].outbox;
                    if outbox.next - outbox.first_owed() < OUTBOX {
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
        self.forget_dead_connections();
    }

    fn forget_dead_connections(&mut self) {
        while let Some(connection) = self.connections.get(self.oldest) {
            if connection.life == self.life && !connection.ended {
                break;
            }
            self.oldest += 1;
        }
    }

    fn fault(&mut self) {
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
            _ => {}
        }
    }

    /// One thing of everything that can happen, in order.
    fn round(&mut self, with_consumers: bool) {
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
        self.hub.check_invariants();
        self.forget_dead_connections();
    }

    fn is_quiet(&self, with_consumers: bool) -> bool {
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
    fn abandoned_end(&mut self) {
        let producers = self.producers.iter().map(|p| p.connection);
        let consumers = self.consumers.iter().map(|u| u.connection);
        let alive: Vec<usize> = producers.chain(consumers).flatten().collect();
        for c in self.oldest..self.connections.len() {
            if !alive.contains(&c) {
                self.cut(c);
            }
        }
    }

    fn drain(&mut self, with_consumers: bool) -> Result<(), String> {
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
            .map(|p| (p.outbox.acked, p.outbox.cursor, p.outbox.next))
            .collect();
        Err(format!(
            "not drained: {stuck:?} {:?} {:?}",
            self.hub.view(),
            self.hub.connections
        ))
    }

    fn consumers_leave(&mut self) {
        for k in 0..self.consumers.len() {
            if let Some(c) = self.consumers[k].connection.take() {
                self.cut(c);
            }
        }
    }

    /// Promise 5, or what `accept` promises instead: what happens with nobody there.
    fn with_nobody(&mut self) -> Result<(), String> {
        self.consumers_leave();
        for _ in 0..4 {
            self.round(false);
        }
        let before: Vec<u64> = self.producers.iter().map(|p| p.outbox.acked).collect();
        for _ in 0..3 {
            for producer in &mut self.producers {
                if producer.outbox.next - producer.outbox.first_owed() < OUTBOX {
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
            assert_eq!(producer.outbox.acked, before, "nobody has it");
            assert_eq!(producer.attached, Some(false), "promise 5");
        }
        Ok(())
    }

    /// Returns (lost for named or only consumers, missed untold, messages).
    fn verdict(&self) -> (usize, usize, u64) {
        let (mut lost, mut untold, mut total) = (0, 0, 0);
        let owed_all =
            |u: &Consumer| u.kind.named || (self.consumers.len() == 1 && self.setup.hold);
        for producer in &self.producers {
            let (session, n) = (producer.outbox.session, producer.outbox.next - 1);
            total += n;
            for u in &self.consumers {
                let has = |q: &u64| u.taken.contains_key(&(session, *q));
                let missing = (1..=n).filter(|q| !has(q));
                if owed_all(u) && self.setup.at_least_once {
                    lost += missing.count();
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

impl Consumer {
    fn reported(&self, session: SessionId, fault: Fault) -> u64 {
        if fault == Fault::BaselineNotPast {
            return self.really.get(&session).copied().unwrap_or(0);
        }
        self.positions.get(session).map_or(0, |p| p.processed)
    }

    fn note_missed(&mut self, session: SessionId, range: Option<std::ops::RangeInclusive<u64>>) {
        if let Some(range) = range {
            assert!(range.start() <= range.end());
            let missed = self.missed.entry(session).or_default();
            missed.push((*range.start(), *range.end()));
        }
    }
}

fn config(setup: Setup, fault: Fault) -> HubConfig {
    let named = setup.consumers.iter().enumerate();
    HubConfig {
        named: named
            .filter(|(_, kind)| kind.named)
            .map(|(k, _)| format!("c{k}"))
            .collect(),
        hold: setup.hold,
        // a relay that promises nothing acknowledges what it appended
        at_least_once: setup.at_least_once && fault != Fault::AckOnAppend,
        log_bytes: LOG_BYTES,
        unnamed_deadline: HOUR,
        named_deadline: None,
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

fn stamped(run: Run, origin: u32) -> Run {
    let mut bytes = run.bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        stamp_origin(&mut bytes[at..], origin);
        at += frame_length(&bytes[at..]);
    }
    Run {
        bytes: bytes.into(),
        ..run
    }
}

fn check_frames(run: &Run, session: SessionId, origin: u32) {
    let mut rest = &run.bytes[..];
    for sequence in run.first..=run.last {
        let frame = DataView::at(rest).unwrap();
        assert_eq!(
            (frame.header.sequence, frame.header.origin),
            (sequence, origin)
        );
        assert_eq!(frame.body, payload(session, sequence));
        rest = &rest[frame.header.frame_length()..];
    }
    assert!(rest.is_empty());
}

/// Runs one schedule; returns the messages, or what is wrong.
fn run(
    seed: u64,
    setup: Setup,
    fault: Fault,
    steps: usize,
    now: Instant,
) -> Result<(u64, Seen), String> {
    let mut world = World::new(seed, setup, fault, now);
    for step in 0..steps {
        world.step();
        world.fault();
        if step % 4 == 0 {
            world.hub.check_invariants();
        }
    }
    // Faults stop. Then each producer says one thing more, which is how a relay that forgot a session, and a
    // consumer that missed something, learn of it.
    world.drain(true)?;
    for producer in &mut world.producers {
        producer.outbox.append();
    }
    world.drain(true)?;
    let missed = |u: &Consumer| u.missed.values().map(Vec::len).sum::<usize>() as u64;
    world.seen.missed = world.consumers.iter().map(missed).sum();
    let (lost, untold, total) = world.verdict();
    if lost + untold > 0 {
        return Err(format!("{lost} lost, {untold} missed untold"));
    }
    if seed % 4 == 0 && fault == Fault::None && !setup.consumers.iter().any(|kind| kind.named) {
        world.with_nobody()?;
    }
    Ok((total, world.seen))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run_caught(
    seed: u64,
    setup: Setup,
    fault: Fault,
    steps: usize,
    now: Instant,
) -> Result<(u64, Seen), String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, setup, fault, steps, now))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a rule is broken".to_owned()))
    })
}

fn schedules(name: &str, setup: Setup) {
    let now = Instant::now();
    let steps = number("WAKEWIRE_STEPS").unwrap_or(STEPS) as usize;
    if let Some(seed) = number("WAKEWIRE_SEED") {
        println!("{:?}", run(seed, setup, Fault::None, steps, now));
        return;
    }
    let count = number("WAKEWIRE_SCHEDULES").unwrap_or(10_000);
    let (mut messages, mut all) = (0, Seen::default());
    for seed in 1..=count {
        match run_caught(seed, setup, Fault::None, steps, now) {
            Ok((sent, seen)) => {
                messages += sent;
                all.full += seen.full;
                all.replaced += seen.replaced;
                all.overdue += seen.overdue;
                all.killed += seen.killed;
                all.missed += seen.missed;
            }
            Err(what) => panic!("{name}, WAKEWIRE_SEED={seed}: {what}"),
        }
    }
    println!(
        "{name}: {count} schedules, {messages} messages, {all:?}, {:?}",
        now.elapsed()
    );
}

#[test]
fn one_unnamed() {
    schedules("1 producer, 1 unnamed consumer", HOLD);
}

#[test]
fn one_unnamed_durable() {
    let setup = Setup {
        producers: 2,
        durable: true,
        ..HOLD
    };
    schedules("2 producers, 1 unnamed consumer, durable cursor", setup);
}

const TWO_NAMED: Setup = Setup {
    producers: 2,
    consumers: &[NAMED, NAMED],
    ..HOLD
};

#[test]
fn two_named() {
    schedules("2 producers, 2 named consumers", TWO_NAMED);
}

#[test]
fn two_named_durable() {
    let setup = Setup {
        durable: true,
        ..TWO_NAMED
    };
    schedules("2 producers, 2 named consumers, durable cursors", setup);
}

#[test]
fn one_named_two_unnamed() {
    let setup = Setup {
        consumers: &[NAMED, UNNAMED, UNNAMED],
        ..HOLD
    };
    schedules("1 producer, 1 named and 2 unnamed consumers", setup);
}

#[test]
fn accept_without_consumers() {
    let setup = Setup {
        producers: 2,
        hold: false,
        ..HOLD
    };
    schedules("accept: 2 producers, 1 unnamed consumer", setup);
}

#[test]
fn accept_with_a_named_one() {
    let setup = Setup {
        consumers: &[NAMED, UNNAMED],
        hold: false,
        ..HOLD
    };
    schedules("accept: 1 producer, 1 named and 1 unnamed consumer", setup);
}

#[test]
fn earliest_and_latest() {
    let setup = Setup {
        producers: 2,
        consumers: &[NAMED, EARLIEST, LATEST],
        ..HOLD
    };
    schedules("2 producers, named, earliest and latest consumers", setup);
}

#[test]
fn at_most_once() {
    let setup = Setup {
        producers: 2,
        consumers: &[LOSSY, LATEST, UNNAMED],
        at_least_once: false,
        ..HOLD
    };
    schedules("at most once: 2 producers, lossy, latest, owed", setup);
}

/// Each rule switched off is noticed within so many schedules of either setup.
#[test]
fn a_rule_switched_off_is_noticed() {
    let now = Instant::now();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let faults = [
        Fault::OneWatermark,
        Fault::NoDedup,
        Fault::AckOnAppend,
        Fault::LatestSkipsUnacked,
    ];
    let mut found = Vec::new();
    for fault in faults {
        for setup in [HOLD, TWO_NAMED] {
            let first = (1..=200).find_map(|seed| {
                let result = run_caught(seed, setup, fault, 400, now);
                result.err().map(|what| (seed, what))
            });
            found.push((fault, first));
        }
    }
    std::panic::set_hook(quiet);
    for (fault, first) in found {
        println!("{fault:?}: {first:?}");
        assert!(
            first.is_some(),
            "{fault:?} is not noticed within 200 schedules"
        );
    }
}

/// Hurts once in some 10⁵ schedules: looked for only when `WAKEWIRE_BASELINE` says in how many.
#[test]
fn a_baseline_that_is_not_past_is_noticed() {
    let Some(count) = number("WAKEWIRE_BASELINE") else {
        return;
    };
    let now = Instant::now();
    let steps = number("WAKEWIRE_STEPS").unwrap_or(STEPS) as usize;
    let first = (1..=count).find_map(|seed| {
        let setup = [HOLD, TWO_NAMED][seed as usize % 2];
        let result = run_caught(seed, setup, Fault::BaselineNotPast, steps, now);
        result.err().map(|what| (seed, what))
    });
    println!("BaselineNotPast: {first:?}, {:?}", now.elapsed());
    assert!(first.is_some(), "not noticed within {count} schedules");
}
