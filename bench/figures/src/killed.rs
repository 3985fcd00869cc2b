//! A busy receiver is killed: nothing may be lost, and the flow is to be as it was soon.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use wakewire::{Message, MessageSink};

use crate::child::{Process, say};
use crate::figure::{Figure, Target};
use crate::listener::{SERVICE, direct, runtime};
use crate::statistics::Sorted;

pub(crate) fn killed() -> Result<Vec<Figure>> {
    let (mut lost, mut back, mut twice, mut outages) = (0, Vec::new(), 0, Vec::new());
    for _ in 0..RUNS {
        let run = run()?;
        lost += run.lost;
        twice += run.twice;
        back.push(run.back.as_secs_f64());
        outages.push(run.silent.as_secs_f64() * 1e3);
    }
    let (back, outages) = (Sorted::new(back), Sorted::new(outages));
    let sent = RUNS as u64 * MESSAGES;
    Ok(vec![
        Figure::new(
            format!("a busy receiver killed at {RATE} messages/s: lost"),
            lost as f64,
            "",
            Target::AtMost(0.0),
        )
        .how(format!("of {sent} in {RUNS} runs; {twice} came to both receivers")),
        Figure::new(
            format!("a busy receiver killed at {RATE} messages/s: until as many as before"),
            back.median(),
            "s",
            Target::AtMost(1.0),
        )
        .how(format!(
            "from the kill to the end of the first 100 ms with the rate before; median of {RUNS}, longest {:.2} s; \
             nothing was acknowledged for {:.0} ms",
            back.percentile(1.0),
            outages.median(),
        )),
    ])
}

struct Run {
    lost: u64,
    /// What both receivers were handed.
    twice: u64,
    /// From the kill until the rate was as before.
    back: Duration,
    /// The longest time without an acknowledgement.
    silent: Duration,
}

fn run() -> Result<Run> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("direct.sock");
    let records = [place.path().join("first"), place.path().join("second")];
    let mut receiver = receiver(&path, &records[0])?;
    receiver.hear()?;
    // In a thread of its own, so that it comes at any moment of sending and receiving.
    let killing = {
        let path = path.clone();
        let record = records[1].clone();
        move || {
            thread::sleep(KILL_AFTER + rand::rng().random_range(Duration::ZERO..LOOK));
            let kill = Instant::now();
            receiver.kill()?;
            // What a supervisor would do.
            anyhow::Ok((kill, self::receiver(&path, &record)?))
        }
    };
    let (progress, kill) = runtime()?.block_on(async {
        let sink = direct(&path)?.create_sink(SERVICE).await?;
        sink.connect().await?;
        let mut progress = Vec::new();
        let killing = thread::spawn(killing);
        let start = tokio::time::Instant::now();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sent = 0_u64;
        while sent < MESSAGES {
            tokio::select! {
                biased;
                now = looks.tick() => {
                    progress.push((now.into_std(), delivered(&*sink).await?));
                }
                // Open loop: what is due is due, however long the last one took.
                () = sleep_until(start + Duration::from_secs_f64(sent as f64 / f64::from(RATE))) => {
                    let due = (start.elapsed().as_secs_f64() * f64::from(RATE)) as u64;
                    let mut batch = 0;
                    while sent < due.min(MESSAGES) && batch < 500 {
                        sent += 1;
                        batch += 1;
                        sink.send(payload(sent)).await?;
                    }
                }
            }
        }
        let report = sink.flush(PATIENCE).await?;
        ensure!(report.is_complete(), "not all was acknowledged: {report:?}");
        let (kill, receiver) = killing.join().map_err(|_| anyhow::anyhow!("a panic"))??;
        drop(receiver);
        anyhow::Ok((progress, kill))
    })?;
    let (lost, twice) = count(&records)?;
    let (back, silent) = recovery(&progress, kill)?;
    Ok(Run {
        lost,
        twice,
        back,
        silent,
    })
}

fn receiver(path: &Path, record: &Path) -> Result<Process> {
    Process::start(["receive".as_ref(), path.as_os_str(), record.as_os_str()])
}

