//! Random schedules against the real hub and the real positions: connections break and lose any suffix in flight,
//! stay half-open, relay and consumers are killed, logs are full; afterwards the promises are checked.
//!
//! `WAKEWIRE_SCHEDULES=n` runs n schedules per setup, `WAKEWIRE_SEED=s` one of them, `WAKEWIRE_STEPS=n` makes them
//! longer.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of a schedule are small"
)]

mod clients;
mod course;
mod direct;
mod outbox;
mod shell;
mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::effects::{ConsumerHello, HubConfig, Outgoing, Wake};
use super::hub::Hub;
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
    kept: Option<store::Kept>,
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
    forgotten: u64,
    missed: u64,
    stored: u64,
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
    if setup.stores.is_some() {
        world.stores_for_who_comes()?;
    } else if seed.is_multiple_of(4)
        && fault == Fault::None
        && !setup.consumers.iter().any(|kind| kind.named)
    {
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
                all.forgotten += seen.forgotten;
                all.missed += seen.missed;
                all.stored += seen.stored;
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

const ONE_NAMED: Setup = Setup {
    consumers: &[NAMED, UNNAMED, UNNAMED],
    ..HOLD
};

#[test]
fn one_named_two_unnamed() {
    schedules("1 producer, 1 named and 2 unnamed consumers", ONE_NAMED);
}

/// Each rule switched off is noticed, within so many schedules.
#[test]
fn a_rule_switched_off_is_noticed() {
    let now = Instant::now();
    for (fault, within, setups) in [
        (Fault::OneWatermark, 200, [HOLD, TWO_NAMED]),
        (Fault::NoDedup, 200, [HOLD, TWO_NAMED]),
        (Fault::AckOnAppend, 200, [HOLD, TWO_NAMED]),
        (Fault::LatestSkipsUnacked, 200, [HOLD, TWO_NAMED]),
        // Needs a relay and a consumer that both die after everything was processed: once in some 10³.
        (Fault::BaselineNotPast, 5_000, [HOLD, ONE_NAMED]),
    ] {
        for setup in setups {
            let first = (1..=within).find_map(|seed| {
                let result = run_caught(seed, setup, fault, 1500, now);
                result.err().map(|what| (seed, what))
            });
            println!("{fault:?}: {first:?}, after {:?}", now.elapsed());
            assert!(
                first.is_some(),
                "{fault:?} is not noticed within {within} schedules"
            );
        }
    }
}
