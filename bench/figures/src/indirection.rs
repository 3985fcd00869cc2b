//! What a sink costs that is not called by its own type: a factory's, and a lazy one.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use anyhow::{Result, ensure};
use wakewire::{
    DirectSink, LazyConfig, LazyMessageSink, Message, MessageSink, Sending, SinkMetadata,
    TrySendError,
};

use crate::figure::{Figure, Target};
use crate::listener::{Listener, SERVICE, direct, runtime};
use crate::statistics::Sorted;
use crate::system;

/// A factory's sink beside one made by itself: the same link behind it, both open, the same listener.
pub(crate) fn factory() -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("direct.sock");
    let _listener = Listener::start(&path)?;
    runtime()?.block_on(async {
        let by_name = direct(&path)?.create_sink(SERVICE).await?;
        let by_type = DirectSink::unix(&path.to_string_lossy())?;
        by_name.connect().await?;
        by_type.connect().await?;
        let message = Message::new(vec![7; 64]);
        let mut ratios = Vec::new();
        // The first pair warms up.
        for pair in 0..=PAIRS {
            let (name_took, type_took) = if pair % 2 == 0 {
                let name_took = deliver(&by_name, &message).await?;
                (name_took, deliver(&by_type, &message).await?)
            } else {
                let type_took = deliver(&by_type, &message).await?;
                (deliver(&by_name, &message).await?, type_took)
            };
            if pair > 0 {
                ratios.push(type_took.as_secs_f64() / name_took.as_secs_f64());
            }
        }
        let ratios = Sorted::new(ratios);
        let (low, high) = ratios.median_interval();
        Ok(vec![
            Figure::new(
                "a factory's sink, of the throughput of the same by its type",
                ratios.median(),
                "×",
                Target::AtLeast(0.99),
            )
            .how(format!(
                "median of {PAIRS} interleaved pairs of {DELIVERED} messages of 64 B to their acknowledgement; \
                 95 %: {low:.3} to {high:.3}"
            )),
        ])
    })
}

/// Sends so many messages, until all are acknowledged.
async fn deliver<S: MessageSink>(sink: &S, message: &Message) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..DELIVERED {
        sink.send(message.clone()).await?;
    }
    let report = sink.flush(PATIENCE).await?;
    let took = start.elapsed();
    ensure!(report.is_complete(), "not all was delivered: {report:?}");
    Ok(took)
}

/// What a lazy sink adds to a sink that does nothing, and to one with a link.
pub(crate) fn lazy() -> Result<Vec<Figure>> {
    let runtime = runtime()?;
    let write = a_write()?;
    let place = tempfile::tempdir()?;
    let path = place.path().join("direct.sock");
    let listener = Listener::start(&path)?;
    let over_nothing = runtime.block_on(async {
        let open = || std::future::ready(Ok(Taking));
        let lazy = LazyMessageSink::new(open, LazyConfig::default());
        added(&lazy, &Taking).await
    })?;
    let over_link = runtime.block_on(async {
        let path = path.to_string_lossy().into_owned();
        let inner = DirectSink::unix(&path)?;
        let open = move || std::future::ready(DirectSink::unix(&path));
        let lazy = LazyMessageSink::new(open, LazyConfig::default());
        added(&lazy, &inner).await
    })?;
    drop(listener);
    let mut figures = Vec::new();
    for (inner, added) in [
        ("one that does nothing", over_nothing),
        ("a direct sink", over_link),
    ] {
        let (low, high) = added.nanoseconds.median_interval();
        let median = added.nanoseconds.median();
        figures.push(
            Figure::new(
                format!("a lazy sink over {inner}: added to a send"),
                median,
                "ns",
                Target::AtMost(15.0),
            )
            .how(format!(
                "median of {PAIRS} interleaved pairs of {} sends of 64 B; 95 %: {low:.1} to {high:.1}",
                ROUND * ROUNDS
            )),
        );
        figures.push(
            Figure::new(
                format!("a lazy sink over {inner}: allocations more"),
                added.allocations as f64,
                "",
                Target::AtMost(0.0),
            )
            .how(format!("in {} sends", ROUND * ROUNDS)),
        );
        figures.push(
            Figure::said(
                format!("a lazy sink over {inner}: of a write"),
                100.0 * median / write,
                "%",
            )
            .how(format!(
                "a write of 96 B to a Unix socket takes {write:.0} ns"
            )),
        );
    }
    Ok(figures)
}

