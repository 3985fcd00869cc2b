//! Peers that send nonsense, as fast as they can, while a good client works.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wakewire::testing::{Checker, Sequence, assert_ledger};
use wakewire::{MessageSource, SinkFactory};

use crate::limits::{consumers_hello, frame, hello};
use crate::support::{PATIENCE, Place, cases, factory, free_port, soon};

/// What was sent, and to how many connections.
#[derive(Default)]
struct Sent {
    frames: AtomicU64,
    connections: AtomicU64,
    enough: AtomicBool,
}

/// A frame of which something is wrong, or everything.
fn malformed(random: &mut SmallRng) -> Vec<u8> {
    let mut body = vec![0; random.random_range(0..64)];
    random.fill(&mut body[..]);
    let mut frame = frame(random.random_range(0..20), random.random_range(0..4), &body);
    match random.random_range(0..6) {
        0 => frame[5] = random.random(),
        1 => frame[..4].copy_from_slice(&random.random::<u32>().to_le_bytes()),
        2 => frame[8..16].copy_from_slice(&random.random::<u64>().to_le_bytes()),
        3 => frame[24..28].copy_from_slice(&random.random::<u32>().to_le_bytes()),
        4 => random.fill(&mut frame[..]),
        _ => {
            let at = random.random_range(0..frame.len());
            frame[at] ^= 1 << random.random_range(0..8);
        }
    }
    frame
}

/// A hello, as it is or with some bytes changed, and malformed frames after it; or those alone.
fn nonsense(random: &mut SmallRng) -> (Vec<u8>, u64) {
    let mut bytes = match random.random_range(0..4) {
        0 => Vec::new(),
        1 => consumers_hello(),
        _ => hello(),
    };
    if random.random_range(0..4) == 0 && !bytes.is_empty() {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    let frames = random.random_range(1..=8);
    for _ in 0..frames {
        bytes.extend(malformed(random));
    }
    (bytes, frames)
}

/// Where strangers go.
#[derive(Clone)]
enum Target {
    Unix(PathBuf),
    Tcp(u16),
}

impl Target {
    /// Says it, hears for a moment what there is to hear, and hangs up.
    async fn attack(&self, bytes: &[u8]) {
        match self {
            Self::Unix(path) => say(UnixStream::connect(path).await.unwrap(), bytes).await,
            Self::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await;
                say(stream.unwrap(), bytes).await;
            }
        }
    }
}

async fn say(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) {
    // Closed under way, which is what is to be expected.
    stream.write_all(bytes).await.ok();
    stream.shutdown().await.ok();
    let mut answer = Vec::new();
    let heard = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_millis(50), heard)
        .await
        .ok();
}

/// Eight strangers who send so many frames. They have a thread of their own, which waits for everybody else's: on other
/// machines they would not take this one's time, what they cost the attacked excepted.
fn strangers(target: Target, most: u64) -> (Arc<Sent>, JoinHandle<()>) {
    let sent = Arc::new(Sent::default());
    let counted = Arc::clone(&sent);
    let connections = cases("WAKEWIRE_STRANGERS", 0).try_into().unwrap();
    let pace = Duration::from_secs(8).checked_div(connections);
    let thread = on_a_thread(async move {
        let mut attackers = JoinSet::new();
        for seed in 0..8 {
            let (sent, target) = (Arc::clone(&counted), target.clone());
            attackers.spawn(async move {
                let mut random = SmallRng::seed_from_u64(seed);
                let mut ticks = pace.map(tokio::time::interval);
                while sent.frames.load(Relaxed) < most {
                    if let Some(ticks) = &mut ticks {
                        ticks.tick().await;
                    }
                    let (bytes, frames) = nonsense(&mut random);
                    target.attack(&bytes).await;
                    sent.frames.fetch_add(frames, Relaxed);
                    sent.connections.fetch_add(1, Relaxed);
                }
                sent.enough.store(true, Relaxed);
            });
        }
        while let Some(attacker) = attackers.join_next().await {
            attacker.unwrap();
        }
    });
    (sent, thread)
}

fn on_a_thread(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    thread::spawn(|| {
        rustix::process::nice(19).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(work);
    })
}

/// Somebody else, who lets them talk: what strangers cost who is not attacked.
async fn bystander(stop: Arc<Notify>) -> u16 {
    let (port, listens) = tokio::sync::oneshot::channel();
    on_a_thread(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        port.send(listener.local_addr().unwrap().port()).unwrap();
        let serve = async {
            let mut served = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                served.spawn(async move {
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).await.ok();
                });
                while served.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = stop.notified() => {}
            () = serve => {}
        }
    });
    listens.await.unwrap()
}

