//! The manager over nodes without a wire, on a paused clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::fake::{Fake, Mood, Node};
use crate::connection::balance::Balance;
use crate::connection::config::{ConnectionConfig, PoolConfig};
use crate::connection::health::NodeId;
use crate::connection::manager::ConnectionManager;
use crate::error::SinkError;

const SECOND: Duration = Duration::from_secs(1);

struct World {
    nodes: Vec<Node>,
    manager: Arc<ConnectionManager<Fake>>,
}

impl World {
    fn new(count: usize) -> Self {
        Self::balanced(count, Balance::default())
    }

    fn balanced(count: usize, balance: Balance) -> Self {
        let hosts: Vec<String> = (0..count).map(|index| format!("node{index}")).collect();
        let nodes: Vec<_> = hosts.iter().map(|_| Node::new()).collect();
        let config = ConnectionConfig {
            hosts,
            pool_config: PoolConfig {
                min_connections: 1,
                ..PoolConfig::default()
            },
            ..ConnectionConfig::default()
        };
        let by_name: HashMap<String, Node> = (0..count)
            .map(|index| (format!("tcp://node{index}:7000"), nodes[index].clone()))
            .collect();
        let manager = ConnectionManager::with_opener(&config, move |endpoint| {
            by_name[&endpoint.to_string()].clone().accept()
        });
        Self {
            nodes,
            manager: Arc::new(manager.unwrap().with_balance(balance)),
        }
    }

    fn id(index: usize) -> NodeId {
        NodeId::from(format!("tcp://node{index}:7000"))
    }

    async fn request(&self) -> Result<usize, SinkError> {
        self.manager
            .execute(|connection| async move { connection.request().await })
            .await
    }

    fn requests(&self) -> Vec<usize> {
        self.nodes
            .iter()
            .map(|node| node.requests.load(SeqCst))
            .collect()
    }

