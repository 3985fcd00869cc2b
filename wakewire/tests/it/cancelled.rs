//! Every public async function, dropped after each number of polls, over a wire that carries one byte at a time: nothing
//! that was accepted is lost or doubled, no task stays, and what is called next works.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::time::sleep;
use wakewire::connection::{
    Connection, ConnectionConfig, ConnectionManager, ConnectionPool, ConnectionSettings, Plain,
    PoolConfig, Retrier, RetryConfig, execute_with_retry,
};
use wakewire::source::{Server, serve};
use wakewire::testing::{Checker, Faults, Network, Plan, Proxy, Sequence, assert_ledger};
use wakewire::{Message, MessageSink, MessageSource, Report, SinkError, SinkFactory};

/// Polls so often and no more; says whether the future was ready by then.
struct Polls(RefCell<usize>);

impl Polls {
    /// Returns what the future came to, or drops it.
    async fn of<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|context| {
            let left = &mut *self.0.borrow_mut();
            if *left == 0 {
                return Poll::Ready(None);
            }
            *left -= 1;
            match future.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if *left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

type Case = fn(Polls) -> Pin<Box<dyn Future<Output = bool>>>;

/// Names the functions, and says for each whether it was ready after so many polls.
macro_rules! cases {
    ($($name:literal => |$polls:ident| $case:expr,)*) => {
        const CASES: &[(&str, Case)] = &[$(($name, |$polls| async move { $case }.boxed_local())),*];
    };
}

cases! {
    "MessageSink::send" => |polls| {
        let mut world = World::direct().await;
        let message = world.sequence.message(100);
        // The buffer is full: it waits.
        let sent = polls.of(world.sink.send(message)).await;
        world.ends_well().await;
        sent.is_some()
    },
    "MessageSink::send_ref" => |polls| {
        let mut world = World::direct().await;
        let message = world.sequence.message(100);
        let sent = polls.of(world.sink.send_ref(&(&message).into())).await;
        world.ends_well().await;
        sent.is_some()
    },
    "MessageSink::send_with_receipt" => |polls| {
        let mut world = World::direct().await;
        let message = world.sequence.message(100);
        let sent = polls.of(world.sink.send_with_receipt(message)).await;
        // The receipt itself may be dropped as well: the message is owed all the same.
        let accepted = sent.is_some();
        world.ends_well().await;
        accepted
    },
    "MessageSink::send_confirmed" => |polls| {
        let mut world = World::direct().await;
        let message = world.sequence.message(100);
        let sink = Arc::clone(&world.sink);
        let both = async {
            tokio::select! {
                sent = sink.send_confirmed(message) => sent.unwrap(),
                () = world.receive(usize::MAX) => {}
            }
        };
        let sent = polls.of(both).await;
        world.ends_well().await;
        sent.is_some()
    },
    "MessageSink::send_batch" => |polls| {
        let mut world = World::direct().await;
        let messages = (0..5).map(|_| world.sequence.message(10)).collect();
        let sink = Arc::clone(&world.sink);
        let both = async { tokio::join!(sink.send_batch(messages), world.receive(4)) };
        let sent = polls.of(both).await;
        world.ends_well().await;
        sent.is_some()
    },
    "MessageSink::connect" => |polls| {
        let mut world = World::direct().await;
        let connected = polls.of(world.sink.connect()).await;
        world.ends_well().await;
        connected.is_some()
    },
    "MessageSink::disconnect" => |polls| {
        let mut world = World::direct().await;
        let sink = Arc::clone(&world.sink);
        let both = async { tokio::join!(sink.disconnect(), world.receive(2)) };
        let done = polls.of(both).await;
        world.ends_well().await;
        done.is_some()
    },
    "MessageSink::flush" => |polls| {
        let mut world = World::direct().await;
        let flushed = polls.of(world.sink.flush(Duration::from_secs(1))).await;
        world.ends_well().await;
        flushed.is_some()
    },
    "MessageSink::close" => |polls| {
        let world = World::direct().await;
        let closed = polls.of(world.sink.close(Duration::from_secs(1))).await;
        let accepted = world.sequence.made();
        let report = world.sink.close(Duration::from_secs(1)).await.unwrap();
        assert_ledger(&report);
        assert_eq!(report.delivered + report.undelivered, accepted);
        closed.is_some()
    },
    "SinkFactory::create_sink" => |polls| {
        let mut world = World::direct().await;
        let made = polls.of(world.factory.create_sink("x")).await;
        world.ends_well().await;
        made.is_some()
    },
    "SinkFactory::create_source" => |polls| {
        let mut world = World::direct().await;
        let made = polls.of(world.factory.create_source("x")).await;
        let is_ready = made.is_some();
        drop(made);
        world.ends_well().await;
        is_ready
    },
    "SinkFactory::create_relay" => |polls| {
        let world = World::relay().await;
        polls.of(world.factory.create_relay("x")).await.is_some()
    },
    "SinkFactory::ping" => |polls| {
        let mut world = World::direct().await;
        world.receive(1).await;
        let within = Duration::from_secs(5);
        let pinged = polls.of(world.factory.ping("x", 2, within)).await;
        world.factory.ping("x", 1, within).await.unwrap();
        world.ends_well().await;
        pinged.is_some()
    },
    "SinkFactory::flush" => |polls| {
        let mut world = World::direct().await;
        let flushed = polls.of(world.factory.flush(Duration::from_secs(1))).await;
        world.ends_well().await;
        flushed.is_some()
    },
    "SinkFactory::close" => |polls| {
        let world = World::direct().await;
        let closed = polls.of(world.factory.close(Duration::from_secs(1))).await;
        let report = world.factory.close(Duration::from_secs(1)).await;
        assert_ledger(&report);
        assert_eq!(report.delivered + report.undelivered, world.sequence.made());
        closed.is_some()
    },
    "MessageSource::recv" => |polls| {
        let mut world = World::direct().await;
        let received = polls.of(world.source.recv()).await;
        world.note(received.as_ref().map(|received| received.as_ref().unwrap().clone()));
        world.ends_well().await;
        received.is_some()
    },
    "MessageSource::recv_batch" => |polls| {
        let mut world = World::direct().await;
        let received = polls.of(world.source.recv_batch()).await.map(owned);
        for message in received.iter().flatten() {
            world.checker.receive(message);
        }
        world.ends_well().await;
        received.is_some()
    },
    "MessageSource::recv_batch_up_to" => |polls| {
        let mut world = World::direct().await;
        let received = polls.of(world.source.recv_batch_up_to(1)).await.map(owned);
        for message in received.iter().flatten() {
            world.checker.receive(message);
        }
        world.ends_well().await;
        received.is_some()
    },
    "MessageSource::close" => |polls| {
        let mut world = World::direct().await;
        world.receive(1).await;
        let closed = polls.of(world.source.close(Duration::from_secs(5))).await;
        assert!(world.source.close(Duration::from_secs(5)).await);
        // What it had in hand is processed, and what came beside it is kept for the next one.
        world.source = world.factory.create_source("x").await.unwrap();
        world.ends_well().await;
        closed.is_some()
    },
    "Deliveries::next" => |polls| {
        let mut world = World::direct().await;
        let mut deliveries = world.deliveries().await;
        let next = polls.of(deliveries.next()).await;
        let is_ready = next.is_some();
        if let Some(next) = next {
            world.note(Some(next.unwrap().map(wakewire::Delivered::ack)));
        }
        while world.checker.received(0) < world.sequence.made() {
            let next = deliveries.next().await.unwrap().unwrap();
            world.checker.receive(&next.ack());
        }
        assert!(world.factory.flush(Duration::from_secs(60)).await.is_complete());
        world.checker.assert_all(0, world.sequence.made());
        is_ready
    },
    "Deliveries::close" => |polls| {
        let mut world = World::direct().await;
        let mut deliveries = world.deliveries().await;
        let first = deliveries.next().await.unwrap().unwrap();
        world.checker.receive(&first.ack());
        let closed = polls.of(deliveries.close(Duration::from_secs(5))).await;
        assert!(deliveries.close(Duration::from_secs(5)).await);
        world.source = world.factory.create_source("x").await.unwrap();
        world.ends_well().await;
        closed.is_some()
    },
    "Relay::bind" => |polls| {
        let world = World::relay().await;
        let mut relay = world.factory.create_relay("y").await.unwrap();
        let bound = polls.of(relay.bind()).await;
        relay.bind().await.unwrap();
        bound.is_some()
    },
    "Relay::run" => |polls| {
        let mut world = World::bare("relay");
        let mut relay = world.factory.create_relay("x").await.unwrap();
        world.fill().await;
        let talk = async {
            tokio::select! {
                stopped = relay.run() => panic!("{stopped:?}"),
                () = world.receive(2) => {}
            }
        };
        let run = polls.of(talk).await;
        // It goes on where it was.
        tokio::select! {
            stopped = relay.run() => panic!("{stopped:?}"),
            () = world.ends_well() => {}
        }
        run.is_some()
    },
    "Relay::close" => |polls| {
        let mut world = World::bare("relay");
        let mut relay = world.factory.create_relay("x").await.unwrap();
        world.fill().await;
        tokio::select! {
            stopped = relay.run() => panic!("{stopped:?}"),
            () = world.receive(1) => {}
        }
        let closed = polls.of(relay.close(Duration::from_secs(5))).await;
        relay.close(Duration::from_secs(5)).await;
        drop(relay);
        // What it had is still the sender's, until it is processed: the next relay gets it.
        let mut relay = world.factory.create_relay("x").await.unwrap();
        tokio::select! {
            stopped = relay.run() => panic!("{stopped:?}"),
            () = world.ends_well() => {}
        }
        closed.is_some()
    },
    "Server::run" => |polls| {
        let desk = Desk::new();
        let asked = async {
            tokio::select! {
                stopped = desk.server("x").run() => panic!("{stopped:?}"),
                () = desk.ask() => {}
            }
        };
        let run = polls.of(asked).await;
        desk.serves().await;
        run.is_some()
    },
    "Server::start" => |polls| {
        let desk = Desk::new();
        let started = polls.of(desk.server("x").start()).await;
        let is_ready = started.is_some();
        drop(started);
        desk.serves().await;
        is_ready
    },
    "ServerHandle::close" => |polls| {
        let desk = Desk::new();
        let handle = desk.server("x").start().await.unwrap();
        let connection = desk.connect().await;
        assert!(connection.is_open());
        let closed = polls.of(handle.close(Duration::from_secs(5))).await;
        drop(connection);
        sleep(Duration::from_secs(10)).await;
        desk.serves().await;
        closed.is_some()
    },
    "Peer::push" => |polls| {
        let desk = Desk::new();
        let (peers, mut peer) = tokio::sync::mpsc::channel(8);
        let server = serve(desk.network.endpoint("x"), move |request| {
            let peers = peers.clone();
            async move {
                peers.send(request.peer().clone()).await.unwrap();
                Ok(request.message)
            }
        });
        let handle = server.start().await.unwrap();
        let connection = desk.connect().await;
        connection.send_request(&Message::new("a")).await.unwrap();
        let peer = peer.recv().await.unwrap();
        let pushed = polls.of(peer.push(Message::new("1"))).await;
        peer.push(Message::new("2")).await.unwrap();
        let mut received = connection.receive_message().await.unwrap().unwrap();
        if received.payload == "1" {
            received = connection.receive_message().await.unwrap().unwrap();
        } else {
            assert!(pushed.is_none(), "it was accepted, and did not come");
        }
        assert_eq!(received.payload, "2");
        drop(connection);
        handle.close(Duration::from_secs(5)).await;
        pushed.is_some()
    },
    "Connection::open" => |polls| {
        let desk = Desk::serving().await;
        let settings = ConnectionSettings::default();
        let opened = polls.of(Connection::open(desk.network.endpoint("x"), settings)).await;
        let is_ready = opened.is_some();
        drop(opened);
        desk.ends_well().await;
        is_ready
    },
    "Connection::open_with" => |polls| {
        let desk = Desk::serving().await;
        let settings = ConnectionSettings::default();
        let opening = Connection::open_with(Plain, desk.network.endpoint("x"), settings);
        let opened = polls.of(opening).await;
        let is_ready = opened.is_some();
        drop(opened);
        desk.ends_well().await;
        is_ready
    },
    "Connection::send_request" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let asked = polls.of(connection.send_request(Message::new(vec![1; 50]))).await;
        still_answers(&connection).await;
        drop(connection);
        desk.ends_well().await;
        asked.is_some()
    },
    "Connection::send_request_within" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let within = Duration::from_secs(3);
        let asked = polls.of(connection.send_request_within(Message::new(vec![1; 50]), within)).await;
        still_answers(&connection).await;
        drop(connection);
        desk.ends_well().await;
        asked.is_some()
    },
    "Connection::send_message" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let sent = polls.of(connection.send_message(Message::new(vec![1; 50]))).await;
        still_answers(&connection).await;
        drop(connection);
        desk.ends_well().await;
        sent.is_some()
    },
    "Connection::receive_message" => |polls| {
        let desk = Desk::new();
        let server = serve(desk.network.endpoint("x"), |request| async move {
            request.peer().push(Message::new("pushed")).await.unwrap();
            Ok(request.message)
        });
        let handle = server.start().await.unwrap();
        let connection = desk.connect().await;
        let both = async {
            let asked = connection.send_request(Message::new("a"));
            tokio::join!(connection.receive_message(), asked).0
        };
        let received = polls.of(both).await;
        if received.is_none() {
            still_answers(&connection).await;
            let received = connection.receive_message().await.unwrap().unwrap();
            assert_eq!(received.payload, "pushed");
        }
        drop(connection);
        handle.close(Duration::from_secs(5)).await;
        received.is_some()
    },
    "Connection::ping" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let pinged = polls.of(connection.ping(Duration::from_secs(3))).await;
        connection.ping(Duration::from_secs(3)).await.unwrap();
        still_answers(&connection).await;
        drop(connection);
        desk.ends_well().await;
        pinged.is_some()
    },
    "Connection::disconnect" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let done = polls.of(connection.disconnect(Duration::from_secs(3))).await;
        assert!(connection.disconnect(Duration::from_secs(3)).await);
        desk.ends_well().await;
        done.is_some()
    },
    "Connection::closed" => |polls| {
        let desk = Desk::serving().await;
        let connection = desk.connect().await;
        let other = connection.clone();
        let both = async { tokio::join!(connection.closed(), other.disconnect(Duration::from_secs(3))) };
        let closed = polls.of(both).await;
        other.close();
        connection.closed().await;
        drop((connection, other));
        desk.ends_well().await;
        closed.is_some()
    },
    "ConnectionPool::get_connection" => |polls| {
        let desk = Desk::serving().await;
        let pool = desk.pool();
        let checked_out = polls.of(pool.get_connection()).await;
        let is_ready = checked_out.is_some();
        drop(checked_out);
        // There is one permit, and it is back.
        let connection = pool.get_connection().await.unwrap();
        still_answers(&connection).await;
        drop(connection);
        pool.close(Duration::from_secs(3)).await;
        desk.ends_well().await;
        is_ready
    },
    "ConnectionPool::close" => |polls| {
        let desk = Desk::serving().await;
        let pool = desk.pool();
        drop(pool.get_connection().await.unwrap());
        let closed = polls.of(pool.close(Duration::from_secs(3))).await;
        pool.close(Duration::from_secs(3)).await;
        assert_eq!(pool.total_connections(), 0);
        desk.ends_well().await;
        closed.is_some()
    },
    "ConnectionManager::get_connection" => |polls| {
        let desk = Desk::serving().await;
        let manager = desk.manager();
        let checked_out = polls.of(manager.get_connection()).await;
        let is_ready = checked_out.is_some();
        drop(checked_out);
        still_answers(&manager.get_connection().await.unwrap()).await;
        manager.disconnect(Duration::from_secs(3)).await;
        desk.ends_well().await;
        is_ready
    },
    "ConnectionManager::execute" => |polls| {
        let desk = Desk::serving().await;
        let manager = desk.manager();
        let asks = manager.execute(|connection| async move {
            connection.send_request(Message::new("a")).await
        });
        let asked = polls.of(asks).await;
        still_answers(&manager.get_connection().await.unwrap()).await;
        manager.disconnect(Duration::from_secs(3)).await;
        desk.ends_well().await;
        asked.is_some()
    },
    "ConnectionManager::execute_idempotent" => |polls| {
        let desk = Desk::serving().await;
        let manager = desk.manager();
        let asks = manager.execute_idempotent(|connection| async move {
            connection.send_request(Message::new("a")).await
        });
        let asked = polls.of(asks).await;
        still_answers(&manager.get_connection().await.unwrap()).await;
        manager.disconnect(Duration::from_secs(3)).await;
        desk.ends_well().await;
        asked.is_some()
    },
    "ConnectionManager::health_check_all_nodes" => |polls| {
        let desk = Desk::serving().await;
        let manager = desk.manager();
        let checked = polls.of(manager.health_check_all_nodes()).await;
        assert_eq!(manager.health_check_all_nodes().await.len(), 1);
        still_answers(&manager.get_connection().await.unwrap()).await;
        manager.disconnect(Duration::from_secs(3)).await;
        desk.ends_well().await;
        checked.is_some()
    },
    "ConnectionManager::disconnect" => |polls| {
        let desk = Desk::serving().await;
        let manager = desk.manager();
        drop(manager.get_connection().await.unwrap());
        let done = polls.of(manager.disconnect(Duration::from_secs(3))).await;
        manager.disconnect(Duration::from_secs(3)).await;
        assert_eq!(manager.total_connections(), 0);
        desk.ends_well().await;
        done.is_some()
    },
    "Retrier::execute" => |polls| {
        let retrier = Retrier::new(RetryConfig::default());
        let done = polls.of(retrier.execute(|| async { Err::<(), _>(refused()) })).await;
        retrier.execute(|| async { Ok(()) }).await.unwrap();
        done.is_some()
    },
    "execute_with_retry" => |polls| {
        let config = RetryConfig::default();
        let done = polls.of(execute_with_retry(&config, || async { Err::<(), _>(refused()) })).await;
        execute_with_retry(&config, || async { Ok(()) }).await.unwrap();
        done.is_some()
    },
}

