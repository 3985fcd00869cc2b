//! Requests and their answers, over real sockets.

mod doubt;
#[cfg(all(feature = "ws", feature = "tls"))]
mod protected;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};
use wakewire::connection::{Connection, ConnectionSettings};
use wakewire::source::{HandlerError, Server, serve};
use wakewire::{Message, SinkError};

use crate::support::{PATIENCE, Place, eventually, factory, free_port, number, numbered, soon};

fn unix(place: &Place) -> String {
    format!("unix://{}", place.path().join("s.sock").display())
}

fn tcp() -> String {
    format!("tcp://127.0.0.1:{}", free_port())
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
        soon(connection.closed()).await;
        assert!(!connection.is_open());
    }
}

#[tokio::test]
async fn a_round_trip() {
    let place = Place::new();
    let url = unix(&place);
    let server = echo(&url).start().await.unwrap();
    let connection = connect(&url).await;
    let answer = soon(connection.send_request(Message::new("x")))
        .await
        .unwrap();
    assert_eq!(&answer.payload[..], b"x");
    assert!(soon(connection.ping(Duration::from_secs(5))).await.is_ok());
    assert_eq!(connection.announced_idle(), Some(Duration::from_secs(120)));
    assert!(soon(connection.disconnect(Duration::from_secs(5))).await);
    let report = soon(server.close(Duration::from_secs(5))).await;
    assert_eq!((report.finished, report.cancelled), (0, 0));
}

/// A limit that no clock can show is none.
#[tokio::test]
async fn a_request_may_have_all_the_time_in_the_world() {
    let place = Place::new();
    let url = unix(&place);
    let _server = echo(&url).start().await.unwrap();
    let settings = ConnectionSettings {
        timeout: Duration::MAX,
        ..ConnectionSettings::default()
    };
    let connection = Connection::open(url.as_str(), settings).await.unwrap();
    let request = connection.send_request_within(Message::new("x"), Duration::MAX);
    assert_eq!(&soon(request).await.unwrap().payload[..], b"x");
    soon(connection.send_message(Message::new("x")))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_answer_that_is_too_large_fails_its_request_only() {
    let place = Place::new();
    let url = unix(&place);
    let server = serve(url.as_str(), |request| async move {
        Ok(Message::new(request.message.payload.repeat(2)))
    });
    let _server = server.start().await.unwrap();
    let connection = connect(&url).await;
    let error = soon(connection.send_request(Message::new(vec![7; 1 << 20])))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::RequestFailed(_)), "{error}");
    assert!(error.to_string().contains("cannot be sent"), "{error}");
    let next = soon(connection.send_request(Message::new("x"))).await;
    assert_eq!(&next.unwrap().payload[..], b"xx");
}

#[tokio::test]
async fn a_handler_says_why_it_does_not_answer() {
    let place = Place::new();
    let url = unix(&place);
    let server = serve(url.as_str(), |request| async move {
        match &request.message.payload[..] {
            b"now" => Ok(request.message),
            b"later" => Err(HandlerError::overloaded("not now")),
            _ => Err(HandlerError::new("never".repeat(1000))),
        }
    });
    let _server = server.start().await.unwrap();
    let connection = connect(&url).await;
    let ask = async |text| {
        let request = connection.send_request(Message::new(text));
        soon(request).await.unwrap_err()
    };
    let error = ask("later").await;
    assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
    assert!(error.to_string().contains("not now"), "{error}");
    assert_eq!(error.into_message(), Some(Message::new("later")));
    let error = ask("x").await;
    assert!(matches!(error, SinkError::RequestFailed(_)), "{error}");
    assert_eq!(error.failure().source().unwrap().to_string().len(), 500);
    assert_eq!(error.into_message(), None);
    answers(&connection).await;
}

/// Counts the handlers that are at work; one that is dropped is noticed.
#[derive(Clone, Default)]
struct Working(Arc<AtomicUsize>);

