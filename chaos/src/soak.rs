//! `wakewire-chaos soak`: all transports at once, full load and faults for minutes, and everybody stays as he was.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::chance::{Fault, Scenario, Who};
use crate::flat::{Flatness, Sample};
use crate::record::MarkFile;
use crate::run::{Broken, Order, Outcome, Run};
use crate::said::{answer, put};
use crate::stage::Over;
use crate::{BROKEN, RIGHT, WRONG};

/// What `wakewire-chaos soak` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How long; a part of a minute too.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What messages go over, all at the same time.
    #[arg(long, value_delimiter = ',', default_values_t = [Over::Unix, Over::Tcp, Over::Tls, Over::Ws, Over::Udp])]
    over: Vec<Over>,
    /// Which faults come, and when; else one is drawn, and said.
    #[arg(long)]
    seed: Option<u64>,
    /// Print all figures as one JSON object.
    #[arg(long)]
    json: bool,
}

/// One transport's run, and what its processes had at the end of each cycle.
struct Soaking {
    run: Run,
    samples: BTreeMap<String, Vec<Sample>>,
    broken: Result<(), Broken>,
    cycles: u64,
}

/// What became of one transport's run.
struct Soaked {
    outcome: Outcome,
    samples: BTreeMap<String, Vec<Sample>>,
    flatness: BTreeMap<String, Flatness>,
}

/// Runs everything for so long.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    let all = match soaked(&arguments).await {
        Ok(all) => all,
        Err(error) => {
            put(&format!("cannot go on: {error}\n"));
            return BROKEN;
        }
    };
    if arguments.json {
        let runs = all.iter().map(|soaked| {
            json!({
                "outcome": soaked.outcome,
                "flatness": soaked.flatness,
                "samples": soaked.samples,
            })
        });
        answer(&format!(
            "{:#}\n",
            json!({ "runs": runs.collect::<Vec<_>>() })
        ));
    } else {
        all.iter().for_each(|soaked| answer(&soaked.text()));
    }
    let is_right = all.iter().all(|soaked| soaked.outcome.faults.is_empty());
    if is_right { RIGHT } else { WRONG }
}

async fn soaked(arguments: &Arguments) -> io::Result<Vec<Soaked>> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    put(&format!("seed {seed}\n"));
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(arguments.minutes.clamp(0.1, 100_000.0) * 60.0);
    let mut all = Vec::new();
    for (place, over) in arguments.over.iter().enumerate() {
        let parts = if over.may_lose() { 1 } else { 2 };
        let order = Order {
            scenario: Scenario::Soak,
            over: *over,
            seed: seed.wrapping_add(place as u64),
            cycles: 0,
            senders: parts,
            receivers: parts,
            longest_stop: LONGEST_STOP,
            has_spool: false,
            has_cursor: false,
            has_store: false,
            keep: None,
            plant: None,
        };
        all.push(Soaking {
            run: Run::start(order).await?,
            samples: BTreeMap::new(),
            broken: Ok(()),
            cycles: 0,
        });
    }
    while Instant::now() < end && all.iter().all(|soaking| soaking.broken.is_ok()) {
        all = together(all, |soaking| soaking.cycle()).await?;
        let calm = Instant::now() + CALM;
        while Instant::now() < calm {
            sleep(LOOK).await;
            for soaking in &mut all {
                soaking.run.troupe.read()?;
            }
        }
        for soaking in &mut all {
            soaking.sample((Instant::now() - start).as_secs_f64())?;
        }
        let left = end.saturating_duration_since(Instant::now()).as_secs();
        put(&format!("    {left} s to go; {}\n", memory(&all)));
    }
    let all = together(all, |soaking| soaking.end()).await?;
    all.into_iter().map(Soaking::concluded).collect()
}

/// Has all of them do something at the same time, and waits for the last.
async fn together<F: Future<Output = Soaking> + Send + 'static>(
    all: Vec<Soaking>,
    act: impl Fn(Soaking) -> F,
) -> io::Result<Vec<Soaking>> {
    let mut acting = JoinSet::new();
    for soaking in all {
        acting.spawn(act(soaking));
    }
    let mut done = Vec::new();
    while let Some(soaking) = acting.join_next().await {
        done.push(soaking.map_err(io::Error::other)?);
    }
    done.sort_by_key(|soaking| soaking.run.order.seed);
    Ok(done)
}

