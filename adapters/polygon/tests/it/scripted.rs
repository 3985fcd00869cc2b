//! What a real node does rarely, from one that does it now: a node by a script, and the adapter's own code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, accept_async};
use wakewire::{MessageSink, MessageSource, SinkFactory};
use wakewire_polygon::adapter::Adapter;
use wakewire_polygon::codec::PoolEvent;
use wakewire_polygon::events::SIGNATURES;
use wakewire_polygon::follow::{Chain, follow};
use wakewire_polygon::node::{Connection, Filter, NodeError};

use crate::chain::PATIENCE;
use crate::system::Place;

/// The node's side of one connection.
struct Node(WebSocketStream<TcpStream>);

impl Node {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        Self(accept_async(stream).await.unwrap())
    }

    /// Hears a request and answers it so; returns its arguments.
    async fn answer(&mut self, method: &str, result: Value) -> Value {
        loop {
            let heard = self.0.next().await.unwrap().unwrap();
            let Frame::Text(text) = heard else { continue };
            let request: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(request["method"], method);
            let answer = match result.get("error") {
                Some(error) => json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }),
                None => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
            };
            self.say(answer).await;
            return request["params"].clone();
        }
    }

    async fn say(&mut self, what: Value) {
        self.0.send(Frame::text(what.to_string())).await.unwrap();
    }

    async fn tell(&mut self, log: &Value) {
        let told = json!({ "subscription": "0x7", "result": log });
        self.say(json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": told }))
            .await;
    }

    /// As a node whose last block is this, and which has these logs.
    async fn come_to(&mut self, head: u64, logs: &[Value]) {
        self.answer("eth_blockNumber", json!(format!("{head:#x}")))
            .await;
        self.answer("eth_subscribe", json!("0x7")).await;
        self.answer("eth_blockNumber", json!(format!("{head:#x}")))
            .await;
        self.answer("eth_getLogs", json!(logs)).await;
    }
}

fn hash(byte: u8) -> String {
    format!("0x{}", format!("{byte:02x}").repeat(32))
}

/// A `Sync` of a pool.
fn sync(block: u64, version: u8, reserve: u64, removed: bool) -> Value {
    json!({
        "address": format!("0x{}", "11".repeat(20)),
        "topics": [SIGNATURES.iter().find(|one| one.to_string().starts_with("0x1c411e9a")).unwrap()],
        "data": format!("0x{reserve:064x}{:064x}", 1),
        "blockNumber": format!("{block:#x}"),
        "blockHash": hash(version),
        "transactionHash": hash(0xee),
        "logIndex": "0x0",
        "removed": removed,
    })
}

const SERVICES: &str = "
[services.market_data_relay]
type = 'direct'
endpoint = 'unix://DIRECTORY/direct.sock'
buffer_size = 4
lazy.wait_timeout_secs = 0.1
";

/// The adapter's own loop in this process, a receiver, and where the node is to be.
struct Stage {
    listener: TcpListener,
    source: MessageSource,
    factory: Arc<SinkFactory>,
    following: JoinHandle<()>,
    _place: Place,
}

impl Stage {
    async fn new() -> Self {
        let place = Place::new(SERVICES);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chain = Chain {
            node: format!("ws://{}", listener.local_addr().unwrap()),
            filter: Filter {
                addresses: Vec::new(),
                signatures: SIGNATURES.to_vec(),
            },
            from: Some(1),
            position: None,
        };
        let services = place.path().join("services.toml");
        let factory = Arc::new(SinkFactory::from_config(services).unwrap());
        let source = factory.create_source("market_data_relay").await.unwrap();
        let sends = Arc::clone(&factory);
        let following = tokio::spawn(async move {
            let mut adapter = Adapter::to(&sends, "market_data_relay").await.unwrap();
            panic!("{:?}", follow(&chain, &mut adapter).await);
        });
        Self {
            listener,
            source,
            factory,
            following,
            _place: place,
        }
    }

    async fn node(&self) -> Node {
        tokio::time::timeout(PATIENCE, Node::accept(&self.listener))
            .await
            .expect("it connects")
    }

