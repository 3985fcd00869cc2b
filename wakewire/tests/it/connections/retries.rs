//! What a node in trouble costs: pauses that grow, and a budget over all calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wakewire::connection::{
    Connection, ConnectionConfig, ConnectionManager, ConnectionSettings, RetryConfig,
};
use wakewire::{ListenLimits, SinkError};

use super::front::Mood;
use super::{Node, asked, over, over_all};
use crate::support::{Place, soon};

/// One that refuses and one that is full: asked `max_retries` times more, after pauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_and_who_is_full_is_asked_again_after_pauses() {
    let place = Place::new();
    let node = Node::with(&place, "n", |server| {
        server.with_limits(ListenLimits {
            connections: 1,
            ..ListenLimits::default()
        })
    })
    .await;
    let config = ConnectionConfig {
        retry_config: RetryConfig {
            max_retries: 4,
            initial_backoff_ms: 50,
            max_backoff_ms: 200,
            ..RetryConfig::default()
        },
        ..over([&*node.front.url])
    };
    // It is full with this one.
    let url = node.front.url.as_str();
    let held = soon(Connection::open(url, ConnectionSettings::default()))
        .await
        .unwrap();
    let manager = ConnectionManager::new(&config).unwrap();
    let mut took = Duration::ZERO;
    for _ in 0..4 {
        let before = node.front.dials();
        let start = Instant::now();
        let error = asked(&manager, "x").await.unwrap_err();
        took += start.elapsed();
        assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
        assert_eq!(node.front.dials() - before, 5);
    }
    // 50 + 100 + 200 + 200 ms four times, of which a random part is waited: half on average.
    assert!(took > Duration::from_millis(250), "{took:?}");
    // There is room as soon as the other has gone.
    held.close();
    soon(held.closed()).await;
    soon(async { while asked(&manager, "x").await.is_err() {} }).await;
    node.front.becomes(Mood::Refuses).await;
    let error = asked(&manager, "y").await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert!(manager.statistics()[0].1.failed_opens >= 25);
    assert_eq!(node.processed.times("y"), 0);
}

/// Five nodes that all hang up: after a few dials that show it, a call costs little more than one dial, and not four
/// attempts at five nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_down_is_not_asked_all_the_more() {
    const CALLS: usize = 400;
    let place = Place::new();
    let nodes = Node::several(&place, 5).await;
    for node in &nodes {
        node.front.becomes(Mood::Closes).await;
    }
    let manager = Arc::new(ConnectionManager::new(&over_all(&nodes)).unwrap());
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let manager = Arc::clone(&manager);
        callers.spawn(async move {
            for _ in 0..CALLS / 8 {
                asked(&manager, "x").await.unwrap_err();
            }
        });
    }
    while let Some(called) = soon(callers.join_next()).await {
        called.unwrap();
    }
    let dials: usize = nodes.iter().map(|node| node.front.dials()).sum();
    // A fifth of the calls and 10 a second over the 10 s that are remembered, and what has slid out of these.
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let remembered = 100 + 10 * seconds;
    let attempts = CALLS + CALLS / 5 + remembered;
    // Until five failures have put out each but the last; eight callers may be on their way to each then. And the
    // probes of those that are out, three in five seconds.
    let before = 5 * (5 + 8);
    let probes = 5 * 3 * (1 + seconds / 4);
    assert!(
        dials <= attempts + before + probes,
        "{dials} dials of {attempts} attempts"
    );
    assert!(dials >= CALLS, "each was tried: {dials}");
}
