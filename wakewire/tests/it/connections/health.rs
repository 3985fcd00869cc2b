//! Which nodes are well, found out about real ones; the rules themselves: `connection/tests/health.rs`, `manager.rs`.

use std::time::{Duration, Instant};

use wakewire::connection::{Balance, ConnectionConfig, ConnectionManager};
use wakewire::source::HandlerError;
use wakewire::{Message, SinkError};

use super::front::Mood;
use super::{LONG, Node, asked, connection_number, over, over_all};
use crate::support::{Place, eventually, factory, soon};

fn healthy(manager: &ConnectionManager) -> Vec<bool> {
    let all = manager.node_health();
    all.iter().map(|node| node.is_healthy).collect()
}

/// Each in its turn, so that it is known who is asked next.
fn in_turn(config: &ConnectionConfig) -> ConnectionManager {
    ConnectionManager::new(config)
        .unwrap()
        .with_balance(Balance::RoundRobin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_hangs_up_or_is_silent_is_unhealthy_within_the_timeout() {
    for mood in [Mood::Refuses, Mood::Closes, Mood::Silent] {
        for used_before in [false, true] {
            let place = Place::new();
            let nodes = Node::several(&place, 2).await;
            let config = ConnectionConfig {
                timeout_ms: 2000,
                ..over_all(&nodes)
            };
            let manager = in_turn(&config);
            if used_before {
                for _ in 0..4 {
                    asked(&manager, "x").await.unwrap();
                }
                let health = soon(manager.health_check_all_nodes()).await;
                assert!(health.iter().all(|node| node.is_healthy), "{health:?}");
            }
            nodes[1].front.becomes(mood).await;
            let start = Instant::now();
            let health = soon(manager.health_check_all_nodes()).await;
            assert!(start.elapsed() < Duration::from_secs(4), "{mood:?}");
            let found: Vec<_> = health.iter().map(|node| node.is_healthy).collect();
            assert_eq!(found, [true, false], "{mood:?} {health:?}");
            assert!(health.iter().all(|node| node.last_check.as_nanos() > 0));
            assert_eq!(health[1].node_id, nodes[1].id());
            // Nothing goes there.
            let before = nodes[1].processed.total();
            for _ in 0..20 {
                asked(&manager, "y").await.unwrap();
            }
            assert_eq!(nodes[1].processed.total(), before, "{mood:?}");
            // It was put out once: who asks by hand brings it back.
            nodes[1].front.becomes(Mood::Well).await;
            nodes[1].front.sever();
            let health = soon(manager.health_check_all_nodes()).await;
            assert!(health[1].is_healthy, "{mood:?} {health:?}");
            for _ in 0..4 {
                asked(&manager, "y").await.unwrap();
            }
            assert!(nodes[1].processed.total() > before);
        }
    }
}

/// A peer that speaks our protocol and answers no requests is no node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_and_a_listener_are_no_nodes() {
    let place = Place::new();
    let text = place.unix("feed", "direct", "") + &place.unix("hub", "relay", "");
    let factory = factory(&text);
    let mut relay = factory.create_relay("hub").await.unwrap();
    soon(relay.bind()).await.unwrap();
    let relay = tokio::spawn(async move { relay.run().await });
    let mut source = factory.create_source("feed").await.unwrap();
    let listening = tokio::spawn(async move { source.recv().await });
    let feed = place.path().join("feed.sock");
    eventually("it listens", || feed.exists()).await;
    let node = Node::start(&place, "node").await;
    let hub = format!("unix://{}", place.path().join("hub.sock").display());
    let feed = format!("unix://{}", feed.display());
    let manager = in_turn(&over([&*node.front.url, &*hub, &*feed]));
    for _ in 0..12 {
        asked(&manager, "x").await.unwrap();
    }
    let health = soon(manager.health_check_all_nodes()).await;
    assert_eq!(healthy(&manager), [true, false, false], "{health:?}");
    let error = soon(
        ConnectionManager::new(&over([&*hub]))
            .unwrap()
            .get_connection(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, SinkError::Protocol(_)), "{error}");
    assert!(error.to_string().contains("answers no requests"), "{error}");
    relay.abort();
    listening.abort();
}

/// Five failed requests put a node out, and nobody notices; while it is out it gets nothing, well or not; the first
/// probe brings it back. The one test here that takes the 5 s which a node is put out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_fails_is_put_out_and_a_probe_brings_it_back_after_its_restart() {
    let place = Place::new();
    let nodes = Node::several(&place, 2).await;
    let manager = in_turn(&over_all(&nodes));
    for _ in 0..10 {
        asked(&manager, "before").await.unwrap();
    }
    nodes[0].front.becomes(Mood::Refuses).await;
    let mut failing = 0;
    while healthy(&manager)[0] {
        asked(&manager, "failing").await.unwrap();
        failing += 1;
        assert!(failing <= 20, "{:?}", manager.node_health());
    }
    let put_out = Instant::now();
    assert_eq!(healthy(&manager), [false, true]);
    assert_eq!(
        nodes[1].processed.times("failing"),
        failing,
        "the other one did all"
    );
    nodes[0].front.becomes(Mood::Well).await;
    let mut out = 0;
    while !healthy(&manager)[0] {
        asked(&manager, "out").await.unwrap();
        out += 1;
        assert!(
            put_out.elapsed() < Duration::from_secs(20),
            "not brought back"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        put_out.elapsed() > Duration::from_secs(4),
        "{:?}",
        put_out.elapsed()
    );
    // One that was chosen in the very moment may be among them.
    assert!(nodes[0].processed.times("out") <= 1, "{out}");
    for _ in 0..10 {
        asked(&manager, "after").await.unwrap();
    }
    assert_eq!(nodes[0].processed.times("after"), 5);
}

/// Failed requests never put out the last node: as soon as it is well, it is used, without any wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_node_is_never_put_out() {
    let place = Place::new();
    let nodes = Node::several(&place, 3).await;
    let manager = in_turn(&over_all(&nodes));
    asked(&manager, "x").await.unwrap();
    for node in &nodes {
        node.front.becomes(Mood::Closes).await;
    }
    for _ in 0..30 {
        asked(&manager, "y").await.unwrap_err();
    }
    let left: Vec<_> = (0..3).filter(|index| healthy(&manager)[*index]).collect();
    assert_eq!(left.len(), 1, "{:?}", manager.node_health());
    nodes[left[0]].front.becomes(Mood::Well).await;
    asked(&manager, "z").await.unwrap();
    assert_eq!(nodes[left[0]].processed.times("z"), 1);
}

