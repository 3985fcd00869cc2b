//! Waiting for one message's acknowledgement: receipts and `send_confirmed`, over real sockets.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use wakewire::sink::PoolConfig;
use wakewire::{
    CompositeSink, LazyConfig, LazyConnectionPool, LazyMessageSink, Message, MessageSink,
    MessageSource, Sending, SinkError, SinkFactory, SinkMetadata,
};

use crate::support::{Place, eventually, expect, factory, number, numbered, soon, tcp};

fn both(name: &str, kind: &str, further: &str) -> Vec<(Option<Place>, String)> {
    let place = Place::new();
    let unix = place.unix(name, kind, further);
    vec![(Some(place), unix), (None, tcp(name, kind, further))]
}

async fn relay(factory: &SinkFactory) -> JoinHandle<()> {
    let mut relay = factory.create_relay("relay").await.unwrap();
    soon(relay.bind()).await.unwrap();
    tokio::spawn(async move { relay.run().await.unwrap() })
}

/// Processes everything until the sender is gone.
fn process_all(mut source: MessageSource) -> JoinHandle<()> {
    tokio::spawn(async move { while let Ok(Some(_)) = source.recv().await {} })
}

/// Looks once, without waiting.
fn is_ready(future: &mut (impl Future + Unpin)) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut context).is_ready()
}