fn refused() -> SinkError {
    SinkError::ConnectionFailed(wakewire::Failure::new("x"))
}

fn owned(batch: Result<Option<wakewire::Batch<'_>>, SinkError>) -> Vec<Message> {
    let batch = batch.unwrap().expect("not closed");
    batch
        .iter()
        .map(|view| Message::new(view.payload().to_vec()))
        .collect()
}

async fn still_answers(connection: &Connection) {
    let answer = connection.send_request(Message::new("still")).await;
    assert_eq!(answer.unwrap().payload, "still");
}

/// A wire that carries a byte at a time, and holds no more.
fn narrow(network: &Network) -> Proxy {
    let proxy = network.proxy("x").unwrap();
    let slices = || Faults::none().slices(1);
    proxy.plan(Plan::carry(slices(), slices()));
    proxy
}

/// A sink and a source, and room for two messages, which are there.
struct World {
    factory: SinkFactory,
    sink: Arc<dyn MessageSink>,
    source: MessageSource,
    sequence: Sequence,
    checker: Checker,
    relay: Option<tokio::task::JoinHandle<()>>,
    _proxy: Proxy,
}

impl World {
    fn bare(kind: &str) -> Self {
        let network = Network::new().with_buffer(1);
        let service = |name| {
            format!(
                "[services.{name}]\ntype = '{kind}'\nendpoint = 'unix:///{name}'\nbuffer_size = 2\nlazy.retry_delay_ms = 1\n"
            )
        };
        let factory = network.factory(&(service("x") + &service("y"))).unwrap();
        let sink = factory.create_sink("x").now_or_never();
        let source = factory.create_source("x").now_or_never();
        Self {
            sink: sink.expect("at once").unwrap(),
            source: source.expect("at once").unwrap(),
            factory,
            sequence: Sequence::default(),
            checker: Checker::new(),
            relay: None,
            _proxy: narrow(&network),
        }
    }