impl Working {
    fn begin(&self) -> impl Drop + Send + use<> {
        struct One(Arc<AtomicUsize>);
        impl Drop for One {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        self.0.fetch_add(1, SeqCst);
        One(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    async fn become_so(&self, count: usize) {
        eventually("so many handlers at work", || self.count() == count).await;
    }
}

/// Answers `now` at once, and everything else never.
fn slow(url: &str, working: &Working) -> Server {
    let working = working.clone();
    serve(url, move |request| {
        let one = working.begin();
        async move {
            if &request.message.payload[..] != b"now" {
                std::future::pending::<()>().await;
            }
            drop(one);
            Ok(request.message)
        }
    })
}

async fn answers(connection: &Connection) {
    let answer = soon(connection.send_request(Message::new("now"))).await;
    assert_eq!(&answer.unwrap().payload[..], b"now");
}

fn ask(connection: &Connection) -> JoinHandle<Result<Message, SinkError>> {
    let connection = connection.clone();
    tokio::spawn(async move {
        connection
            .send_request_within(Message::new("x"), PATIENCE)
            .await
    })
}

#[tokio::test]
async fn a_cancelled_request_stops_its_handler() {
    let place = Place::new();
    for url in [unix(&place), tcp()] {
        let working = Working::default();
        let _server = slow(&url, &working).start().await.unwrap();
        let connection = connect(&url).await;
        let requests = [ask(&connection), ask(&connection)];
        working.become_so(2).await;
        requests[0].abort();
        working.become_so(1).await;
        assert_eq!(connection.in_flight(), 1);
        answers(&connection).await;
        assert_eq!(working.count(), 1, "the other goes on");
        drop(connection);
        requests[1].abort();
        working.become_so(0).await;
    }
}

#[tokio::test]
async fn a_handler_is_dropped_at_the_deadline_of_its_request() {
    let place = Place::new();
    let url = unix(&place);
    let (working, remaining) = (Working::default(), Arc::new(AtomicUsize::new(0)));
    let (counted, told) = (working.clone(), Arc::clone(&remaining));
    let server = serve(url.as_str(), move |request| {
        let one = counted.begin();
        let left = request.remaining().unwrap();
        told.store(usize::try_from(left.as_millis()).unwrap(), SeqCst);
        async move {
            std::future::pending::<()>().await;
            drop(one);
            Ok(request.message)
        }
    });
    let _server = server.start().await.unwrap();
    // The peer says its limit, and neither cancels nor goes away.
    let mut foreign = Foreign::requester(&url).await;
    foreign.request(1, Some(200)).await;
    working.become_so(1).await;
    let left = remaining.load(SeqCst);
    assert!((1..=200).contains(&left), "{left} ms");
    let (kind, number, body) = foreign.frame().await;
    assert_eq!((kind, number), (FAILURE, 1));
    assert_eq!(body[..3], [0xa2, 0, 3], "code 3: the deadline");
    assert_eq!(working.count(), 0);

    let connection = connect(&url).await;
    let request = connection.send_request_within(Message::new("x"), Duration::from_millis(100));
    let error = soon(request).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    assert_eq!(error.into_message(), None);
    working.become_so(0).await;
}

#[tokio::test]
async fn beyond_the_bound_requests_are_refused_unprocessed_at_once() {
    let place = Place::new();
    let url = unix(&place);
    let working = Working::default();
    let server = slow(&url, &working).with_max_in_flight(2);
    let _server = server.start().await.unwrap();
    let (one, other) = (connect(&url).await, connect(&url).await);
    let requests = [ask(&one), ask(&other)];
    working.become_so(2).await;
    let error = soon(one.send_request(Message::new("now")))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
    assert_eq!(error.into_message(), Some(Message::new("now")));
    requests[1].abort();
    working.become_so(1).await;
    answers(&one).await;
}

#[tokio::test]
async fn one_connection_has_a_bound_of_its_own_that_its_peer_is_told() {
    let place = Place::new();
    let url = unix(&place);
    let working = Working::default();
    let _server = slow(&url, &working)
        .with_max_per_connection(1)
        .start()
        .await
        .unwrap();
    // Ours keeps to it by itself.
    let connection = connect(&url).await;
    let first = ask(&connection);
    working.become_so(1).await;
    let waiting = connection.send_request_within(Message::new("now"), Duration::from_millis(50));
    let error = soon(waiting).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    assert!(error.into_message().is_some(), "it waited for its turn");
    first.abort();
    working.become_so(0).await;
    answers(&connection).await;
    // Another does not.
    let mut foreign = Foreign::requester(&url).await;
    foreign.request(1, None).await;
    foreign.request(2, None).await;
    let (kind, number, body) = foreign.frame().await;
    assert_eq!((kind, number), (FAILURE, 2));
    assert_eq!(body[..3], [0xa2, 0, 1], "code 1: overloaded");
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_request_only() {
    let place = Place::new();
    let url = unix(&place);
    let server = serve(url.as_str(), |request| async move {
        tokio::task::yield_now().await;
        assert_ne!(&request.message.payload[..], b"x", "as it should");
        Ok(request.message)
    });
    let server = server.with_max_in_flight(1).start().await.unwrap();
    let connection = connect(&url).await;
    for _ in 0..3 {
        let error = soon(connection.send_request(Message::new("x")))
            .await
            .unwrap_err();
        assert!(matches!(error, SinkError::RequestFailed(_)), "{error}");
        assert!(error.to_string().contains("panicked"), "{error}");
        answers(&connection).await;
    }
    let report = soon(server.close(Duration::from_secs(5))).await;
    assert_eq!((report.finished, report.cancelled), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_answers_or_returns_every_request() {
    let place = Place::new();
    let url = unix(&place);
    let processed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&processed);
    let server = serve(url.as_str(), move |request| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            counted.fetch_add(1, SeqCst);
            Ok(request.message)
        }
    });
    let server = server.start().await.unwrap();
    let connection = connect(&url).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..32 {
        let (connection, answered) = (connection.clone(), Arc::clone(&answered));
        askers.spawn(async move {
            loop {
                match connection.send_request(Message::new("x")).await {
                    Ok(_) => answered.fetch_add(1, SeqCst),
                    // Nothing is in doubt: it comes back with its message.
                    Err(error) => return assert!(error.into_message().is_some()),
                };
            }
        });
    }
    eventually("under load", || answered.load(SeqCst) > 200).await;
    let report = soon(server.close(Duration::from_secs(10))).await;
    assert_eq!(report.cancelled, 0);
    assert!(report.finished <= 32, "those that were open: {report:?}");
    while let Some(asked) = soon(askers.join_next()).await {
        asked.unwrap();
    }
    assert_eq!(processed.load(SeqCst), answered.load(SeqCst));
    let gone = Connection::open(url.as_str(), ConnectionSettings::default()).await;
    assert!(matches!(gone, Err(SinkError::ConnectionFailed(_))));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_says_what_it_cut_off() {
    let place = Place::new();
    let url = unix(&place);
    let working = Working::default();
    let server = slow(&url, &working).start().await.unwrap();
    let connection = connect(&url).await;
    let requests = [ask(&connection), ask(&connection)];
    working.become_so(2).await;
    let report = soon(server.close(Duration::from_millis(100))).await;
    assert_eq!((report.finished, report.cancelled), (0, 2));
    assert_eq!(working.count(), 0);
    for request in requests {
        let error = soon(request).await.unwrap().unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(error.into_message(), None, "they were being processed");
    }
}

#[tokio::test]
async fn messages_go_both_ways_without_an_answer() {
    let place = Place::new();
    let url = unix(&place);
    let server = serve(url.as_str(), |request| async move {
        let peer = request.peer().clone();
        assert!(peer.identity().starts_with("uid "), "{peer:?}");
        let text = if request.expects_reply() {
            "asked"
        } else {
            "told"
        };
        peer.push(Message::new(text)).await.unwrap();
        Ok(Message::new("answer"))
    });
    let _server = server.start().await.unwrap();
    let connection = connect(&url).await;
    connection.send_message(Message::new("x")).await.unwrap();
    let pushed = soon(connection.receive_message()).await.unwrap().unwrap();
    assert_eq!(&pushed.payload[..], b"told");
    soon(connection.send_request(Message::new("x")))
        .await
        .unwrap();
    let pushed = soon(connection.receive_message()).await.unwrap().unwrap();
    assert_eq!(&pushed.payload[..], b"asked");
    assert_eq!(connection.missed(), 0);
}

#[tokio::test]
async fn messages_wait_for_a_handler_where_requests_are_refused() {
    let place = Place::new();
    let url = unix(&place);
    let handled = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&handled);
    let server = serve(url.as_str(), move |request| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::task::yield_now().await;
            counted.fetch_add(1, SeqCst);
            Ok(request.message)
        }
    });
    let _server = server.with_max_in_flight(1).start().await.unwrap();
    let connection = connect(&url).await;
    for _ in 0..1000 {
        soon(connection.send_message(Message::new("x")))
            .await
            .unwrap();
    }
    eventually("all are handled", || handled.load(SeqCst) == 1000).await;
}

/// Bug 18: both sides write more than the sockets hold, and neither waits for the other to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_flood_each_other_make_progress() {
    let place = Place::new();
    for url in [unix(&place), tcp()] {
        let server = echo(&url).with_max_in_flight(64).start().await.unwrap();
        let connection = connect(&url).await;
        let mut askers = JoinSet::new();
        for _ in 0..64 {
            let connection = connection.clone();
            askers.spawn(async move {
                let large = Message::new(vec![7; 600_000]);
                for _ in 0..4 {
                    let answer = connection
                        .send_request_within(&large, PATIENCE)
                        .await
                        .unwrap();
                    assert_eq!(answer.payload.len(), 600_000);
                }
            });
        }
        while let Some(asked) = soon(askers.join_next()).await {
            asked.unwrap();
        }
        drop(server);
    }
}

