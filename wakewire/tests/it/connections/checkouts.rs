//! A hundred thousand checkouts over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use wakewire::connection::{Connection, ConnectionPool, ConnectionSettings, PoolConfig};
use wakewire::{Message, SinkError};

use super::Node;
use crate::support::{Place, eventually, soon};

const CHECKOUTS: usize = 100_000;

const MOST: usize = 4;

/// How a checkout ended.
#[derive(Default)]
struct Ends {
    used: AtomicUsize,
    cancelled: AtomicUsize,
    timed_out: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_leaked_in_a_hundred_thousand_checkouts() {
    let place = Place::new();
    let node = Node::start(&place, "n").await;
    let url = node.front.url.clone();
    let config = PoolConfig {
        min_connections: 0,
        max_connections: MOST,
        connection_timeout_ms: 5,
        ..PoolConfig::default()
    };
    let pool = ConnectionPool::new(url.clone(), config, move || {
        Connection::open(url.clone(), ConnectionSettings::default())
    });
    let pool = Arc::new(pool.unwrap());
    let ends = Arc::new(Ends::default());
    let begun = Arc::new(AtomicUsize::new(0));
    let mut users = JoinSet::new();
    for seed in 0..48 {
        let (pool, ends, begun) = (Arc::clone(&pool), Arc::clone(&ends), Arc::clone(&begun));
        users.spawn(async move {
            let mut dice = SmallRng::seed_from_u64(seed);
            while begun.fetch_add(1, SeqCst) < CHECKOUTS {
                checkout(&pool, &ends, &mut dice).await;
            }
        });
    }
    while let Some(used) = users.join_next().await {
        used.unwrap();
    }
    let count = |end: &AtomicUsize| end.load(SeqCst);
    let (used, cancelled, timed_out) = (
        count(&ends.used),
        count(&ends.cancelled),
        count(&ends.timed_out),
    );
    assert_eq!(used + cancelled + timed_out, CHECKOUTS);
    assert!(
        used > CHECKOUTS / 10 && cancelled > 100 && timed_out > 10,
        "{used} {cancelled} {timed_out}"
    );

    // The node's own count, and the pool's.
    assert!(node.front.most() <= MOST, "{}", node.front.most());
    eventually("none is being opened", || pool.statistics().opening == 0).await;
    let statistics = pool.statistics();
    assert_eq!(
        (statistics.in_use, statistics.waiting, statistics.idle),
        (0, 0, node.front.open()),
        "{statistics:?}"
    );
    assert_eq!(pool.total_connections(), node.front.open());
    assert_eq!(statistics.opened, node.front.dials() as u64);
    assert_eq!(statistics.timeouts, timed_out as u64);

    // Every place is there: so many can be taken at the same time, and no more.
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(soon(pool.get_connection()).await.unwrap());
    }
    let error = soon(pool.get_connection()).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    assert_eq!((pool.total_connections(), node.front.open()), (MOST, MOST));
    drop(held);
    assert!(pool.close(super::LONG).await.finished);
    assert_eq!(pool.total_connections(), 0);
    eventually("all are closed", || node.front.open() == 0).await;
}

/// Takes one, or goes away while it waits; uses it, or holds it, or goes away while it does.
async fn checkout(pool: &ConnectionPool, ends: &Ends, dice: &mut SmallRng) {
    let patience = if dice.random() {
        dice.random_range(0..4000)
    } else {
        1_000_000
    };
    let use_it = async {
        let connection = match pool.get_connection().await {
            Ok(connection) => connection,
            Err(SinkError::Timeout(_)) => return false,
            Err(error) => panic!("{error}"),
        };
        match dice.random_range(0..1000) {
            0..20 => drop(connection.send_request(Message::new("x")).await),
            // Longer than others wait.
            20..25 => tokio::time::sleep(Duration::from_millis(15)).await,
            25..200 => yield_now().await,
            _ => {}
        }
        pool.return_connection(connection);
        true
    };
    let patience = Duration::from_micros(patience);
    let used = timeout(patience, use_it).await;
    let end = match used {
        Ok(true) => &ends.used,
        Ok(false) => &ends.timed_out,
        Err(_) => &ends.cancelled,
    };
    end.fetch_add(1, SeqCst);
}
