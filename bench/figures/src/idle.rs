//! 10,000 connections at a relay that are awake and idle.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use wakewire::{MessageSink, RelaySink, SinkFactory};

use crate::child::{Process, say};
use crate::figure::{Figure, Target};
use crate::listener::{SERVICE, runtime};
use crate::statistics::Sorted;
use crate::system;

/// Who is connected.
#[derive(Clone, Copy, Debug)]
enum Who {
    Producers,
    Consumers,
}

pub(crate) fn idle() -> Result<Vec<Figure>> {
    let allowed = system::raise_descriptors()?;
    let most = usize::try_from(allowed.saturating_sub(SPARE))?.min(CONNECTIONS);
    ensure!(most >= STEPS, "only {allowed} descriptors are allowed");
    let mut figures = of(Who::Producers, most)?;
    figures.extend(of(Who::Consumers, most.min(CONSUMERS))?);
    Ok(figures)
}

fn of(who: Who, most: usize) -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("relay.sock");
    let mut relay = Process::start(["relay".as_ref(), path.as_os_str()])?;
    relay.hear()?;
    let runtime = runtime()?;
    let mut connected = Connected::default();
    // One that comes and stays, so that what the first one brings about is not counted.
    runtime.block_on(connected.more(who, &path, 1))?;
    let mut before = settled(&runtime, &mut relay, 1)?;
    let mut each = Vec::new();
    for _ in 0..STEPS {
        let step = most / STEPS;
        runtime.block_on(connected.more(who, &path, step))?;
        let now = settled(&runtime, &mut relay, connected.count())?;
        each.push(now.saturating_sub(before) as f64 / step as f64);
        before = now;
    }
    let name = match who {
        Who::Producers => "producers",
        Who::Consumers => "consumers",
    };
    let average = each.iter().sum::<f64>() / each.len() as f64;
    let steps: Vec<_> = each.iter().map(|each| format!("{each:.0}")).collect();
    let sorted = Sorted::new(each.iter().copied());
    let largest = sorted.percentile(1.0) / sorted.median();
    let count = most / STEPS * STEPS;
    Ok(vec![
        Figure::new(
            format!("{count} idle {name} at a relay: memory of one"),
            average / 1024.0,
            "KiB",
            Target::AtMost(16.0),
        )
        .how(format!(
            "growth of its process, by fifths: {} B",
            steps.join(", ")
        )),
        Figure::new(
            format!("{count} idle {name} at a relay: the dearest fifth of the median one"),
            largest,
            "×",
            Target::AtMost(1.5),
        ),
    ])
}

/// Waits until the relay knows so many, and its memory stands still; returns that.
fn settled(runtime: &tokio::runtime::Runtime, relay: &mut Process, count: usize) -> Result<u64> {
    let (mut last, mut known) = (0_u64, 0);
    for _ in 0..400 {
        runtime.block_on(async { sleep(Duration::from_millis(100)).await });
        let answer = relay.ask()?;
        let (connected, bytes) = answer.split_once(' ').context("no answer")?;
        let bytes: u64 = bytes.parse()?;
        known = connected.parse()?;
        if known == count && bytes.abs_diff(last) < STILL {
            return Ok(bytes);
        }
        last = bytes;
    }
    anyhow::bail!("the relay does not come to rest: {last} bytes, {known} of {count} connected")
}

/// Those that are connected; dropped, they are gone.
#[derive(Default)]
struct Connected {
    sinks: Vec<RelaySink>,
    sources: JoinSet<()>,
}

impl Connected {
    fn count(&self) -> usize {
        self.sinks.len() + self.sources.len()
    }

    async fn more(&mut self, who: Who, path: &Path, count: usize) -> Result<()> {
        let services = services(path);
        for _ in 0..count {
            match who {
                Who::Producers => {
                    let sink = RelaySink::new(&format!("unix://{}", path.display()), 100)?;
                    sink.connect().await?;
                    self.sinks.push(sink);
                }
                Who::Consumers => {
                    let factory = SinkFactory::from_config_str(&services)?;
                    let mut source = factory.create_source(SERVICE).await?;
                    self.sources.spawn(async move {
                        source.recv().await.ok();
                        drop(factory);
                    });
                    if self.sources.len().is_multiple_of(100) {
                        sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The relay's process: to each line it answers how many are connected, and its memory.
pub(crate) fn relay(path: &Path) -> Result<()> {
    let services = services(path);
    runtime()?.block_on(async {
        let mut relay = SinkFactory::from_config_str(&services)?
            .create_relay(SERVICE)
            .await?;
        relay.bind().await?;
        say("listening")?;
        let (asked, mut asks) = mpsc::channel(1);
        thread::spawn(move || {
            for _ in std::io::stdin().lines() {
                if asked.blocking_send(()).is_err() {
                    return;
                }
            }
        });
        loop {
            tokio::select! {
                ended = relay.run() => ended?,
                ask = asks.recv() => {
                    if ask.is_none() {
                        return Ok(());
                    }
                }
            }
            let status = relay.status();
            let attached = status.consumers.iter().filter(|one| one.attached).count();
            say(format_args!(
                "{} {}",
                status.producers + attached,
                system::resident()?
            ))?;
        }
    })
}

fn services(path: &Path) -> String {
    let path = path.display();
    format!(
        "[services.{SERVICE}]\ntype = 'relay'\nendpoint = 'unix://{path}'\nmax_connections = 20000\n"
    )
}

const CONNECTIONS: usize = 10_000;

/// A relay serves 1024 consumers.
const CONSUMERS: usize = 1000;

const STEPS: usize = 5;

/// Bytes by which memory may differ that stands still.
const STILL: u64 = 64 * 1024;

/// Descriptors for everything else.
const SPARE: u64 = 100;
