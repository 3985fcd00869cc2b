//! Who takes part: each test is a setup, and one switches off rule after rule.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{
    EARLIEST, Fault, HOLD, LATEST, LOSSY, NAMED, STEPS, Seen, Setup, UNNAMED, number, run,
};
use crate::delivery::Fsync;

pub(super) fn run_caught(
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

pub(super) fn schedules(name: &str, setup: Setup) -> Seen {
    let now = Instant::now();
    // Those of whom much happens in one step make fewer.
    let costly =
        setup.spool.is_some() || setup.most.is_some() || setup.slow || setup.stores.is_some();
    let usual = if costly { STEPS / 3 } else { STEPS };
    let steps = number("WAKEWIRE_STEPS").unwrap_or(usual) as usize;
    let mut all = Seen::default();
    if let Some(seed) = number("WAKEWIRE_SEED") {
        println!("{:?}", run(seed, setup, Fault::None, steps, now));
        return all;
    }
    let count = number("WAKEWIRE_SCHEDULES").unwrap_or(10_000);
    let mut messages = 0;
    for seed in 1..=count {
        match run_caught(seed, setup, Fault::None, steps, now) {
            Ok((sent, seen)) => {
                messages += sent;
                all.add(&seen);
            }
            Err(what) => panic!("{name}, WAKEWIRE_SEED={seed}: {what}"),
        }
    }
    println!(
        "{name}: {count} schedules, {messages} messages, {all:?}, {:?}",
        now.elapsed()
    );
    all
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

pub(super) const TWO_NAMED: Setup = Setup {
    producers: 2,
    consumers: &[NAMED, NAMED],
    ..HOLD
};

#[test]
fn two_named() {
    schedules("2 producers, 2 named consumers", TWO_NAMED);
}

const CURSORS: Setup = Setup {
    durable: true,
    ..TWO_NAMED
};

#[test]
fn two_named_durable() {
    schedules("2 producers, 2 named consumers, durable cursors", CURSORS);
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

const SPOOLED: Setup = Setup {
    durable: true,
    spool: Some(Fsync::BeforeAccept),
    ..TWO_NAMED
};

#[test]
fn senders_die_and_lose_their_power() {
    schedules("spools synced before they accept, 2 named durable", SPOOLED);
}

const SPOOLED_LATER: Setup = Setup {
    spool: Some(Fsync::Interval),
    consumers: &[UNNAMED],
    ..SPOOLED
};

#[test]
fn senders_die_whose_spools_are_synced_later() {
    schedules("spools synced later, 1 unnamed durable", SPOOLED_LATER);
}

const SPOOLED_NEVER: Setup = Setup {
    spool: Some(Fsync::Never),
    consumers: &[NAMED, UNNAMED],
    durable: false,
    ..SPOOLED
};

#[test]
fn senders_die_whose_spools_are_never_synced() {
    schedules("spools never synced, named and unnamed", SPOOLED_NEVER);
}

const FORGETFUL: Setup = Setup {
    producers: 5,
    consumers: &[NAMED, UNNAMED],
    most: Some(3),
    ..HOLD
};

#[test]
fn sessions_are_forgotten_and_return() {
    schedules(
        "5 producers, 3 sessions remembered, named and unnamed",
        FORGETFUL,
    );
}

#[test]
fn sessions_are_forgotten_by_cursors_and_return() {
    let setup = Setup {
        durable: true,
        ..FORGETFUL
    };
    schedules("5 producers, 3 sessions remembered, durable cursors", setup);
}

const SLOW: Setup = Setup {
    producers: 2,
    consumers: &[NAMED, UNNAMED, UNNAMED, LOSSY],
    slow: true,
    ..HOLD
};

#[test]
fn slow_consumers_are_let_go() {
    schedules("slow consumers, 1 named, 2 unnamed, 1 lossy", SLOW);
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
        (Fault::SpoolBehind, 200, [SPOOLED_LATER, SPOOLED_NEVER]),
        (Fault::SentUnsynced, 200, [SPOOLED, SPOOLED]),
        (Fault::SessionKept, 200, [SPOOLED_LATER, SPOOLED_NEVER]),
        (Fault::AckBeforeCursor, 200, [CURSORS, SPOOLED]),
        (Fault::CursorBeforeEffect, 200, [CURSORS, SPOOLED]),
        (Fault::NeverUnsure, 4_000, [FORGETFUL, TWO_NAMED]),
        (Fault::StartsAtOne, 200, [HOLD, FORGETFUL]),
        (Fault::EndlessPatience, 200, [SLOW, SLOW]),
        (Fault::AllAreSlow, 200, [SLOW, SLOW]),
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
