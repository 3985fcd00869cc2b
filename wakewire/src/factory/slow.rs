//! Messages that take longer to arrive than a silent peer is waited for.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::SinkFactory;
use crate::connection::{Connection, ConnectionSettings};
use crate::message::Message;
use crate::sink::MessageSink;
use crate::source::{MessageSource, serve};

/// At 50 kB/s it takes 20 s.
const MEGABYTE: usize = 1_000_000;

const MINUTE: Duration = Duration::from_secs(60);

fn factory(kind: &str, name: &str) -> SinkFactory {
    let text = format!(
        "[services.x]\ntype = '{kind}'\nendpoint = 'unix:///memory/{name}'\nmax_message_bytes = 2_000_000"
    );
    SinkFactory::from_config_str(&text).unwrap()
}

async fn receives(source: &mut MessageSource, byte: u8) {
    let received = timeout(MINUTE, source.recv()).await.expect("in a minute");
    let message = received.unwrap().expect("not closed");
    assert!(message.payload.len() == MEGABYTE && message.payload[0] == byte);
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_arrives_at_a_listener_over_one_connection() {
    let factory = factory("direct", "listener");
    let mut source = factory.create_source("x").await.unwrap();
    let sink = factory.create_sink("x").await.unwrap();
    for byte in 1..=2 {
        let since = Instant::now();
        sink.send(Message::new(vec![byte; MEGABYTE])).await.unwrap();
        receives(&mut source, byte).await;
        assert!(since.elapsed() > Duration::from_secs(18), "slow");
    }
    assert!(source.close(MINUTE).await);
    assert!(sink.flush(MINUTE).await.unwrap().is_complete());
    assert_eq!(source.stats().connects, 1, "nothing was sent again");
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_goes_through_a_relay_over_one_connection_each() {
    let factory = factory("relay", "relay");
    let mut relay = factory.create_relay("x").await.unwrap();
    let mut source = factory.create_source("x").await.unwrap();
    let sink = factory.create_sink("x").await.unwrap();
    let talk = async {
        for byte in 1..=2 {
            sink.send(Message::new(vec![byte; MEGABYTE])).await.unwrap();
            receives(&mut source, byte).await;
        }
        assert!(source.close(MINUTE).await);
        assert!(sink.flush(MINUTE).await.unwrap().is_complete());
    };
    tokio::select! {
        () = talk => {}
        stopped = relay.run() => panic!("{stopped:?}"),
    }
    assert_eq!(source.stats().connects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_is_asked_and_answered_over_one_connection() {
    let server = serve("unix:///memory/server", |request| async move {
        Ok(request.message)
    });
    let server = server
        .with_max_message_bytes(2 * MEGABYTE)
        .start()
        .await
        .unwrap();
    let settings = ConnectionSettings {
        timeout: MINUTE,
        max_message_bytes: 2 * MEGABYTE,
        ..ConnectionSettings::default()
    };
    let connection = Connection::open("unix:///memory/server", settings)
        .await
        .unwrap();
    for byte in 1..=2 {
        let asked = Message::new(vec![byte; MEGABYTE]);
        let answer = connection.send_request(&asked).await.unwrap();
        assert!(answer.payload == asked.payload);
    }
    assert!(connection.is_open());
    connection.close();
    server.close(MINUTE).await;
}