#[tokio::test]
async fn a_receipt_ends_when_its_message_is_processed_and_not_before() {
    for (_place, text) in both("direct", "direct", "") {
        let factory = factory(&text);
        let sink = factory.create_sink("direct").await.unwrap();
        let mut source = factory.create_source("direct").await.unwrap();
        let mut first = sink.send_with_receipt(numbered(0)).await.unwrap();
        let mut second = sink.send_with_receipt(numbered(1)).await.unwrap();
        expect(&mut source, 0..1).await;
        // It is in hand, and everything that could be acknowledged has been.
        assert!(
            !soon(sink.flush(Duration::from_millis(20)))
                .await
                .unwrap()
                .is_complete()
        );
        assert!(!is_ready(&mut first));
        expect(&mut source, 1..2).await;
        soon(&mut first).await.unwrap();
        assert!(!is_ready(&mut second));
        let more = tokio::spawn(async move { source.recv().await.map(drop) });
        soon(second).await.unwrap();
        sink.send(numbered(2)).await.unwrap();
        more.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_receipts_are_open_at_once_and_all_end() {
    for (_place, text) in both("direct", "direct", "") {
        let factory = factory(&text);
        let sink = factory.create_sink("direct").await.unwrap();
        let mut receipts = Vec::new();
        for n in 0..10_000 {
            receipts.push(sink.send_with_receipt(numbered(n)).await.unwrap());
        }
        let processing = process_all(factory.create_source("direct").await.unwrap());
        for receipt in receipts {
            soon(receipt).await.unwrap();
        }
        for n in 0..100 {
            soon(sink.send_confirmed(numbered(n))).await.unwrap();
        }
        processing.abort();
    }
}

#[tokio::test]
async fn a_relay_gives_receipts_for_what_everybody_has_processed() {
    for (_place, text) in both("relay", "relay", "consumers = ['a', 'b']") {
        let factory = factory(&text);
        let running = relay(&factory).await;
        let sink = factory.create_sink("relay").await.unwrap();
        let a = factory.create_source("relay").await.unwrap().named("a");
        let mut b = factory.create_source("relay").await.unwrap().named("b");
        let a = process_all(a);
        let mut receipt = sink.send_with_receipt(numbered(0)).await.unwrap();
        expect(&mut b, 0..1).await;
        assert!(
            timeout(Duration::from_millis(30), &mut receipt)
                .await
                .is_err(),
            "b has it in hand"
        );
        let b = process_all(b);
        soon(receipt).await.unwrap();
        [a, b, running].iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_outlive_a_relay_that_is_killed() {
    for (_place, text) in both(
        "relay",
        "relay",
        "consumers = ['a']\nlazy.retry_delay_ms = 5",
    ) {
        let (sender, receiver) = (factory(&text), factory(&text));
        let sink = sender.create_sink("relay").await.unwrap();
        let running = relay(&receiver).await;
        let mut source = receiver.create_source("relay").await.unwrap().named("a");
        let mut receipts = Vec::new();
        for n in 0..1000 {
            receipts.push(sink.send_with_receipt(numbered(n)).await.unwrap());
        }
        expect(&mut source, 0..300).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert!(
            receipts
                .iter_mut()
                .skip(300)
                .all(|receipt| !is_ready(receipt))
        );
        let running = relay(&receiver).await;
        expect(&mut source, 300..1000).await;
        let processing = process_all(source);
        for (n, receipt) in receipts.into_iter().enumerate() {
            // Those that were ready above have given their result.
            if n >= 300 {
                soon(receipt).await.unwrap();
            }
        }
        soon(sink.send_confirmed(numbered(1000))).await.unwrap();
        [processing, running].iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_deadline_leaves_the_message_owed() {
    for (_place, text) in both("direct", "direct", "") {
        let factory = factory(&text);
        let sink = factory.create_sink("direct").await.unwrap();
        let nobody = timeout(Duration::from_millis(30), sink.send_confirmed(numbered(0))).await;
        assert!(nobody.is_err(), "nobody listens");
        let mut source = factory.create_source("direct").await.unwrap();
        expect(&mut source, 0..1).await;
        // It listens, and never says that it has processed anything.
        let held = timeout(Duration::from_millis(30), sink.send_confirmed(numbered(1))).await;
        assert!(held.is_err(), "the first is in hand");
        expect(&mut source, 1..2).await;
        assert!(source.close(Duration::from_secs(5)).await);
        let report = sink.flush(Duration::from_secs(5)).await.unwrap();
        assert_eq!((report.delivered, report.waiting), (2, 0));
    }
}

/// Polls it at most so often, then drops it; returns whether it ended.
async fn polled<F: Future>(future: F, times: usize) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..times {
        let look = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready()));
        if look.await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn dropped_after_any_number_of_polls_it_arrives_once_or_was_never_accepted() {
    let place = Place::new();
    let text = place.unix("direct", "direct", "buffer_size = 20");
    let factory = factory(&text);
    let sink = factory.create_sink("direct").await.unwrap();
    let mut source = factory.create_source("direct").await.unwrap();
    let mut accepted = 0;
    for times in 0..60 {
        polled(sink.send_confirmed(numbered(accepted)), times).await;
        let now = sink.metadata().messages_sent;
        assert!(now - accepted <= u64::from(times > 0), "{times}");
        if source.stats().received < now && times % 3 > 0 {
            let message = soon(source.recv()).await.unwrap().unwrap();
            assert!(number(&message) < now);
        }
        accepted = now;
    }
    assert!(accepted > 10);
    let next = source.stats().received;
    expect(&mut source, next..accepted).await;
    assert!(source.close(Duration::from_secs(5)).await);
    let report = sink.flush(Duration::from_secs(5)).await.unwrap();
    assert_eq!(report.delivered, accepted);
}

#[tokio::test]
async fn a_receipt_says_what_became_of_a_message_that_is_not_processed() {
    let place = Place::new();
    // Closed before anybody came.
    let text = place.unix("direct", "direct", "");
    let closing = factory(&text);
    let sink = closing.create_sink("direct").await.unwrap();
    let receipt = sink.send_with_receipt(numbered(0)).await.unwrap();
    closing.close(Duration::ZERO).await;
    let error = soon(receipt).await.unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert!(
        error.to_string().contains("before the message was sent"),
        "{error}"
    );
    let refused = sink.send_confirmed(numbered(1)).await.unwrap_err();
    assert!(matches!(refused, SinkError::Closed(_)), "{refused}");
    assert!(refused.into_message().is_some(), "it was not accepted");

    // Given up by an overflow rule: the oldest, and then the newest.
    for (rule, given_up) in [("drop_oldest", 0), ("drop_newest", 2)] {
        let further = format!("delivery = 'at_most_once'\nbuffer_size = 2\nwhen_full = '{rule}'");
        let factory = factory(&place.unix("lossy", "direct", &further));
        let sink = factory.create_sink("lossy").await.unwrap();
        let mut receipts = Vec::new();
        for n in 0..2 {
            receipts.push(sink.send_with_receipt(numbered(n)).await.unwrap());
        }
        sink.send(numbered(2)).await.unwrap();
        if rule == "drop_oldest" {
            let error = soon(receipts.swap_remove(given_up)).await.unwrap_err();
            assert!(matches!(error, SinkError::BufferFull(_)), "{error}");
        }
        assert!(receipts.iter_mut().all(|receipt| !is_ready(receipt)));
    }

    // Sent at most once, to somebody who dies with it.
    let factory = factory(&place.unix("doubt", "direct", "delivery = 'at_most_once'"));
    let sink = factory.create_sink("doubt").await.unwrap();
    let mut source = factory.create_source("doubt").await.unwrap();
    let receipt = sink.send_with_receipt(numbered(0)).await;
    let receipt = receipt.unwrap();
    expect(&mut source, 0..1).await;
    drop(source);
    let error = soon(receipt).await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
    assert!(error.to_string().contains("may have arrived"), "{error}");
}

#[tokio::test]
async fn as_many_may_wait_as_there_may_be_messages() {
    let place = Place::new();
    let further = "delivery = 'at_most_once'\nbuffer_size = 3\nwhen_full = 'reject'";
    let factory = factory(&place.unix("direct", "direct", further));
    let sink = factory.create_sink("direct").await.unwrap();
    let mut source = factory.create_source("direct").await.unwrap();
    // They leave the buffer when they are written, and wait on.
    let mut receipts = Vec::new();
    for n in 0..3 {
        receipts.push(sink.send_with_receipt(numbered(n)).await.unwrap());
        expect(&mut source, n..n + 1).await;
        eventually("acknowledged", || {
            n == 0 || is_ready(&mut receipts[usize::try_from(n).unwrap() - 1])
        })
        .await;
    }
    drop(receipts);
    let (mut open, mut refused) = (Vec::new(), None);
    for n in 3..20 {
        match sink.send_with_receipt(numbered(n)).await {
            Ok(receipt) => open.push(receipt),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
        eventually("written", || sink.is_connected()).await;
    }
    let refused = refused.expect("it has a bound");
    assert!(matches!(refused, SinkError::BufferFull(_)), "{refused}");
    assert!(refused.into_message().is_some());
    assert!(open.len() <= 3, "{}", open.len());
}

/// Delivers by accepting.
#[derive(Debug)]
struct Printer;

impl MessageSink for Printer {
    fn send(&self, _: Message) -> Sending<'_> {
        Sending::ready(Ok(()))
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("printer", "test")
    }
}

#[tokio::test]
async fn a_sink_without_acknowledgements_says_so_and_gives_the_message_back() {
    let lazy = LazyMessageSink::new(|| async { Ok(Printer) }, LazyConfig::default());
    let pool = LazyConnectionPool::new(|| async { Ok(Printer) }, PoolConfig::default()).unwrap();
    let one = |name: &str| vec![(name.to_owned(), Arc::new(Printer) as Arc<dyn MessageSink>)];
    let fanout = CompositeSink::fanout("all", one("printer")).unwrap();
    let failover = CompositeSink::failover("first", one("printer")).unwrap();
    let turns = CompositeSink::round_robin("turns", one("printer")).unwrap();
    let sinks: [&dyn MessageSink; 6] = [&Printer, &lazy, &pool, &fanout, &failover, &turns];
    for sink in sinks {
        let error = soon(sink.send_confirmed(numbered(7))).await.unwrap_err();
        let unsupported = match &error {
            SinkError::Partial(partial) => {
                matches!(partial.failed(), [(_, SinkError::Unsupported(_))])
            }
            error => matches!(error, SinkError::Unsupported(_)),
        };
        assert!(unsupported, "{sink:?}: {error}");
        assert_eq!(number(&error.into_message().unwrap()), 7);
        // And nothing is held against it.
        soon(sink.send(numbered(8))).await.unwrap();
    }
}

#[tokio::test]
async fn lazy_sinks_pools_and_composites_pass_receipts_on() {
    let place = Place::new();
    let text = place.unix("left", "direct", "") + &place.unix("right", "direct", "");
    let factory = Arc::new(factory(&text));
    let open = |name: &'static str| {
        let factory = Arc::clone(&factory);
        move || {
            let factory = Arc::clone(&factory);
            async move { factory.create_sink(name).await }
        }
    };
    let lazy = LazyMessageSink::new(open("left"), LazyConfig::default());
    let pool = LazyConnectionPool::new(open("left"), PoolConfig::default()).unwrap();
    let left = factory.create_sink("left").await.unwrap();
    let right = factory.create_sink("right").await.unwrap();
    let both = || {
        vec![
            ("left".to_owned(), Arc::clone(&left)),
            ("right".to_owned(), Arc::clone(&right)),
        ]
    };
    let fanout = CompositeSink::fanout("all", both()).unwrap();
    let failover = CompositeSink::failover("first", both()).unwrap();
    let turns = CompositeSink::round_robin("turns", both()).unwrap();
    let on_the_left = process_all(factory.create_source("left").await.unwrap());
    let sinks: [&dyn MessageSink; 4] = [&left, &lazy, &pool, &failover];
    for sink in sinks {
        soon(sink.send_confirmed(numbered(0))).await.unwrap();
    }
    // A fan-out is confirmed when all have confirmed.
    let mut everywhere = soon(fanout.send_with_receipt(numbered(1))).await.unwrap();
    let held = timeout(Duration::from_millis(30), &mut everywhere).await;
    assert!(held.is_err(), "nobody listens on the right");
    let on_the_right = process_all(factory.create_source("right").await.unwrap());
    soon(everywhere).await.unwrap();
    for _ in 0..4 {
        soon(turns.send_confirmed(numbered(2))).await.unwrap();
    }
    // And its error names who did not.
    on_the_right.abort();
    assert!(on_the_right.await.unwrap_err().is_cancelled());
    let partly = soon(fanout.send_with_receipt(numbered(3))).await.unwrap();
    soon(left.flush(Duration::from_secs(5))).await.unwrap();
    soon(right.close(Duration::from_millis(20))).await.unwrap();
    let error = soon(partly).await.unwrap_err();
    let SinkError::Partial(partial) = &error else {
        panic!("{error}");
    };
    assert_eq!(partial.accepted(), ["left"]);
    assert!(
        matches!(partial.failed(), [(name, SinkError::Closed(_))] if name == "right"),
        "{error}"
    );
    on_the_left.abort();
}

#[cfg(feature = "udp")]
#[tokio::test]
async fn over_udp_there_are_none() {
    let port = crate::support::free_port();
    let text = format!("[services.d]\ntype = 'direct'\nendpoint = 'udp://127.0.0.1:{port}'\n");
    let sink = factory(&text).create_sink("d").await.unwrap();
    let error = sink.send_confirmed(numbered(0)).await.unwrap_err();
    assert!(matches!(error, SinkError::Unsupported(_)), "{error}");
    assert!(error.into_message().is_some());
}