    async fn direct() -> Self {
        let mut world = Self::bare("direct");
        world.fill().await;
        world
    }

    async fn relay() -> Self {
        let mut world = Self::bare("relay");
        let mut relay = world.factory.create_relay("x").await.unwrap();
        relay.bind().await.unwrap();
        world.relay = Some(tokio::spawn(async move { relay.run().await.unwrap() }));
        world.fill().await;
        world
    }

    async fn fill(&mut self) {
        for _ in 0..2 {
            self.sink.send(self.sequence.message(30)).await.unwrap();
        }
    }

    /// The source, handing out deliveries.
    async fn deliveries(&mut self) -> wakewire::Deliveries {
        let next = self.factory.create_source("x").await.unwrap();
        std::mem::replace(&mut self.source, next).into_stream()
    }

    fn note(&mut self, received: Option<Option<Message>>) {
        if let Some(message) = received.flatten() {
            self.checker.receive(&message);
        }
    }

    async fn receive(&mut self, messages: usize) {
        for _ in 0..messages {
            let message = self.source.recv().await.unwrap().unwrap();
            self.checker.receive(&message);
        }
    }

    /// Two further messages arrive, and all that were accepted have arrived once, in order.
    async fn ends_well(&mut self) {
        let Self {
            sink,
            source,
            sequence,
            checker,
            factory,
            ..
        } = self;
        let further = [sequence.message(5), sequence.message(5)];
        let mut send = pin!(async {
            for message in further {
                sink.send(message).await.unwrap();
            }
            factory.flush(Duration::from_secs(60)).await
        });
        let report: Report = loop {
            tokio::select! {
                received = source.recv() => drop(checker.receive(&received.unwrap().unwrap())),
                report = &mut send => break report,
            }
        };
        assert_ledger(&report);
        assert!(report.is_complete(), "{report:?}");
        let verdict = checker.verdict(0, sequence.made());
        assert_eq!(report.delivered, checker.received(0), "{verdict}");
        assert_eq!(
            (verdict.duplicated, verdict.reordered, verdict.corrupted),
            (0, 0, 0),
            "{verdict}"
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.abort();
        }
    }
}

