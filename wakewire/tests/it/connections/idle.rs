//! Connections that nobody uses, and servers that do not keep them.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use wakewire::Message;
use wakewire::connection::{Connection, ConnectionPool, ConnectionSettings, PoolConfig};

use super::{Node, connection_number};
use crate::support::{Place, eventually, soon};

/// Long enough for a busy machine to do something within a part of it.
const IDLE: Duration = Duration::from_millis(1600);

fn pool(url: &str, config: PoolConfig) -> ConnectionPool {
    let url = url.to_owned();
    let open = {
        let url = url.clone();
        move || Connection::open(url.clone(), ConnectionSettings::default())
    };
    ConnectionPool::new(url, config, open).unwrap()
}

fn none_kept() -> PoolConfig {
    PoolConfig {
        min_connections: 0,
        ..PoolConfig::default()
    }
}

/// The server closes what is idle, and says so in its greeting: the pool leaves first, at 0.8 of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_retired_before_its_server_closes_it() {
    let place = Place::new();
    let node = Node::with(&place, "n", |server| server.with_idle_timeout(Some(IDLE))).await;
    let pool = pool(&node.front.url, none_kept());
    let mut retired = 0;
    for round in 0..4 {
        let connection = soon(pool.get_connection()).await.unwrap();
        soon(connection.send_request(Message::new("x")))
            .await
            .unwrap();
        assert_eq!(connection.announced_idle(), Some(IDLE));
        let start = Instant::now();
        drop(connection);
        eventually("it is closed", || node.front.open() == 0).await;
        let took = start.elapsed();
        assert!(took >= IDLE * 7 / 10, "{took:?}");
        let closed = pool.statistics().closed;
        // By us, if the machine let us: the server would have had it closed as one that was lost.
        if took < IDLE {
            retired += 1;
            assert_eq!(
                (closed.idle + closed.lost, pool.total_connections()),
                (round + 1, 0)
            );
        }
    }
    assert!(retired > 0, "never before the server's own time");
    assert!(
        pool.statistics().closed.idle >= retired,
        "{:?}",
        pool.statistics()
    );
}

/// Whenever it is asked for, around the moment at which it is closed: who gets one can use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_closed_while_idle_is_handed_to_nobody() {
    let place = Place::new();
    let idle = Duration::from_millis(500);
    let node = Node::with(&place, "n", |server| server.with_idle_timeout(Some(idle))).await;
    let pool = pool(&node.front.url, none_kept());
    let mut numbers = std::collections::HashSet::new();
    for pause in (0..20).map(|step| idle * step / 10) {
        let start = Instant::now();
        sleep(pause).await;
        let asked = async {
            let connection = pool.get_connection().await?;
            connection.send_request(Message::new("x")).await
        };
        match soon(asked).await {
            Ok(answer) => {
                numbers.insert(connection_number(&answer));
            }
            // The margin is a fifth of the idle time; what was measured decides whether the machine took it away.
            Err(error) => assert!(start.elapsed() > pause + idle / 10, "{error}"),
        }
    }
    assert!(
        (5..20).contains(&numbers.len()),
        "some were reused, some retired: {numbers:?}"
    );
    // One that its server ends without a word: nobody gets it once that is known.
    for _ in 0..20 {
        // Watched from outside: to ask the pool would have it look.
        let closed = Connection::clone(&*soon(pool.get_connection()).await.unwrap());
        node.front.sever();
        eventually("it is noticed", || !closed.is_open()).await;
        let connection = soon(pool.get_connection()).await.unwrap();
        soon(connection.send_request(Message::new("x")))
            .await
            .unwrap();
    }
}

/// Warm after the first use, and cold before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_are_kept_after_the_first_use_and_none_before() {
    let place = Place::new();
    let node = Node::with(&place, "n", |server| server.with_idle_timeout(Some(IDLE))).await;
    let config = PoolConfig {
        min_connections: 3,
        ..PoolConfig::default()
    };
    let pool = pool(&node.front.url, config);
    sleep(IDLE / 4).await;
    assert_eq!((node.front.dials(), pool.total_connections()), (0, 0));
    drop(soon(pool.get_connection()).await.unwrap());
    eventually("it is warm", || pool.total_connections() == 3).await;
    assert_eq!((node.front.dials(), node.front.most()), (3, 3));
    // What is retired or cut is made up for.
    node.front.sever();
    eventually("those are gone", || {
        node.front.open() == 0 || node.front.dials() > 3
    })
    .await;
    drop(soon(pool.get_connection()).await.unwrap());
    eventually("it is warm again", || {
        pool.total_connections() == 3 && node.front.dials() >= 6
    })
    .await;
    eventually("after the idle time too", || {
        pool.total_connections() == 3 && node.front.dials() >= 9
    })
    .await;
    assert!(node.front.most() <= 20);
    assert!(pool.close(super::LONG).await.finished);
    eventually("all are closed", || node.front.open() == 0).await;
}
