//! Between wakewire peers: everything as over TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use wakewire::{DirectSink, MessageSink, Security, SinkError, TlsMode};

use super::{CLOSING, Certificate, Running, factory, port};
use crate::support::{eventually, expect, numbered, soon};

/// Forwards TCP connections and cuts the first ones after so many bytes up and down together.
struct Cutter {
    port: u16,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Cutter {
    async fn start(target: u16, cuts: Vec<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut forwards = JoinSet::new();
            loop {
                let (from, _) = listener.accept().await.unwrap();
                let cut = cuts.get(counter.fetch_add(1, SeqCst)).copied();
                forwards.spawn(forward(from, target, cut.unwrap_or(usize::MAX)));
            }
        });
        Self {
            port,
            connections,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut from: TcpStream, target: u16, mut left: usize) {
    let Ok(mut to) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    while left > 0 {
        let (sink, bytes) = tokio::select! {
            read = from.read(&mut up) => (&mut to, read.map(|read| &up[..read])),
            read = to.read(&mut down) => (&mut from, read.map(|read| &down[..read])),
        };
        let Ok(bytes @ [_, ..]) = bytes else { return };
        let passed = bytes.len().min(left);
        left -= passed;
        if sink.write_all(&bytes[..passed]).await.is_err() {
            return;
        }
    }
}

/// `ws` and `wss`, each with what protects it.
fn both() -> [(&'static str, Security, Option<Certificate>); 2] {
    let certificate = Certificate::new();
    let security = certificate.security();
    [
        ("ws", Security::default(), None),
        ("wss", security, Some(certificate)),
    ]
}

const AT_LEAST_ONCE: &str = "delivery = 'at_least_once'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_service_loses_and_doubles_nothing_when_connections_are_cut() {
    const COUNT: u64 = 20_000;
    for (scheme, security, _certificate) in both() {
        let port = port();
        let at = |port| format!("{scheme}://localhost:{port}/feed");
        // Some before, some in and some behind the greeting and the frames.
        let cuts = vec![10, 300, 5000, 20_000, 100_000, 150_001, 200_003];
        let cutter = Cutter::start(port, cuts.clone()).await;
        let receiver = factory("direct", &at(port), AT_LEAST_ONCE, &security);
        let sender = factory("direct", &at(cutter.port), AT_LEAST_ONCE, &security);
        let sink = sender.create_sink("x").await.unwrap();
        let mut source = receiver.create_source("x").await.unwrap();
        let sending = tokio::spawn(async move {
            for n in 0..COUNT {
                sink.send(numbered(n)).await.unwrap();
            }
        });
        expect(&mut source, 0..COUNT).await;
        assert!(source.close(CLOSING).await, "{scheme}");
        soon(sending).await.unwrap();
        let report = sender.close(CLOSING).await;
        assert_eq!(report.delivered, COUNT, "{scheme}: {report:?}");
        assert!(report.is_complete() && report.per_sink[0].ledger.adds_up());
        assert!(cutter.connections.load(SeqCst) > cuts.len(), "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_under_load_loses_doubles_and_reorders_nothing() {
    const STEP: u32 = 10_000;
    const COUNT: u64 = 5 * STEP as u64;
    for (scheme, security, _certificate) in both() {
        let endpoint = format!("{scheme}://127.0.0.1:{}/", port());
        let further = format!("{AT_LEAST_ONCE}\nconsumers = ['a', 'b']");
        let of = || factory("relay", &endpoint, &further, &security);
        let (sender, receiver) = (of(), of());
        let sink = sender.create_sink("x").await.unwrap();
        let mut consumers = Vec::new();
        for name in ["a", "b"] {
            let mut source = receiver.create_source("x").await.unwrap().named(name);
            consumers.push(tokio::spawn(async move {
                expect(&mut source, 0..COUNT).await;
                assert!(source.close(CLOSING).await);
                assert_eq!(source.stats().missed, 0);
                source.stats().connects
            }));
        }
        // So few before each kill that the next one needs progress through the next relay, to which both are attached.
        let allowed = Arc::new(Semaphore::new(2 * STEP as usize - 1));
        let sending = {
            let (sink, allowed) = (Arc::clone(&sink), Arc::clone(&allowed));
            tokio::spawn(async move {
                for n in 0..COUNT {
                    allowed.acquire().await.unwrap().forget();
                    sink.send(numbered(n)).await.unwrap();
                }
            })
        };
        let mut relay = Running::start(&receiver).await;
        for kill in 1..=3 {
            soon(async {
                loop {
                    let report = sender.flush(std::time::Duration::ZERO).await;
                    if report.delivered >= COUNT / 5 * kill {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
            .await;
            relay.kill().await;
            allowed.add_permits(STEP as usize);
            relay = Running::start(&receiver).await;
        }
        allowed.add_permits(1);
        soon(sending).await.unwrap();
        for consumer in consumers {
            assert!(soon(consumer).await.unwrap() > 3, "{scheme}");
        }
        let report = sender.close(CLOSING).await;
        assert_eq!((report.delivered, report.waiting), (COUNT, 0), "{scheme}");
        relay.kill().await;
    }
}

#[tokio::test]
async fn large_and_empty_messages_pass() {
    for (scheme, security, _certificate) in both() {
        let endpoint = format!("{scheme}://127.0.0.1:{}/", port());
        let factory = factory("direct", &endpoint, AT_LEAST_ONCE, &security);
        let sink = factory.create_sink("x").await.unwrap();
        let mut source = factory.create_source("x").await.unwrap();
        for length in [1 << 20, 0, 125, 126, 65_535, 65_536, 1 << 20] {
            let message = wakewire::Message::new(vec![7; length]);
            sink.send(message).await.unwrap();
            let received = soon(source.recv()).await.unwrap().unwrap();
            assert_eq!(received.payload.len(), length, "{scheme}");
        }
        assert!(source.close(CLOSING).await);
    }
}

#[tokio::test]
async fn a_sink_without_a_name_reaches_a_listener() {
    let endpoint = format!("ws://127.0.0.1:{}/here", port());
    let factory = factory("direct", &endpoint, "", &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    let sink = DirectSink::websocket(&endpoint).unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    eventually("it is written", || sink.ledger().waiting == 0).await;
    assert_eq!(sink.metadata().sink_type, "direct");
    assert!(DirectSink::websocket("ws://").is_err());
}

#[tokio::test]
async fn where_tls_is_demanded_nothing_is_said_in_the_clear() {
    let endpoint = format!("ws://127.0.0.1:{}/", port());
    let security = Security {
        tls: TlsMode::Require,
        ..Security::default()
    };
    let factory = factory("direct", &endpoint, "", &security);
    // Whether it is refused when it is made or when it is dialled.
    let refused = match factory.create_sink("x").await {
        Ok(sink) => soon(sink.connect()).await.unwrap_err(),
        Err(refused) => refused,
    };
    assert!(matches!(refused, SinkError::InvalidConfig(_)), "{refused}");
    let refused = match factory.create_source("x").await {
        Ok(mut source) => soon(source.recv()).await.map(|_| ()).unwrap_err(),
        Err(refused) => refused,
    };
    assert!(refused.to_string().contains("never encrypted"), "{refused}");
}