/// Sends a message and waits for it, again and again; returns how long each took, sorted.
async fn works(
    factory: &SinkFactory,
    source: &mut MessageSource,
    (sequence, checker): (&mut Sequence, &mut Checker),
    goes_on: impl Fn() -> bool,
) -> Vec<Duration> {
    let sink = factory.create_sink("x").await.unwrap();
    let mut took = Vec::new();
    while goes_on() {
        let since = Instant::now();
        sink.send(sequence.message(100)).await.unwrap();
        while checker.received(0) < sequence.made() {
            let message = soon(source.recv()).await.unwrap().unwrap();
            // What a stranger sends that happens to be right is a message like others.
            checker.receive(&message);
        }
        took.push(since.elapsed());
    }
    took.sort();
    took
}

fn percentile(sorted: &[Duration], part: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// Counts panics in the library, wherever they are caught.
fn panics() -> &'static AtomicU64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static HOOKED: std::sync::Once = std::sync::Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic
                .location()
                .is_some_and(|at| at.file().contains("wakewire/src"))
            {
                PANICS.fetch_add(1, Relaxed);
            }
            before(panic);
        }));
    });
    &PANICS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_over_real_sockets_disturb_no_good_client() {
    let before = panics().load(Relaxed);
    let most = cases("WAKEWIRE_MALFORMED", 40_000) / 4;
    for kind in ["direct", "relay"] {
        for over_tcp in [false, true] {
            let place = Place::new();
            let (path, port) = (place.path().join("x.sock"), free_port());
            let text = if over_tcp {
                format!("[services.x]\ntype = '{kind}'\nendpoint = 'tcp://127.0.0.1:{port}'\n")
            } else {
                format!(
                    "[services.x]\ntype = '{kind}'\nendpoint = 'unix://{}'\n",
                    path.display()
                )
            };
            // Strangers that say hello as consumers are not waited for.
            let text = text
                + if kind == "relay" {
                    "consumers = ['c']\nconsumer_deadline_secs = 1\n"
                } else {
                    ""
                };
            let factory = factory(&text);
            let relay = if kind == "relay" {
                let mut relay = factory.create_relay("x").await.unwrap();
                relay.bind().await.unwrap();
                Some(tokio::spawn(async move { relay.run().await.unwrap() }))
            } else {
                None
            };
            let mut source = factory.create_source("x").await.unwrap();
            if relay.is_some() {
                source = source.named("c");
            }
            let (mut sequence, mut checker) = (Sequence::of_sender(0), Checker::new());
            let stop = Arc::new(Notify::new());
            let elsewhere = Target::Tcp(bystander(Arc::clone(&stop)).await);
            let here = if over_tcp {
                Target::Tcp(port)
            } else {
                Target::Unix(path)
            };
            let mut took = Vec::new();
            for (target, most) in [(elsewhere, most / 4), (here, most)] {
                let (sent, thread) = strangers(target, most);
                let counts = (&mut sequence, &mut checker);
                let times = works(&factory, &mut source, counts, || !sent.enough.load(Relaxed));
                took.push((times.await, sent));
                tokio::task::spawn_blocking(|| thread.join())
                    .await
                    .unwrap()
                    .unwrap();
            }
            stop.notify_one();
            let (attacked, sent) = took.pop().unwrap();
            let (spared, _) = took.pop().unwrap();
            let verdict = checker.verdict(0, sequence.made());
            assert_eq!(
                (verdict.lost, verdict.duplicated, verdict.reordered),
                (0, 0, 0),
                "{verdict}"
            );
            source.close(PATIENCE).await;
            let report = factory.close(PATIENCE).await;
            assert_ledger(&report);
            assert!(report.is_complete(), "{report:?}");
            println!(
                "{kind}, {}: {} malformed frames over {} connections; a good client's {} messages took {:?} at the median \
                 and {:?} at p99; when they went elsewhere {:?} and {:?}",
                if over_tcp { "tcp" } else { "unix" },
                sent.frames.load(Relaxed),
                sent.connections.load(Relaxed),
                attacked.len(),
                percentile(&attacked, 0.5),
                percentile(&attacked, 0.99),
                percentile(&spared, 0.5),
                percentile(&spared, 0.99),
            );
            assert!(percentile(&attacked, 0.99) < Duration::from_secs(5));
            if let Some(relay) = relay {
                relay.abort();
            }
        }
    }
    assert_eq!(panics().load(Relaxed), before, "the library panicked");
}
