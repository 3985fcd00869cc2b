//! `disconnect` with everything that can hold it up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use wakewire::connection::{ConnectionConfig, ConnectionManager, PoolConfig};
use wakewire::{Message, SinkError};

use super::front::Mood;
use super::{Node, asked, over_all};
use crate::support::{Place, eventually, soon};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// A peer that goes silent with requests under way: `disconnect` returns by its deadline, says how many it
/// interrupted, and leaves nothing.
#[test]
fn a_silent_peer_with_requests_under_way_holds_up_nobody() {
    let servers = super::properties::runtime();
    let place = Place::new();
    let nodes = servers.block_on(Node::several(&place, 2));
    let ours = Builder::new_current_thread().enable_all().build().unwrap();
    ours.block_on(async {
        let config = ConnectionConfig {
            pool_config: PoolConfig {
                min_connections: 3,
                ..PoolConfig::default()
            },
            ..over_all(&nodes)
        };
        let manager = Arc::new(ConnectionManager::new(&config).unwrap());
        assert_eq!(tasks(), 0, "before the first request");
        for _ in 0..20 {
            asked(&manager, "x").await.unwrap();
        }
        eventually("it is warm", || manager.total_connections() == 6).await;
        for node in &nodes {
            node.front.becomes(Mood::Silent).await;
        }
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let manager = Arc::clone(&manager);
            requests.spawn(async move { asked(&manager, "y").await });
        }
        let in_use = || -> usize {
            let all = manager.statistics();
            all.iter().map(|(_, pool)| pool.in_use).sum()
        };
        // Those beyond what is open are being opened, in vain.
        eventually("requests are under way", || in_use() >= 6).await;
        let in_use = in_use() as u64;
        let idle = manager.total_connections() as u64 - in_use;

        let start = Instant::now();
        let report = manager.disconnect(Duration::from_millis(500)).await;
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(300),
            "they had their time: {took:?}"
        );
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(
            (report.interrupted, report.closed),
            (in_use, idle),
            "{report:?}"
        );
        while let Some(request) = soon(requests.join_next()).await {
            let error = request.unwrap().unwrap_err();
            assert!(matches!(error, SinkError::Closed(_)), "{error}");
        }
        eventually("no task is left", || tasks() == 0).await;
        for node in &nodes {
            eventually("no socket is left", || node.front.open() == 0).await;
        }
        let error = manager.get_connection().await.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)), "{error}");
        let error = asked(&manager, "z").await.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)), "{error}");
        let again = manager.disconnect(Duration::from_secs(5)).await;
        assert!(again.finished, "{again:?}");
        assert_eq!(tasks(), 0);
    });
}

/// With peers that hear it, it ends long before its deadline, and what is under way gets its answer.
#[tokio::test]
async fn what_is_under_way_is_answered_first() {
    let place = Place::new();
    let path = place.path().join("s.sock");
    let url = format!("unix://{}", path.display());
    let (let_go, gate) = tokio::sync::watch::channel(false);
    let server = wakewire::source::serve(url.as_str(), move |request| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(request.message)
        }
    });
    let server = server.start().await.unwrap();
    let manager = ConnectionManager::new(&super::over([url.as_str()])).unwrap();
    let request = manager
        .execute(|connection| async move { connection.send_request(Message::new("x")).await });
    let disconnect = async {
        eventually("it is under way", || manager.statistics()[0].1.in_use == 1).await;
        let start = Instant::now();
        let disconnecting = manager.disconnect(Duration::from_secs(25));
        tokio::pin!(disconnecting);
        assert!(
            tokio::time::timeout(Duration::from_millis(50), &mut disconnecting)
                .await
                .is_err(),
            "it waits for the answer"
        );
        let_go.send_replace(true);
        let report = disconnecting.await;
        (report, start.elapsed())
    };
    let (answer, (report, took)) = soon(async { tokio::join!(request, disconnect) }).await;
    assert_eq!(&answer.unwrap().payload[..], b"x");
    assert!(report.finished, "{report:?}");
    assert_eq!((report.interrupted, report.closed), (0, 1), "{report:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    server.close(super::LONG).await;
}

const CHILD: &str = "WAKEWIRE_TEST_COUNTS_FILES";

/// How many files a process has open before and after, counted by a process that does nothing else: no other test's
/// sockets come and go in it.
#[test]
fn a_process_has_as_many_files_open_as_before() {
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("connections::disconnect::a_process_has_as_many_files_open_as_before")
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{said}");
        assert!(said.contains("counted files"), "{said}");
        return;
    }
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let place = Place::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Whatever is opened once and for all is, then.
        let nodes = Node::several(&place, 2).await;
        for round in 0..3 {
            let before = files();
            let manager = ConnectionManager::new(&over_all(&nodes)).unwrap();
            assert_eq!(files(), before, "nothing is opened before the first use");
            let mut held = Vec::new();
            for _ in 0..10 {
                held.push(soon(manager.get_connection()).await.unwrap());
            }
            assert!(files() >= before + 10);
            if round == 1 {
                held.clear();
            }
            for node in nodes.iter().filter(|_| round == 2) {
                node.front.becomes(Mood::Silent).await;
            }
            let report = manager.disconnect(Duration::from_millis(200)).await;
            assert_eq!(report.interrupted + report.closed, 10);
            // Ours are closed at once, the listeners' when these notice.
            eventually("as many as before", || files() == before).await;
            println!("counted files: {before}");
        }
    });
}