/// What was certainly not processed goes to another node; what may have been does not, unless its caller says that
/// this does no harm. By the count of the nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_certainly_not_processed_goes_to_another_node() {
    let place = Place::new();
    let nodes = Node::several(&place, 2).await;
    let manager = in_turn(&over_all(&nodes));
    let both = |what: &str| {
        let times = |node: &Node| node.processed.times(what);
        (times(&nodes[0]), times(&nodes[1]))
    };
    for _ in 0..2 {
        asked(&manager, "warm").await.unwrap();
    }
    assert_eq!(both("warm"), (1, 1));

    // Each begins at the first node, and breaks off in the middle of the answer.
    nodes[0].front.becomes(Mood::Breaks).await;
    let error = asked(&manager, "once").await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
    assert_eq!(error.into_message(), None, "it may have been processed");
    assert_eq!(both("once"), (1, 0));
    nodes[0].front.becomes(Mood::Well).await;
    asked(&manager, "warm").await.unwrap();
    asked(&manager, "warm").await.unwrap();
    asked(&manager, "warm").await.unwrap();
    nodes[0].front.becomes(Mood::Breaks).await;
    let answer = manager.execute_idempotent(|connection| async move {
        connection.send_request(Message::new("often")).await
    });
    connection_number(&soon(answer).await.unwrap());
    assert_eq!(both("often"), (1, 1));

    // Its connection is gone, and nobody listens any more: it was never written.
    nodes[0].front.becomes(Mood::Refuses).await;
    for _ in 0..4 {
        asked(&manager, "elsewhere").await.unwrap();
    }
    assert_eq!(both("elsewhere"), (0, 4));
}

/// The same of a node that says that it has too much to do, and of one that is leaving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_hands_back_goes_to_another() {
    let place = Place::new();
    let busy = format!("unix://{}", place.path().join("busy").display());
    let refused = super::Calls::default();
    let counted = refused.clone();
    let server = wakewire::source::serve(busy.as_str(), move |_| {
        counted.one_more();
        async { Err::<Message, _>(HandlerError::overloaded("not now")) }
    });
    let server = server.start().await.unwrap();
    let node = Node::start(&place, "well").await;
    let manager = in_turn(&over([&*busy, &*node.front.url]));
    asked(&manager, "x").await.unwrap();
    assert_eq!((refused.count(), node.processed.times("x")), (1, 1));
    // However the first one was chosen: it is not the same one that is asked again.
    for _ in 0..30 {
        let manager = ConnectionManager::new(&over([&*busy, &*node.front.url])).unwrap();
        let before = refused.count();
        asked(&manager, "x").await.unwrap();
        assert!(refused.count() - before <= 1);
    }
    // A handler that cannot answer has answered: nobody else is asked.
    server.close(LONG).await;
    let failing = wakewire::source::serve(busy.as_str(), |_| async {
        Err::<Message, _>(HandlerError::new("no such thing"))
    });
    let failing = failing.start().await.unwrap();
    let manager = in_turn(&over([&*busy, &*node.front.url]));
    let error = asked(&manager, "y").await.unwrap_err();
    assert!(matches!(error, SinkError::RequestFailed(_)), "{error}");
    assert_eq!(node.processed.times("y"), 0);
    assert_eq!(healthy(&manager), [true, true], "it answered");
    failing.close(LONG).await;
}
