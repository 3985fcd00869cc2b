//! `udp://`: over real sockets on loopback, and through a network that loses, doubles, and reorders.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use wakewire::{Message, MessageSink, MessageSource, SinkError, SinkFactory};

use crate::support::{eventually, factory, free_port as port, number, numbered, soon};

const QUICK: &str = "lazy = { retry_delay_ms = 5, max_retry_delay_secs = 0.02 }";

fn service(kind: &str, port: u16, further: &str) -> String {
    format!("[services.x]\ntype = '{kind}'\nendpoint = 'udp://127.0.0.1:{port}'\n{further}\n")
}

fn dice(seed: u64) -> impl FnMut() -> u64 + Send + Sync {
    let mut state = seed;
    move || {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// What a bad network does to a datagram.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Lose,
    FlipBit,
}

/// A network: of every hundred datagrams so many suffer its fault; a tenth is doubled, a tenth comes late.
pub(crate) struct Network {
    pub(crate) port: u16,
    suffered: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Network {
    pub(crate) async fn start(target: u16, fault: Fault, percent: u64, seed: u64) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = front.local_addr().unwrap().port();
        let suffered = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&suffered);
        let task = tokio::spawn(async move {
            let mut paths: HashMap<SocketAddr, Path> = HashMap::new();
            let mut back = JoinSet::new();
            let mut buffer = vec![0; 65_536];
            loop {
                let (length, from) = front.recv_from(&mut buffer).await.unwrap();
                if !paths.contains_key(&from) {
                    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    socket.connect(("127.0.0.1", target)).await.unwrap();
                    let seed = seed + 2 * paths.len() as u64;
                    let way_back = Path::new(&front, Some(from), (fault, percent), seed, &counted);
                    back.spawn(carry_back(Arc::clone(&socket), way_back));
                    let way_in = Path::new(&socket, None, (fault, percent), seed + 1, &counted);
                    paths.insert(from, way_in);
                }
                paths.get_mut(&from).unwrap().carry(&buffer[..length]).await;
            }
        });
        let task = task.abort_handle();
        Self {
            port,
            suffered,
            task,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry_back(socket: Arc<UdpSocket>, mut path: Path) {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => path.carry(&buffer[..length]).await,
            // Nobody listens there at the moment.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// One direction between two addresses.
struct Path {
    socket: Arc<UdpSocket>,
    to: Option<SocketAddr>,
    fault: (Fault, u64),
    dice: Box<dyn FnMut() -> u64 + Send + Sync>,
    late: Option<Vec<u8>>,
    suffered: Arc<AtomicU64>,
}

impl Path {
    fn new(
        socket: &Arc<UdpSocket>,
        to: Option<SocketAddr>,
        fault: (Fault, u64),
        seed: u64,
        suffered: &Arc<AtomicU64>,
    ) -> Self {
        Self {
            socket: Arc::clone(socket),
            to,
            fault,
            dice: Box::new(dice(seed)),
            late: None,
            suffered: Arc::clone(suffered),
        }
    }

    async fn carry(&mut self, datagram: &[u8]) {
        let mut changed;
        let mut datagram = datagram;
        let (fault, percent) = self.fault;
        if (self.dice)() % 100 < percent {
            self.suffered.fetch_add(1, SeqCst);
            match fault {
                Fault::Lose => return,
                Fault::FlipBit => {
                    changed = datagram.to_vec();
                    let bit = usize::try_from((self.dice)()).unwrap() % (8 * changed.len());
                    changed[bit / 8] ^= 1 << (bit % 8);
                    datagram = &changed;
                }
            }
        }
        let fate = (self.dice)() % 10;
        if fate == 0 && self.late.is_none() {
            self.late = Some(datagram.to_vec());
            return;
        }
        self.send(datagram).await;
        if fate == 1 {
            self.send(datagram).await;
        }
        if let Some(late) = self.late.take() {
            self.send(&late).await;
        }
    }

    async fn send(&self, datagram: &[u8]) {
        let sent = match self.to {
            Some(to) => self.socket.send_to(datagram, to).await,
            None => self.socket.send(datagram).await,
        };
        // Nobody listens there at the moment: lost.
        drop(sent);
    }
}

/// Sends numbers until `last` or a later one has come: what a receiver hears is in order and never twice, and what it
/// did not hear it knows.
async fn converse(sink: &dyn MessageSink, source: &mut MessageSource, next: &mut u64, count: u64) {
    let last = *next + count;
    let mut heard = None;
    loop {
        soon(sink.send(numbered(*next))).await.unwrap();
        *next += 1;
        while let Ok(message) = timeout(Duration::from_micros(300), source.recv()).await {
            let n = number(&message.unwrap().unwrap());
            assert!(heard.is_none_or(|heard| heard < n), "{n} after {heard:?}");
            heard = Some(n);
        }
        assert!(*next < last + 20_000, "{heard:?}");
        if heard >= Some(last) {
            return;
        }
    }
}

/// A relay that runs until it is dropped.
struct Running(JoinHandle<()>);

impl Running {
    async fn start(factory: &SinkFactory) -> Self {
        let mut relay = factory.create_relay("x").await.unwrap();
        soon(relay.bind()).await.unwrap();
        Self(tokio::spawn(async move { relay.run().await.unwrap() }))
    }

    async fn kill(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn sink_and_source_find_each_other_in_either_order_and_after_restarts() {
    let text = service("direct", port(), QUICK);
    let sender = factory(&text);
    let sink = sender.create_sink("x").await.unwrap();
    for n in 0..50 {
        sink.send(numbered(n)).await.unwrap();
    }
    let receiver = factory(&text);
    let mut source = receiver.create_source("x").await.unwrap();
    crate::support::expect(&mut source, 0..50).await;
    assert_eq!(source.stats().missed, 0);
    let mut next = 50;
    for life in 0..4 {
        converse(&*sink, &mut source, &mut next, 20).await;
        if life % 2 == 0 {
            assert!(source.close(Duration::from_secs(5)).await);
        } else {
            drop(source);
        }
        source = receiver.create_source("x").await.unwrap();
    }
    converse(&*sink, &mut source, &mut next, 20).await;
    drop(source);
    let report = sender.close(Duration::from_millis(300)).await;
    let ledger = report.per_sink[0].ledger;
    assert!(ledger.adds_up(), "{ledger:?}");
    assert_eq!((ledger.accepted, ledger.delivered), (next, 0), "no claim");
    assert!(report.per_sink[0].connects >= 5, "{report:?}");
}

#[tokio::test]
async fn a_relay_in_between_in_any_order_and_killed() {
    for relay_first in [true, false] {
        let text = service("relay", port(), QUICK);
        let (sender, receiver, middle) = (factory(&text), factory(&text), factory(&text));
        let mut relay = None;
        if relay_first {
            relay = Some(Running::start(&middle).await);
        }
        let sink = sender.create_sink("x").await.unwrap();
        let mut source = receiver.create_source("x").await.unwrap();
        assert!(
            timeout(Duration::from_millis(50), source.recv())
                .await
                .is_err()
        );
        sink.send(numbered(0)).await.unwrap();
        let relay = match relay {
            Some(relay) => relay,
            None => Running::start(&middle).await,
        };
        let mut next = 1;
        converse(&*sink, &mut source, &mut next, 100).await;
        relay.kill().await;
        let relay = Running::start(&middle).await;
        converse(&*sink, &mut source, &mut next, 100).await;
        relay.kill().await;
        assert!(
            sender.close(Duration::from_millis(50)).await.per_sink[0]
                .ledger
                .adds_up()
        );
    }
}

#[tokio::test]
async fn over_a_bad_network_nothing_comes_twice_or_out_of_order_and_the_numbers_add_up() {
    for (percent, seed) in [(0, 1), (5, 2), (30, 3), (30, 4), (30, 5)] {
        let inside = port();
        let network = Network::start(inside, Fault::Lose, percent, seed).await;
        let receiver = factory(&service("direct", inside, QUICK));
        let sender = factory(&service("direct", network.port, QUICK));
        let mut source = receiver.create_source("x").await.unwrap();
        let sink = sender.create_sink("x").await.unwrap();
        let mut next = 0;
        converse(&*sink, &mut source, &mut next, 2000).await;
        // What comes now says what was missed before it.
        let stats = source.stats();
        let accounted = stats.received + stats.missed;
        assert!((2001..=next).contains(&accounted), "{stats:?}, {next} sent");
        if percent > 0 {
            assert!(stats.missed > 0 && network.suffered.load(SeqCst) > 0);
        }
        drop(source);
        let report = sender.close(Duration::from_millis(100)).await;
        let ledger = report.per_sink[0].ledger;
        assert!(ledger.adds_up(), "{ledger:?}");
        assert_eq!(ledger.accepted, next);
        assert!(ledger.delivered == 0 && stats.received <= ledger.in_doubt);
    }
}

/// Every session is named to a consumer by a frame that may be lost: it is asked for again.
#[tokio::test]
async fn a_consumer_of_a_relay_hears_every_session_over_a_bad_network() {
    let inside = port();
    let network = Network::start(inside, Fault::Lose, 30, 7).await;
    let (near, far) = (
        factory(&service("relay", inside, QUICK)),
        service("relay", network.port, QUICK),
    );
    let relay = Running::start(&near).await;
    let receiver = factory(&far);
    let mut source = receiver.create_source("x").await.unwrap();
    let senders: Vec<_> = (0..12).map(|_| factory(&far)).collect();
    let mut sinks = Vec::new();
    for sender in &senders {
        sinks.push(sender.create_sink("x").await.unwrap());
    }
    let mut heard: BTreeMap<u64, u64> = BTreeMap::new();
    let mut round = 1;
    while heard.len() < sinks.len() || heard.values().any(|&last| last < 100) {
        for (sender, sink) in (0..).zip(&sinks) {
            soon(sink.send(numbered(sender * 1_000_000 + round)))
                .await
                .unwrap();
        }
        round += 1;
        assert!(round < 20_000, "{heard:?}");
        while let Ok(message) = timeout(Duration::from_millis(1), source.recv()).await {
            let n = number(&message.unwrap().unwrap());
            let last = heard.insert(n / 1_000_000, n % 1_000_000);
            assert!(last < Some(n % 1_000_000), "{n} after {last:?}");
        }
    }
    assert_eq!(source.stats().connects, 1, "healed without dialling again");
    relay.kill().await;
}

/// A bit that flips anywhere in a datagram makes it no other message.
#[tokio::test]
async fn a_damaged_datagram_is_one_that_was_lost() {
    let inside = port();
    let network = Network::start(inside, Fault::FlipBit, 30, 12).await;
    let receiver = factory(&service("direct", inside, QUICK));
    let sender = factory(&service("direct", network.port, QUICK));
    let mut source = receiver.create_source("x").await.unwrap();
    let sink = sender.create_sink("x").await.unwrap();
    let (mut sent, mut heard) = (0_u32, 0);
    while heard < 1000 {
        assert!(sent < 20_000, "{heard}");
        let payload: Vec<u8> = sent.to_le_bytes().repeat(100);
        soon(sink.send(Message::new(payload))).await.unwrap();
        sent += 1;
        while let Ok(message) = timeout(Duration::from_micros(300), source.recv()).await {
            let message = message.unwrap().unwrap();
            let (number, _) = message.payload.split_first_chunk::<4>().unwrap();
            assert_eq!(message.payload, number.repeat(100));
            heard += 1;
        }
    }
    let stats = source.stats();
    assert_eq!(stats.connects, 1, "no damage ends a connection");
    assert!(stats.missed > 0 && network.suffered.load(SeqCst) > 0);
}

/// A sound frame.
fn frame(kind: u8, message_type: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 32];
    frame[0] = u8::try_from(body.len()).unwrap();
    (frame[4], frame[5], frame[6]) = (kind, 8, message_type);
    let sum = frame.iter().chain(body).fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg())
        })
    });
    frame[28..].copy_from_slice(&(!sum).to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

fn bare(kind: u8) -> Vec<u8> {
    frame(kind, 0, &[])
}

/// A dialer's `Cookie`.
fn ask(nonce: u64, value: u64) -> Vec<u8> {
    let body = [nonce.to_le_bytes(), value.to_le_bytes()].concat();
    frame(15, 1, &body)
}

/// A `Hello` of a producer, for service `x`.
fn hello() -> Vec<u8> {
    let mut map =
        b"\xa5\0\x01\x01\x01\x02ax\x03\xa3\0\x1a\0\x10\0\0\x01\0\x02\0\x04\xa3\0\x50".to_vec();
    map.extend([7; 16]);
    map.extend(b"\x01\x01\x02\xf5");
    frame(1, 0, &map)
}

/// Asks, as often as it takes until the listener is there, and returns the value of its answer.
async fn asked(socket: &UdpSocket, nonce: u64) -> u64 {
    let mut answer = [0; 1024];
    let length = loop {
        socket.send(&ask(nonce, 0)).await.ok();
        match soon(socket.recv(&mut answer)).await {
            Ok(length) => break length,
            // Nobody listens there yet.
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(length, 48);
    assert_eq!((answer[4], answer[6]), (15, 2), "an answer");
    assert_eq!(answer[32..40], nonce.to_le_bytes());
    u64::from_le_bytes(answer[40..48].try_into().unwrap())
}

#[tokio::test]
async fn without_the_cookie_nobody_gets_in() {
    let port = port();
    let receiver = factory(&service("direct", port, QUICK));
    let mut source = receiver.create_source("x").await.unwrap();
    let started = timeout(Duration::from_millis(1), source.recv()).await;
    assert!(started.is_err());
    let (honest, thief) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    for socket in [&honest, &thief] {
        socket.connect(("127.0.0.1", port)).await.unwrap();
    }
    let value = asked(&honest, 7).await;
    // Nothing but a greeting; a cookie of somebody else's address, of another nonce, a guessed one.
    for (socket, proof) in [
        (&thief, hello()),
        (&thief, ask(7, value)),
        (&honest, ask(8, value)),
        (&honest, ask(7, value ^ 1)),
    ] {
        socket.send(&proof).await.unwrap();
        socket.send(&hello()).await.unwrap();
        if proof[4] == 15 {
            let mut answer = [0; 1024];
            let length = soon(socket.recv(&mut answer)).await.unwrap();
            assert_eq!((length, answer[4], answer[6]), (48, 15, 2), "ask again");
        }
    }
    assert_eq!(source.stats().connects, 0);
    honest.send(&ask(7, value)).await.unwrap();
    honest.send(&hello()).await.unwrap();
    let mut answer = [0; 1024];
    soon(honest.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[4], 2, "welcome");
    eventually("one connection", || source.stats().connects == 1).await;
    assert!(thief.try_recv(&mut answer).is_err(), "told nothing else");
}

#[tokio::test]
async fn garbage_and_strangers_do_not_disturb_those_who_are_connected() {
    let port = port();
    let text = service("direct", port, QUICK);
    let (sender, receiver) = (factory(&text), factory(&text));
    let mut source = receiver.create_source("x").await.unwrap();
    let sink = sender.create_sink("x").await.unwrap();
    let mut next = 0;
    converse(&*sink, &mut source, &mut next, 1).await;
    let mut dice = dice(11);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.connect(("127.0.0.1", port)).await.unwrap();
    let (mut sent, mut received) = (0, 0);
    for round in 0..2000 {
        let mut datagram = match round % 4 {
            0 => (0..dice() % 100).map(|_| dice().to_le_bytes()[0]).collect(),
            1 => bare(u8::try_from(round / 4 % 16).unwrap()),
            2 => [bare(10), bare(10)].concat(),
            _ => vec![],
        };
        if round % 4 == 3 {
            datagram = bare(4);
            datagram[28] ^= 1;
        }
        sent += stranger.send(&datagram).await.unwrap();
        if round % 10 == 0 {
            soon(sink.send(numbered(next))).await.unwrap();
            let message = soon(source.recv()).await.unwrap().unwrap();
            assert_eq!(number(&message), next);
            next += 1;
        }
        let mut answer = [0; 65_536];
        while let Ok(length) = stranger.try_recv(&mut answer) {
            received += length;
        }
    }
    assert!(
        received > 0 && received <= 3 * sent,
        "{received} for {sent}"
    );
    assert_eq!((source.stats().connects, source.stats().missed), (1, 0));
    eventually("one connection", || sink.is_connected()).await;
}

#[tokio::test]
async fn what_udp_cannot_do_is_said_before_anything_is_accepted() {
    let text = service("relay", 7001, "delivery = 'at_least_once'");
    let error = SinkFactory::from_config_str(&text).unwrap_err();
    assert!(error.to_string().contains("over udp"), "{error}");
    let text = service("direct", 7001, "max_message_bytes = 64001");
    let error = SinkFactory::from_config_str(&text).unwrap_err();
    assert!(error.to_string().contains("64000"), "{error}");

    let text = service("direct", 7001, "");
    let sink = factory(&text).create_sink("x").await.unwrap();
    let error = sink.send(Message::new(vec![0; 1201])).await.unwrap_err();
    assert!(matches!(error, SinkError::MessageTooLarge(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("1201") && said.contains("1200"), "{said}");
}

#[tokio::test]
async fn the_largest_message_goes_through_with_everything_beside_it() {
    let text = service("direct", port(), "max_message_bytes = 64000");
    let (sender, receiver) = (factory(&text), factory(&text));
    let mut source = receiver.create_source("x").await.unwrap();
    let sink = sender.create_sink("x").await.unwrap();
    let message = Message {
        target: Some("t".repeat(255).into()),
        correlation_id: Some("c".repeat(255).into()),
        ..Message::new(vec![7; 64_000])
    };
    assert!(
        timeout(Duration::from_millis(20), source.recv())
            .await
            .is_err()
    );
    sink.send(message.clone()).await.unwrap();
    let came = soon(source.recv()).await.unwrap().unwrap();
    assert_eq!(
        (came.payload, came.target),
        (message.payload, message.target)
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused_like_one_of_tcp() {
    let further = "lazy = { max_retries = 1, retry_delay_ms = 1 }";
    let sink = factory(&service("direct", port(), further));
    let sink = sink.create_sink("x").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert!(
        error.to_string().contains("nobody listens there"),
        "{error}"
    );
}