struct Added {
    nanoseconds: Sorted,
    allocations: i64,
}

async fn added<L: MessageSink, S: MessageSink>(lazy: &L, inner: &S) -> Result<Added> {
    lazy.connect().await?;
    inner.connect().await?;
    let (mut nanoseconds, mut allocations) = (Vec::new(), 0);
    for pair in 0..=PAIRS {
        let (with, without) = if pair % 2 == 0 {
            let with = sends(lazy).await?;
            (with, sends(inner).await?)
        } else {
            let without = sends(inner).await?;
            (sends(lazy).await?, without)
        };
        if pair > 0 {
            nanoseconds.push(with.nanoseconds - without.nanoseconds);
            allocations = with.allocations - without.allocations;
        }
    }
    Ok(Added {
        nanoseconds: Sorted::new(nanoseconds),
        allocations,
    })
}

struct Sends {
    nanoseconds: f64,
    allocations: i64,
}

/// Times and counts sends alone: nobody else runs in this thread meanwhile, and between the rounds all is delivered.
async fn sends<S: MessageSink>(sink: &S) -> Result<Sends> {
    let message = Message::new(vec![7; 64]);
    let mut context = Context::from_waker(Waker::noop());
    let (mut took, mut allocations) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        // The first one wakes the task of the connection.
        sink.send(message.clone()).await?;
        let mut taken = 0;
        let start = system::computed()?;
        let counted = measure(|| {
            for _ in 0..ROUND {
                let sending = pin!(sink.send(black_box(&message).clone()));
                if matches!(sending.poll(&mut context), Poll::Ready(Ok(()))) {
                    taken += 1;
                }
            }
        });
        took += system::computed()? - start;
        ensure!(taken == ROUND, "only {taken} were taken at once");
        allocations += i64::try_from(counted.count_total)?;
        sink.flush(PATIENCE).await?;
    }
    Ok(Sends {
        nanoseconds: took.as_nanos() as f64 / (ROUND * ROUNDS) as f64,
        allocations,
    })
}

/// Returns how many nanoseconds a write of a frame of 64 B to a Unix socket takes.
fn a_write() -> Result<f64> {
    let (mut near, mut far) = UnixStream::pair()?;
    let reading = thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while matches!(far.read(&mut room), Ok(1..)) {}
    });
    let frame = [7; 96];
    let took = (0..PAIRS).map(|_| {
        let start = Instant::now();
        for _ in 0..1000 {
            near.write_all(&frame)?;
        }
        anyhow::Ok(start.elapsed().as_nanos() as f64 / 1000.0)
    });
    let median = Sorted::new(took.collect::<Result<Vec<_>>>()?).median();
    drop(near);
    reading.join().ok();
    Ok(median)
}

/// Takes everything at once.
#[derive(Debug)]
struct Taking;

impl MessageSink for Taking {
    fn send(&self, message: Message) -> Sending<'_> {
        drop(black_box(message));
        Sending::ready(Ok(()))
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        drop(black_box(message));
        Ok(())
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("taking", "none")
    }
}

/// Interleaved pairs.
const PAIRS: usize = 31;

/// Messages of one half of a pair that is delivered.
const DELIVERED: usize = 200_000;

/// Sends at a time, which a buffer holds.
const ROUND: usize = 5_000;

const ROUNDS: usize = 4;

const PATIENCE: Duration = Duration::from_secs(60);
