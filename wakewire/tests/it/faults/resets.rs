//! Live TCP connections that are reset on both sides, again and again, with messages on their way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wakewire::testing::assert_ledger;
use wakewire::{MessageSink, MessageSource};

use crate::support::{PATIENCE, cases, eventually, expect, factory, numbered, soon, tcp};

/// Carries connections, and resets those that there are when it is told to; what is on its way is gone.
async fn carry(front: TcpListener, back: SocketAddr, reset: watch::Receiver<u64>) {
    loop {
        let (mut one, _) = front.accept().await.unwrap();
        let mut reset = reset.clone();
        tokio::spawn(async move {
            let Ok(mut other) = TcpStream::connect(back).await else {
                return;
            };
            reset.mark_unchanged();
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut other) => {}
                _ = reset.changed() => {
                    for end in [&one, &other] {
                        end.set_zero_linger().unwrap();
                    }
                }
            }
        });
    }
}

fn endpoint(of: &str) -> SocketAddr {
    let at = of.split("tcp://").nth(1).unwrap();
    at.split('\'').next().unwrap().parse().unwrap()
}

/// A sender and a receiver, and the connection between them reset so often.
async fn resets(sink: &dyn MessageSink, source: &mut MessageSource, reset: &watch::Sender<u64>) {
    let resets = cases("WAKEWIRE_RESETS", 40);
    let mut waits = Vec::new();
    for round in 0..resets {
        for number in 0..3 {
            sink.send(numbered(4 * round + number)).await.unwrap();
        }
        expect(source, 4 * round..4 * round + 1).await;
        // The one in hand is not processed, the others may have come or not.
        let (connects, since) = (source.stats().connects, Instant::now());
        reset.send_modify(|count| *count += 1);
        sink.send(numbered(4 * round + 3)).await.unwrap();
        eventually("it is back", || source.stats().connects > connects).await;
        waits.push(since.elapsed());
        expect(source, 4 * round + 1..4 * round + 4).await;
    }
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    println!("{resets} resets: back after {:?}, p99 {:?}", at(50), at(99));
    assert!(at(99) < PATIENCE / 3, "{waits:?}");
    let nothing = tokio::time::timeout(Duration::from_millis(200), source.recv()).await;
    assert!(nothing.is_err(), "once");
    assert!(soon(sink.flush(PATIENCE)).await.unwrap().is_complete());
}

#[tokio::test]
async fn a_connection_that_is_reset_again_and_again_loses_and_doubles_nothing() {
    for kind in ["direct", "relay"] {
        let back = tcp("x", kind, "");
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = front.local_addr().unwrap().port();
        let target = endpoint(&back);
        let forth = back.replace(&target.to_string(), &format!("127.0.0.1:{port}"));
        let (here, there) = (factory(&back), factory(&forth));
        let (reset, told) = watch::channel(0);
        let carrying = tokio::spawn(carry(front, target, told));
        let mut relay = None;
        // Of a relay the consumer's connection is reset as well.
        let mut source = if kind == "relay" {
            let mut serving = here.create_relay("x").await.unwrap();
            serving.bind().await.unwrap();
            relay = Some(tokio::spawn(async move { serving.run().await.unwrap() }));
            there.create_source("x").await.unwrap()
        } else {
            here.create_source("x").await.unwrap()
        };
        let sink = there.create_sink("x").await.unwrap();
        resets(&sink, &mut source, &reset).await;
        let report = there.close(PATIENCE).await;
        assert_ledger(&report);
        assert!(report.is_complete(), "{report:?}");
        if let Some(relay) = relay {
            relay.abort();
        }
        carrying.abort();
    }
}