    fn healthy(&self) -> Vec<bool> {
        self.manager
            .node_health()
            .iter()
            .map(|health| health.is_healthy)
            .collect()
    }
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_before_the_first_request() {
    let world = World::new(3);
    sleep(SECOND * 3600).await;
    assert_eq!(
        world.nodes.iter().map(Node::dials).sum::<usize>() + tasks(),
        0
    );
    world.request().await.unwrap();
    assert_eq!(world.manager.total_connections(), 1);
}

/// M37 (3).
#[tokio::test(start_paused = true)]
async fn every_healthy_node_gets_a_share() {
    for balance in [Balance::LeastLoaded, Balance::RoundRobin] {
        let world = World::balanced(4, balance);
        for _ in 0..400 {
            world.request().await.unwrap();
        }
        let requests = world.requests();
        assert!(
            requests.iter().all(|count| *count >= 40),
            "{balance:?} {requests:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_busy_are_spared() {
    let world = World::new(2);
    let mut held = Vec::new();
    while held
        .iter()
        .filter(|connection: &&crate::connection::PooledConnection<Fake>| connection.id < 9)
        .count()
        < 6
    {
        held.push(world.manager.get_connection().await.unwrap());
    }
    let used: Vec<_> = world
        .manager
        .statistics()
        .iter()
        .map(|(_, pool)| pool.in_use)
        .collect();
    assert_eq!(used[0], used[1], "of two the one with less: {used:?}");
}

/// M37 (4).
#[tokio::test(start_paused = true)]
async fn an_unhealthy_node_gets_nothing() {
    let world = World::new(3);
    assert!(world.manager.mark_node_unhealthy(&World::id(1)));
    assert!(!world.manager.mark_node_unhealthy(&NodeId::from("nobody")));
    for _ in 0..200 {
        world.request().await.unwrap();
    }
    sleep(SECOND * 600).await;
    world.manager.health_check_all_nodes().await;
    world.request().await.unwrap();
    assert_eq!(world.requests()[1], 0, "by hand is by hand");
    assert_eq!(world.healthy(), [true, false, true]);
    assert!(world.manager.mark_node_healthy(&World::id(1)));
    for _ in 0..100 {
        world.request().await.unwrap();
    }
    assert!(world.requests()[1] > 10);
    for index in 0..3 {
        world.manager.mark_node_unhealthy(&World::id(index));
    }
    let error = world.request().await.unwrap_err();
    assert!(
        error.to_string().contains("every node is marked unhealthy"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// M37 (3) and (4): whichever nodes are out, all requests go to the others, and each of those gets a share.
    #[test]
    fn requests_go_to_all_healthy_nodes_and_to_no_other(out in prop::collection::vec(any::<bool>(), 2..6), round in any::<bool>()) {
        prop_assume!(out.contains(&false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let balance = if round { Balance::RoundRobin } else { Balance::LeastLoaded };
            let world = World::balanced(out.len(), balance);
            // Half by hand, half by what the node does.
            for (index, _) in out.iter().enumerate().filter(|(_, out)| **out) {
                if index % 2 == 0 {
                    world.manager.mark_node_unhealthy(&World::id(index));
                } else {
                    world.nodes[index].becomes(Mood::HangsUp);
                }
            }
            world.manager.health_check_all_nodes().await;
            for _ in 0..out.len() * 40 {
                world.request().await.unwrap();
            }
            for (count, out) in world.requests().into_iter().zip(&out) {
                assert_eq!(count == 0, *out, "{out:?} {:?}", world.requests());
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_finds_who_refuses_hangs_up_or_is_silent_within_the_timeout() {
    for mood in [
        Mood::Refuses,
        Mood::HangsUp,
        Mood::Silent,
        Mood::Hangs,
        Mood::Panics,
    ] {
        let world = World::new(2);
        let health = world.manager.health_check_all_nodes().await;
        assert!(
            health
                .iter()
                .all(|node| node.is_healthy && node.last_check.as_nanos() > 0)
        );
        world.nodes[1].becomes(mood);
        world.nodes[1].drops_all();
        let start = Instant::now();
        let health = world.manager.health_check_all_nodes().await;
        assert!(
            start.elapsed() <= SECOND * 5 + Duration::from_millis(5),
            "{mood:?}"
        );
        assert_eq!(
            (health[0].is_healthy, health[1].is_healthy),
            (true, false),
            "{mood:?}"
        );
        assert_eq!(
            (
                health[0].consecutive_failures,
                health[1].consecutive_failures
            ),
            (0, 1)
        );
        assert_eq!(health[1].node_id, World::id(1));
        world.nodes[1].becomes(Mood::Well);
        let health = world.manager.health_check_all_nodes().await;
        assert!(health[1].is_healthy, "{mood:?}");
        assert_eq!(health[1].consecutive_failures, 0);
    }
}

/// A single node that is down says so, and is used nevertheless when somebody wants something.
#[tokio::test(start_paused = true)]
async fn a_single_node_is_reported_and_still_tried() {
    let world = World::new(1);
    world.nodes[0].becomes(Mood::Refuses);
    assert!(!world.manager.health_check_all_nodes().await[0].is_healthy);
    let before = world.nodes[0].dials();
    world.request().await.unwrap_err();
    assert!(world.nodes[0].dials() > before);
    world.nodes[0].becomes(Mood::Well);
    world.request().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ping_goes_beside_what_is_in_use() {
    let world = World::new(1);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(world.manager.get_connection().await.unwrap());
    }
    let start = Instant::now();
    assert!(world.manager.health_check_all_nodes().await[0].is_healthy);
    assert!(start.elapsed() < SECOND, "did not wait for a connection");
}

/// Five failed requests put a node out; the task brings it back, and ends.
#[tokio::test(start_paused = true)]
async fn a_failing_node_is_put_out_and_found_again() {
    let world = World::new(2);
    for _ in 0..20 {
        world.request().await.unwrap();
    }
    let warm = tasks();
    world.nodes[0].becomes(Mood::Refuses);
    world.nodes[0].drops_all();
    for _ in 0..60 {
        world.request().await.unwrap();
    }
    assert_eq!(world.healthy(), [false, true], "and nobody noticed");
    let (requests, dials) = (world.requests()[0], world.nodes[0].dials());
    for _ in 0..50 {
        world.request().await.unwrap();
        sleep(SECOND).await;
    }
    assert_eq!(world.requests()[0], requests, "no request");
    let dials = world.nodes[0].dials() - dials;
    assert!(
        (15..=45).contains(&dials),
        "some three dials in five seconds: {dials}"
    );
    world.nodes[0].becomes(Mood::Well);
    sleep(SECOND * 7).await;
    assert_eq!(world.healthy(), [true, true]);
    for _ in 0..50 {
        world.request().await.unwrap();
    }
    assert!(world.requests()[0] > requests);
    sleep(SECOND).await;
    assert!(tasks() <= warm, "the checker has ended: {} {warm}", tasks());
}

/// A node is no less well for being far away: a check may take `timeout_ms`, also of a node that is out.
#[tokio::test(start_paused = true)]
async fn a_far_node_is_found_again() {
    let world = World::new(2);
    world.nodes[0].becomes(Mood::Refuses);
    for _ in 0..60 {
        world.request().await.unwrap();
    }
    assert_eq!(world.healthy(), [false, true]);
    world.nodes[0].becomes(Mood::Well);
    *world.nodes[0].delay.lock() = SECOND * 2;
    sleep(SECOND * 12).await;
    assert_eq!(world.healthy(), [true, true]);
}

/// A check that panics is one that failed, and not one that is due again at once.
#[tokio::test(start_paused = true)]
async fn a_ping_that_panics_is_a_failed_one_and_no_hot_loop() {
    let world = World::new(2);
    world.nodes[0].becomes(Mood::PanicsWhenAsked);
    let health = world.manager.health_check_all_nodes().await;
    assert_eq!((health[0].is_healthy, health[1].is_healthy), (false, true));
    assert_eq!(health[0].consecutive_failures, 1);
    sleep(SECOND * 60).await;
    let pings = world.nodes[0].pings.load(SeqCst);
    assert!((2..100).contains(&pings), "{pings}");
    world.nodes[0].becomes(Mood::Well);
    sleep(SECOND * 7).await;
    assert_eq!(world.healthy(), [true, true]);
}

/// F17 over the whole: attempts and events have a bound.
#[tokio::test(start_paused = true)]
async fn a_peer_that_flaps_every_50_ms_costs_little() {
    let world = World::new(2);
    let flapping = world.nodes[0].clone();
    let flap = tokio::spawn(async move {
        loop {
            flapping.becomes(Mood::Refuses);
            flapping.drops_all();
            sleep(Duration::from_millis(50)).await;
            flapping.becomes(Mood::Well);
            sleep(Duration::from_millis(50)).await;
        }
    });
    let (mut events, mut was) = (0, true);
    for _ in 0..6000 {
        world.request().await.unwrap();
        sleep(Duration::from_millis(10)).await;
        let is = world.healthy()[0];
        events += u32::from(is != was);
        was = is;
    }
    flap.abort();
    assert!(events <= 12, "{events}");
    assert_eq!(world.requests().iter().sum::<usize>(), 6000);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_passes_on_to_another_node() {
    let world = World::new(3);
    world.nodes[0].becomes(Mood::Refuses);
    world.nodes[1].becomes(Mood::Refuses);
    let start = Instant::now();
    for _ in 0..4 {
        drop(world.manager.get_connection().await.unwrap());
    }
    assert!(
        start.elapsed() < Duration::from_millis(50),
        "without a pause"
    );
    world.nodes[2].becomes(Mood::Refuses);
    world.nodes[2].drops_all();
    assert!(matches!(
        world.manager.get_connection().await,
        Err(SinkError::ConnectionFailed(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_processed_is_repeated_only_if_that_does_no_harm() {
    let world = World::balanced(2, Balance::RoundRobin);
    world.nodes[0].becomes(Mood::Silent);
    let mut in_doubt = 0;
    for _ in 0..4 {
        let before = world.requests().iter().sum::<usize>();
        in_doubt += usize::from(world.request().await.is_err());
        assert_eq!(world.requests().iter().sum::<usize>() - before, 1, "once");
    }
    assert!(in_doubt > 0);
    for _ in 0..4 {
        let request = world
            .manager
            .execute_idempotent(|connection| async move { connection.request().await });
        request.await.unwrap();
    }
    let (_, pool) = &world.manager.statistics()[0];
    assert_eq!(
        pool.closed.lost,
        world.requests()[0] as u64,
        "what went silent is not used again"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_overloaded_keeps_its_connections() {
    let world = World::new(1);
    world.request().await.unwrap();
    world.nodes[0].becomes(Mood::Overloaded);
    let error = world.request().await.unwrap_err();
    assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
    assert_eq!(world.requests(), [5], "one, and one with three retries");
    assert_eq!(world.nodes[0].dials(), 1);
    assert!(world.healthy()[0], "the last one");
}

/// M37 (6).
#[tokio::test(start_paused = true)]
async fn after_disconnect_everything_is_closed_and_released() {
    let world = World::new(3);
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(world.manager.get_connection().await.unwrap());
    }
    world.nodes[2].becomes(Mood::HangsUp);
    world.manager.health_check_all_nodes().await;
    let returned = held.split_off(6);
    let mut users = JoinSet::new();
    users.spawn(async move {
        sleep(SECOND).await;
        drop(returned);
    });
    let start = Instant::now();
    let report = world.manager.disconnect(SECOND * 8).await;
    assert!(start.elapsed() <= SECOND * 8);
    assert_eq!(report.interrupted, 6);
    assert!(report.finished && report.closed >= 6, "{report:?}");
    users.join_all().await;
    sleep(SECOND).await;
    assert_eq!((world.manager.total_connections(), tasks()), (0, 0));
    assert!(world.nodes.iter().all(|node| node.open() == 0));
    assert!(
        held.iter()
            .all(|connection| !crate::connection::Pooled::is_open(&**connection))
    );
    assert!(matches!(world.request().await, Err(SinkError::Closed(_))));
    assert!(matches!(
        world.manager.get_connection().await,
        Err(SinkError::Closed(_))
    ));
    let dials: usize = world.nodes.iter().map(Node::dials).sum();
    world.manager.health_check_all_nodes().await;
    drop(held);
    sleep(SECOND * 60).await;
    assert_eq!(
        world.nodes.iter().map(Node::dials).sum::<usize>(),
        dials,
        "none after the end"
    );
    assert!(world.manager.disconnect(SECOND).await.finished, "again");
}

#[tokio::test(start_paused = true)]
async fn a_check_under_way_ends_with_the_manager() {
    let world = World::new(2);
    for node in &world.nodes {
        node.becomes(Mood::Silent);
    }
    let manager = Arc::clone(&world.manager);
    let check = tokio::spawn(async move { manager.health_check_all_nodes().await });
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    assert!(world.manager.disconnect(SECOND * 8).await.finished);
    assert_eq!(check.await.unwrap().len(), 2);
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(tasks(), 0);
}

/// The same on several threads, while requests and checks are under way and a node is out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disconnect_in_the_midst_of_everything_leaves_nothing() {
    let world = Arc::new(World::new(3));
    world.nodes[2].becomes(Mood::Silent);
    world.nodes[1].becomes(Mood::Refuses);
    let mut users = JoinSet::new();
    for _ in 0..20 {
        let world = Arc::clone(&world);
        users.spawn(async move {
            loop {
                world.manager.health_check_all_nodes().await;
                match world.request().await {
                    Err(SinkError::Closed(_)) => return,
                    _ => sleep(Duration::from_micros(rand::random_range(0..500))).await,
                }
            }
        });
    }
    sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    let report = world.manager.disconnect(SECOND * 4).await;
    assert!(start.elapsed() < SECOND * 5);
    assert!(report.finished, "{report:?}");
    assert!(world.nodes.iter().all(|node| node.open() == 0));
    assert_eq!(world.manager.total_connections(), 0);
    users.join_all().await;
    // A task is awake a little longer than its end is known, on another thread.
    for _ in 0..1000 {
        if tasks() == 0 {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("{} tasks are left", tasks());
}

#[tokio::test(start_paused = true)]
async fn disconnect_returns_by_its_deadline_whatever_lingers() {
    for within in [Duration::ZERO, Duration::from_millis(20), SECOND] {
        let world = World::new(3);
        for node in &world.nodes {
            node.lingers.store(true, SeqCst);
        }
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(world.manager.get_connection().await.unwrap());
        }
        let start = Instant::now();
        let report = world.manager.disconnect(within).await;
        assert!(
            start.elapsed() <= within + Duration::from_millis(2),
            "{:?}",
            start.elapsed()
        );
        assert_eq!((report.interrupted, report.finished), (6, false));
        sleep(SECOND).await;
        assert_eq!(tasks(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_manager_leaves_nothing() {
    let world = World::new(2);
    world.nodes[0].becomes(Mood::Refuses);
    world.manager.health_check_all_nodes().await;
    world.request().await.unwrap();
    assert!(tasks() > 0);
    drop(world.manager);
    sleep(SECOND).await;
    assert_eq!((tasks(), world.nodes[1].open()), (0, 0));
}
