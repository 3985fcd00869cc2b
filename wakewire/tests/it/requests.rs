//! Requests and their answers, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::JoinSet;
use wakewire::connection::{Connection, ConnectionSettings};
use wakewire::source::{Server, serve};
use wakewire::Message;

use crate::support::{Place, number, numbered, soon};

fn unix(place: &Place) -> String {
    format!("unix://{}", place.path().join("s.sock").display())
}

fn tcp() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

async fn connect(url: &str) -> Connection {
    soon(Connection::open(url, ConnectionSettings::default()))
        .await
        .unwrap()
}

fn echo(url: &str) -> Server {
    serve(url, |request| async move { Ok(request.message) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_get_their_own_answers_in_any_order() {
    let place = Place::new();
    for url in [unix(&place), tcp()] {
        let server = serve(url.as_str(), |request| async move {
            // A different delay for each, so that answers overtake one another.
            for _ in 0..number(&request.message) * 7919 % 13 {
                tokio::task::yield_now().await;
            }
            Ok(request.message.with_type(7))
        });
        let server = server.start().await.unwrap();
        let connection = connect(&url).await;
        let next = Arc::new(AtomicUsize::new(0));
        let mut askers = JoinSet::new();
        for _ in 0..64 {
            let (connection, next) = (connection.clone(), Arc::clone(&next));
            askers.spawn(async move {
                loop {
                    let asked = next.fetch_add(1, SeqCst) as u64;
                    if asked >= 10_000 {
                        return;
                    }
                    let answer = connection.send_request(numbered(asked)).await.unwrap();
                    assert_eq!((number(&answer), answer.message_type), (asked, 7));
                }
            });
        }
        while let Some(asked) = soon(askers.join_next()).await {
            asked.unwrap();
        }
        assert_eq!(connection.in_flight(), 0);
        let report = soon(server.close(Duration::from_secs(5))).await;
        assert_eq!((report.finished, report.cancelled), (0, 0));
        assert!(connection.closed(Duration::from_secs(5)).await);
        assert!(!connection.is_open());
    }
}

#[tokio::test]
async fn a_round_trip() {
    let place = Place::new();
    let url = unix(&place);
    let server = echo(&url).start().await.unwrap();
    let connection = connect(&url).await;
    let answer = soon(connection.send_request(Message::new("x"))).await.unwrap();
    assert_eq!(&answer.payload[..], b"x");
    assert!(soon(connection.ping(Duration::from_secs(5))).await.is_ok());
    assert_eq!(connection.announced_idle(), Some(Duration::from_secs(120)));
    connection.close();
    assert!(soon(connection.closed(Duration::from_secs(5))).await);
    let report = soon(server.close(Duration::from_secs(5))).await;
    assert_eq!((report.finished, report.cancelled), (0, 0));
}