/// A server, and who asks it.
struct Desk {
    network: Network,
    _proxy: Proxy,
    server: Option<wakewire::source::ServerHandle>,
}

impl Desk {
    fn new() -> Self {
        let network = Network::new().with_buffer(1);
        let proxy = narrow(&network);
        Self {
            network,
            _proxy: proxy,
            server: None,
        }
    }

    async fn serving() -> Self {
        let mut desk = Self::new();
        desk.server = Some(desk.server("x").start().await.unwrap());
        desk
    }

    fn server(&self, name: &str) -> Server {
        serve(self.network.endpoint(name), |request| async move {
            Ok(request.message)
        })
    }

    async fn connect(&self) -> Connection {
        let settings = ConnectionSettings::default();
        Connection::open(self.network.endpoint("x"), settings)
            .await
            .unwrap()
    }

    async fn ask(&self) {
        still_answers(&self.connect().await).await;
    }

    /// The endpoint is free, and can be served.
    async fn serves(&self) {
        let handle = self.server("x").start().await.unwrap();
        self.ask().await;
        handle.close(Duration::from_secs(5)).await;
    }

    async fn ends_well(mut self) {
        self.ask().await;
        self.server
            .take()
            .unwrap()
            .close(Duration::from_secs(5))
            .await;
    }

