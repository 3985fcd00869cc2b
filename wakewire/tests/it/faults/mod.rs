//! What a link survives: cuts at any byte, damage, peers that are silent, slow, hostile, or leave.

mod connecting;
mod cuts;
mod damage;
mod flapping;
mod herd;
mod hostile;
mod resets;
mod session;
mod slow;
mod stopped;

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use wakewire::testing::{Faults, Plan, Proxy};
use wakewire::{ConnectionState, Message, SinkError};

use crate::support::{Place, eventually, expect, factory, number, numbered, soon};

/// A direct service whose sender goes through a proxy: the texts for sender and receiver.
fn through_a_proxy(place: &Place, further: &str) -> (String, String, Proxy) {
    let receiver = place.unix("direct", "direct", further);
    let target = place.path().join("direct.sock");
    let proxied = place.path().join("proxy.sock");
    let sender = receiver.replace("direct.sock", "proxy.sock");
    let proxy = Proxy::unix(proxied, target).unwrap();
    (sender, receiver, proxy)
}

/// Cuts each connection after so many bytes towards the receiver.
fn cut_after(bytes: u64) -> Plan {
    Plan::carry(Faults::none().cut_after(bytes), Faults::none())
}

#[tokio::test]
async fn a_link_killed_in_the_middle_of_a_large_frame_starts_again_at_a_frame_boundary() {
    let place = Place::new();
    let limits = "max_message_bytes = 16777216\nbuffer_bytes = 33554432\nlazy.retry_delay_ms = 1";
    let (sender, receiver, proxy) = through_a_proxy(&place, limits);
    let (sender, receiver) = (factory(&sender), factory(&receiver));
    let mut source = receiver.create_source("direct").await.unwrap();
    let sink = sender.create_sink("direct").await.unwrap();
    proxy.plan(cut_after(5 * 1024 * 1024));
    let large: Vec<u8> = (0..12 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    sink.send(numbered(0)).await.unwrap();
    sink.send(Message::new(large.clone())).await.unwrap();
    sink.send(numbered(2)).await.unwrap();
    expect(&mut source, 0..1).await;
    eventually("cut", || proxy.connections() >= 2).await;
    proxy.plan(Plan::pass());
    let message = soon(source.recv()).await.unwrap().unwrap();
    assert!(message.payload == large, "12 MiB as they were");
    expect(&mut source, 2..3).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_blocks_neither_questions_nor_others_nor_disconnect() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "drain_timeout_secs = 0.3\nbuffer_bytes = 16777216",
    );
    let factory = factory(&(text + &place.unix("other", "direct", "")));
    let mut source = factory.create_source("direct").await.unwrap();
    let sink = factory.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    // The source is not asked: its queue, the transport and at last the outbox fill.
    let bulk = vec![7; 1024 * 1024 - 8];
    for _ in 0..12 {
        sink.send(Message::new(bulk.clone())).await.unwrap();
    }
    let asked = Instant::now();
    assert!(sink.is_connected());
    assert_eq!(sink.metadata().state, ConnectionState::Connected);
    let mut others = factory.create_source("other").await.unwrap();
    let other = factory.create_sink("other").await.unwrap();
    other.send(numbered(5)).await.unwrap();
    expect(&mut others, 5..6).await;
    let error = soon(sink.disconnect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert!(!sink.is_connected());
    // What was kept goes on with the next message.
    sink.send(numbered(1)).await.unwrap();
    for _ in 0..12 {
        assert_eq!(
            soon(source.recv()).await.unwrap().unwrap().payload.len(),
            bulk.len()
        );
    }
    expect(&mut source, 1..2).await;
}

#[tokio::test]
async fn a_clean_close_of_the_peer_is_noticed_without_a_write() {
    let place = Place::new();
    let factory = factory(&place.unix("direct", "direct", ""));
    let mut source = factory.create_source("direct").await.unwrap();
    let sink = factory.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    assert!(sink.is_connected());
    assert!(source.close(Duration::from_secs(5)).await);
    eventually("noticed", || !sink.is_connected()).await;
    assert_eq!(sink.metadata().state, ConnectionState::Disconnected);
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_given_up_in_time_and_the_attempts_are_counted() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "lazy = { connect_timeout_secs = 0.05, retry_delay_ms = 1, max_retries = 2 }",
    );
    let silent = UnixListener::bind(place.path().join("direct.sock")).unwrap();
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(silent.accept().await.unwrap());
        }
    });
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert_eq!(error.failure().attempts_made(), 3);
    assert!(
        error.to_string().contains("no connection within 50ms"),
        "{error}"
    );
    accepting.abort();
}

#[tokio::test]
async fn what_is_no_wakewire_peer_is_named_as_such_and_not_dialled_in_a_hot_loop() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "lazy = { retry_delay_ms = 1, max_retries = 2 }",
    );
    let foreign = UnixListener::bind(place.path().join("direct.sock")).unwrap();
    let answering = tokio::spawn(async move {
        let mut dials = 0;
        loop {
            let (mut stream, _) = foreign.accept().await.unwrap();
            dials += 1;
            assert!(dials < 10, "a hot loop");
            tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 64])
                .await
                .unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
    });
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(
        error.to_string().contains("is it a wakewire peer"),
        "{error}"
    );
    assert!(!answering.is_finished());
    answering.abort();
}