#[tokio::test]
async fn a_connection_that_rests_is_closed_by_the_server_and_by_nobody_else() {
    let place = Place::new();
    let url = unix(&place);
    let server = echo(&url).with_idle_timeout(Some(Duration::from_millis(300)));
    let _server = server.start().await.unwrap();
    let connection = connect(&url).await;
    assert_eq!(
        connection.announced_idle(),
        Some(Duration::from_millis(300))
    );
    let start = std::time::Instant::now();
    eventually("closed", || !connection.is_open()).await;
    assert!(start.elapsed() >= Duration::from_millis(250));
    soon(connection.closed()).await;
    let error = soon(connection.send_request(Message::new("x")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("idle"), "{error}");
    assert!(error.into_message().is_some());
}

#[tokio::test]
async fn a_peer_that_accepts_and_closes_and_one_that_is_silent() {
    let place = Place::new();
    let path = place.path().join("dead.sock");
    let url = format!("unix://{}", path.display());
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let accept = async {
        loop {
            drop(listener.accept().await.unwrap());
        }
    };
    let settings = ConnectionSettings {
        timeout: Duration::from_millis(200),
        ..ConnectionSettings::default()
    };
    tokio::select! {
        opened = Connection::open(url.as_str(), settings.clone()) => {
            assert!(matches!(opened, Err(SinkError::ConnectionFailed(_))));
        }
        () = accept => {}
    }
    let opened = soon(Connection::open(url.as_str(), settings)).await;
    let error = opened.unwrap_err();
    assert!(error.to_string().contains("within 200ms"), "{error}");
}

#[tokio::test]
async fn each_role_is_refused_where_it_does_not_belong() {
    let place = Place::new();
    let text = place.unix("feed", "direct", "")
        + &place.unix("hub", "relay", "")
        + &place.unix("desk", "direct", "");
    let factory = factory(&text);
    let url = |name: &str| format!("unix://{}", place.path().join(name).display());
    // A requester at a listener and at a relay.
    let mut source = factory.create_source("feed").await.unwrap();
    let mut relay = factory.create_relay("hub").await.unwrap();
    let relay = tokio::spawn(async move { relay.run().await });
    let listening = tokio::spawn(async move { source.recv().await });
    for name in ["feed.sock", "hub.sock"] {
        let error = loop {
            match Connection::open(url(name).as_str(), ConnectionSettings::default()).await {
                Err(SinkError::ConnectionFailed(_)) => tokio::task::yield_now().await,
                Err(error) => break error,
                Ok(_) => panic!("{name} took a requester"),
            }
        };
        assert!(matches!(error, SinkError::Protocol(_)), "{error}");
        assert!(error.to_string().contains("answers no requests"), "{error}");
    }
    relay.abort();
    listening.abort();
    // A producer at a server.
    let server = echo(&url("desk.sock")).start().await.unwrap();
    let sink = factory.create_sink("desk").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Protocol(_)), "{error}");
    assert!(error.to_string().contains("answers requests"), "{error}");
    drop(server);
    // One who wants another service.
    let server = echo(&url("named.sock"))
        .named("quotes")
        .start()
        .await
        .unwrap();
    let settings = |service: &str| ConnectionSettings {
        service: service.to_owned(),
        ..ConnectionSettings::default()
    };
    let other = Connection::open(url("named.sock").as_str(), settings("ticks")).await;
    assert!(matches!(other, Err(SinkError::Protocol(_))));
    Connection::open(url("named.sock").as_str(), settings("quotes"))
        .await
        .unwrap();
    drop(server);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_its_connection_only() {
    let place = Place::new();
    let url = unix(&place);
    let working = Working::default();
    let _server = slow(&url, &working).start().await.unwrap();
    let good = connect(&url).await;
    // A number that is open, a message without one, a welcome, more bytes than announced.
    for bad in [
        vec![(REQUEST, 1, 0), (REQUEST, 1, 0)],
        vec![(REQUEST, 0, 0)],
        vec![(2, 0, 0)],
        vec![(REQUEST, 1, 1 << 30)],
    ] {
        let mut foreign = Foreign::requester(&url).await;
        for (kind, number, length) in bad {
            foreign.raw(kind, number, length).await;
        }
        foreign.is_cut_off().await;
        working.become_so(0).await;
        answers(&good).await;
    }
    // A cancellation of what is not open is none: it crosses with an answer.
    let mut foreign = Foreign::requester(&url).await;
    foreign.cancel(7).await;
    foreign.request(8, None).await;
    working.become_so(1).await;
    foreign.cancel(8).await;
    working.become_so(0).await;
}

