//! Messages that are handed over otherwise than one by one: borrowed, and by the batch.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::yield_now;
use wakewire::{Message, MessagePriority, MessageRef, MessageSink, Precision, SinkError};

use crate::support::{PATIENCE, Place, expect, factory, number, numbered};

#[tokio::test]
async fn a_borrowed_message_arrives_with_all_that_travels_beside_it() {
    let place = Place::new();
    let factory = factory(&place.unix("s", "direct", ""));
    let sink = factory.create_sink("s").await.unwrap();
    let mut source = factory.create_source("s").await.unwrap();
    let mut buffer = *b"buy 100";
    let message = MessageRef {
        target: Some("desk"),
        correlation_id: Some("42"),
        priority: MessagePriority::High,
        precision: Some(Precision::FixedPoint8),
        ..MessageRef::new(&buffer).with_type(7).with_timestamp(9)
    };
    let owned = message.to_message();
    assert_eq!(MessageRef::from(&owned), message);
    sink.send_ref(&message).await.unwrap();
    buffer.fill(0); // it is ours again
    assert_eq!(source.recv().await.unwrap().unwrap(), owned);
    assert_eq!(owned.payload, "buy 100");
}

#[tokio::test]
async fn a_borrowed_message_that_is_not_taken_comes_back_as_a_copy() {
    let place = Place::new();
    let text = place.unix("s", "direct", "when_full = 'reject'\nbuffer_size = 1");
    let sink = factory(&text).create_sink("s").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let refused = sink.send_ref(&MessageRef::new(b"one more")).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, SinkError::BufferFull(_)), "{error}");
    assert_eq!(error.into_message(), Some(Message::new("one more")));
}

/// Many more than are taken under one lock, into a buffer that has to be emptied meanwhile.
#[tokio::test]
async fn a_batch_arrives_in_order_whatever_room_there_is() {
    for room in [1, 63, 64, 65, 10_000] {
        let place = Place::new();
        let factory = factory(&place.unix("s", "direct", &format!("buffer_size = {room}")));
        let sink = factory.create_sink("s").await.unwrap();
        let mut source = factory.create_source("s").await.unwrap();
        let batch = (0..500).map(numbered).collect();
        let (sent, ()) = tokio::join!(sink.send_batch(batch), expect(&mut source, 0..500));
        sent.unwrap();
        assert!(source.close(Duration::from_secs(5)).await);
        assert_eq!(factory.close(Duration::from_secs(5)).await.delivered, 500);
    }
}

#[tokio::test]
async fn of_a_batch_what_was_not_accepted_comes_back_in_order() {
    let place = Place::new();
    let factory = factory(&place.unix("s", "direct", "max_message_bytes = 100"));
    let sink = factory.create_sink("s").await.unwrap();
    let mut source = factory.create_source("s").await.unwrap();
    let mut batch: Vec<Message> = (0..200).map(numbered).collect();
    batch[130] = Message::new(vec![0; 101]);
    let error = sink.send_batch(batch.clone()).await.unwrap_err();
    assert!(matches!(error, SinkError::MessageTooLarge(_)), "{error}");
    assert_eq!(error.into_messages(), batch[130..]);
    expect(&mut source, 0..130).await;
    assert_eq!(sink.metadata().messages_sent, 130);
    assert_eq!(sink.metadata().messages_failed, 1);
}

/// Who computes after a send, or waits for something outside the runtime, has its only thread; the connection is not
/// stolen by another thread either, so one will do for that.
#[test]
fn one_yield_is_enough_for_what_was_sent_to_be_on_its_way() {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let place = Place::new();
        let text = place.unix("s", "direct", "");
        let (arrived, arrivals) = mpsc::channel();
        let receiver = factory(&text);
        let receiving = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut source = receiver.create_source("s").await.unwrap();
                while let Some(message) = source.recv().await.unwrap() {
                    arrived.send(number(&message)).unwrap();
                    if number(&message) == LAST {
                        source.close(PATIENCE).await;
                        return;
                    }
                }
            });
        });
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let sending = runtime.spawn(async move {
            let sink = factory(&text).create_sink("s").await.unwrap();
            sink.connect().await.unwrap();
            for sequence in 0..=LAST {
                sink.send(numbered(sequence)).await.unwrap();
                yield_now().await;
                // Nothing else runs in this runtime meanwhile.
                assert_eq!(arrivals.recv_timeout(PATIENCE), Ok(sequence));
            }
        });
        runtime.block_on(sending).unwrap();
        receiving.join().unwrap();
    }
}

const LAST: u64 = 50;
