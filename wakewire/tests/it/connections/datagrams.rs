//! Requests over `udp`: each is one datagram, processed at most once, and what is lost is not known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use wakewire::connection::{Connection, ConnectionManager, ConnectionSettings};
use wakewire::source::{Server, serve};
use wakewire::{Message, Security, SinkError, TlsMode};

use super::{LONG, over};
use crate::support::{eventually, free_port as port, number, numbered, soon};
use crate::udp::{Fault, Network};

fn url(port: u16) -> String {
    format!("udp://127.0.0.1:{port}")
}

fn echo(url: &str) -> Server {
    serve(url, |request| async move { Ok(request.message) })
}

async fn open(url: &str) -> Connection {
    soon(Connection::open(url, ConnectionSettings::default()))
        .await
        .unwrap()
}

/// Returns the number of the request, however large it is.
fn of(message: &Message) -> u64 {
    number(message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_messages_pings_and_their_end() {
    let url = url(port());
    let server = serve(url.as_str(), |request| async move {
        if !request.expects_reply() {
            request.peer().push(request.message.clone()).await.unwrap();
        }
        Ok(request.message)
    });
    let server = server.start().await.unwrap();
    let manager = ConnectionManager::new(&over([&*url])).unwrap();
    let health = soon(manager.health_check_all_nodes()).await;
    assert!(health[0].is_healthy);
    let mut askers = JoinSet::new();
    let manager = Arc::new(manager);
    for asked in 0..200 {
        let manager = Arc::clone(&manager);
        askers.spawn(async move {
            // Loopback loses what does not fit into a socket's buffer.
            let answer = manager.execute_idempotent(|connection| async move {
                connection
                    .send_request_within(numbered(asked), Duration::from_secs(2))
                    .await
            });
            assert_eq!(of(&answer.await.unwrap()), asked);
        });
    }
    while let Some(asked) = soon(askers.join_next()).await {
        asked.unwrap();
    }
    assert!(soon(manager.disconnect(LONG)).await.finished);

    let connection = open(&url).await;
    assert!(soon(connection.ping(LONG)).await.is_ok());
    soon(connection.send_message(Message::new("told")))
        .await
        .unwrap();
    let pushed = soon(connection.receive_message()).await.unwrap().unwrap();
    assert_eq!(&pushed.payload[..], b"told");
    soon(server.close(LONG)).await;
    eventually("its end is noticed", || !connection.is_open()).await;
    let error = soon(connection.send_request(Message::new("x")))
        .await
        .unwrap_err();
    assert!(error.into_message().is_some(), "it was never sent");
}

/// What is too large for a datagram, or for the peer, is told before it is sent, and the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_a_datagram_is_refused() {
    for (most, largest) in [
        (None, 1200),
        (Some(10_000), 10_000),
        (Some(1 << 20), 64_000),
    ] {
        let url = url(port());
        let server = serve(url.as_str(), |request| async move {
            match &request.message.payload[..] {
                b"large" => Ok(Message::new(vec![7; 70_000])),
                _ => Ok(request.message),
            }
        });
        let server = match most {
            Some(most) => server.with_max_message_bytes(most),
            None => server,
        };
        let server = server.start().await.unwrap();
        let connection = open(&url).await;
        let fits = Message::new(vec![7; largest]);
        let answer = soon(connection.send_request(&fits)).await.unwrap();
        assert_eq!(answer.payload, fits.payload);
        // The limit is one of frames, with room for what travels beside a payload.
        for too_large in [largest + 1100, 66_000, 1 << 20] {
            let large = Message::new(vec![7; too_large]);
            let error = soon(connection.send_request(&large)).await.unwrap_err();
            assert!(matches!(error, SinkError::MessageTooLarge(_)), "{error}");
            assert_eq!(error.into_message().unwrap().payload.len(), too_large);
        }
        let error = soon(connection.send_request(Message::new("large")))
            .await
            .unwrap_err();
        assert!(matches!(error, SinkError::RequestFailed(_)), "{error}");
        assert!(error.to_string().contains("cannot be sent"), "{error}");
        let answer = soon(connection.send_request(Message::new("x")))
            .await
            .unwrap();
        assert_eq!(&answer.payload[..], b"x", "it goes on");
        server.close(LONG).await;
    }
}

/// Over a network that loses a fifth, doubles a tenth and delays a tenth: every request is processed at most once, every
/// answer is the right one, and what is not answered is in doubt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_bad_network_a_request_is_processed_at_most_once() {
    let inside = port();
    let times: Arc<Mutex<HashMap<u64, usize>>> = Arc::default();
    let counted = Arc::clone(&times);
    let server = serve(url(inside).as_str(), move |request| {
        *counted
            .lock()
            .unwrap()
            .entry(of(&request.message))
            .or_default() += 1;
        async move {
            // Some are still at work when their double comes, and some are answered.
            if of(&request.message).is_multiple_of(2) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !request.expects_reply() {
                request.peer().push(request.message.clone()).await.unwrap();
            }
            Ok(request.message)
        }
    });
    let server = server.start().await.unwrap();
    let network = Network::start(inside, Fault::Lose, 20, 7).await;
    let connection = open(&url(network.port)).await;
    let (mut answered, mut in_doubt) = (0, 0);
    for round in 0..40 {
        let mut askers = JoinSet::new();
        for asked in round * 25..(round + 1) * 25 {
            let connection = connection.clone();
            askers.spawn(async move {
                let within = Duration::from_millis(200);
                (
                    asked,
                    connection
                        .send_request_within(numbered(asked), within)
                        .await,
                )
            });
        }
        while let Some(asked) = soon(askers.join_next()).await {
            match asked.unwrap() {
                (asked, Ok(answer)) => {
                    assert_eq!(of(&answer), asked);
                    assert_eq!(times.lock().unwrap()[&asked], 1);
                    answered += 1;
                }
                (_, Err(error)) => {
                    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
                    assert_eq!(error.into_message(), None);
                    in_doubt += 1;
                }
            }
        }
    }
    assert!(answered > 300 && in_doubt > 100, "{answered} {in_doubt}");
    // Messages without an answer, and those that come back.
    for told in 10_000..10_300 {
        soon(connection.send_message(numbered(told))).await.unwrap();
    }
    let mut back = Vec::new();
    while let Ok(message) =
        tokio::time::timeout(Duration::from_millis(300), connection.receive_message()).await
    {
        back.push(of(&message.unwrap().unwrap()));
    }
    let distinct: std::collections::HashSet<_> = back.iter().collect();
    assert_eq!(distinct.len(), back.len(), "none comes twice");
    assert!(back.len() > 50, "{}", back.len());
    let times = times.lock().unwrap().clone();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    server.close(Duration::ZERO).await;
}

/// What udp cannot do is refused before anything is sent.
#[tokio::test]
async fn neither_a_password_nor_encryption() {
    let url = url(port());
    let password = Security {
        username: Some("desk".to_owned()),
        password: Some("secret".to_owned().into()),
        ..Security::default()
    };
    let encrypted = Security {
        tls: TlsMode::Require,
        ..Security::default()
    };
    for security in [password, encrypted] {
        let error = echo(&url)
            .with_security(security.clone())
            .start()
            .await
            .unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
        let settings = ConnectionSettings {
            security,
            ..ConnectionSettings::default()
        };
        let error = Connection::open(url.as_str(), settings).await.unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
    }
    // Nobody is there: known within the time of an operation.
    let settings = ConnectionSettings {
        timeout: Duration::from_secs(1),
        ..ConnectionSettings::default()
    };
    let error = soon(Connection::open(url.as_str(), settings))
        .await
        .unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
}