#[tokio::test]
async fn handlers_end_with_their_connection_and_with_the_server() {
    let place = Place::new();
    let url = unix(&place);
    let working = Working::default();
    let server = slow(&url, &working).start().await.unwrap();
    let mut foreign = Foreign::requester(&url).await;
    foreign.request(1, None).await;
    working.become_so(1).await;
    drop(foreign);
    working.become_so(0).await;
    let connection = connect(&url).await;
    let request = ask(&connection);
    working.become_so(1).await;
    drop(server);
    working.become_so(0).await;
    assert!(soon(request).await.unwrap().is_err());
}

/// A requester that is played byte by byte, over a Unix socket.
struct Foreign(UnixStream);

const REQUEST: u8 = 7;
const FAILURE: u8 = 9;

impl Foreign {
    async fn requester(url: &str) -> Self {
        let path = url.strip_prefix("unix://").unwrap();
        let mut foreign = Self(UnixStream::connect(path).await.unwrap());
        // oldest, newest, service, limits, requester: as many as the server allows.
        let hello = [
            &[
                0xa5, 0, 1, 1, 1, 2, 0x60, 3, 0xa3, 0, 0x1a, 0, 0x10, 0, 0, 1, 0, 2, 0,
            ][..],
            &[6, 0xa1, 0, 0],
        ];
        foreign.write(1, 0, 0, &hello.concat()).await;
        let (kind, ..) = foreign.frame().await;
        assert_eq!(kind, 2, "welcome");
        foreign
    }

