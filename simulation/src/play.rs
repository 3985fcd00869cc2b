//! Plays one plan in a simulated network.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime;
use turmoil::{Builder, Sim};

use crate::cast::{Ending, Stage};
use crate::fault::heal;
use crate::journal::{Counts, Journal};
use crate::plan::{Kind, Plan, RELAY, consumer, producer};

/// What became of a play.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub seed: u64,
    /// Promises that did not hold.
    pub broken: Vec<String>,
    /// Differs when anything went otherwise.
    pub trace: u64,
    pub counts: Counts,
    pub faults: usize,
    pub simulated: Duration,
    /// From the end of the last fault until nobody owed anybody anything.
    pub recovery: Duration,
}

/// Plays this seed.
pub fn play(seed: u64, aloud: bool) -> Outcome {
    let plan = Rc::new(Plan::of(seed));
    if aloud {
        println!("{plan:#?}");
    }
    let mut journal = Journal::new(plan.service.kind == Kind::Lossy, plan.consumers.len());
    journal.aloud = aloud;
    let stage = Stage {
        journal: Rc::new(RefCell::new(journal)),
        ending: Rc::new(RefCell::new(Ending {
            begun: false,
            done: vec![false; plan.producers.len()],
        })),
        plan: Rc::clone(&plan),
    };
    let played = catch_unwind(AssertUnwindSafe(|| run(&stage)));
    let mut journal = stage.journal.borrow_mut();
    let (simulated, recovery) = match played {
        Ok(Ok(times)) => times,
        Ok(Err(error)) => {
            journal.is_broken(error.to_string());
            Default::default()
        }
        Err(_) => {
            journal.is_broken("panicked".to_owned());
            Default::default()
        }
    };
    journal.conclude();
    Outcome {
        seed,
        broken: journal.broken().to_vec(),
        trace: journal.trace(),
        counts: journal.counts,
        faults: plan.faults.len(),
        simulated,
        recovery,
    }
}

fn run(stage: &Stage) -> turmoil::Result<(Duration, Duration)> {
    let plan = &stage.plan;
    wakewire::seed_randomness(plan.seed);
    align_tasks()?;
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .enable_random_order()
        .tick_duration(plan.network.tick)
        .min_message_latency(*plan.network.latency.start())
        .max_message_latency(*plan.network.latency.end())
        .repair_rate(0.2)
        .tcp_capacity(plan.network.capacity)
        .simulation_duration(Duration::from_secs(3600))
        .build();
    cast(&mut sim, stage);
    let hosts = plan.hosts();
    let mut faults = plan.faults.iter().peekable();
    let mut healed = false;
    // Who rests between messages may have many to go.
    let mut progress = (0, plan.healed);
    loop {
        let now = sim.elapsed();
        while let Some(timed) = faults.next_if(|timed| timed.at <= now) {
            stage.journal.borrow_mut().at(now);
            stage
                .journal
                .borrow_mut()
                .note(format!("{:?}", timed.fault));
            timed.fault.happen(&mut sim, &hosts);
        }
        if now >= plan.healed && !healed {
            healed = true;
            heal(&mut sim, &hosts);
            stage.ending.borrow_mut().begun = true;
        }
        sim.step()?;
        if !stage.journal.borrow().broken().is_empty() {
            return Ok((now, Duration::ZERO));
        }
        let is_sent = stage.ending.borrow().done.iter().all(|done| *done);
        if healed && is_sent && stage.journal.borrow().is_settled() {
            return Ok((now, now.saturating_sub(plan.healed)));
        }
        let processed = stage.journal.borrow().counts.processed;
        if processed > progress.0 {
            progress = (processed, now.max(plan.healed));
        }
        if now > progress.1 + RECOVERY || now > plan.healed + LONGEST {
            let what = format!("not well again, and nothing processed for {RECOVERY:?}");
            stage.journal.borrow_mut().is_broken(what);
            return Ok((now, RECOVERY));
        }
    }
}

fn cast(sim: &mut Sim<'_>, stage: &Stage) {
    let plan = &stage.plan;
    if plan.service.kind == Kind::Relay {
        let stage = stage.clone();
        sim.host(RELAY, move || stage.clone().relay());
    }
    for index in 0..plan.producers.len() {
        let stage = stage.clone();
        sim.host(producer(index), move || stage.clone().produce(index));
    }
    for index in 0..plan.consumers.len() {
        let stage = stage.clone();
        sim.host(consumer(index), move || stage.clone().consume(index));
    }
}

/// In which order tokio drops the tasks of a host that is ended depends on their numbers, of which it gives every one in
/// the process another: here they are brought to where they are a multiple again.
fn align_tasks() -> turmoil::Result {
    runtime::Builder::new_current_thread()
        .build()?
        .block_on(async {
            loop {
                let number: u64 = tokio::spawn(async {}).id().to_string().parse()?;
                if number.is_multiple_of(MANY_TASKS) {
                    return Ok(());
                }
            }
        })
}

/// A multiple of how many lists of tasks tokio may have for a runtime of one thread.
const MANY_TASKS: u64 = 64;

/// A dead peer is noticed within 15 s, by one side and then by the other, and then one dials within 2 s; what was not
/// confirmed is sent again to consumers that rest.
const RECOVERY: Duration = Duration::from_secs(60);

/// However many messages wait for consumers that rest.
const LONGEST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_is_not_taken_for_who_hangs_nor_a_turmoil_that_is_full_for_a_fault() {
        for seed in [29_751, 78_863, 95_833] {
            let outcome = play(seed, false);
            assert!(outcome.broken.is_empty(), "{seed}: {:?}", outcome.broken);
        }
    }
}
