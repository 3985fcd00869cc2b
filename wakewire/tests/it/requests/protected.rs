//! Requests over each transport, and who may ask.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use wakewire::connection::{Connection, ConnectionSettings};
use wakewire::source::{Server, serve};
use wakewire::{ListenLimits, Message, Password, Security, SinkError, TlsMode};

use super::{Working, answers, ask, slow, tcp, unix};
use crate::support::{Place, eventually, number, numbered, soon};
use crate::tls::{Authority, free_port, with_mode};

async fn open(url: &str, security: &Security) -> Result<Connection, SinkError> {
    let settings = ConnectionSettings {
        security: security.clone(),
        ..ConnectionSettings::default()
    };
    soon(Connection::open(url, settings)).await
}

/// Answers with whom the peer has proved to be.
fn who(url: &str) -> Server {
    serve(url, |request| async move {
        Ok(Message::new(request.peer().identity().to_owned()))
    })
}

async fn asked_who(connection: &Connection) -> String {
    let answer = soon(connection.send_request(Message::new("who am I?"))).await;
    String::from_utf8(answer.unwrap().payload.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_carries_requests_and_messages_and_their_end() {
    let place = Place::new();
    let authority = Authority::new();
    let security = authority.security_with(&authority.here("server"));
    for (url, mode) in [
        (unix(&place), TlsMode::Prefer),
        (tcp(), TlsMode::Off),
        (tcp(), TlsMode::Prefer),
        (tcp(), TlsMode::Require),
        (format!("tls://127.0.0.1:{}", free_port()), TlsMode::Prefer),
        (format!("ws://127.0.0.1:{}/x", free_port()), TlsMode::Prefer),
        (
            format!("wss://127.0.0.1:{}/x", free_port()),
            TlsMode::Prefer,
        ),
    ] {
        let security = with_mode(security.clone(), mode);
        let working = Working::default();
        let counted = working.clone();
        let server = serve(url.as_str(), move |request| {
            let one = counted.begin();
            async move {
                match request.message.message_type {
                    1 => std::future::pending().await,
                    2 => request.peer().push(request.message.clone()).await.unwrap(),
                    _ => tokio::task::yield_now().await,
                }
                drop(one);
                Ok(request.message)
            }
        });
        let server = server.with_security(security.clone());
        let server = server.start().await.unwrap();
        let connection = open(&url, &security).await.unwrap();
        // Many at a time, each with its own answer.
        let mut askers = JoinSet::new();
        for asked in 0..500 {
            let connection = connection.clone();
            askers.spawn(async move {
                let answer = connection.send_request(numbered(asked)).await.unwrap();
                assert_eq!(number(&answer), asked);
            });
        }
        while let Some(asked) = soon(askers.join_next()).await {
            asked.unwrap();
        }
        // Messages, there and back.
        for told in 0..20 {
            let message = numbered(told).with_type(2);
            soon(connection.send_message(message)).await.unwrap();
        }
        let mut back = HashSet::new();
        for _ in 0..20 {
            let message = soon(connection.receive_message()).await.unwrap().unwrap();
            back.insert(number(&message));
        }
        assert_eq!(back, (0..20).collect(), "{url}");
        // A large one, there and back.
        let large = Message::new(vec![7; 1 << 20]);
        let answer = soon(connection.send_request(&large)).await.unwrap();
        assert_eq!(answer.payload, large.payload, "{url}");
        // One that is given up, and one at its deadline.
        let endless = Message::new("x").with_type(1);
        tokio::select! {
            answer = connection.send_request(&endless) => panic!("{answer:?}"),
            () = working.become_so(1) => {}
        }
        working.become_so(0).await;
        let within = Duration::from_millis(50);
        let error = soon(connection.send_request_within(endless, within)).await;
        assert!(matches!(error, Err(SinkError::Timeout(_))), "{error:?}");
        working.become_so(0).await;
        assert!(soon(connection.ping(Duration::from_secs(5))).await.is_ok());
        // A server that dies is noticed by who does nothing at the time.
        assert!(connection.is_open() && connection.in_flight() == 0);
        drop(server);
        eventually("its death is noticed", || !connection.is_open()).await;
        soon(connection.closed()).await;
        assert_eq!(soon(connection.receive_message()).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_comes_back_was_processed() {
    let place = Place::new();
    let authority = Authority::new();
    let security = authority.security_with(&authority.here("server"));
    let (mut came_back, mut in_doubt) = (0, 0);
    for url in [
        unix(&place),
        tcp(),
        format!("tls://127.0.0.1:{}", free_port()),
        format!("ws://127.0.0.1:{}/x", free_port()),
    ] {
        for round in 0..10 {
            let processed = Arc::new(Mutex::new(HashSet::new()));
            let noted = Arc::clone(&processed);
            let server = serve(url.as_str(), move |request| {
                noted.lock().unwrap().insert(number(&request.message));
                std::future::pending()
            });
            let server = server.with_security(security.clone());
            let server = server.start().await.unwrap();
            let connection = open(&url, &security).await.unwrap();
            let mut askers = JoinSet::new();
            for asked in 0..200u64 {
                let connection = connection.clone();
                askers.spawn(async move {
                    let mut payload = vec![0; 50_000];
                    payload[..8].copy_from_slice(&asked.to_le_bytes());
                    let answer = connection.send_request(Message::new(payload)).await;
                    (asked, answer.unwrap_err())
                });
            }
            let enough = round * 15;
            eventually("so many are processed", || {
                processed.lock().unwrap().len() >= enough
            })
            .await;
            // It is killed, in the middle of what it is sent.
            soon(server.close(Duration::ZERO)).await;
            while let Some(asked) = soon(askers.join_next()).await {
                let (asked, error) = asked.unwrap();
                assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
                if error.into_message().is_some() {
                    came_back += 1;
                    assert!(!processed.lock().unwrap().contains(&asked), "{url}");
                } else {
                    in_doubt += 1;
                }
            }
        }
    }
    assert!(came_back > 0 && in_doubt > 0, "{came_back}, {in_doubt}");
}

#[tokio::test]
async fn who_knows_the_password_is_known_to_the_handler() {
    let place = Place::new();
    let authority = Authority::new();
    let server = authority.security_with(&authority.here("server"));
    let user = |security: &Security, password: &str| Security {
        username: Some("desk".to_owned()),
        password: Some(Password::from(password.to_owned())),
        ..security.clone()
    };
    let required = with_mode(server, TlsMode::Require);
    for (url, security) in [(unix(&place), Security::default()), (tcp(), required)] {
        let server = who(&url).with_security(user(&security, "right"));
        let _server = server.start().await.unwrap();
        for wrong in [security.clone(), user(&security, "wrong")] {
            let error = open(&url, &wrong).await.unwrap_err();
            assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
            assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
        }
        let connection = open(&url, &user(&security, "right")).await.unwrap();
        assert_eq!(asked_who(&connection).await, "user \"desk\"");
        assert!(!format!("{connection:?}").contains("right"));
    }
}

#[tokio::test]
async fn who_has_a_certificate_is_known_and_who_has_none_is_refused() {
    let authority = Authority::new();
    let server = Security {
        client_ca: Some(authority.ca()),
        ..authority.security_with(&authority.here("server"))
    };
    for scheme in ["tls", "wss"] {
        let url = format!("{scheme}://127.0.0.1:{}", free_port());
        let _server = who(&url)
            .with_security(server.clone())
            .start()
            .await
            .unwrap();
        let known = authority.security_with(&authority.here("desk"));
        let connection = open(&url, &known).await.unwrap();
        let said = asked_who(&connection).await;
        assert!(
            said.starts_with("certificate") && said.contains("desk"),
            "{said}"
        );
        let error = open(&url, &authority.security()).await.unwrap_err();
        assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    }
    // The other way round: a server that nobody vouches for is not asked.
    let url = tcp();
    let stranger = Authority::new();
    let security = stranger.security_with(&stranger.here("server"));
    let security = with_mode(security, TlsMode::Require);
    let _server = who(&url).with_security(security).start().await.unwrap();
    let trusting = with_mode(authority.security(), TlsMode::Require);
    let error = open(&url, &trusting).await.unwrap_err();
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
}

#[tokio::test]
async fn a_server_takes_as_many_connections_as_it_may() {
    let place = Place::new();
    for url in [unix(&place), tcp()] {
        let working = Working::default();
        let server = slow(&url, &working).with_limits(ListenLimits {
            connections: 2,
            ..ListenLimits::default()
        });
        let _server = server.start().await.unwrap();
        let anybody = Security::default();
        let first = open(&url, &anybody).await.unwrap();
        let other = open(&url, &anybody).await.unwrap();
        let request = ask(&first);
        working.become_so(1).await;
        let error = open(&url, &anybody).await.unwrap_err();
        assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
        answers(&other).await;
        assert!(soon(other.disconnect(Duration::from_secs(5))).await);
        let next = loop {
            match open(&url, &anybody).await {
                Ok(next) => break next,
                Err(SinkError::Overloaded(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        answers(&next).await;
        assert_eq!(working.count(), 1, "those inside are not touched");
        request.abort();
    }
}
