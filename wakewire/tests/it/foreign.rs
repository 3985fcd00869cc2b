//! A client in another language, written from `docs/wire-protocol.md` alone, is understood.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use wakewire::MessageSource;

use crate::support::{Place, eventually, factory, soon, tcp};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign.py");

/// Starts the foreign producer; fails loudly where there is no Python.
async fn produce(endpoint: &str, service: &str, texts: &[&str]) -> Output {
    let child = Command::new("python3")
        .arg(SCRIPT)
        .args([endpoint, service])
        .args(texts)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs Python 3: install the Debian package `python3`")
        }
        Err(error) => panic!("python3: {error}"),
    };
    soon(child.wait_with_output()).await.unwrap()
}

fn endpoint(text: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("endpoint = '"));
    line.unwrap().trim_end_matches('\'').to_owned()
}

/// Asks the source, which binds its endpoint, until somebody can connect.
async fn bind(source: &mut MessageSource, endpoint: &str) {
    let bound = eventually("the endpoint is bound", || {
        match endpoint.split_once("://").unwrap() {
            ("unix", path) => UnixStream::connect(path).is_ok(),
            (_, authority) => TcpStream::connect(authority).is_ok(),
        }
    });
    tokio::select! {
        () = bound => {}
        message = source.recv() => panic!("nobody sends: {message:?}"),
    }
}

#[tokio::test]
async fn a_producer_written_from_the_document_is_acknowledged() {
    let place = Place::new();
    for text in [
        place.unix("ticks", "direct", ""),
        tcp("ticks", "direct", ""),
    ] {
        let factory = factory(&text);
        let mut source = factory.create_source("ticks").await.unwrap();
        let endpoint = endpoint(&text);
        bind(&mut source, &endpoint).await;
        let texts = ["one", "", "três"];
        let mut received = 0;
        let mut produce = pin!(produce(&endpoint, "ticks", &texts));
        // Asking for a fourth message says that the third was processed.
        let output = loop {
            tokio::select! {
                output = &mut produce => break output,
                message = source.recv() => {
                    let message = message.unwrap().expect("not closed");
                    assert_eq!(message.payload, texts[received]);
                    assert_eq!(message.message_type, 7);
                    received += 1;
                }
            }
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{endpoint}: {error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3");
        assert_eq!(received, 3);
        assert!(source.close(Duration::from_secs(30)).await);
    }
}

#[tokio::test]
async fn it_is_told_when_the_endpoint_serves_another_name() {
    let text = tcp("ticks", "direct", "");
    let factory = factory(&text);
    let mut source = factory.create_source("ticks").await.unwrap();
    let endpoint = endpoint(&text);
    bind(&mut source, &endpoint).await;
    let output = tokio::select! {
        output = produce(&endpoint, "quotes", &["x"]) => output,
        message = source.recv() => panic!("{message:?}"),
    };
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("refused with code 17"), "{error}");
}
