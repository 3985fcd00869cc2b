//! With WebSocket peers that have never heard of wakewire: `client.py` and `server.py`, each a process of its own.

use std::io::ErrorKind;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use wakewire::{MessageSink, Security, SinkError};

use super::{CLOSING, Certificate, Running, bind, factory, port};
use crate::support::{number, numbered, soon};

/// Python with `websockets`, as `scripts/install-test-needs` installs it.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../python/bin/python3");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/ws");

/// A foreign process.
struct Foreign {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Foreign {
    /// Starts a script; fails loudly where there is no Python for it.
    fn start(script: &str, words: &[&str]) -> Self {
        let child = Command::new(PYTHON)
            .arg(format!("{SCRIPTS}/{script}"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("this test needs {PYTHON}: run `scripts/install-test-needs`")
            }
            Err(error) => panic!("{PYTHON}: {error}"),
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = soon(self.lines.next_line()).await.unwrap();
        line.expect("the foreign process has more to say")
    }

    /// Its last words, after which it ended well.
    async fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(line) = soon(self.lines.next_line()).await.unwrap() {
            rest.push(line);
        }
        assert!(soon(self.child.wait()).await.unwrap().success());
        rest
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TEXTS: [&str; 4] = ["one", "two", "", "três"];

#[tokio::test]
async fn a_foreign_client_sends_to_a_listener_whatever_the_service_promises_others() {
    let certificate = Certificate::new();
    let ca = certificate.cert();
    for (scheme, security, further) in [
        ("ws", Security::default(), ""),
        ("ws", Security::default(), "delivery = 'at_least_once'"),
        ("wss", certificate.security(), ""),
    ] {
        let port = port();
        let endpoint = format!("{scheme}://127.0.0.1:{port}/in?x=1");
        let factory = factory("direct", &endpoint, further, &security);
        let mut source = factory.create_source("x").await.unwrap();
        bind(&mut source, port).await;
        let url = format!("{scheme}://127.0.0.1:{port}/in");
        let mut words = vec!["produce", &url];
        words.extend(TEXTS);
        let ca = ca.to_str().unwrap();
        if scheme == "wss" {
            words.extend(["--ca", ca]);
        }
        let client = Foreign::start("client.py", &words);
        for text in TEXTS {
            let message = soon(source.recv()).await.unwrap().unwrap();
            assert_eq!(message.payload, text, "{scheme}");
            assert_eq!((message.message_type, message.timestamp), (0, 0));
        }
        // Each ping is answered while we wait for more, and nothing else happens.
        tokio::select! {
            rest = client.rest() => assert_eq!(rest, ["pong"; 4], "{scheme}"),
            more = source.recv() => panic!("nothing more comes: {more:?}"),
        }
        assert!(source.close(CLOSING).await);
        assert_eq!(source.stats().missed, 0);
    }
}

#[tokio::test]
async fn a_foreign_client_shows_its_password_over_tls() {
    let certificate = Certificate::new();
    let security = Security {
        username: Some("alice".to_owned()),
        password: Some("hunter2".to_owned().into()),
        ..certificate.security()
    };
    let port = port();
    let url = format!("wss://localhost:{port}/");
    let factory = factory("direct", &url, "", &security);
    let mut source = factory.create_source("x").await.unwrap();
    bind(&mut source, port).await;
    let ca = certificate.cert();
    let ca = ca.to_str().unwrap();
    for wrong in ["alice:hunter3", "bob:hunter2"] {
        let words = ["consume", &url, "1", "--ca", ca, "--basic", wrong];
        let client = Foreign::start("client.py", &words);
        assert_eq!(client.rest().await, ["closed 1008"]);
    }
    let client = Foreign::start("client.py", &["consume", &url, "1", "--ca", ca]);
    assert_eq!(client.rest().await, ["closed 1008"], "without one");
    let words = [
        "produce",
        &url,
        "hi",
        "--ca",
        ca,
        "--basic",
        "alice:hunter2",
    ];
    let client = Foreign::start("client.py", &words);
    let message = soon(source.recv()).await.unwrap().unwrap();
    assert_eq!(message.payload, "hi");
    tokio::select! {
        rest = client.rest() => assert_eq!(rest, ["pong"]),
        more = source.recv() => panic!("nothing more comes: {more:?}"),
    }
}

#[tokio::test]
async fn a_foreign_client_consumes_from_a_relay() {
    let port = port();
    let endpoint = format!("ws://127.0.0.1:{port}/feed");
    let factory = factory("relay", &endpoint, "", &Security::default());
    let relay = Running::start(&factory).await;
    let sink = factory.create_sink("x").await.unwrap();
    let url = format!("{endpoint}?role=consumer");
    let mut client = Foreign::start("client.py", &["consume", &url, "100"]);
    // It is sent what comes once it is there: something comes until it is.
    let sending = {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move {
            for n in 0.. {
                sink.send(numbered(n)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let first = client.line().await;
    let first = u64::from_str_radix(&first, 16).unwrap().swap_bytes();
    let rest: Vec<_> = (first + 1..first + 100)
        .map(|n| hex(&n.to_le_bytes()))
        .collect();
    assert_eq!(client.rest().await, rest);
    sending.abort();
    relay.kill().await;
}

#[tokio::test]
async fn a_direct_service_has_no_consumers() {
    let port = port();
    let endpoint = format!("ws://127.0.0.1:{port}/");
    let factory = factory("direct", &endpoint, "", &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    bind(&mut source, port).await;
    let url = format!("{endpoint}?role=consumer");
    let client = Foreign::start("client.py", &["consume", &url, "1"]);
    assert_eq!(client.rest().await, ["closed 1008"]);
}

#[tokio::test]
async fn a_sink_sends_to_a_foreign_server() {
    let mut server = Foreign::start("server.py", &["collect", "1000"]);
    let endpoint = format!("ws://127.0.0.1:{}/some/path?x=1", server.line().await);
    let factory = factory("direct", &endpoint, "", &Security::default());
    let sink = factory.create_sink("x").await.unwrap();
    for n in 0..1000 {
        // Nothing but the payload arrives.
        let message = numbered(n).with_type(3).with_target("them");
        sink.send(message).await.unwrap();
    }
    let expected = (0..1000_u64).map(|n| hex(&n.to_le_bytes()));
    let lines: Vec<_> = expected.chain(["pong".to_owned()]).collect();
    assert_eq!(server.rest().await, lines);
    let report = factory.close(CLOSING).await;
    assert_eq!(report.waiting, 0, "{report:?}");
    assert!(report.per_sink[0].ledger.adds_up());
}

#[tokio::test]
async fn a_sink_that_needs_confirmations_is_told_that_there_are_none() {
    let mut server = Foreign::start("server.py", &["collect", "1"]);
    let endpoint = format!("ws://127.0.0.1:{}/", server.line().await);
    let further = "delivery = 'at_least_once'";
    let factory = factory("direct", &endpoint, further, &Security::default());
    let sink = factory.create_sink("x").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Protocol(_)), "{error}");
    let text = error.to_string();
    let words = format!("the peer at {endpoint} is no wakewire peer: nothing confirms");
    assert!(text.contains(&words), "{text}");
    assert!(text.contains("set `delivery = \"at_most_once\"`"), "{text}");
}

#[tokio::test]
async fn a_source_listens_to_a_foreign_feed() {
    let mut words = vec!["feed"];
    words.extend(TEXTS);
    let mut server = Foreign::start("server.py", &words);
    let endpoint = format!("ws://127.0.0.1:{}/", server.line().await);
    let factory = factory("relay", &endpoint, "", &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    for text in TEXTS {
        let message = soon(source.recv()).await.unwrap().unwrap();
        assert_eq!(message.payload, text);
    }
    // Its ping is answered while we wait for more.
    let more = source.recv();
    tokio::select! {
        line = server.line() => assert_eq!(line, "pong"),
        more = more => panic!("nothing more comes: {more:?}"),
    }
    assert!(source.close(CLOSING).await);
    assert_eq!(source.stats().missed, 0);
    assert!(server.rest().await.is_empty());
}

#[tokio::test]
async fn an_idle_foreign_client_is_kept_because_it_answers_our_pings() {
    let port = port();
    let endpoint = format!("ws://127.0.0.1:{port}/");
    let factory = factory("direct", &endpoint, "", &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    bind(&mut source, port).await;
    // Longer than the 15 s after which somebody is dead who does not answer.
    let words = ["produce", &endpoint, "--idle", "17", "a", "b"];
    let client = Foreign::start("client.py", &words);
    for text in ["a", "b"] {
        let message = soon(source.recv()).await.unwrap().unwrap();
        assert_eq!(message.payload, text);
    }
    drop(source);
    drop(client);
}

#[tokio::test]
async fn a_foreign_client_that_is_too_loud_is_refused_and_others_are_served() {
    let port = port();
    let endpoint = format!("ws://127.0.0.1:{port}/");
    let further = "max_message_bytes = 100";
    let factory = factory("direct", &endpoint, further, &Security::default());
    let mut source = factory.create_source("x").await.unwrap();
    bind(&mut source, port).await;
    let loud = "x".repeat(5000);
    let words = ["produce", &endpoint, "first", &loud];
    let client = Foreign::start("client.py", &words);
    let good = factory.create_sink("x").await.unwrap();
    let message = soon(source.recv()).await.unwrap().unwrap();
    assert_eq!(message.payload, "first");
    good.send(numbered(7)).await.unwrap();
    let message = soon(source.recv()).await.unwrap().unwrap();
    assert_eq!(number(&message), 7);
    let last = tokio::select! {
        rest = client.rest() => rest,
        message = source.recv() => panic!("{message:?}"),
    };
    assert!(last.last().unwrap().starts_with("closed"), "{last:?}");
}