/// How much memory who is measured has, in MiB.
fn memory(all: &[Soaking]) -> String {
    let mut text = String::new();
    for soaking in all {
        text += &format!("{}:", soaking.run.order.over);
        for (who, samples) in &soaking.samples {
            let rss = samples.last().map_or(0, |sample| sample.rss_kib);
            text += &format!(
                " {who} {:.1}",
                f64::from(u32::try_from(rss).unwrap_or(u32::MAX)) / 1024.0
            );
        }
        text += "  ";
    }
    text
}

impl Soaking {
    /// Faults for a while, and then everybody is back.
    async fn cycle(mut self) -> Self {
        let harmed = async {
            let end = Instant::now() + HARM;
            while Instant::now() < end {
                let (pause, _) = self.run.chance.pause();
                sleep(pause * 4).await;
                let fault = self.run.chance.next();
                self.run.inflict(&fault).await?;
                self.run.troupe.read()?;
            }
            self.cycles += 1;
            if self.cycles.is_multiple_of(SILENT_EVERY) {
                self.run.inflict(&Fault::Hold).await?;
            }
            self.run.until_all_have(0).await
        };
        self.broken = harmed.await;
        self
    }

    async fn end(mut self) -> Self {
        if self.broken.is_ok() {
            self.broken = self.run.finish().await;
        }
        self
    }

    /// Writes down what everybody has who lives through all of it.
    fn sample(&mut self, seconds: f64) -> io::Result<()> {
        for who in [Who::Relay, Who::Sender(0), Who::Receiver(0)] {
            let Some(process) = self.run.troupe.process(who) else {
                continue;
            };
            let Some(id) = process.id() else { continue };
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let rss_kib = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .ok_or_else(|| io::Error::other("no VmRSS"))?;
            let sample = Sample {
                seconds,
                rss_kib,
                descriptors: process.descriptors()?,
                tasks: MarkFile::open(&process.mark)?.read()?.tasks,
            };
            self.samples.entry(who.name()).or_default().push(sample);
        }
        Ok(())
    }

    fn concluded(self) -> io::Result<Soaked> {
        let Self {
            run,
            samples,
            broken,
            ..
        } = self;
        let mut outcome = run.conclude(broken)?;
        let mut flatness = BTreeMap::new();
        for (who, samples) in &samples {
            match Flatness::of(samples) {
                Some(flat) => {
                    let grew = flat.faults();
                    let grew = grew.iter().map(|how| format!("{who}: {how}"));
                    outcome.faults.extend(grew);
                    flatness.insert(who.clone(), flat);
                }
                None => outcome
                    .faults
                    .push(format!("{who}: {} samples are too few", samples.len())),
            }
        }
        Ok(Soaked {
            outcome,
            samples,
            flatness,
        })
    }
}

impl Soaked {
    fn text(&self) -> String {
        let mut text = self.outcome.text();
        for (who, flat) in &self.flatness {
            let Flatness {
                samples,
                rss_kib,
                descriptors,
                tasks,
            } = flat;
            text += &format!(
                "    {who:<11} {samples} samples: memory {} → {} KiB (at most {}; {:+.1} KiB a minute), descriptors {} → {} (at most {}), \
                 tasks {} → {} (at most {})\n",
                rss_kib.first,
                rss_kib.last,
                rss_kib.most,
                rss_kib.slope_per_minute,
                descriptors.first,
                descriptors.last,
                descriptors.most,
                tasks.first,
                tasks.last,
                tasks.most,
            );
        }
        text
    }
}

/// How long faults come in one cycle.
const HARM: Duration = Duration::from_secs(3);
/// How long nothing is wrong after it: what was left over by faults must be gone by then.
const CALM: Duration = Duration::from_secs(2);
/// In each of so many cycles connections also fall silent, which takes everybody 15 s to notice.
const SILENT_EVERY: u64 = 4;
const LONGEST_STOP: Duration = Duration::from_millis(500);
/// Between two looks at the logs.
const LOOK: Duration = Duration::from_millis(20);
