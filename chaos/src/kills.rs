//! `wakewire-chaos kill`: run after run, over all that was asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::chance::Scenario;
use crate::checker::{Count, Demands};
use crate::role::Planted;
use crate::run::{Order, Outcome, Run};
use crate::said::{answer, grouped, put};
use crate::stage::Over;
use crate::troupe::checked;
use crate::{BROKEN, RIGHT, WRONG};

/// What `wakewire-chaos kill` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How many kills, shared out to the scenarios that kill.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// How many stops, and how many cuts, in each of the runs of these.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    cycles: u64,
    /// How many times connections fall silent; each takes peers 15 s to notice.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    silences: u64,
    #[arg(long = "scenario", value_delimiter = ',', default_values_t = [
        Scenario::Relay, Scenario::Ahead, Scenario::Receiver, Scenario::Listener, Scenario::Sender, Scenario::All, Scenario::Stop,
        Scenario::Cut, Scenario::HalfOpen, Scenario::Starve,
    ])]
    scenarios: Vec<Scenario>,
    /// What messages go over; everything is done over each.
    #[arg(long, value_delimiter = ',', default_values_t = [Over::Unix, Over::Tcp])]
    over: Vec<Over>,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    senders: u16,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    receivers: u16,
    /// Which faults come, and when; else one is drawn, and said.
    #[arg(long)]
    seed: Option<u64>,
    /// The longest time for which somebody is stopped.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 400)]
    longest_stop: u64,
    /// Keep the logs here, all of them; else they are removed as they are checked.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Senders keep what they owe on disk: nothing accepted is forfeited with them.
    #[arg(long)]
    spool: bool,
    /// Receivers keep on disk what they have had: nothing that they have confirmed comes again.
    #[arg(long)]
    cursor: bool,
    /// The relay keeps on disk what it takes, and acknowledges it then.
    #[arg(long)]
    store: bool,
    /// Print all figures as one JSON object.
    #[arg(long)]
    json: bool,
    /// Do one thing wrong, to see that it is found.
    #[arg(long, hide = true)]
    plant: Option<Planted>,
}

/// What `wakewire-chaos check` is told.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The directory of one run.
    directory: PathBuf,
    /// Receivers had a durable cursor.
    #[arg(long)]
    cursor: bool,
    /// The relay kept on disk what it took.
    #[arg(long)]
    store: bool,
}

/// Runs everything; what is wrong in one does not keep the others from being tried.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    match all(&arguments).await {
        Ok(outcomes) => {
            let is_wrong = outcomes.iter().any(|outcome| !outcome.faults.is_empty());
            answer(&if arguments.json {
                summed(&outcomes)
            } else {
                text(&outcomes)
            });
            if is_wrong { WRONG } else { RIGHT }
        }
        Err(error) => {
            put(&format!("cannot go on: {error}\n"));
            BROKEN
        }
    }
}

async fn all(arguments: &Arguments) -> io::Result<Vec<Outcome>> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    put(&format!("seed {seed}\n"));
    let pairs: Vec<_> = arguments
        .scenarios
        .iter()
        .flat_map(|scenario| arguments.over.iter().map(|over| (*scenario, *over)))
        .collect();
    let of_kills = pairs.iter().filter(|(scenario, _)| scenario.is_of_kills());
    let share = arguments.kills.div_ceil(of_kills.count().max(1) as u64);
    let mut outcomes = Vec::new();
    for (place, (scenario, over)) in pairs.into_iter().enumerate() {
        let order = Order {
            scenario,
            over,
            seed: seed.wrapping_add(place as u64),
            cycles: match scenario {
                Scenario::HalfOpen => arguments.silences,
                _ if scenario.is_of_kills() => share,
                _ => arguments.cycles,
            },
            senders: arguments.senders.into(),
            receivers: arguments.receivers.into(),
            longest_stop: Duration::from_millis(arguments.longest_stop),
            has_spool: arguments.spool,
            has_cursor: arguments.cursor,
            has_store: arguments.store,
            keep: arguments.keep.clone(),
            plant: arguments.plant,
        };
        let outcome = Run::start(order).await?.play().await?;
        put(&outcome.text());
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Checks the logs of one run.
pub(crate) fn check(arguments: &CheckArguments) -> u8 {
    let demands = Demands {
        has_cursor: arguments.cursor,
        has_store: arguments.store,
        ..Demands::default()
    };
    let checker = match checked(&arguments.directory, demands) {
        Ok(checker) => checker,
        Err(error) => {
            put(&format!("cannot read the logs: {error}\n"));
            return BROKEN;
        }
    };
    let faults = checker.faults();
    let value = json!({
        "accepted": checker.accepted(),
        "receivers": checker.counts(),
        "faults": faults,
    });
    answer(&format!("{value:#}\n"));
    if faults.is_empty() { RIGHT } else { WRONG }
}

fn sum(outcomes: &[Outcome], count: impl Fn(&Count) -> u64) -> u64 {
    let receivers = outcomes
        .iter()
        .flat_map(|outcome| outcome.receivers.values());
    receivers.map(count).sum()
}

fn summed(outcomes: &[Outcome]) -> String {
    let all = |figure: fn(&Outcome) -> u64| outcomes.iter().map(figure).sum::<u64>();
    let value = json!({
        "kills": all(|outcome| outcome.kills),
        "kills_under_load": all(|outcome| outcome.kills_under_load),
        "stops": all(|outcome| outcome.stops),
        "cuts": all(|outcome| outcome.cuts),
        "holds": all(|outcome| outcome.holds),
        "starvations": all(|outcome| outcome.starvations),
        "accepted": all(|outcome| outcome.accepted),
        "received": sum(outcomes, |count| count.received),
        "lost": sum(outcomes, |count| count.lost),
        "duplicated": sum(outcomes, |count| count.duplicated),
        "reordered": sum(outcomes, |count| count.reordered),
        "corrupted": sum(outcomes, |count| count.corrupted),
        "redelivered": sum(outcomes, |count| count.redelivered),
        "forfeited": sum(outcomes, |count| count.forfeited),
        "faults": outcomes.iter().flat_map(|outcome| &outcome.faults).collect::<Vec<_>>(),
        "runs": outcomes,
    });
    format!("{value:#}\n")
}

fn text(outcomes: &[Outcome]) -> String {
    let all = |figure: fn(&Outcome) -> u64| grouped(outcomes.iter().map(figure).sum::<u64>());
    let count = |figure: fn(&Count) -> u64| grouped(sum(outcomes, figure));
    format!(
        "{} kills ({} with something unacknowledged), {} stops, {} cuts, {} silences, {} starvations; {} messages accepted, {} received\n\
         lost {} · duplicated {} · out of order {} · corrupted {}\n\
         redelivered to later lives of receivers {}, forfeited with senders that were killed {}\n",
        all(|outcome| outcome.kills),
        all(|outcome| outcome.kills_under_load),
        all(|outcome| outcome.stops),
        all(|outcome| outcome.cuts),
        all(|outcome| outcome.holds),
        all(|outcome| outcome.starvations),
        all(|outcome| outcome.accepted),
        count(|count| count.received),
        count(|count| count.lost),
        count(|count| count.duplicated),
        count(|count| count.reordered),
        count(|count| count.corrupted),
        count(|count| count.redelivered),
        count(|count| count.forfeited),
    )
}
