//! The greeting by HTTP: what a listener refuses, and what a dialer says about what it met.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wakewire::{MessageSource, Security, SinkError, SinkFactory};

use super::{bind, factory, port};
use crate::support::{expect, numbered, soon};

async fn listener() -> (SinkFactory, MessageSource, u16) {
    let port = port();
    let endpoint = format!("ws://127.0.0.1:{port}/feed");
    let factory = factory("direct", &endpoint, "", &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    bind(&mut source, port).await;
    (factory, source, port)
}

fn request(path: &str, further: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
    )
}

/// Sends it and returns the first line of the answer, while the source listens.
async fn answer(source: &mut MessageSource, port: u16, request: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.contains(&b'\r') && stream.read_buf(&mut answer).await.unwrap() > 0 {}
        let answer = String::from_utf8_lossy(&answer);
        answer.lines().next().unwrap_or_default().to_owned()
    };
    tokio::select! {
        answer = soon(ask) => answer,
        message = source.recv() => panic!("nobody sends: {message:?}"),
    }
}

#[tokio::test]
async fn a_listener_says_why_it_does_not_let_somebody_in() {
    let (_factory, mut source, port) = listener().await;
    let header = |length: usize| format!("X: {}\r\n", "y".repeat(length));
    let room = 8 * 1024 - request("/feed", &header(0)).len();
    let many = |count: usize| "X: y\r\n".repeat(count);
    for (request, status) in [
        (request("/feed", ""), "101 Switching Protocols"),
        (request("/other", ""), "404 Not Found"),
        (
            request("/feed", "Origin: https://evil.example\r\n"),
            "403 Forbidden",
        ),
        (request("/feed", &header(room)), "101 Switching Protocols"),
        (request("/feed", &header(room + 1)), "431 "),
        (request("/feed", &many(64 - 5)), "101 Switching Protocols"),
        (request("/feed", &many(64 - 4)), "431 "),
        (request("/feed", "") + "more", "400 Bad Request"),
        (request("/feed?role=king", ""), "400 Bad Request"),
        ("GET /feed HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426 "),
        // A wakewire peer that takes it for `tcp://`, or anything else.
        ("\0\0\0\0hello".to_owned(), "400 Bad Request"),
    ] {
        let answer = answer(&mut source, port, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {answer}"
        );
    }
}

#[tokio::test]
async fn silent_and_slow_clients_do_not_keep_a_good_one_out() {
    let (factory, mut source, port) = listener().await;
    let mut silent = Vec::new();
    for at in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if at % 2 == 0 {
            stream.write_all(b"GET /feed HT").await.unwrap();
        }
        silent.push(stream);
    }
    let sink = factory.create_sink("x").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    // And they are let go after 5 s, while the good one stays.
    for mut stream in silent {
        let end = async { while let Ok(1..) = stream.read_u8().await {} };
        tokio::select! {
            end = timeout(Duration::from_secs(30), end) => end.unwrap(),
            message = source.recv() => panic!("{message:?}"),
        }
    }
    sink.send(numbered(1)).await.unwrap();
    expect(&mut source, 1..2).await;
    assert_eq!(source.stats().connects, 1);
}

/// What a sink says of a server that answers like this, and whether it would try again.
async fn met(answer: &'static str) -> SinkError {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            assert!(asked.starts_with("GET /feed HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("Sec-WebSocket-Protocol: wakewire.1\r\n"));
            assert!(!asked.to_lowercase().contains("extensions"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Not every server hangs up.
            while let Ok(1..) = stream.read(&mut [0; 100]).await {}
        }
    });
    let endpoint = format!("ws://localhost:{port}/feed");
    let factory = factory("direct", &endpoint, "", &Security::default());
    let sink = factory.create_sink("x").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    serving.abort();
    error
}

#[tokio::test]
async fn a_dialer_says_what_it_met_and_what_to_do() {
    for (answer, words) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            ["404 Not Found", "correct the path"],
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            ["401 Unauthorized", "who may connect"],
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n<html>",
            ["200 OK", "not a web page"],
        ),
        (
            "HTTP/1.1 308 Permanent Redirect\r\nLocation: wss://there/\r\n\r\n",
            ["308 Permanent Redirect", "`wss://there/`"],
        ),
        (
            "SSH-2.0-OpenSSH_9.9\r\n",
            ["does not speak HTTP", "another port"],
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            ["does not prove", "wakewire peer"],
        ),
    ] {
        let error = met(answer).await;
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(error.is_permanent(), "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_for_ever() {
    let endless: &'static str = Box::leak(format!("HTTP/1.1 200 {}", "x".repeat(9000)).into());
    let error = met(endless).await;
    assert!(
        error.to_string().contains("more than 8192 bytes"),
        "{error}"
    );
}
