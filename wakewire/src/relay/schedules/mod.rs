//! Random schedules against the real hub and the real positions: connections break and lose any suffix in flight,
//! stay half-open, relay and consumers are killed, logs are full; afterwards the promises are checked.
//!
//! Some have senders that die and go on from their [spools](spooled), consumers that die and go on from their
//! [cursors](resumed), more sessions than anybody [remembers](forgotten), and consumers that are [let go](slow).
//!
//! `WAKEWIRE_SCHEDULES=n` runs n schedules per setup, `WAKEWIRE_SEED=s` one of them, `WAKEWIRE_STEPS=n` makes them
//! longer.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of a schedule are small"
)]

mod checks;
mod clients;
mod course;
mod direct;
mod forgotten;
mod outbox;
mod resumed;
mod setups;
mod shell;
mod slow;
mod spooled;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::effects::{ConsumerHello, HubConfig, Outgoing, Wake};
use super::hub::Hub;
use crate::cursor::InMemory;
use crate::delivery::Fsync;
use crate::wire::SessionId;
use crate::wire::hello::Start;
use crate::wire::run::Run;
use crate::wire::session::Positions;
use outbox::Outbox;

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
    /// The relay takes for stored what it has not written (S1).
    StoredUnwritten,
    /// A message is accepted, and handed to connections, before it is in the spool.
    SpoolBehind,
    /// What is accepted only once it is synced is sent before that.
    SentUnsynced,
    /// After a loss of power the numbers go on in the same session.
    SessionKept,
    /// A message is acknowledged before that is in the cursor.
    AckBeforeCursor,
    /// The cursor is past a message before the application is.
    CursorBeforeEffect,
    /// The relay does not know that it has forgotten sessions.
    NeverUnsure,
    /// An unknown session starts at 1, not at what is owed (R1).
    StartsAtOne,
    /// Nobody is ever let go (C5).
    EndlessPatience,
    /// Whoever is attached when the log has been full for too long is let go (C5).
    AllAreSlow,
}

/// Who takes part.
#[derive(Clone, Copy)]
struct Setup {
    producers: usize,
    consumers: &'static [Kind],
    durable: bool,
    hold: bool,
    at_least_once: bool,
    /// With a disk.
    stores: Option<Fsync>,
    /// Producers have a spool, which is synced like this, and die.
    spool: Option<Fsync>,
    /// How many sessions the relay, and each consumer, remembers; producers go to sleep.
    most: Option<usize>,
    /// Consumers stop reading for longer than the relay waits for them.
    slow: bool,
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
    stores: None,
    spool: None,
    most: None,
    slow: false,
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
    /// What is acknowledged.
    progress: BTreeMap<SessionId, u64>,
    /// What was processed, and what the consumer's memory was then.
    taken: BTreeMap<(SessionId, u64), u64>,
    missed: BTreeMap<SessionId, Vec<(u64, u64)>>,
    /// Grows whenever something is forgotten.
    memory: u64,
    /// What it was when everything, or a session, was forgotten last.
    forgot_all: u64,
    forgot: BTreeMap<SessionId, u64>,
    known: BTreeSet<SessionId>,
    cursor: Option<InMemory>,
    said: resumed::Said,
    /// It reads nothing, as if it were stopped.
    stalled: bool,
    was_stalled: bool,
}

struct World {
    rng: Rng,
    setup: Setup,
    fault: Fault,
    now: Instant,
    hub: Hub,
    kept: Option<store::Kept>,
    wake: Wake,
    life: u64,
    connections: Vec<Connection>,
    /// The first connection that may still be alive.
    oldest: usize,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    out: Vec<Outgoing>,
    /// Which message a number stands for, where senders die.
    ledger: BTreeMap<(SessionId, u64), u64>,
    /// Nothing goes wrong but that consumers are slow.
    calm: bool,
    seen: Seen,
}

/// How often what is hard has happened, so that a schedule driver that no longer gets there is noticed.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    full: u64,
    replaced: u64,
    overdue: u64,
    killed: u64,
    forgotten: u64,
    missed: u64,
    stored: u64,
    /// Senders and machines of senders that died.
    senders: u64,
    powerless: u64,
    /// After which a new session went on.
    renewed: u64,
    /// Consumers that died with an effect that was not in the cursor, or torn there.
    uncertain: u64,
    torn: u64,
    /// Sessions that consumers forgot, and messages that came again for it.
    unknown: u64,
    again: u64,
    /// Sessions for which the relay had no room.
    refused: u64,
    stalled: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.replaced += other.replaced;
        self.overdue += other.overdue;
        self.killed += other.killed;
        self.forgotten += other.forgotten;
        self.missed += other.missed;
        self.senders += other.senders;
        self.powerless += other.powerless;
        self.renewed += other.renewed;
        self.uncertain += other.uncertain;
        self.torn += other.torn;
        self.unknown += other.unknown;
        self.again += other.again;
        self.refused += other.refused;
        self.stalled += other.stalled;
        self.stored += other.stored;
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
        named_deadline: setup.slow.then_some(2 * HOUR),
    }
}

fn hub(setup: Setup, fault: Fault) -> Hub {
    let mut hub = Hub::new(config(setup, fault));
    hub.sessions.most = setup.most.unwrap_or(hub.sessions.most);
    hub
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
    world.slow_ones_stop_nobody()?;
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
    if setup.stores.is_some() {
        world.stores_for_who_comes()?;
    } else if seed.is_multiple_of(4)
        && fault == Fault::None
        && setup.spool.is_none()
        && !setup.consumers.iter().any(|kind| kind.named)
    {
        world.with_nobody()?;
    }
    Ok((total, world.seen))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
