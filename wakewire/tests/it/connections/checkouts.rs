//! A hundred thousand checkouts over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
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
    /// None could be opened in time, as on a machine that has much to do.
    not_opened: AtomicUsize,
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
    let first = AtomicBool::new(true);
    let pool = ConnectionPool::new(url.clone(), config, move || {
        let (url, never) = (url.clone(), first.swap(false, SeqCst));
        async move {
            if never {
                std::future::pending::<()>().await;
            }
            Connection::open(url, ConnectionSettings::default()).await
        }
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
    let (used, cancelled, timed_out, not_opened) = (
        count(&ends.used),
        count(&ends.cancelled),
        count(&ends.timed_out),
        count(&ends.not_opened),
    );
    assert_eq!(used + cancelled + timed_out + not_opened, CHECKOUTS);
    assert!(
        used > CHECKOUTS / 10 && cancelled > 100 && timed_out > 10,
        "{used} {cancelled} {timed_out} {not_opened}"
    );

    // The node's own count, and the pool's.
    eventually("none is being opened", || pool.statistics().opening == 0).await;
    let statistics = pool.statistics();
    assert_eq!((statistics.in_use, statistics.waiting), (0, 0));
    eventually("what took too long to open is closed", || {
        statistics.idle == node.front.open()
    })
    .await;
    assert_eq!(pool.total_connections(), statistics.idle);
    // The node has also heard of those that took too long, except for the one that never began.
    assert!(statistics.failed_opens > 0, "the first was never opened");
    let (opened, given_up) = (statistics.opened, statistics.failed_opens - 1);
    assert!(node.front.most() as u64 <= MOST as u64 + given_up);
    assert!((opened..=opened + given_up).contains(&(node.front.dials() as u64)));
    // Who waits in vain is counted; who waits longest is told what failed to open.
    let in_vain = (timed_out + not_opened) as u64;
    assert!((statistics.timeouts..=statistics.timeouts + given_up + 1).contains(&in_vain));
    assert!(statistics.timeouts >= timed_out as u64);

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
            Err(SinkError::Timeout(_)) => return &ends.timed_out,
            Err(SinkError::ConnectionFailed(_)) => return &ends.not_opened,
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
        &ends.used
    };
    let patience = Duration::from_micros(patience);
    let end = timeout(patience, use_it).await.unwrap_or(&ends.cancelled);
    end.fetch_add(1, SeqCst);
}
