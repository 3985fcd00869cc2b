//! A direct service: one sink, one listener, over real sockets.

use std::time::Duration;

use wakewire::{ConnectionState, MessageSink, SinkError};

use crate::support::{Place, eventually, expect, factory, number, numbered, soon, tcp};

/// Unix and TCP; the directory lives as long as the test.
fn both(further: &str) -> Vec<(Option<Place>, String)> {
    let place = Place::new();
    let unix = place.unix("direct", "direct", further);
    vec![
        (Some(place), unix),
        (None, tcp("direct", "direct", further)),
    ]
}

#[tokio::test]
async fn what_was_sent_before_the_listener_starts_arrives() {
    for (_place, text) in both("") {
        let sender = factory(&text);
        let sink = sender.create_sink("direct").await.unwrap();
        assert_eq!(sink.metadata().sink_type, "direct");
        for n in 0..1000 {
            sink.send(numbered(n)).await.unwrap();
        }
        let receiver = factory(&text);
        let mut source = receiver.create_source("direct").await.unwrap();
        expect(&mut source, 0..1000).await;
        for n in 1000..2000 {
            sink.send(numbered(n)).await.unwrap();
        }
        expect(&mut source, 1000..2000).await;
        assert!(source.close(Duration::from_secs(5)).await);
        let report = sender.close(Duration::from_secs(5)).await;
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.delivered, 2000);
        assert!(report.per_sink[0].ledger.adds_up());
    }
}

#[tokio::test]
async fn a_batch_of_so_many_leaves_the_rest_to_the_next_listener() {
    for (_place, text) in both("") {
        let sender = factory(&text);
        let sink = sender.create_sink("direct").await.unwrap();
        // More than fits between the two: what lies unread when a listener closes takes nothing with it.
        for n in 0..3000 {
            let mut payload = vec![0; 2048];
            payload[..8].copy_from_slice(&u64::to_le_bytes(n));
            sink.send(wakewire::Message::new(payload)).await.unwrap();
        }
        let mut next = 0;
        for most in [0, 1, 1, 1, 7, 500, 10_000] {
            let receiver = factory(&text);
            let mut source = receiver.create_source("direct").await.unwrap();
            let batch = soon(source.recv_batch_up_to(most)).await.unwrap().unwrap();
            assert!(batch.len() <= most.max(1), "{batch:?}");
            for view in &batch {
                assert_eq!(view.payload()[..8], u64::to_le_bytes(next));
                next += 1;
            }
            assert!(source.close(Duration::from_secs(5)).await);
        }
        let report = sender.close(Duration::from_secs(5)).await;
        assert_eq!(report.delivered, next, "{report:?}");
    }
}