    /// One connection at a time.
    fn pool(&self) -> ConnectionPool {
        let endpoint = self.network.endpoint("x");
        let config = PoolConfig {
            max_connections: 1,
            min_connections: 0,
            ..PoolConfig::default()
        };
        let open = move || Connection::open(endpoint.clone(), ConnectionSettings::default());
        ConnectionPool::new("x", config, open).unwrap()
    }

    fn manager(&self) -> ConnectionManager {
        ConnectionManager::new(&ConnectionConfig {
            hosts: vec![self.network.endpoint("x").to_string()],
            ..ConnectionConfig::default()
        })
        .unwrap()
    }
}

/// As often as it may be polled, at most.
const MOST: usize = 200;

async fn tasks() -> usize {
    // Longer than anything lingers.
    sleep(Duration::from_secs(200)).await;
    Handle::current().metrics().num_alive_tasks()
}

async fn drop_after_every_poll(cases: &[(&str, Case)]) {
    for (name, case) in cases {
        let before = tasks().await;
        let mut dropped = 0;
        while dropped <= MOST && !case(Polls(RefCell::new(dropped))).await {
            dropped += 1;
        }
        println!("{name}: dropped after 0 to {dropped} polls");
        let after = tasks().await;
        assert_eq!(after, before, "{name} leaves tasks behind");
    }
}

