//! Somebody on the way, or in the place of the listener.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wakewire::{LazySettings, Message, Security, ServiceConfig, SinkError, TlsMode};

use super::negotiation::{Change, Tap};
use super::{Authority, Listening, direct, factory, frame, free_port, offer, once, with_mode};
use crate::support::{eventually, soon};

/// Answers everybody with the same bytes and keeps what it is sent.
async fn impostor(answer: Vec<u8>) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answer, all) = (answer.clone(), Arc::clone(&all));
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                let mut said = Vec::new();
                let mut answered = false;
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    said.extend_from_slice(&bytes[..read]);
                    if !answered && stream.write_all(&answer).await.is_err() {
                        break;
                    }
                    answered = true;
                }
                all.lock().unwrap().push(said);
            });
        }
    });
    (port, heard)
}

fn text(kind: u8, code: u8) -> Vec<u8> {
    let mut body = Vec::new();
    let mut e = minicbor::Encoder::new(&mut body);
    e.map(3).unwrap().u8(0).unwrap().u8(code).unwrap();
    e.u8(1).unwrap().str("come in, no TLS here").unwrap();
    e.u8(2).unwrap().u8(0).unwrap();
    frame(kind, &body, true)
}

#[tokio::test]
async fn who_requires_tls_says_nothing_else_whatever_is_answered() {
    let authority = Authority::new();
    let welcome = {
        let mut body = Vec::new();
        let mut e = minicbor::Encoder::new(&mut body);
        e.map(6).unwrap().u8(0).unwrap().u8(1).unwrap();
        e.u8(1).unwrap().map(3).unwrap();
        for key in 0..3 {
            e.u8(key).unwrap().u32(60_000).unwrap();
        }
        for key in 2..5 {
            e.u8(key).unwrap().u8(0).unwrap();
        }
        e.u8(5).unwrap().bytes(&[7; 16]).unwrap();
        frame(2, &body, true)
    };
    for (answer, expected) in [
        (welcome, "in the clear"),
        (offer(&[1]), "in the clear"),
        (text(3, 22), "in the clear"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "in the clear"),
        // The alert of a listener that has no certificate.
        (vec![21, 3, 3, 0, 2, 2, 40], "HandshakeFailure"),
        (Vec::new(), "`connect_timeout`"),
    ] {
        let (port, heard) = impostor(answer).await;
        let config = direct(
            &format!("tcp://127.0.0.1:{port}"),
            Security {
                username: Some("feed".to_owned()),
                password: Some("s3cr3t-canary".to_owned().into()),
                ..with_mode(authority.security(), TlsMode::Require)
            },
        );
        let sender = factory(ServiceConfig {
            lazy: LazySettings {
                connect_timeout: Some(Duration::from_millis(300)),
                max_retries: Some(2),
                ..config.lazy.clone()
            },
            ..config
        });
        let sink = sender.create_sink("ticks").await.unwrap();
        sink.send(Message::new("c4nary")).await.unwrap();
        let error = soon(sink.connect()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(
            error.is_permanent(),
            expected != "`connect_timeout`",
            "{error}"
        );
        sender.close(Duration::ZERO).await;
        eventually("the connection has ended", || {
            !heard.lock().unwrap().is_empty()
        })
        .await;
        for said in heard.lock().unwrap().iter() {
            assert_eq!(said[0], 22, "a TLS handshake");
            for secret in ["c4nary", "s3cr3t-canary", "ticks"] {
                let is_there = said
                    .windows(secret.len())
                    .any(|some| some == secret.as_bytes());
                assert!(!is_there, "{secret}");
            }
        }
    }
}

#[tokio::test]
async fn bytes_behind_a_negotiation_are_refused_by_the_dialer() {
    let authority = Authority::new();
    let mut answer = offer(&[0, 1]);
    answer.extend_from_slice(&text(3, 0));
    let (port, heard) = impostor(answer).await;
    let config = direct(&format!("tcp://127.0.0.1:{port}"), authority.security());
    let sender = factory(once(config));
    let sink = sender.create_sink("ticks").await.unwrap();
    sink.send(Message::new("c4nary")).await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("between the negotiation and the encryption"),
        "{error}"
    );
    eventually("the connection has ended", || {
        !heard.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(heard.lock().unwrap()[0], offer(&[0, 1]), "and nothing more");
}

#[tokio::test]
async fn bytes_behind_a_negotiation_are_refused_by_the_listener() {
    let authority = Authority::new();
    let port = free_port();
    let server = authority.security_with(&authority.here("server"));
    let listening = Listening::start(direct(&format!("tcp://127.0.0.1:{port}"), server)).await;
    for injected in [b"x".to_vec(), text(1, 0), vec![22]] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut said = offer(&[0, 1]);
        said.extend_from_slice(&injected);
        stream.write_all(&said).await.unwrap();
        let mut answer = Vec::new();
        // Reset or closed, but not answered.
        match soon(stream.read_to_end(&mut answer)).await {
            Ok(_) | Err(_) => assert!(answer.is_empty(), "{answer:?}"),
        }
    }
    assert!(listening.stop().await.0.is_empty());
}

#[tokio::test]
async fn bytes_that_come_later_are_no_tls() {
    let authority = Authority::new();
    let port = free_port();
    let server = authority.security_with(&authority.here("server"));
    let listening = Listening::start(direct(&format!("tcp://127.0.0.1:{port}"), server)).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&offer(&[0, 1])).await.unwrap();
    let mut answer = vec![0; offer(&[0, 1]).len()];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, offer(&[0, 1]));
    stream.write_all(&text(1, 0)).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(
        rest.first(),
        Some(&21),
        "an alert and nothing else: {rest:?}"
    );
    assert!(listening.stop().await.0.is_empty());
}

