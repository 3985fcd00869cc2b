//! Bytes that are flipped, doubled or trade places on the way: the connection ends and heals, and no message is damaged.

use std::time::Duration;

use tokio::time::timeout;
use wakewire::testing::{Checker, Faults, Network, Plan, Sequence, assert_ledger};
use wakewire::{MessageSink, SinkError};

use crate::support::cases;

/// In paused time: connections that wait in vain cost nothing but must be given up in the end.
async fn damaged_in_memory(kind: &str, cases: u64) {
    let network = Network::new();
    let text = format!(
        "[services.x]\nendpoint = 'unix:///x'\ntype = '{kind}'\n\
         lazy = {{ retry_delay_ms = 1, max_retry_delay_secs = 0.001, jitter = 0.0 }}"
    );
    let factory = network.factory(&text).unwrap();
    let relay = match kind {
        "relay" => {
            let mut relay = factory.create_relay("x").await.unwrap();
            relay.bind().await.unwrap();
            Some(tokio::spawn(async move { relay.run().await.unwrap() }))
        }
        _ => None,
    };
    let mut source = factory.create_source("x").await.unwrap();
    if relay.is_some() {
        source = source.named("c");
    }
    let sink = factory.create_sink("x").await.unwrap();
    let proxy = network.proxy("x").unwrap();
    let (mut sequence, mut checker) = (Sequence::default(), Checker::new());
    let (mut slowest, mut worst) = (Duration::ZERO, 0);
    for seed in 0..cases {
        let first = proxy.connections();
        proxy.by(move |number| {
            let faults = Faults::from_seed(seed, SESSION);
            match (number < first + 2, seed % 2) {
                (true, 0) => Plan::carry(faults, Faults::none()),
                (true, _) => Plan::carry(Faults::none(), faults),
                (false, _) => Plan::pass(),
            }
        });
        proxy.sever();
        let since = tokio::time::Instant::now();
        for _ in 0..MESSAGES {
            sink.send(sequence.message(20)).await.unwrap();
        }
        let healed = async {
            while checker.received(0) < sequence.made() {
                match source.recv().await {
                    Ok(message) => checker.receive(&message.expect("not closed")),
                    // What is damaged may look as if another protocol were spoken there: asked again, it tries again.
                    Err(error) => {
                        assert!(matches!(error, SinkError::Protocol(_)), "{error}");
                        None
                    }
                };
            }
            tokio::select! {
                biased;
                message = source.recv() => panic!("again: {message:?}"),
                report = factory.flush(HEALED_WITHIN) => report.is_complete(),
            }
        };
        let healed = timeout(HEALED_WITHIN, healed).await;
        assert_eq!(healed, Ok(true), "seed {seed}: {:?}", Faults::from_seed(seed, SESSION));
        if since.elapsed() > slowest {
            (slowest, worst) = (since.elapsed(), seed);
        }
    }
    checker.assert_all(0, sequence.made());
    println!(
        "{kind}: {cases} damages, {} connections; the slowest, seed {worst}, healed after {slowest:?}",
        proxy.connections()
    );
    source.close(HEALED_WITHIN).await;
    let report = factory.close(HEALED_WITHIN).await;
    assert_ledger(&report);
    assert_eq!(report.delivered, sequence.made());
    if let Some(relay) = relay {
        relay.abort();
    }
}

/// A dialer that takes the other side for another protocol's rests for up to 75 s, twice if both connections are damaged.
/// A frame that does not end is given up after 15 s, when something comes, which it does every 5.
const HEALED_WITHIN: Duration = Duration::from_secs(200);

/// A greeting, and messages.
const SESSION: u64 = 600;
const MESSAGES: usize = 5;

#[tokio::test(start_paused = true)]
async fn four_thousand_damages_to_a_direct_connection_heal_and_none_is_delivered() {
    damaged_in_memory("direct", cases("WAKEWIRE_DAMAGES", 4000)).await;
}

#[tokio::test(start_paused = true)]
async fn four_thousand_damages_to_the_connections_of_a_relay_heal_and_none_is_delivered() {
    damaged_in_memory("relay", cases("WAKEWIRE_DAMAGES", 4000)).await;
}