    async fn request(&mut self, number: u64, within: Option<u32>) {
        match within {
            None => self.write(REQUEST, 0, number, b"x").await,
            Some(within) => {
                let extensions = [&[7, 0, 4, 4, 0][..], &within.to_le_bytes(), b"x"];
                self.write(REQUEST, 4, number, &extensions.concat()).await;
            }
        }
    }

    async fn cancel(&mut self, number: u64) {
        self.write(FAILURE, 0, number, &[0xa2, 0, 4, 1, 0x60]).await;
    }

    async fn write(&mut self, kind: u8, flags: u8, number: u64, body: &[u8]) {
        self.head(kind, flags, number, u32::try_from(body.len()).unwrap())
            .await;
        self.0.write_all(body).await.unwrap();
    }

    async fn raw(&mut self, kind: u8, number: u64, length: u32) {
        self.head(kind, 0, number, length).await;
    }

    async fn head(&mut self, kind: u8, flags: u8, number: u64, length: u32) {
        let mut head = [0; 32];
        head[..4].copy_from_slice(&length.to_le_bytes());
        (head[4], head[5]) = (kind, flags);
        head[8..16].copy_from_slice(&number.to_le_bytes());
        // It may have been cut off before this.
        self.0.write_all(&head).await.ok();
    }

    /// Returns kind, number and body of the next frame.
    async fn frame(&mut self) -> (u8, u64, Vec<u8>) {
        let mut head = [0; 32];
        soon(self.0.read_exact(&mut head)).await.unwrap();
        let length = u32::from_le_bytes(head[..4].try_into().unwrap());
        let mut body = vec![0; length as usize];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        (
            head[4],
            u64::from_le_bytes(head[8..16].try_into().unwrap()),
            body,
        )
    }

    async fn is_cut_off(&mut self) {
        let mut rest = Vec::new();
        // An end or a reset.
        soon(self.0.read_to_end(&mut rest)).await.ok();
    }
}
