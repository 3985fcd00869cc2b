//! How long the first message of a sleeping sink takes, and the first one after a listener was away.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wakewire::{Message, MessageSink};

use crate::figure::{Figure, Target};
use crate::listener::{Listener, SERVICE, direct, runtime};
use crate::statistics::Sorted;

/// From `send` on a sleeping sink to the acknowledgement, beside connect, write and read of a plain socket.
pub(crate) fn wake() -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let (path, raw_path) = (
        place.path().join("direct.sock"),
        place.path().join("raw.sock"),
    );
    let _listener = Listener::start(&path)?;
    let raw = UnixListener::bind(&raw_path)?;
    thread::spawn(move || {
        for stream in raw.incoming() {
            if stream.and_then(answer).is_err() {
                return;
            }
        }
    });
    let (mut waking, mut plain) = (Vec::new(), Vec::new());
    runtime()?.block_on(async {
        let sink = direct(&path)?.create_sink(SERVICE).await?;
        for turn in 0..WAKES + WARM_UP {
            let start = Instant::now();
            sink.send_confirmed(Message::new(vec![7; 64])).await?;
            let took = start.elapsed();
            sink.disconnect().await?;
            let raw_took = ask(&raw_path)?;
            if turn >= WARM_UP {
                waking.push(took.as_secs_f64() * 1e6);
                plain.push(raw_took.as_secs_f64() * 1e6);
            }
        }
        anyhow::Ok(())
    })?;
    let ratios = Sorted::new(
        waking
            .iter()
            .zip(&plain)
            .map(|(waking, plain)| waking / plain),
    );
    let (low, high) = ratios.median_interval();
    let (waking, plain) = (Sorted::new(waking), Sorted::new(plain));
    let ratio = waking.median() / plain.median();
    Ok(vec![
        Figure::new(
            "the first message of a sleeping sink to its acknowledgement",
            ratio,
            "×",
            Target::AtMost(4.0),
        )
        .how(format!(
            "medians of {WAKES}: {:.0} µs (p99 {:.0}), and {:.0} µs (p99 {:.0}) to connect, write and read; \
             ratio of pairs {:.2}, 95 %: {low:.2} to {high:.2}",
            waking.median(),
            waking.percentile(0.99),
            plain.median(),
            plain.percentile(0.99),
            ratios.median(),
        )),
    ])
}

fn answer(mut stream: UnixStream) -> std::io::Result<()> {
    let mut frame = [0; 96];
    stream.read_exact(&mut frame)?;
    stream.write_all(&frame[..32])
}

fn ask(path: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&[7; 96])?;
    stream.read_exact(&mut [0; 32])?;
    Ok(start.elapsed())
}

/// From when a listener is back, after less than 50 ms, to the first message that it gets.
pub(crate) fn away() -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let place = place.path().to_owned();
    let took = runtime()?.block_on(async {
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let path = place.join(format!("{lane}.sock"));
            lanes.spawn(async move { goes_and_comes(&path).await });
        }
        let mut all = Vec::new();
        while let Some(took) = lanes.join_next().await {
            all.extend(took??);
        }
        anyhow::Ok(all)
    })?;
    let took = Sorted::new(took);
    Ok(vec![
        Figure::new(
            "a listener away for less than 50 ms: p99 to its first message",
            took.percentile(0.99),
            "ms",
            Target::AtMost(300.0),
        )
        .how(format!(
            "{} times; median {:.0} ms, longest {:.0} ms",
            LANES * ABSENCES,
            took.median(),
            took.percentile(1.0)
        )),
    ])
}

async fn goes_and_comes(path: &Path) -> Result<Vec<f64>> {
    let factory = direct(path)?;
    let sink = factory.create_sink(SERVICE).await?;
    let mut took = Vec::new();
    let mut source = factory.create_source(SERVICE).await?;
    for _ in 0..ABSENCES {
        // It has been there, and what was sent is acknowledged.
        let (sent, received) = tokio::join!(sink.send_confirmed(Message::new("before")), async {
            source.recv().await?;
            // Asking for more says that it was processed.
            timeout(Duration::from_millis(20), source.recv()).await.ok();
            Ok::<_, wakewire::SinkError>(())
        });
        sent?;
        received?;
        drop(source);
        let absence = rand::rng().random_range(Duration::ZERO..Duration::from_millis(50));
        sleep(absence).await;
        sink.send(Message::new("meanwhile")).await?;
        source = factory.create_source(SERVICE).await?;
        let back = Instant::now();
        source.recv().await?.context("closed")?;
        took.push(back.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

const WARM_UP: usize = 20;

const WAKES: usize = 501;

/// Listeners that go and come at the same time.
const LANES: usize = 16;

const ABSENCES: usize = 25;
