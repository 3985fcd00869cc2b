//! The pool over a node without a wire, on a paused clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::kept::{Kept, after};
use super::{ClosedConnections, ConnectionPool, PoolStatistics, PooledConnection};
use crate::connection::config::PoolConfig;
use crate::connection::node::Pooled;
use crate::connection::tests::fake::{Fake, Mood, Node};
use crate::error::{Phase, SinkError};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn few(min: usize, max: usize) -> PoolConfig {
    PoolConfig {
        min_connections: min,
        max_connections: max,
        ..PoolConfig::default()
    }
}

fn pool(node: &Node, config: PoolConfig) -> ConnectionPool<Fake> {
    let node = node.clone();
    ConnectionPool::new("fake", config, move || node.clone().accept()).unwrap()
}

/// Lets every task do what it can do now.
async fn settled() {
    sleep(MILLISECOND).await;
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn get_all(pool: &ConnectionPool<Fake>, count: usize) -> Vec<PooledConnection<Fake>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(pool.get_connection().await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_before_the_first_use_and_the_minimum_after_it() {
    let node = Node::new();
    let pool = pool(&node, PoolConfig::default());
    sleep(SECOND * 3600).await;
    assert_eq!((node.dials(), tasks()), (0, 0));
    drop(pool.get_connection().await.unwrap());
    settled().await;
    assert_eq!((node.open(), pool.total_connections()), (5, 5));
    sleep(SECOND * 3600).await;
    assert_eq!(pool.total_connections(), 5, "kept warm");
    assert!(pool.statistics().closed.lifetime > 0, "not the same ones");
}

/// M37 (5).
#[tokio::test(start_paused = true)]
async fn within_the_idle_timeout_the_same_connection_is_reused() {
    let node = Node::new();
    let pool = pool(&node, few(0, 20));
    let id = pool.get_connection().await.unwrap().id;
    for wait in [0, 1, 30, 59] {
        sleep(SECOND * wait).await;
        assert_eq!(
            pool.get_connection().await.unwrap().id,
            id,
            "after {wait} s"
        );
    }
    sleep(SECOND * 60).await;
    settled().await;
    assert_eq!((pool.total_connections(), tasks()), (0, 0), "asleep");
    assert_ne!(pool.get_connection().await.unwrap().id, id);
    assert_eq!(pool.statistics().closed.idle, 1);
}

#[tokio::test(start_paused = true)]
async fn retires_before_the_peer_does() {
    let node = Node::new();
    *node.announced.lock() = Some(SECOND * 20);
    let pool = pool(&node, few(1, 20));
    let id = pool.get_connection().await.unwrap().id;
    sleep(SECOND * 15).await;
    assert_eq!(pool.get_connection().await.unwrap().id, id);
    sleep(SECOND * 16).await;
    assert_ne!(pool.get_connection().await.unwrap().id, id, "0.8 of 20 s");
}

#[tokio::test(start_paused = true)]
async fn the_last_used_is_used_first_and_the_others_go() {
    let node = Node::new();
    let pool = pool(&node, few(0, 20));
    let mut all = get_all(&pool, 3).await;
    let last = all.pop().unwrap();
    let id = last.id;
    drop(all);
    drop(last);
    for _ in 0..8 {
        sleep(SECOND * 10).await;
        assert_eq!(pool.get_connection().await.unwrap().id, id);
    }
    assert_eq!(pool.total_connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_differ_by_up_to_a_quarter() {
    let node = Node::new();
    let pool = pool(&node, few(20, 20));
    drop(pool.get_connection().await.unwrap());
    sleep(SECOND * 1349).await;
    assert_eq!(pool.statistics().closed.lifetime, 0);
    sleep(SECOND * 225).await;
    let half = pool.statistics().closed.lifetime;
    assert!((1..20).contains(&half), "{half}");
    sleep(SECOND * 227).await;
    assert!(pool.statistics().closed.lifetime >= 20);
    assert_eq!(pool.total_connections(), 20);
}

#[tokio::test(start_paused = true)]
async fn never_above_the_maximum_and_who_waits_is_told_the_counts() {
    let node = Node::new();
    let pool = pool(&node, few(0, 2));
    let held = get_all(&pool, 2).await;
    let start = Instant::now();
    let error = pool.get_connection().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(matches!(error, SinkError::Timeout(_)));
    let text = error.to_string();
    assert!(
        text.contains("of 2 there are 2 in use, 0 idle, 0 being opened; 1 callers wait"),
        "{text}"
    );
    assert_eq!((node.open(), pool.statistics().timeouts), (2, 1));
    drop(held);
    pool.get_connection().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_of_coming() {
    let node = Node::new();
    let pool = Arc::new(pool(&node, few(0, 1)));
    let held = pool.get_connection().await.unwrap();
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
        waiting.spawn(async move {
            let connection = pool.get_connection().await.unwrap();
            order.lock().push(number);
            yield_now().await;
            drop(connection);
        });
        yield_now().await;
    }
    drop(held);
    waiting.join_all().await;
    assert_eq!(*order.lock(), (0..20).collect::<Vec<_>>());
    let waits = pool.statistics().waits;
    assert_eq!((node.dials(), waits), (1, 21), "the first for the opening");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_peer_closed_is_never_handed_out_nor_counted() {
    let node = Node::new();
    let pool = pool(&node, few(0, 20));
    drop(get_all(&pool, 3).await);
    assert_eq!(pool.total_connections(), 3);
    node.drops_all();
    assert_eq!(pool.total_connections(), 0);
    let id = pool.get_connection().await.unwrap().id;
    assert_eq!(id, 3);
    let held = pool.get_connection().await.unwrap();
    node.drops_all();
    assert_eq!(pool.total_connections(), 0, "in use, and dead");
    drop(held);
    assert_eq!(pool.total_connections(), 0);
    assert_eq!(pool.statistics().closed.lost, 4);
}

/// Between the grant and the moment in which the waiter runs.
#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_on_its_way_to_a_waiter_is_replaced() {
    let node = Node::new();
    let pool = pool(&node, few(0, 1));
    let held = pool.get_connection().await.unwrap();
    let mut waiting = Box::pin(pool.get_connection());
    std::future::poll_fn(|cx| {
        assert!(waiting.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(held);
    assert_eq!(pool.statistics().in_use, 1, "granted");
    node.drops_all();
    let fresh = waiting.await.unwrap();
    assert!(fresh.is_open());
    assert_eq!((fresh.id, pool.statistics().gets), (1, 2));
}

/// One that is over when it is opened was never opened, for who waits for it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_is_an_error() {
    let node = Node::new();
    node.becomes(Mood::HangsUp);
    let pool = pool(&node, few(0, 1));
    let start = Instant::now();
    let error = pool.get_connection().await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert!(start.elapsed() < MILLISECOND * 10);
    let statistics = pool.statistics();
    assert_eq!((statistics.failed_opens, statistics.opened), (1, 0));
}

/// Classic bug 13.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_discarded_at_once_and_the_next_is_fresh() {
    let node = Node::new();
    node.lingers.store(true, SeqCst);
    let pool = pool(&node, few(0, 1));
    let silent = pool.get_connection().await.unwrap();
    let id = silent.id;
    let start = Instant::now();
    silent.discard();
    assert_ne!(pool.get_connection().await.unwrap().id, id);
    assert!(
        start.elapsed() < MILLISECOND * 100,
        "closing it holds nobody up"
    );
}

/// Classic bug 12, at each moment of a get.
#[tokio::test(start_paused = true)]
async fn a_cancelled_get_leaks_nothing() {
    let node = Node::new();
    *node.delay.lock() = MILLISECOND * 10;
    let pool = Arc::new(pool(&node, few(0, 2)));
    // While it is being opened: it goes on and lies idle.
    assert!(
        timeout(MILLISECOND * 5, pool.get_connection())
            .await
            .is_err()
    );
    assert_eq!(pool.statistics().opening, 1);
    sleep(MILLISECOND * 10).await;
    assert_eq!((pool.statistics().idle, pool.statistics().opening), (1, 0));
    // While all are in use.
    let held = get_all(&pool, 2).await;
    assert!(timeout(MILLISECOND, pool.get_connection()).await.is_err());
    assert_eq!(pool.statistics().waiting, 0);
    // Granted in the same moment: to one who is polled once and dropped after the grant.
    let mut waiting = Box::pin(pool.get_connection());
    std::future::poll_fn(|cx| {
        assert!(waiting.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(held);
    assert_eq!(pool.statistics().in_use, 1, "granted");
    drop(waiting);
    assert_eq!((pool.statistics().in_use, pool.statistics().idle), (0, 2));
}

/// A get that was granted a connection and is not polled any more keeps nobody else waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_grant_to_one_who_left_goes_to_the_next() {
    let node = Node::new();
    let pool = Arc::new(pool(&node, few(0, 1)));
    let held = pool.get_connection().await.unwrap();
    let mut first = Box::pin(pool.get_connection());
    let mut second = Box::pin(pool.get_connection());
    std::future::poll_fn(|cx| {
        assert!(first.as_mut().poll(cx).is_pending());
        assert!(second.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(held);
    drop(first);
    timeout(MILLISECOND, second).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guard_returns_itself_in_a_panic_and_outside_of_a_runtime() {
    let node = Node::new();
    let pool = Arc::new(pool(&node, few(0, 20)));
    let user = Arc::clone(&pool);
    let panicked = tokio::spawn(async move {
        let _held = user.get_connection().await.unwrap();
        panic!("as told");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!((pool.statistics().idle, pool.statistics().in_use), (1, 0));
    let held = pool.get_connection().await.unwrap();
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!((pool.statistics().idle, pool.statistics().in_use), (1, 0));
}

#[test]
fn survives_its_runtime_and_works_in_the_next() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let node = Node::new();
    let pool = Arc::new(pool(&node, few(0, 1)));
    let error = futures_now(pool.get_connection()).unwrap().unwrap_err();
    assert!(matches!(error, SinkError::NoRuntime(_)));
    let first = runtime();
    let held = first.block_on(pool.get_connection()).unwrap();
    drop(first);
    drop(held);
    let second = runtime();
    let held = second.block_on(pool.get_connection()).unwrap();
    assert_eq!(held.id, 0);
    held.discard();
    assert_eq!(second.block_on(pool.get_connection()).unwrap().id, 1);
    drop(second);
    drop(pool);
    assert_eq!(node.open(), 0);
}

/// Polls once.
fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_cannot_be_opened_is_told_at_once() {
    let node = Node::new();
    let pool = pool(&node, PoolConfig::default());
    for (mood, phrase) in [(Mood::Refuses, "refused"), (Mood::Panics, "panicked")] {
        node.becomes(mood);
        let start = Instant::now();
        let error = pool.get_connection().await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionFailed(_)));
        assert_eq!(error.failure().failed_phase(), Some(Phase::Dial));
        assert!(error.to_string().contains(phrase), "{error}");
        assert!(start.elapsed() < MILLISECOND * 10);
    }
    node.becomes(Mood::Hangs);
    let start = Instant::now();
    let error = pool.get_connection().await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5);
    sleep(SECOND * 6).await;
    let opening = pool.statistics().opening;
    assert!(opening <= 1, "what hangs is given up: {opening}");
    node.becomes(Mood::Well);
    sleep(SECOND * 60).await;
    assert_eq!(pool.total_connections(), 5, "warm again by itself");
}

/// Classic bug 11, where nobody waits.
#[tokio::test(start_paused = true)]
async fn keeping_warm_is_no_hot_loop() {
    for mood in [Mood::Refuses, Mood::HangsUp] {
        let node = Node::new();
        let pool = pool(&node, PoolConfig::default());
        drop(pool.get_connection().await.unwrap());
        settled().await;
        node.becomes(mood);
        node.drops_all();
        let before = node.dials();
        sleep(SECOND * 600).await;
        let dials = node.dials() - before;
        assert!((2..=40).contains(&dials), "{mood:?}: {dials}");
        node.becomes(Mood::Well);
        sleep(SECOND * 60).await;
        assert_eq!(pool.total_connections(), 5, "{mood:?}");
    }
}

/// What the peer says about idle connections may be nonsense. Pauses grow to 30 s, and five are opened after each.
#[tokio::test(start_paused = true)]
async fn keeping_warm_is_no_hot_loop_whatever_the_peer_announces() {
    for announced in [Duration::ZERO, MILLISECOND, SECOND * 3, Duration::MAX] {
        let node = Node::new();
        *node.announced.lock() = Some(announced);
        let pool = pool(&node, PoolConfig::default());
        drop(pool.get_connection().await.unwrap());
        sleep(SECOND * 600).await;
        assert!(
            (5..=200).contains(&node.dials()),
            "{announced:?}: {}",
            node.dials()
        );
        drop(pool.get_connection().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn close_answers_who_waits_and_leaves_nothing() {
    let node = Node::new();
    let pool = Arc::new(pool(&node, few(0, 2)));
    let mut held = get_all(&pool, 2).await;
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.get_connection().await }
    });
    yield_now().await;
    let closing = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.close(SECOND * 4).await }
    });
    assert!(matches!(waiting.await.unwrap(), Err(SinkError::Closed(_))));
    sleep(SECOND).await;
    assert_eq!(node.open(), 2, "still in use");
    drop(held.pop());
    settled().await;
    assert_eq!(node.open(), 1, "closed when it came back");
    let start = Instant::now();
    let report = closing.await.unwrap();
    assert!(start.elapsed() < SECOND * 3);
    assert_eq!(
        (report.closed, report.interrupted, report.finished),
        (1, 1, true)
    );
    assert_eq!((node.open(), pool.total_connections(), tasks()), (0, 0, 0));
    drop(held);
    assert!(matches!(
        pool.get_connection().await,
        Err(SinkError::Closed(_))
    ));
    assert!(pool.close(Duration::ZERO).await.finished, "again");
}

#[tokio::test(start_paused = true)]
async fn close_returns_by_its_deadline_whatever_lingers() {
    for within in [Duration::ZERO, MILLISECOND * 10, SECOND] {
        let node = Node::new();
        node.lingers.store(true, SeqCst);
        let pool = pool(&node, few(0, 20));
        let held = get_all(&pool, 3).await;
        let start = Instant::now();
        let report = pool.close(within).await;
        assert!(
            start.elapsed() <= within + MILLISECOND,
            "{:?}",
            start.elapsed()
        );
        assert!(!report.finished);
        assert_eq!(report.interrupted, 3);
        settled().await;
        assert_eq!(tasks(), 0);
        drop(held);
        assert_eq!(node.open(), 0);
    }
}

/// Classic bug 14.
#[tokio::test(start_paused = true)]
async fn no_connection_after_a_close_while_connecting() {
    for (delay, close_at) in [(10, 1), (10, 9), (10, 10), (10, 11)] {
        let node = Node::new();
        *node.delay.lock() = MILLISECOND * delay;
        let pool = Arc::new(pool(&node, PoolConfig::default()));
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.get_connection().await.map(drop) }
        });
        sleep(Duration::from_millis(close_at)).await;
        pool.close(SECOND).await;
        assert_eq!(
            (node.open(), tasks() - usize::from(!waiting.is_finished())),
            (0, 0)
        );
        sleep(SECOND).await;
        assert_eq!(node.open(), 0);
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_what_is_being_opened() {
    let node = Node::new();
    node.becomes(Mood::Hangs);
    let pool = pool(&node, PoolConfig::default());
    assert!(timeout(SECOND, pool.get_connection()).await.is_err());
    let start = Instant::now();
    assert!(pool.close(SECOND * 60).await.finished);
    assert!(start.elapsed() < MILLISECOND * 10);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pool_leaves_nothing() {
    let node = Node::new();
    let pool = pool(&node, PoolConfig::default());
    let held = pool.get_connection().await.unwrap();
    settled().await;
    drop(pool);
    settled().await;
    assert_eq!((node.open(), tasks()), (1, 0));
    assert!(held.request().await.is_ok(), "in use until it is returned");
    drop(held);
    assert_eq!(node.open(), 0);
}

/// F20: 10⁵ checkouts by 50 tasks, with timeouts, cancels, broken connections and a node that comes and goes.
#[tokio::test(start_paused = true)]
async fn many_checkouts_with_random_cancels_leak_no_permit() {
    let counts = storm(2000).await;
    assert!(
        counts.timeouts > 0 && counts.closed.lost > 0 && counts.failed_opens > 0,
        "{counts:?}"
    );
}

/// The same on several threads, by the real clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_checkouts_on_many_threads_leak_no_permit() {
    let counts = storm(200).await;
    assert!(counts.timeouts > 0 && counts.closed.lost > 0, "{counts:?}");
}

async fn storm(each: usize) -> PoolStatistics {
    const TASKS: usize = 50;
    const MOST: usize = 8;
    let node = Node::new();
    *node.delay.lock() = MILLISECOND * 3;
    let config = PoolConfig {
        connection_timeout_ms: 10,
        idle_timeout_ms: 50,
        max_lifetime_ms: 500,
        ..few(2, MOST)
    };
    let pool = Arc::new(pool(&node, config));
    let mut users = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, node) = (Arc::clone(&pool), node.clone());
        users.spawn(async move {
            for _ in 0..each {
                let patience = Duration::from_micros(rand::random_range(0..30_000));
                let Ok(Ok(connection)) = timeout(patience, pool.get_connection()).await else {
                    continue;
                };
                sleep(Duration::from_micros(rand::random_range(0..5000))).await;
                match rand::random_range(0..200) {
                    0 => connection.discard(),
                    1 => node.drops_all(),
                    2 => {
                        node.becomes(Mood::Refuses);
                        sleep(MILLISECOND * 2).await;
                        node.becomes(Mood::Well);
                    }
                    _ => pool.return_connection(connection),
                }
            }
        });
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
    // What is being opened is done, or given up, after 10 ms.
    for _ in 0..10_000 {
        if pool.statistics().opening == 0 {
            break;
        }
        settled().await;
    }
    let statistics = pool.statistics();
    assert_eq!(statistics.gets, (TASKS * each) as u64);
    let left = (statistics.in_use, statistics.waiting, statistics.opening);
    assert_eq!(left, (0, 0, 0));
    assert_eq!(
        statistics.opened,
        statistics.closed.total() + statistics.idle as u64
    );
    assert_eq!(node.most_open.load(SeqCst), MOST, "reached, never exceeded");
    *node.delay.lock() = Duration::ZERO;
    let mut all = Vec::new();
    // By the real clock an attempt may be too slow.
    for _ in 0..1000 {
        all.extend(pool.get_connection().await.ok());
        if all.len() == MOST {
            break;
        }
    }
    assert_eq!(pool.statistics().in_use, MOST, "every permit is back");
    assert_eq!((pool.total_connections(), node.open()), (MOST, MOST));
    assert!(pool.get_connection().await.is_err());
    assert_eq!(node.most_open.load(SeqCst), MOST);
    drop(all);
    assert!(pool.close(SECOND).await.finished);
    assert_eq!(node.open(), 0);
    // A task is awake a little longer than its end is known, on another thread.
    for _ in 0..1000 {
        if tasks() == 0 {
            return statistics;
        }
        settled().await;
    }
    panic!("{} tasks are left", tasks());
}

#[tokio::test(start_paused = true)]
async fn the_minimum_is_kept_however_long_it_lies_idle() {
    let node = Node::new();
    let pool = pool(&node, few(1, 20));
    let id = pool.get_connection().await.unwrap().id;
    sleep(SECOND * 600).await;
    assert_eq!(pool.get_connection().await.unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_lies_idle_and_nothing_is_opened_until_the_next_use() {
    let node = Node::new();
    let pool = pool(&node, few(2, 20));
    drop(pool.get_connection().await.unwrap());
    settled().await;
    assert_eq!(node.open(), 2);
    pool.rest();
    settled().await;
    assert_eq!((node.open(), pool.total_connections()), (0, 0));
    sleep(SECOND * 3600).await;
    assert_eq!(node.dials(), 2);
    drop(pool.get_connection().await.unwrap());
    settled().await;
    assert_eq!(node.open(), 2);
}

#[test]
fn every_reason_counts_towards_how_many_were_closed() {
    let closed = ClosedConnections {
        idle: 1,
        lifetime: 2,
        lost: 4,
        shut: 8,
        cut: 16,
    };
    assert_eq!(closed.total(), 31);
}

#[test]
fn a_wait_that_no_clock_can_show_is_longer_than_a_process_lives() {
    let now = std::time::Instant::now();
    assert!(after(now, Duration::MAX) - now > 10 * 365 * 86_400 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_uses_one_and_who_waits_for_one_is_load() {
    let node = Node::new();
    let pool = pool(&node, few(0, 2));
    assert_eq!(pool.load(), 0);
    let used = get_all(&pool, 2).await;
    assert_eq!(pool.load(), 2);
    let waiting = pool.get_connection();
    tokio::pin!(waiting);
    assert!(timeout(MILLISECOND, &mut waiting).await.is_err());
    assert_eq!(pool.load(), 3);
    drop(used);
    drop(waiting.await.unwrap());
    assert_eq!(pool.load(), 0);
}

#[test]
fn a_peer_that_allows_less_is_told_from_one_that_allows_as_much_or_says_nothing() {
    let now = std::time::Instant::now();
    let allows_less_than_eight = |announced| {
        let kept = Kept::new(1, (), now).within(60 * SECOND, announced, 0.0);
        kept.is_let_idle_for_less_than(8 * SECOND)
    };
    // We count on four fifths of what is announced.
    assert!(allows_less_than_eight(Some(9 * SECOND)));
    assert!(!allows_less_than_eight(Some(10 * SECOND)));
    assert!(!allows_less_than_eight(None));
}