#[tokio::test(start_paused = true)]
async fn every_public_async_function_may_be_dropped_after_any_number_of_polls() {
    drop_after_every_poll(CASES).await;
}

/// The names of all public functions that are async, or return a future of the trait's.
fn public_async_functions() -> BTreeSet<String> {
    fn read(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, names);
            } else {
                let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
                file.items.iter().for_each(|item| look(item, names));
            }
        }
    }
    fn look(item: &syn::Item, names: &mut BTreeSet<String>) {
        let is_public =
            |visibility: &syn::Visibility| matches!(visibility, syn::Visibility::Public(_));
        match item {
            syn::Item::Fn(function)
                if is_public(&function.vis) && function.sig.asyncness.is_some() =>
            {
                names.insert(function.sig.ident.to_string());
            }
            syn::Item::Impl(block) if block.trait_.is_none() => {
                let syn::Type::Path(path) = &*block.self_ty else {
                    return;
                };
                let name = &path.path.segments.last().unwrap().ident;
                for item in &block.items {
                    if let syn::ImplItem::Fn(function) = item
                        && is_public(&function.vis)
                        && function.sig.asyncness.is_some()
                    {
                        names.insert(format!("{name}::{}", function.sig.ident));
                    }
                }
            }
            syn::Item::Trait(of) if of.ident == "MessageSink" => {
                for item in &of.items {
                    let syn::TraitItem::Fn(function) = item else {
                        continue;
                    };
                    if let syn::ReturnType::Type(_, output) = &function.sig.output
                        && let syn::Type::Path(path) = &**output
                        && ["Sending", "Flushing"]
                            .iter()
                            .any(|name| path.path.segments.last().unwrap().ident == name)
                    {
                        names.insert(format!("MessageSink::{}", function.sig.ident));
                    }
                }
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    read(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut names,
    );
    names
}

#[test]
fn no_public_async_function_is_left_out() {
    let known: BTreeSet<_> = CASES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there = public_async_functions();
    assert!(there.len() > 40, "{there:?}");
    let missing: Vec<_> = there.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "without a case in the table: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&there).collect();
    assert!(gone.is_empty(), "in the table, and not there: {gone:?}");
}
