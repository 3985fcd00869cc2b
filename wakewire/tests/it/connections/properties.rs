//! The properties of M37, over real listeners; (1) and (7) are in `reach`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wakewire::connection::{
    Balance, Connection, ConnectionConfig, ConnectionManager, ConnectionPool, ConnectionSettings,
    PoolConfig, RetryConfig, execute_with_retry,
};
use wakewire::{Message, SinkError};

use super::front::Mood;
use super::{Calls, LONG, Node, asked, connection_number, over, over_all};
use crate::support::{Place, eventually, soon};

pub(super) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        // What shrinks would be a network's mood.
        max_shrink_iters: 8,
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

fn balance(round: bool) -> Balance {
    if round {
        Balance::RoundRobin
    } else {
        Balance::LeastLoaded
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// M37 (2) and (27): a node that accepts and hangs up is dialled `max_retries` times more and no more, after waits
    /// that grow by the multiplier, up to the cap. Without a network and to the millisecond: `connection/tests/retry.rs`.
    #[test]
    fn at_most_so_many_retries_after_waits_that_grow(
        max_retries in 0_u32..5,
        initial_backoff_ms in 5_u64..20,
        max_backoff_ms in 40_u64..80,
        backoff_multiplier in prop_oneof![1.5..3.0, 30.0..100.0],
    ) {
        const CALLERS: u32 = 24;
        let config = RetryConfig { max_retries, initial_backoff_ms, max_backoff_ms, backoff_multiplier };
        runtime().block_on(async {
            let place = Place::new();
            let node = Node::start(&place, "n").await;
            node.front.becomes(Mood::Closes).await;
            let mut callers = JoinSet::new();
            for _ in 0..CALLERS {
                let (config, url) = (config.clone(), node.front.url.clone());
                callers.spawn(async move {
                    let (begun, ended) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
                    let error = execute_with_retry(&config, || async {
                        begun.lock().unwrap().push(Instant::now());
                        let opened = Connection::open(url.as_str(), ConnectionSettings::default()).await;
                        ended.lock().unwrap().push(Instant::now());
                        opened.map(drop)
                    });
                    let error = soon(error).await.unwrap_err();
                    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
                    let (begun, ended) = (begun.into_inner().unwrap(), ended.into_inner().unwrap());
                    let pairs = ended.iter().zip(begun.iter().skip(1));
                    pairs.map(|(end, begin)| begin.duration_since(*end)).collect::<Vec<_>>()
                });
            }
            let mut sums = vec![Duration::ZERO; max_retries as usize];
            while let Some(waits) = callers.join_next().await {
                let waits = waits.unwrap();
                assert_eq!(waits.len(), max_retries as usize, "{config:?}");
                for (sum, wait) in sums.iter_mut().zip(waits) {
                    *sum += wait;
                }
            }
            assert_eq!(node.front.dials(), (CALLERS * (max_retries + 1)) as usize);
            for (retry, sum) in (1..).zip(sums) {
                // By the definition, and not by `base_delay`, which is what is tested.
                let grown = initial_backoff_ms as f64 * backoff_multiplier.powi(retry - 1);
                let longest = Duration::from_secs_f64(grown.min(max_backoff_ms as f64) / 1000.0);
                let mean = sum / CALLERS;
                // Half of it, with full jitter. A machine that is busy makes it longer; without a cap it is minutes.
                assert!(mean > longest / 5, "retry {retry}: {mean:?} of {longest:?}, {config:?}");
                assert!(mean < longest + Duration::from_secs(10), "retry {retry}: {mean:?}, {config:?}");
            }
        });
    }

    /// M37 (27), of requests that break in the middle of their answer: repeated only if that does no harm.
    #[test]
    fn what_may_have_been_processed_is_repeated_so_often_at_most(max_retries in 0_u32..5, idempotent in any::<bool>()) {
        runtime().block_on(async {
            let place = Place::new();
            let node = Node::start(&place, "n").await;
            let config = ConnectionConfig {
                retry_config: RetryConfig { max_retries, ..over([]).retry_config },
                ..over([node.front.url.as_str()])
            };
            let manager = ConnectionManager::new(&config).unwrap();
            let ask = |connection: std::sync::Arc<Connection>| {
                // In the midst of the answer, not of the greeting.
                let front = &node.front;
                async move {
                    front.becomes(Mood::Breaks).await;
                    let answer = connection.send_request(Message::new("x")).await;
                    front.becomes(Mood::Well).await;
                    answer
                }
            };
            let error = if idempotent {
                soon(manager.execute_idempotent(ask)).await
            } else {
                soon(manager.execute(ask)).await
            };
            let error = error.unwrap_err();
            assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
            let times = if idempotent { 1 + max_retries as usize } else { 1 };
            assert_eq!(node.processed.times("x"), times);
        });
    }

    /// M37 (3) and (4): every healthy node gets a share, and an unhealthy one nothing, be it put out by hand or by a
    /// check; also when it is well again and nobody knows yet. Paused clock: `connection/tests/manager.rs`.
    #[test]
    fn requests_go_to_all_healthy_nodes_and_to_no_other(
        out in prop::collection::vec(any::<bool>(), 2..5),
        mood in prop_oneof![4 => Just(Mood::Closes), 4 => Just(Mood::Refuses), 1 => Just(Mood::Silent)],
        round in any::<bool>(),
    ) {
        prop_assume!(out.contains(&false));
        runtime().block_on(async {
            let place = Place::new();
            let nodes = Node::several(&place, out.len()).await;
            // Long enough for a busy machine to answer in.
            let config = ConnectionConfig { timeout_ms: 8000, ..over_all(&nodes) };
            let manager = ConnectionManager::new(&config).unwrap().with_balance(balance(round));
            for (index, node) in nodes.iter().enumerate().filter(|(index, _)| out[*index]) {
                if index % 2 == 0 {
                    node.front.becomes(mood).await;
                } else {
                    assert!(manager.mark_node_unhealthy(&node.id()));
                }
            }
            let health = soon(manager.health_check_all_nodes()).await;
            let found: Vec<_> = health.iter().map(|node| !node.is_healthy).collect();
            assert_eq!(found, out);
            for node in &nodes {
                node.front.becomes(Mood::Well).await;
            }
            let count = out.len() * 30;
            for _ in 0..count {
                asked(&manager, "x").await.unwrap();
            }
            let counts: Vec<_> = nodes.iter().map(|node| node.processed.total()).collect();
            assert_eq!(counts.iter().sum::<usize>(), count);
            for (count, out) in counts.iter().zip(&out) {
                // 30 on average, of a fair share: 5 has a chance of one in a hundred million.
                assert!(if *out { *count == 0 } else { *count >= 5 }, "{counts:?} {out}");
            }
        });
    }

    /// M37 (5): what is asked for again within the idle timeout is the same connection, and after it another one.
    /// Paused clock: `connection/pool/tests.rs`.
    #[test]
    fn within_the_idle_timeout_the_same_connection_is_reused(
        idle_timeout_ms in 20_u64..60,
        pauses in prop::collection::vec(0.0..2.0, 1..8),
    ) {
        runtime().block_on(async {
            let place = Place::new();
            let node = Node::start(&place, "n").await;
            let url = node.front.url.clone();
            let config = PoolConfig { min_connections: 0, idle_timeout_ms, ..PoolConfig::default() };
            let pool = ConnectionPool::new(url.clone(), config, move || {
                Connection::open(url.clone(), ConnectionSettings::default())
            }).unwrap();
            let idle = Duration::from_millis(idle_timeout_ms);
            let mut held = soon(pool.get_connection()).await.unwrap();
            for pause in pauses {
                let answer = soon(held.send_request(Message::new("x"))).await.unwrap();
                let before = connection_number(&answer);
                let returning = Instant::now();
                drop(held);
                let returned = Instant::now();
                sleep(idle.mul_f64(pause)).await;
                let getting = Instant::now();
                held = soon(pool.get_connection()).await.unwrap();
                let got = Instant::now();
                let answer = soon(held.send_request(Message::new("x"))).await.unwrap();
                let is_same = connection_number(&answer) == before;
                // What was measured decides, not what was meant: the machine may be busy.
                if got.duration_since(returning) < idle {
                    assert!(is_same, "after {:?} of {idle:?}", got - returning);
                }
                if getting.duration_since(returned) > idle {
                    assert!(!is_same, "after {:?} of {idle:?}", getting - returned);
                }
            }
        });
    }

    /// M37 (6): after `disconnect` everything is closed and released, whatever was under way and however the nodes
    /// behave. Paused clock: `connection/tests/manager.rs`.
    #[test]
    fn after_disconnect_everything_is_closed_and_released(
        moods in prop::collection::vec(prop_oneof![
            4 => Just(Mood::Well), 1 => Just(Mood::Closes), 1 => Just(Mood::Silent), 1 => Just(Mood::Refuses),
        ], 1..4),
        min_connections in 0_usize..4,
        callers in 0_usize..12,
        checks in any::<bool>(),
        within_ms in 50_u64..400,
    ) {
        let servers = runtime();
        let place = Place::new();
        let nodes = servers.block_on(Node::several(&place, moods.len()));
        // A runtime of its own, so that its tasks can be counted.
        let ours = Builder::new_current_thread().enable_all().build().unwrap();
        ours.block_on(async {
            let config = ConnectionConfig {
                timeout_ms: 1000,
                pool_config: PoolConfig { min_connections, max_connections: 4, ..PoolConfig::default() },
                ..over_all(&nodes)
            };
            let manager = std::sync::Arc::new(ConnectionManager::new(&config).unwrap());
            for _ in 0..3 * moods.len() {
                asked(&manager, "x").await.unwrap();
            }
            for (node, mood) in nodes.iter().zip(&moods) {
                let _servers = servers.enter();
                node.front.becomes(*mood).await;
            }
            let ended = Calls::default();
            for _ in 0..callers {
                let (manager, ended) = (std::sync::Arc::clone(&manager), ended.clone());
                tokio::spawn(async move {
                    while !matches!(asked(&manager, "y").await, Err(SinkError::Closed(_))) {
                        tokio::task::yield_now().await;
                    }
                    ended.one_more();
                });
            }
            if checks {
                let manager = std::sync::Arc::clone(&manager);
                tokio::spawn(async move { manager.health_check_all_nodes().await });
            }
            sleep(Duration::from_millis(within_ms / 10)).await;
            let start = Instant::now();
            let within = Duration::from_millis(within_ms);
            let report = manager.disconnect(within).await;
            assert!(start.elapsed() < within + Duration::from_secs(2), "{report:?}");
            let error = manager.get_connection().await.unwrap_err();
            assert!(matches!(error, SinkError::Closed(_)), "{error}");
            assert_eq!(manager.total_connections(), 0);
            eventually("the callers are told", || ended.count() == callers).await;
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            eventually("no task is left", || tasks() == 0).await;
            eventually("no socket is left", || nodes.iter().all(|node| node.front.open() == 0)).await;
        });
        servers.block_on(async {
            for node in nodes {
                node.server.close(LONG).await;
            }
        });
    }
}