#[tokio::test]
async fn who_changes_an_offer_on_the_way_is_noticed() {
    const STRIP: Option<Change> = Some(|_| offer(&[1]));
    const ONLY_TLS: Option<Change> = Some(|_| offer(&[0]));
    let authority = Authority::new();
    let port = free_port();
    let server = authority.security_with(&authority.here("server"));
    let listening = Listening::start(direct(&format!("tcp://127.0.0.1:{port}"), server)).await;
    for (up, down, expected) in [
        // One side begins a handshake, the other waits for a greeting, or the other way round.
        (STRIP, None, ""),
        (None, STRIP, ""),
        // Both in the clear: it is noticed only because the greeting was left as it was.
        (STRIP, STRIP, "somebody changed it"),
        // Encrypted, and so the greeting cannot be changed.
        (ONLY_TLS, None, "somebody changed it"),
        (None, ONLY_TLS, "not what it says now"),
    ] {
        let tap = Tap::changing(port, up, down).await;
        let config = direct(
            &format!("tcp://127.0.0.1:{}", tap.port),
            authority.security(),
        );
        let sender = factory(once(config));
        let sink = sender.create_sink("ticks").await.unwrap();
        sink.send(Message::new("\0\0\0\0\0\0\0\0c4nary"))
            .await
            .unwrap();
        let error = soon(sink.connect()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!tap.has_heard("c4nary"), "{error}");
        sender.close(Duration::ZERO).await;
    }
    assert!(listening.stop().await.0.is_empty());
}

#[tokio::test]
async fn nothing_in_common_is_said_on_both_sides() {
    let authority = Authority::new();
    let port = free_port();
    let server = with_mode(
        authority.security_with(&authority.here("server")),
        TlsMode::Require,
    );
    let listening = Listening::start(direct(&format!("tcp://127.0.0.1:{port}"), server)).await;
    // A dialer that was built without TLS.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&offer(&[1])).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer[4], 3, "a reject");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("this side speaks TCP, the peer TLS"),
        "{answer}"
    );
    assert!(listening.stop().await.0.is_empty());
    // A listener of a later version that knows nothing of ours.
    let (port, _) = impostor(offer(&[2, 9])).await;
    let config = direct(&format!("tcp://127.0.0.1:{port}"), authority.security());
    let sender = factory(once(config));
    let sink = sender.create_sink("ticks").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(error.is_permanent());
    assert!(
        error
            .to_string()
            .contains("this side speaks TLS, TCP, the peer UDP"),
        "{error}"
    );
}
