//! Consumers that die and go on where they were, over real sockets.

use std::path::PathBuf;
use std::time::Duration;

use wakewire::{Cursor, MessageSource, Position, SinkError, SinkFactory, Start};

use crate::support::{Place, eventually, expect, factory, number, numbered, soon, tcp};

/// A direct service and a relay, over Unix and TCP, each with a place for a cursor.
fn everywhere(further: &str) -> Vec<(Place, String, &'static str)> {
    ["direct", "relay"]
        .into_iter()
        .flat_map(|kind| {
            let place = Place::new();
            let unix = place.unix(kind, kind, further);
            [
                (place, unix, kind),
                (Place::new(), tcp(kind, kind, further), kind),
            ]
        })
        .collect()
}

/// Whoever dies before it has acknowledged anything is dialled ever more slowly.
const QUICK: &str = "lazy = { retry_delay_ms = 5, max_retry_delay_secs = 0.02 }";

fn file(place: &Place) -> PathBuf {
    place.path().join("cursor")
}

async fn relay_if_any(factory: &SinkFactory, kind: &str) {
    if kind == "relay" {
        let mut relay = factory.create_relay(kind).await.unwrap();
        soon(relay.bind()).await.unwrap();
        tokio::spawn(async move { relay.run().await.unwrap() });
    }
}

