//! What is sent arrives, over every path that TLS is part of.

use std::time::Duration;

use wakewire::{Security, ServiceConfig};

use super::{Authority, Listening, direct, factory, free_port};
use crate::support::{PATIENCE, expect, numbered, soon};

#[tokio::test]
async fn from_a_sink_to_a_source() {
    let authority = Authority::new();
    for host in ["127.0.0.1", "localhost"] {
        let endpoint = format!("tls://{host}:{}", free_port());
        let server = authority.security_with(&authority.here("server"));
        let listening = Listening::start(direct(&endpoint, server)).await;
        let sender = factory(direct(&endpoint, authority.security()));
        let sink = sender.create_sink("ticks").await.unwrap();
        for n in 0..1000 {
            sink.send(numbered(n)).await.unwrap();
        }
        assert!(sender.close(PATIENCE).await.is_complete());
        let (numbers, connects) = listening.stop().await;
        assert!(numbers.into_iter().eq(0..1000));
        assert_eq!(connects, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_sink_over_a_relay_to_a_source_all_with_certificates() {
    let authority = Authority::new();
    let endpoint = format!("tls://localhost:{}", free_port());
    let service = |name: &str, client_ca| ServiceConfig {
        security: Security {
            client_ca,
            ..authority.security_with(&authority.here(name))
        },
        ..ServiceConfig::relay(endpoint.parse().unwrap())
    };
    let serving = factory(service("relay", Some(authority.ca())));
    let mut relay = serving.create_relay("ticks").await.unwrap();
    soon(relay.bind()).await.unwrap();
    let running = tokio::spawn(async move { relay.run().await });
    let receiver = factory(service("ledger", None));
    let mut source = receiver.create_source("ticks").await.unwrap();
    let sender = factory(service("feed", None));
    let sink = sender.create_sink("ticks").await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..20_000 {
            sink.send(numbered(n)).await.unwrap();
        }
    });
    expect(&mut source, 0..20_000).await;
    soon(sending).await.unwrap();
    assert!(source.close(PATIENCE).await);
    assert!(sender.close(PATIENCE).await.is_complete());
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_and_many() {
    let authority = Authority::new();
    let endpoint = format!("tls://localhost:{}", free_port());
    let server = authority.security_with(&authority.here("server"));
    let receiver = factory(direct(&endpoint, server));
    let mut source = receiver.create_source("ticks").await.unwrap();
    let sender = factory(direct(&endpoint, authority.security()));
    let sink = sender.create_sink("ticks").await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..300_u64 {
            let mut payload = n.to_le_bytes().to_vec();
            payload.resize(8 + usize::try_from(n * 3499 % 1_000_000).unwrap(), 7);
            sink.send(wakewire::Message::new(payload)).await.unwrap();
        }
        sink.flush(Duration::from_secs(30)).await
    });
    expect(&mut source, 0..300).await;
    assert!(source.close(PATIENCE).await);
    soon(sending).await.unwrap().unwrap();
}
