//! Pools and managers of connections, over real sockets: what `src/connection/tests` plays with a fake connection and
//! a paused clock, against listeners that are there, and against some that behave badly.

mod addresses;
mod checkouts;
#[cfg(feature = "udp")]
mod datagrams;
mod disconnect;
mod front;
mod health;
mod idle;
mod properties;
#[cfg(feature = "tls")]
mod reach;
mod retries;
#[cfg(feature = "tls")]
mod settings;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wakewire::connection::{ConnectionConfig, ConnectionManager, NodeId, PoolConfig, RetryConfig};
use wakewire::source::{Server, ServerHandle, serve};
use wakewire::{Message, SinkError};

use self::front::Front;
use crate::support::{Place, soon};

/// What a node was asked, by the payload.
#[derive(Clone, Default)]
struct Processed(Arc<Mutex<HashMap<Vec<u8>, usize>>>);

impl Processed {
    fn note(&self, message: &Message) {
        let mut asked = self.0.lock().unwrap();
        *asked.entry(message.payload.to_vec()).or_default() += 1;
    }

    /// Returns how often this was processed.
    fn times(&self, payload: &str) -> usize {
        let asked = self.0.lock().unwrap();
        asked.get(payload.as_bytes()).copied().unwrap_or_default()
    }

    /// Returns how much was processed in all.
    fn total(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }
}

/// Answers everything with the number of the connection, and notes it.
fn counting(url: &str, processed: &Processed) -> Server {
    let processed = processed.clone();
    serve(url, move |request| {
        processed.note(&request.message);
        async move { Ok(Message::new(request.peer().id().to_le_bytes().to_vec())) }
    })
}

/// A server and what stands before it.
struct Node {
    front: Front,
    processed: Processed,
    server: ServerHandle,
}

impl Node {
    async fn start(place: &Place, name: &str) -> Self {
        Self::with(place, name, |server| server).await
    }

    async fn with(place: &Place, name: &str, change: impl FnOnce(Server) -> Server) -> Self {
        let behind = format!(
            "unix://{}",
            place.path().join(format!("{name}.in")).display()
        );
        let processed = Processed::default();
        let server = change(counting(&behind, &processed)).start().await.unwrap();
        let front = Front::unix(&place.path().join(name), &behind).await;
        Self {
            front,
            processed,
            server,
        }
    }

    /// So many of them, `0`, `1` and so on.
    async fn several(place: &Place, count: usize) -> Vec<Self> {
        let mut nodes = Vec::new();
        for index in 0..count {
            nodes.push(Self::start(place, &index.to_string()).await);
        }
        nodes
    }

    fn id(&self) -> NodeId {
        NodeId::from(self.front.url.as_str())
    }
}

/// Nodes, with nothing kept that is not used, and quick repetitions.
fn over<'a>(urls: impl IntoIterator<Item = &'a str>) -> ConnectionConfig {
    ConnectionConfig {
        hosts: urls.into_iter().map(str::to_owned).collect(),
        pool_config: PoolConfig {
            min_connections: 0,
            ..PoolConfig::default()
        },
        retry_config: RetryConfig {
            initial_backoff_ms: 1,
            max_backoff_ms: 10,
            ..RetryConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

fn over_all(nodes: &[Node]) -> ConnectionConfig {
    over(nodes.iter().map(|node| node.front.url.as_str()))
}

/// Asks something and returns the number of the connection over which it was answered.
async fn asked(manager: &ConnectionManager, what: &str) -> Result<u64, SinkError> {
    let asked = manager.execute(|connection| async move {
        connection.send_request(Message::new(what.to_owned())).await
    });
    soon(asked).await.map(|answer| connection_number(&answer))
}

fn connection_number(answer: &Message) -> u64 {
    u64::from_le_bytes(answer.payload[..].try_into().unwrap())
}

/// Counts calls.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    fn one_more(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

const LONG: Duration = Duration::from_secs(10);