async fn delivered(sink: &dyn MessageSink) -> Result<u64> {
    // Reports without waiting.
    Ok(sink.flush(Duration::ZERO).await?.delivered)
}

/// Returns how long after the kill the rate over 100 ms was the median rate before it, less 2 %, and for how long
/// nothing was acknowledged.
fn recovery(progress: &[(Instant, u64)], kill: Instant) -> Result<(Duration, Duration)> {
    let window = |index: usize| {
        let (now, delivered) = progress[index];
        let (then, before) = progress[index.checked_sub(WINDOW)?];
        Some((delivered - before) as f64 / (now - then).as_secs_f64())
    };
    let first_after = progress.partition_point(|(at, _)| *at <= kill);
    let usual = Sorted::new((0..first_after).filter_map(window)).median();
    let back = (first_after + WINDOW..progress.len())
        .find(|&index| window(index).is_some_and(|rate| rate >= usual * 0.98));
    let Some(back) = back else {
        bail!("the rate was never again what it was");
    };
    let (mut silent, mut heard) = (Duration::ZERO, progress[first_after.saturating_sub(1)]);
    for &(at, delivered) in &progress[first_after..=back] {
        if delivered > heard.1 {
            silent = silent.max(at - heard.0);
            heard = (at, delivered);
        }
    }
    Ok((progress[back].0 - kill, silent))
}

fn payload(number: u64) -> Message {
    let mut payload = vec![0; 64];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    Message::new(payload)
}

/// Returns how many messages neither receiver was handed, and how many both were.
fn count(records: &[std::path::PathBuf; 2]) -> Result<(u64, u64)> {
    let mut seen = vec![0_u8; usize::try_from(MESSAGES)? + 1];
    for record in records {
        for number in fs::read(record)?.chunks_exact(8) {
            let number = u64::from_le_bytes(number.try_into()?);
            let times = seen.get_mut(usize::try_from(number)?);
            *times.context("a message that was never sent")? += 1;
        }
    }
    let of = |times: fn(u8) -> bool| seen[1..].iter().filter(|&&seen| times(seen)).count() as u64;
    Ok((of(|times| times == 0), of(|times| times > 1)))
}

/// The receiver's process: writes down the numbers of each batch before it asks for more.
pub(crate) fn receive(path: &Path, record: &Path) -> Result<()> {
    let mut record: File = OpenOptions::new().create(true).append(true).open(record)?;
    runtime()?.block_on(async {
        let mut source = direct(path)?.create_source(SERVICE).await?;
        say("receiving")?;
        let mut numbers = Vec::new();
        while let Some(batch) = source.recv_batch().await? {
            numbers.clear();
            for view in &batch {
                // It has something to do with each, and so something in hand whenever it is killed.
                let begun = Instant::now();
                while begun.elapsed() < WORK {}
                numbers.extend_from_slice(view.payload().get(..8).context("a payload")?);
            }
            record.write_all(&numbers)?;
        }
        Ok(())
    })
}

const RATE: u32 = 50_000;

const MESSAGES: u64 = 5 * RATE as u64;

const KILL_AFTER: Duration = Duration::from_secs(2);

/// How often the sender looks how far it is.
const LOOK: Duration = Duration::from_millis(10);

/// Looks in 100 ms.
const WINDOW: usize = 10;

/// How long the receiver is at each message: half of the time there is.
const WORK: Duration = Duration::from_micros(10);

const RUNS: usize = 5;

const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_back_when_a_whole_window_has_it() {
        let start = Instant::now();
        let at = |tick: u32| start + LOOK * tick;
        // 500 a look until the kill at 100, nothing until 130, then 500 again.
        let progress: Vec<_> = (0..200_u32)
            .map(|tick| {
                (
                    at(tick),
                    u64::from(tick.min(100) + tick.saturating_sub(130)) * 500,
                )
            })
            .collect();
        let (back, silent) = recovery(&progress, at(100)).expect("it comes back");
        assert_eq!((back, silent), (LOOK * 40, LOOK * 31));
    }
}