#[tokio::test]
async fn a_wrong_service_behind_the_endpoint_is_said_and_loses_nothing() {
    let place = Place::new();
    let text = place.unix("direct", "direct", "lazy.max_retries = 1");
    let other = text.replace("services.direct", "services.other");
    let (sender, receiver) = (factory(&text), factory(&other));
    let mut source = receiver.create_source("other").await.unwrap();
    let receiving = tokio::spawn(async move { source.recv().await });
    eventually("listening", || place.path().join("direct.sock").exists()).await;
    let sink = sender.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Protocol(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("`other` is served here, not `direct`"),
        "{error}"
    );
    assert_eq!(sender.flush(Duration::ZERO).await.waiting, 1);
    receiving.abort();
}

#[tokio::test]
async fn without_auto_reconnect_a_lost_connection_is_the_senders_to_mend() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "lazy = { auto_reconnect = false, retry_delay_ms = 1 }",
    );
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let mut source = factory.create_source("direct").await.unwrap();
    expect(&mut source, 0..1).await;
    drop(source); // no goodbye: lost
    let mut refused = None;
    eventually("refused", || match sink.try_send(numbered(1)) {
        Ok(()) => false,
        Err(error) => {
            refused = Some(error);
            true
        }
    })
    .await;
    let Some(wakewire::TrySendError::Refused(error)) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
    assert_eq!(number(&error.into_message().unwrap()), 1);
    let mut source = factory.create_source("direct").await.unwrap();
    let first = tokio::spawn(async move { (soon(source.recv()).await, source) });
    eventually("listening", || place.path().join("direct.sock").exists()).await;
    soon(sink.connect()).await.unwrap();
    // Message 0 was in hand and not processed: it comes again, to another life of the receiver.
    let (message, _source) = first.await.unwrap();
    assert_eq!(number(&message.unwrap().unwrap()), 0);
}

#[tokio::test]
async fn a_send_dropped_while_it_waits_for_room_was_not_accepted() {
    let place = Place::new();
    let text = place.unix("direct", "direct", "buffer_size = 1");
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    for _ in 0..100 {
        let waits = tokio::time::timeout(Duration::from_micros(100), sink.send(numbered(99)));
        assert!(waits.await.is_err());
    }
    let mut source = factory.create_source("direct").await.unwrap();
    expect(&mut source, 0..1).await;
    let (sent, ()) = tokio::join!(soon(sink.send(numbered(1))), expect(&mut source, 1..2));
    sent.unwrap();
    assert_eq!(sink.metadata().messages_sent, 2);
}

#[tokio::test]
async fn at_most_once_counts_what_a_broken_connection_took_as_in_doubt() {
    let place = Place::new();
    let further = "delivery = 'at_most_once'\nlazy = { retry_delay_ms = 1 }";
    let (sender, receiver, proxy) = through_a_proxy(&place, further);
    let (sender, receiver) = (factory(&sender), factory(&receiver));
    let mut source = receiver.create_source("direct").await.unwrap();
    let sink = sender.create_sink("direct").await.unwrap();
    // The acknowledgements never come back: the welcome does, and then it is cut.
    proxy.plan(cut_after(64 * 1024));
    let mut sent = 0;
    while proxy.connections() < 5 {
        let message = Message::new(vec![1; 4096]);
        soon(sink.send(message)).await.unwrap();
        sent += 1;
        if sent % 4 == 0 {
            // Take what comes, so that nothing but the proxy ends a connection.
            while tokio::time::timeout(Duration::from_millis(1), source.recv())
                .await
                .is_ok()
            {}
        }
    }
    let report = sender.close(Duration::from_secs(5)).await;
    let ledger = report.per_sink[0].ledger;
    assert!(ledger.adds_up(), "{ledger}");
    assert_eq!(ledger.accepted, sent);
    assert!(ledger.in_doubt > 0 && ledger.delivered > 0, "{ledger}");
    while tokio::time::timeout(Duration::from_millis(20), source.recv())
        .await
        .is_ok()
    {}
    let received = source.stats().received;
    assert!(
        received >= ledger.delivered && received <= sent,
        "{received} received, {ledger}"
    );
}

#[tokio::test]
async fn overflow_rules_of_at_most_once_drop_and_count() {
    for (rule, expected) in [("drop_newest", [0, 1, 2]), ("drop_oldest", [7, 8, 9])] {
        let place = Place::new();
        let further = format!("delivery = 'at_most_once'\nwhen_full = '{rule}'\nbuffer_size = 3");
        let factory = factory(&place.unix("direct", "direct", &further));
        let sink = factory.create_sink("direct").await.unwrap();
        for n in 0..10 {
            sink.send(numbered(n)).await.unwrap();
        }
        let report = factory.flush(Duration::ZERO).await;
        let ledger = report.per_sink[0].ledger;
        assert_eq!(
            (ledger.accepted, ledger.waiting, ledger.dropped.total()),
            (10, 3, 7)
        );
        assert!(ledger.adds_up());
        let mut source = factory.create_source("direct").await.unwrap();
        for n in expected {
            assert_eq!(
                number(&soon(source.recv()).await.unwrap().unwrap()),
                n,
                "{rule}"
            );
        }
    }
}