    /// Receives the next event: block, first byte of its hash, and whether it was taken back.
    async fn hears(&mut self) -> (u64, u8, bool) {
        let message = tokio::time::timeout(PATIENCE, self.source.recv())
            .await
            .expect("in time");
        let message = message.unwrap().unwrap();
        let event = PoolEvent::read(message.message_type, &message.payload).unwrap();
        (
            event.place.block_number,
            event.place.block_hash[0],
            event.place.removed,
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Refuses whatever the adapter asks of the pool: it is no pool that says its tokens.
async fn no_tokens(node: &mut Node) {
    for _ in 0..2 {
        node.answer(
            "eth_call",
            json!({ "error": { "message": "execution reverted" } }),
        )
        .await;
    }
}

#[tokio::test]
async fn what_the_chain_takes_back_is_sent_as_that_and_once() {
    let mut stage = Stage::new().await;
    let mut node = stage.node().await;
    node.come_to(2, &[sync(1, 0xa1, 7, false)]).await;
    no_tokens(&mut node).await;
    assert_eq!(stage.hears().await, (1, 0xa1, false));
    node.tell(&sync(1, 0xa1, 7, false)).await; // known
    node.tell(&sync(2, 0xa2, 8, false)).await;
    node.tell(&sync(2, 0xa2, 8, true)).await;
    node.tell(&sync(2, 0xa2, 8, true)).await; // known
    node.tell(&sync(2, 0xb2, 9, false)).await;
    assert_eq!(stage.hears().await, (2, 0xa2, false));
    assert_eq!(stage.hears().await, (2, 0xa2, true));
    assert_eq!(stage.hears().await, (2, 0xb2, false));
    // The connection breaks; meanwhile block 2 is exchanged again.
    drop(node);
    let mut node = stage.node().await;
    node.come_to(
        3,
        &[
            sync(1, 0xa1, 7, false),
            sync(2, 0xc2, 9, false),
            sync(3, 0xc3, 9, false),
        ],
    )
    .await;
    assert_eq!(stage.hears().await, (2, 0xb2, true));
    assert_eq!(stage.hears().await, (2, 0xc2, false));
    assert_eq!(stage.hears().await, (3, 0xc3, false));
}

#[tokio::test]
async fn a_log_that_does_not_decode_stops_nothing() {
    let mut stage = Stage::new().await;
    let mut node = stage.node().await;
    let mut broken = sync(1, 0xa1, 7, false);
    broken["data"] = json!("0x01");
    let mut unknown = sync(1, 0xa1, 7, false);
    unknown["topics"] = json!([hash(0x55)]);
    unknown["logIndex"] = json!("0x1");
    node.come_to(2, &[broken, unknown, sync(2, 0xa2, 7, false)])
        .await;
    no_tokens(&mut node).await;
    assert_eq!(stage.hears().await, (2, 0xa2, false));
    // Nor does what is no log at all: the connection is made again, and nothing is missed.
    node.say(json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": "0x7", "result": 5 } }))
        .await;
    let mut node = stage.node().await;
    node.come_to(3, &[sync(3, 0xa3, 7, false)]).await;
    assert_eq!(stage.hears().await, (2, 0xa2, true));
    assert_eq!(stage.hears().await, (3, 0xa3, false));
}

#[tokio::test]
async fn a_service_without_room_is_waited_for() {
    let mut stage = Stage::new().await;
    let mut node = stage.node().await;
    let logs: Vec<_> = (1..=40_u8)
        .map(|block| sync(block.into(), block, 7, false))
        .collect();
    node.come_to(40, &logs).await;
    no_tokens(&mut node).await;
    // The buffer holds 4 and nobody receives: sends fail for want of room more than once, and are repeated.
    let sink = stage
        .factory
        .create_sink("market_data_relay")
        .await
        .unwrap();
    let failed = async {
        while sink.metadata().messages_failed < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failed)
        .await
        .expect("two failures");
    for block in 1..=40_u8 {
        assert_eq!(stage.hears().await, (block.into(), block, false));
    }
}

#[tokio::test]
async fn a_range_that_is_too_much_for_a_node_is_asked_for_in_parts() {
    let mut stage = Stage::new().await;
    let mut node = stage.node().await;
    node.answer("eth_blockNumber", json!("0x4")).await;
    node.answer("eth_subscribe", json!("0x7")).await;
    node.answer("eth_blockNumber", json!("0x4")).await;
    let refused = json!({ "error": { "code": -32005, "message": "more than 10000 results" } });
    let asked = node.answer("eth_getLogs", refused).await;
    assert_eq!(
        (&asked[0]["fromBlock"], &asked[0]["toBlock"]),
        (&json!("0x1"), &json!("0x4"))
    );
    let asked = node
        .answer("eth_getLogs", json!([sync(2, 0xa2, 7, false)]))
        .await;
    assert_eq!(
        (&asked[0]["fromBlock"], &asked[0]["toBlock"]),
        (&json!("0x1"), &json!("0x2"))
    );
    let asked = node
        .answer("eth_getLogs", json!([sync(3, 0xa3, 7, false)]))
        .await;
    assert_eq!(
        (&asked[0]["fromBlock"], &asked[0]["toBlock"]),
        (&json!("0x3"), &json!("0x4"))
    );
    no_tokens(&mut node).await;
    assert_eq!(stage.hears().await, (2, 0xa2, false));
    assert_eq!(stage.hears().await, (3, 0xa3, false));
}

#[tokio::test]
async fn behind_wss_tls_is_spoken_or_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let first = stream.read_u8().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .await
            .unwrap();
        first
    });
    let error = Connection::open(&url).await.unwrap_err();
    assert!(matches!(error, NodeError::Connection(_)), "{error}");
    assert_eq!(serving.await.unwrap(), 0x16, "a TLS handshake");
}