/// Dies without a goodbye; when this returns its task is gone.
async fn die(source: MessageSource) {
    drop(source);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_asked_past_does_not_come_again_and_the_rest_does() {
    for (place, text, kind) in everywhere(QUICK) {
        let factory = factory(&text);
        relay_if_any(&factory, kind).await;
        let sink = factory.create_sink(kind).await.unwrap();
        for n in 0..2000 {
            sink.send(numbered(n)).await.unwrap();
        }
        let mut from = 0;
        for life in 1..=30 {
            let source = factory.create_source(kind).await.unwrap();
            let mut source = source.with_cursor(Cursor::open(file(&place)).unwrap());
            // Each life asks past some, and dies with one in hand: that one comes again, and no other.
            expect(&mut source, from..from + life).await;
            from += life - 1;
            die(source).await;
        }
        let source = factory.create_source(kind).await.unwrap();
        let mut source = source.with_cursor(Cursor::open(file(&place)).unwrap());
        expect(&mut source, from..2000).await;
        assert!(source.close(Duration::from_secs(5)).await);
        let report = sink.flush(Duration::from_secs(5)).await.unwrap();
        assert_eq!((report.delivered, report.waiting), (2000, 0), "{kind}");
    }
}

#[tokio::test]
async fn batches_and_acknowledgements_one_by_one_are_kept_as_well() {
    for (place, text, kind) in everywhere(QUICK) {
        let factory = factory(&text);
        relay_if_any(&factory, kind).await;
        let sink = factory.create_sink(kind).await.unwrap();
        for n in 0..100 {
            sink.send(numbered(n)).await.unwrap();
        }
        let open = || Cursor::open(file(&place)).unwrap();
        let mut source = factory
            .create_source(kind)
            .await
            .unwrap()
            .with_cursor(open());
        let mut taken = 0;
        while taken < 30 {
            let batch = soon(source.recv_batch_up_to(10)).await.unwrap().unwrap();
            taken += batch.len() as u64;
        }
        let last = source.position().unwrap();
        assert_eq!(last.sequence(), taken);
        source.set_mark(b"as far as that").unwrap();
        assert!(source.close(Duration::from_secs(5)).await);
        die(source).await;
        let cursor = open();
        assert_eq!(
            (cursor.positions(), cursor.mark()),
            (vec![last], Some(b"as far as that".to_vec()))
        );
        // Held back by the first, which is not acknowledged, but for two.
        let source = factory
            .create_source(kind)
            .await
            .unwrap()
            .with_cursor(cursor);
        let mut stream = source.into_stream();
        let mut held = Vec::new();
        for n in taken..taken + 5 {
            let delivered = soon(stream.next()).await.unwrap().unwrap();
            assert_eq!(number(&delivered.message), n);
            assert_eq!(delivered.position().sequence(), n + 1);
            held.push(delivered);
        }
        held.swap_remove(0).ack();
        held.pop().unwrap().ack(); // the fourth
        held.pop().unwrap().ack();
        drop(stream);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let source = factory.create_source(kind).await.unwrap();
        let mut source = source.with_cursor(open());
        expect(&mut source, taken + 1..100).await;
    }
}

#[tokio::test]
async fn a_relay_that_keeps_messages_for_others_does_not_send_them_again() {
    for with_cursor in [true, false] {
        for text in [Place::new()]
            .map(|place| (place.unix("relay", "relay", "consumers = ['slow']"), place))
        {
            let (text, place) = text;
            let factory = factory(&text);
            relay_if_any(&factory, "relay").await;
            let sink = factory.create_sink("relay").await.unwrap();
            for n in 0..100 {
                sink.send(numbered(n)).await.unwrap();
            }
            let quick = || async {
                let source = factory
                    .create_source("relay")
                    .await
                    .unwrap()
                    .starting(Start::Earliest);
                if with_cursor {
                    source.with_cursor(Cursor::open(file(&place)).unwrap())
                } else {
                    source
                }
            };
            let mut source = quick().await;
            expect(&mut source, 0..60).await;
            assert!(
                source.close(Duration::from_secs(5)).await,
                "59 and all before are confirmed"
            );
            die(source).await;
            let mut source = quick().await;
            // The log still has them all, for the slow one.
            let from = if with_cursor { 60 } else { 0 };
            expect(&mut source, from..100).await;
        }
    }
}

#[tokio::test]
async fn an_application_that_stores_positions_itself_goes_on_after_them() {
    for (_place, text, kind) in everywhere(QUICK) {
        let factory = factory(&text);
        relay_if_any(&factory, kind).await;
        let sinks = [factory.create_sink(kind).await.unwrap()];
        for n in 0..200 {
            sinks[0].send(numbered(n)).await.unwrap();
        }
        let mut stored: Option<[u8; 24]> = None;
        let mut next = 0;
        for _ in 0..5 {
            let position = stored.map(|bytes| Position::from_bytes(bytes).unwrap());
            let source = factory.create_source(kind).await.unwrap();
            let mut source = source.starting_after(position);
            expect(&mut source, next..next + 20).await;
            next += 20;
            // Stored with its effect, and dies before it could say so.
            stored = Some(source.position().unwrap().to_bytes());
            die(source).await;
        }
        let again: Position = Position::from_bytes(stored.unwrap()).unwrap();
        assert_eq!(again.to_string().parse(), Ok(again));
    }
}

#[tokio::test]
async fn the_key_of_the_service_opens_it_for_one_consumer_at_a_time() {
    let place = Place::new();
    let further = format!("cursor = '{}'", file(&place).display());
    let text = place.unix("direct", "direct", &further);
    let one = factory(&text);
    let mut source = one.create_source("direct").await.unwrap();
    assert_eq!(source.cursor().unwrap().path(), file(&place));
    for other in [&one, &factory(&text)] {
        let error = other.create_source("direct").await.unwrap_err();
        assert!(matches!(error, SinkError::Io(_)), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("service `direct`") && said.contains("this process uses it"),
            "{said}"
        );
    }
    // Whoever sends has no cursor.
    let sink = factory(&text).create_sink("direct").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    expect(&mut source, 0..1).await;
    die(source).await;
    // What is no cursor is refused, and nothing is delivered.
    std::fs::write(file(&place), "precious").unwrap();
    let error = one.create_source("direct").await.unwrap_err().to_string();
    assert!(error.contains("byte 0: it is not a cursor"), "{error}");
    assert_eq!(std::fs::read(file(&place)).unwrap(), b"precious");
    std::fs::remove_file(file(&place)).unwrap();
    let mut source = one.create_source("direct").await.unwrap();
    expect(&mut source, 0..1).await;
    assert!(source.close(Duration::from_secs(5)).await);
    eventually("acknowledged", || {
        sink.state() != wakewire::ConnectionState::Connecting
    })
    .await;
}

#[tokio::test]
async fn a_mark_needs_a_cursor_and_has_a_bound() {
    let place = Place::new();
    let factory = factory(&place.unix("direct", "direct", ""));
    let mut source = factory.create_source("direct").await.unwrap();
    let error = source.set_mark(b"x").unwrap_err();
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
    let mut source = source.with_cursor(Cursor::open(file(&place)).unwrap());
    source.set_mark(&[7; 32]).unwrap();
    let error = source.set_mark(&[7; 33]).unwrap_err();
    assert!(error.to_string().contains("32 is the most"), "{error}");
    // With nothing in hand it is written alone.
    let waits = tokio::time::timeout(Duration::from_millis(20), source.recv()).await;
    assert!(waits.is_err());
    assert_eq!(source.cursor().unwrap().mark().unwrap(), [7; 32]);
}
