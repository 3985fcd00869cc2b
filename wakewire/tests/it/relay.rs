//! A relay between sinks and sources, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wakewire::testing::{Faults, Plan, Proxy};
use wakewire::{SinkError, SinkFactory, Start};

use crate::support::{Place, eventually, expect, factory, number, numbered, soon, tcp};

/// A relay that runs until it is killed; killed, its task is dropped with everything it holds.
struct Running(JoinHandle<()>);

impl Running {
    async fn start(factory: &SinkFactory) -> Self {
        let mut relay = factory.create_relay("relay").await.unwrap();
        soon(relay.bind()).await.unwrap();
        Self(tokio::spawn(async move { relay.run().await.unwrap() }))
    }

    async fn kill(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

fn both(further: &str) -> Vec<(Option<Place>, String)> {
    let place = Place::new();
    let unix = place.unix("relay", "relay", further);
    vec![(Some(place), unix), (None, tcp("relay", "relay", further))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_starting_does_not_matter() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for (_place, text) in both("lazy.retry_delay_ms = 5") {
            let (sender, receiver) = (factory(&text), factory(&text));
            let (mut sending, mut receiving, mut relay) = (None, None, None);
            for part in order {
                match part {
                    0 => {
                        let sink = sender.create_sink("relay").await.unwrap();
                        sending = Some(tokio::spawn(async move {
                            for n in 0..20_000 {
                                sink.send(numbered(n)).await.unwrap();
                            }
                        }));
                    }
                    1 => {
                        let mut source = receiver.create_source("relay").await.unwrap();
                        receiving = Some(tokio::spawn(async move {
                            expect(&mut source, 0..20_000).await;
                            assert!(source.close(Duration::from_secs(5)).await);
                            assert_eq!(source.stats().missed, 0);
                        }));
                    }
                    _ => relay = Some(Running::start(&receiver).await),
                }
                tokio::task::yield_now().await;
            }
            soon(sending.unwrap()).await.unwrap();
            soon(receiving.unwrap()).await.unwrap();
            let report = sender.close(Duration::from_secs(5)).await;
            assert_eq!(report.delivered, 20_000, "{order:?}: {report:?}");
            relay.unwrap().kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_returns_to_a_long_log_is_not_kept_waiting() {
    const MANY: u64 = 40_000;
    let place = Place::new();
    let text = place.unix("relay", "relay", "lazy.retry_delay_ms = 5");
    let front = place.path().join("front.sock");
    let proxy = Proxy::unix(front, place.path().join("relay.sock")).unwrap();
    let (sender, receiver) = (
        factory(&text),
        factory(&text.replace("relay.sock", "front.sock")),
    );
    let relay = Running::start(&sender).await;
    let sink = sender.create_sink("relay").await.unwrap();
    let mut source = receiver.create_source("relay").await.unwrap();
    // Each comes by itself, and is a piece of its own in the log: more than are passed over in a few goes.
    for n in 0..MANY {
        sink.send(numbered(n)).await.unwrap();
        expect(&mut source, n..n + 1).await;
    }
    proxy.sever();
    eventually("it is back", || proxy.connections() > 1).await;
    sink.send(numbered(MANY)).await.unwrap();
    // Sooner than a silent peer is asked whether it lives, which would call for the rest as well.
    let sent = tokio::time::timeout(Duration::from_secs(4), expect(&mut source, MANY..MANY + 1));
    sent.await.expect("not before it was asked");
    relay.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_killed_ten_times_under_load_loses_doubles_and_reorders_nothing() {
    for (_place, text) in both("lazy.retry_delay_ms = 5\nconsumers = ['a', 'b']") {
        let (sender, receiver) = (factory(&text), factory(&text));
        let sink = sender.create_sink("relay").await.unwrap();
        let mut consumers = Vec::new();
        for name in ["a", "b"] {
            let mut source = receiver.create_source("relay").await.unwrap().named(name);
            consumers.push(tokio::spawn(async move {
                expect(&mut source, 0..200_000).await;
                assert!(source.close(Duration::from_secs(5)).await);
                assert_eq!(source.stats().missed, 0);
                source.stats().connects
            }));
        }
        // Each kill but the first needs one more message than was allowed before the last: progress through this relay, to
        // which both are attached.
        const STEP: usize = 200_000 / 12;
        let (mut granted, mut enough) = (2 * STEP, STEP);
        let allowed = Arc::new(Semaphore::new(granted));
        let sending = {
            let (sink, allowed) = (sink.clone(), Arc::clone(&allowed));
            tokio::spawn(async move {
                for n in 0..200_000 {
                    allowed.acquire().await.unwrap().forget();
                    sink.send(numbered(n)).await.unwrap();
                }
            })
        };
        let mut relay = Running::start(&receiver).await;
        for _ in 1..=10 {
            soon(async {
                loop {
                    let report = sink.flush(Duration::ZERO).await.unwrap();
                    if report.delivered >= enough as u64 {
                        if report.waiting > 0 {
                            break;
                        }
                        allowed.add_permits(1);
                        granted += 1;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            relay.kill().await;
            enough = granted + 1;
            allowed.add_permits(STEP);
            granted += STEP;
            relay = Running::start(&receiver).await;
        }
        allowed.add_permits(200_000);
        soon(sending).await.unwrap();
        for consumer in consumers {
            assert!(
                soon(consumer).await.unwrap() > 10,
                "each attached again after each kill"
            );
        }
        let report = sender.close(Duration::from_secs(5)).await;
        assert_eq!(
            (report.delivered, report.waiting, report.undelivered),
            (200_000, 0, 0)
        );
        assert!(report.per_sink[0].ledger.adds_up());
        relay.kill().await;
    }
}

#[tokio::test]
async fn a_sender_that_is_held_up_because_nobody_listens_is_told_so() {
    let place = Place::new();
    let text = place.unix(
        "relay",
        "relay",
        "buffer_size = 10\nlog_bytes = 65536\nlazy = { wait_timeout_secs = 0.3, retry_delay_ms = 1 }",
    );
    let factory = factory(&text);
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("relay").await.unwrap();
    soon(sink.connect()).await.unwrap();
    for n in 0..10 {
        sink.send(numbered(n)).await.unwrap();
    }
    let error = soon(sink.send(numbered(10))).await.unwrap_err();
    assert!(matches!(error, SinkError::BufferFull(_)));
    let text = error.to_string();
    assert!(text.contains("no consumer is attached"), "{text}");
    assert!(text.contains("start a consumer"), "{text}");
    // One comes, and gets what nobody has taken.
    let mut source = factory.create_source("relay").await.unwrap();
    expect(&mut source, 0..10).await;
    soon(sink.send(error.into_message().unwrap()))
        .await
        .unwrap();
    expect(&mut source, 10..11).await;
    drop(source);
    relay.kill().await;
}

#[tokio::test]
async fn a_named_consumer_that_is_away_is_waited_for() {
    let place = Place::new();
    let text = place.unix(
        "relay",
        "relay",
        "consumers = ['late']\nlazy.retry_delay_ms = 1",
    );
    let factory = factory(&text);
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("relay").await.unwrap();
    for n in 0..100 {
        sink.send(numbered(n)).await.unwrap();
    }
    let mut early = factory.create_source("relay").await.unwrap().named("early");
    expect(&mut early, 0..100).await;
    assert!(early.close(Duration::from_secs(5)).await);
    let report = factory.flush(Duration::from_millis(50)).await;
    assert_eq!(
        (report.delivered, report.waiting),
        (0, 100),
        "`late` has had none of it"
    );
    relay.kill().await;
    let relay = Running::start(&factory).await;
    let mut late = factory.create_source("relay").await.unwrap().named("late");
    expect(&mut late, 0..100).await;
    assert!(late.close(Duration::from_secs(5)).await);
    let report = factory.flush(Duration::from_secs(10)).await;
    assert_eq!((report.delivered, report.waiting), (100, 0));
    relay.kill().await;
}

#[tokio::test]
async fn latest_earliest_and_owed_start_where_they_say() {
    let place = Place::new();
    let text = place.unix("relay", "relay", "lazy.retry_delay_ms = 1");
    let factory = factory(&text);
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("relay").await.unwrap();
    for n in 0..10 {
        sink.send(numbered(n)).await.unwrap();
    }
    let mut first = factory.create_source("relay").await.unwrap();
    expect(&mut first, 0..10).await;
    assert!(first.close(Duration::from_secs(5)).await);
    assert_eq!(factory.flush(Duration::from_secs(10)).await.waiting, 0);

    let mut earliest = factory
        .create_source("relay")
        .await
        .unwrap()
        .starting(Start::Earliest);
    expect(&mut earliest, 0..10).await;
    let mut latest = factory
        .create_source("relay")
        .await
        .unwrap()
        .starting(Start::Latest);
    let mut owed = factory.create_source("relay").await.unwrap();
    for source in [&mut latest, &mut owed] {
        // Attached, and nothing there for it.
        let nothing = tokio::time::timeout(Duration::from_millis(1), source.recv());
        assert!(nothing.await.is_err());
        eventually("attached", || source.stats().connects == 1).await;
    }
    sink.send(numbered(10)).await.unwrap();
    for source in [&mut earliest, &mut latest, &mut owed] {
        assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), 10);
    }
    relay.kill().await;
}

#[tokio::test]
async fn a_consumer_that_closes_while_the_relay_is_away_still_says_what_it_processed() {
    let place = Place::new();
    let text = place.unix(
        "relay",
        "relay",
        "lazy = { retry_delay_ms = 1, max_retry_delay_secs = 0.05 }",
    );
    let factory = factory(&text);
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("relay").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let mut source = factory.create_source("relay").await.unwrap();
    expect(&mut source, 0..1).await;
    relay.kill().await;
    let closing = tokio::spawn(async move { source.close(Duration::from_secs(20)).await });
    let relay = Running::start(&factory).await;
    assert!(soon(closing).await.unwrap());
    let report = factory.close(Duration::from_secs(10)).await;
    assert_eq!((report.delivered, report.undelivered), (1, 0));
    assert!(matches!(
        factory.create_relay("relay").await,
        Err(SinkError::Closed(_))
    ));
    relay.kill().await;
}

#[tokio::test]
async fn a_consumer_is_told_what_others_acknowledged_while_it_was_away() {
    let place = Place::new();
    let further = "log_bytes = 65536\nlazy = { retry_delay_ms = 1, max_retry_delay_secs = 0.01 }";
    let relay_text = place.unix("relay", "relay", further);
    let factory = factory(&relay_text);
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("relay").await.unwrap();
    // One consumer reaches the relay through a proxy that can be held up, the other directly.
    let proxied = place.path().join("proxy.sock");
    let proxy = Proxy::unix(proxied, place.path().join("relay.sock")).unwrap();
    let away = crate::support::factory(&relay_text.replace("relay.sock", "proxy.sock"));
    let mut unlucky = away.create_source("relay").await.unwrap();
    let mut steady = factory.create_source("relay").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut unlucky, 0..1).await;
    expect(&mut steady, 0..1).await;
    let cut = || Faults::none().cut_after(0);
    proxy.plan(Plan::carry(cut(), cut()));
    proxy.sever();
    eventually("the relay has let it go", || proxy.connections() >= 2).await;
    // More than the log keeps.
    for n in 1..200 {
        let mut bytes = n_u64(n);
        bytes.resize(1024, 0);
        sink.send(wakewire::Message::new(bytes)).await.unwrap();
        expect(&mut steady, n..n + 1).await;
    }
    proxy.plan(Plan::pass());
    let first = number(&soon(unlucky.recv()).await.unwrap().unwrap());
    assert!(first > 1, "something was missed");
    assert_eq!(unlucky.stats().missed, first - 1);
    let missed = unlucky.take_missed();
    let told: u64 = missed
        .iter()
        .map(|missed| missed.numbers.end() + 1 - missed.numbers.start())
        .sum();
    assert_eq!(told, first - 1);
    expect(&mut unlucky, first + 1..200).await;
    relay.kill().await;
}

fn n_u64(n: u64) -> Vec<u8> {
    n.to_le_bytes().to_vec()
}

/// Receives as `c` until it is dropped; each life's numbers apart.
struct Listening(JoinHandle<()>);

impl Listening {
    async fn start(factory: &SinkFactory, lives: &Lives) -> Self {
        let mut source = factory.create_source("relay").await.unwrap().named("c");
        lives.lock().push(Vec::new());
        let lives = Lives::clone(lives);
        Self(tokio::spawn(async move {
            while let Some(message) = source.recv().await.unwrap() {
                lives.lock().last_mut().unwrap().push(number(&message));
            }
        }))
    }
}

type Lives = Arc<parking_lot::Mutex<Vec<Vec<u64>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_each_in_any_order_loses_nothing() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for (_place, text) in
            both("consumers = ['c']\nlazy = { retry_delay_ms = 2, max_retry_delay_secs = 0.05 }")
        {
            let receiver = factory(&text);
            let mut sender = factory(&text);
            let lives = Lives::default();
            let mut relay = Running::start(&receiver).await;
            let mut listening = Listening::start(&receiver, &lives).await;
            let mut next = 0;
            for part in order {
                let sink = sender.create_sink("relay").await.unwrap();
                for _ in 0..1000 {
                    sink.send(numbered(next)).await.unwrap();
                    next += 1;
                }
                match part {
                    0 => {
                        // Without a spool a sender ends by closing.
                        let report = sender.close(Duration::from_secs(20)).await;
                        assert!(report.is_complete(), "{order:?}: {report:?}");
                        sender = factory(&text);
                    }
                    1 => {
                        listening.0.abort();
                        assert!(listening.0.await.unwrap_err().is_cancelled());
                        listening = Listening::start(&receiver, &lives).await;
                    }
                    _ => {
                        relay.kill().await;
                        relay = Running::start(&receiver).await;
                    }
                }
            }
            let report = sender.close(Duration::from_secs(20)).await;
            assert!(report.is_complete(), "{order:?}: {report:?}");
            listening.0.abort();
            let lives = std::mem::take(&mut *lives.lock());
            for life in lives.iter() {
                assert!(
                    life.is_sorted_by(|a, b| a < b),
                    "{order:?}: twice or out of order in one life"
                );
            }
            let all: std::collections::BTreeSet<u64> = lives.iter().flatten().copied().collect();
            assert!(all.into_iter().eq(0..next), "{order:?}: something is lost");
            relay.kill().await;
        }
    }
}