#[tokio::test]
async fn a_listener_that_dies_with_messages_in_hand_loses_none() {
    for (_place, text) in both("") {
        let sender = factory(&text);
        let sink = sender.create_sink("direct").await.unwrap();
        for n in 0..5000 {
            sink.send(numbered(n)).await.unwrap();
        }
        let receiver = factory(&text);
        let mut next = 0;
        for life in 0..5 {
            let mut source = receiver.create_source("direct").await.unwrap();
            // It begins somewhere at or before what the last life had in hand, never after.
            let first = number(&soon(source.recv()).await.unwrap().unwrap());
            assert!(
                first <= next,
                "life {life} starts at {first}, {next} was owed"
            );
            for n in first + 1..first + 700 {
                assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), n);
            }
            next = first + 699; // in hand, not processed: dropped without close
        }
        let mut source = receiver.create_source("direct").await.unwrap();
        let first = number(&soon(source.recv()).await.unwrap().unwrap());
        assert!(first <= next);
        expect(&mut source, first + 1..5000).await;
        source.close(Duration::from_secs(5)).await;
        let report = sender.close(Duration::from_secs(5)).await;
        assert_eq!(
            (report.delivered, report.waiting + report.undelivered),
            (5000, 0),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn nothing_is_opened_before_the_first_message_and_an_idle_link_sleeps() {
    let place = Place::new();
    let text = place.unix("direct", "direct", "idle_timeout_secs = 0.05");
    let receiver = factory(&text);
    let mut source = receiver.create_source("direct").await.unwrap();
    let sender = factory(&text);
    let sink = sender.create_sink("direct").await.unwrap();
    assert!(!place.path().join("direct.sock").exists());
    assert_eq!(sink.metadata().state, ConnectionState::Disconnected);
    for n in 0..3 {
        sink.send(numbered(n)).await.unwrap();
        expect(&mut source, n..n + 1).await;
        // Asking for more says that it was processed.
        assert!(
            tokio::time::timeout(Duration::from_millis(1), source.recv())
                .await
                .is_err()
        );
        eventually("asleep", || {
            sink.metadata().state == ConnectionState::Disconnected
        })
        .await;
    }
    let report = sender.flush(Duration::from_secs(1)).await;
    let woken = &report.per_sink[0];
    assert_eq!(
        (woken.wakes, woken.connects),
        (3, 3),
        "each wake is a connection"
    );
    assert_eq!(source.stats().connects, 3);
}

#[tokio::test]
async fn connect_with_nobody_listening_is_an_error_after_the_retries() {
    for (_place, text) in both("lazy = { max_retries = 2, retry_delay_ms = 1 }") {
        let sender = factory(&text);
        let sink = sender.create_sink("direct").await.unwrap();
        let error = soon(sink.connect()).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
        assert_eq!(error.failure().attempts_made(), 3);
        assert!(
            error.to_string().contains("nobody listens there"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_full_buffer_gives_the_message_back_and_says_why() {
    let place = Place::new();
    let text = place.unix(
        "direct",
        "direct",
        "buffer_size = 2\nlazy.wait_timeout_secs = 0.2\nlazy.retry_delay_ms = 1",
    );
    let sender = factory(&text);
    let sink = sender.create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    sink.send(numbered(1)).await.unwrap();
    let error = soon(sink.send(numbered(2))).await.unwrap_err();
    assert!(matches!(error, SinkError::BufferFull(_)));
    assert!(
        error.to_string().contains("nobody listens there"),
        "{error}"
    );
    assert_eq!(number(&error.into_message().unwrap()), 2);
    let error = soon(sink.disconnect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Timeout(_)), "{error}");
    let report = sender.close(Duration::from_millis(10)).await;
    assert_eq!(report.undelivered, 2);
    assert!(matches!(
        sink.send(numbered(3)).await,
        Err(SinkError::Closed(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_of_all_sizes_through_a_small_buffer() {
    for (_place, text) in both("buffer_size = 100") {
        let sender = factory(&text);
        let sink = sender.create_sink("direct").await.unwrap();
        let receiver = factory(&text);
        let mut source = receiver.create_source("direct").await.unwrap();
        let sending = tokio::spawn(async move {
            for n in 0..100_000_u64 {
                let mut bytes = n.to_le_bytes().to_vec();
                bytes.resize(8 + usize::try_from(n * 7919 % 1500).unwrap(), 7);
                sink.send(wakewire::Message::new(bytes)).await.unwrap();
            }
        });
        for n in 0..100_000 {
            let message = soon(source.recv()).await.unwrap().unwrap();
            assert_eq!(number(&message), n);
            assert_eq!(message.payload.len() as u64, 8 + n * 7919 % 1500);
        }
        soon(sending).await.unwrap();
        source.close(Duration::from_secs(5)).await;
        let report = sender.close(Duration::from_secs(5)).await;
        assert_eq!(report.delivered, 100_000);
    }
}

/// Found by the simulation: the link slept for ever, and each send waited for room in vain.
#[tokio::test]
async fn a_send_to_a_full_buffer_wakes_a_link_that_was_disconnected() {
    for when_full in ["block", "reject"] {
        let keys = format!("buffer_size = 1\nwhen_full = '{when_full}'\ndrain_timeout_secs = 0.01");
        for (_place, text) in both(&keys) {
            let sender = factory(&text);
            let sink = sender.create_sink("direct").await.unwrap();
            sink.send(numbered(0)).await.unwrap();
            let left = sink.disconnect().await.unwrap_err();
            assert!(matches!(left, SinkError::Timeout(_)), "{left}");
            let receiver = factory(&text);
            let mut source = receiver.create_source("direct").await.unwrap();
            let receives = async { expect(&mut source, 0..2).await };
            let sends = soon(async {
                while sink.send(numbered(1)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            tokio::join!(receives, sends);
        }
    }
}
