//! Messages that take longer to arrive than a silent peer is waited for: 1 MB at 50 kB/s, in paused time.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use wakewire::connection::{Connection, ConnectionSettings};
use wakewire::source::serve;
use wakewire::testing::{Faults, Network, Plan, Proxy};
use wakewire::{Message, MessageSink, MessageSource, SinkFactory};

/// At 50 kB/s it takes 20 s.
const MEGABYTE: usize = 1_000_000;

const MINUTE: Duration = Duration::from_secs(60);

/// A service whose every connection is slow in both directions.
fn slow(kind: &str) -> (SinkFactory, Network, Proxy) {
    let network = Network::new();
    let text = format!(
        "[services.x]\ntype = '{kind}'\nendpoint = 'unix:///x'\nmax_message_bytes = 2_000_000"
    );
    let factory = network.factory(&text).unwrap();
    let proxy = slow_proxy(&network);
    (factory, network, proxy)
}

fn slow_proxy(network: &Network) -> Proxy {
    let proxy = network.proxy("x").unwrap();
    let slow = Faults::none().rate(50_000);
    proxy.plan(Plan::carry(slow.clone(), slow));
    proxy
}

async fn receives(source: &mut MessageSource, byte: u8) {
    let received = timeout(MINUTE, source.recv()).await.expect("in a minute");
    let message = received.unwrap().expect("not closed");
    assert!(message.payload.len() == MEGABYTE && message.payload[0] == byte);
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_arrives_at_a_listener_over_one_connection() {
    let (factory, _network, proxy) = slow("direct");
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
    assert!(proxy.carried().0 > 2 * MEGABYTE as u64);
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_goes_through_a_relay_over_one_connection_each() {
    let (factory, _network, proxy) = slow("relay");
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
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_megabyte_is_asked_and_answered_over_one_connection() {
    let network = Network::new();
    let _proxy = slow_proxy(&network);
    let server = serve(network.endpoint("x"), |request| async move {
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
    let connection = Connection::open(network.endpoint("x"), settings)
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
