//! Pools of lazy sinks: grow with the load, shrink without it, keep the order of a key whatever fails.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wakewire::sink::PoolConfig;
use wakewire::{
    ConnectionState, Failure, Flushing, LazyConfig, LazyConnectionPool, Message, MessageSink,
    Phase, Report, Sending, SinkError, SinkMetadata, TrySendError,
};

use crate::support::{eventually, number, numbered};

type Pool = LazyConnectionPool<Wire>;

/// A peer to which many connections lead, with a knob for each thing that can happen to one.
#[derive(Debug, Default)]
struct Peer {
    down: AtomicBool,
    dials: AtomicU32,
    open: AtomicU32,
    most_open: AtomicU32,
    disconnects: AtomicU32,
    /// Connections that were given a message while they disconnected.
    disturbed: AtomicU32,
    /// How long dialling, disconnecting, flushing and closing take.
    pace: Mutex<Pace>,
    /// Sends wait for a permit when there is one to wait for.
    brake: Mutex<Option<Arc<Semaphore>>>,
    /// How a connection of this number answers from now on.
    answers: Mutex<HashMap<u32, Reply>>,
    /// One in so many messages kills its connection and is given back; 0 for none.
    deadly: AtomicU32,
    /// Connections hold back what they took, and hand it on now and then.
    holds_back: AtomicBool,
    dice: Mutex<u64>,
    /// Which connection was given a message, one entry each time.
    offered: Mutex<Vec<u32>>,
    /// What arrived, with the number of the connection.
    arrived: Mutex<Vec<(u32, Message)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    dial: Duration,
    disconnect: Duration,
    flush: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reply {
    /// The connection is dead; the message comes back.
    Dead,
    /// The connection is dead, and the message may have arrived.
    Doubt,
    /// No room, and the message comes back.
    Overloaded,
    /// No connection would take the message, and it comes back.
    TooLarge,
}

#[derive(Debug)]
struct Wire {
    peer: Arc<Peer>,
    number: u32,
    alive: AtomicBool,
    closing: AtomicBool,
    held: Mutex<Vec<Message>>,
}

impl Peer {
    fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn pool(self: &Arc<Self>, config: PoolConfig) -> Pool {
        let peer = Arc::clone(self);
        LazyConnectionPool::new(move || dial(Arc::clone(&peer)), config)
            .unwrap()
            .with_name("lanes")
    }

    /// A pool with so many members open.
    async fn pool_with(self: &Arc<Self>, open: usize, config: PoolConfig) -> Arc<Pool> {
        let pool = Arc::new(self.pool(config));
        self.hold();
        let senders = burst(&pool, open);
        settle().await;
        self.release();
        all_sent(senders).await;
        assert_eq!(pool.stats().open, open);
        self.arrived.lock().unwrap().clear();
        self.offered.lock().unwrap().clear();
        pool
    }

    /// Lets every send wait from now on.
    fn hold(&self) {
        *self.brake.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    }

    fn release(&self) {
        let brake = self.brake.lock().unwrap().take().unwrap();
        brake.add_permits(1000);
    }

    fn answer(&self, connection: u32, reply: Reply) {
        self.answers.lock().unwrap().insert(connection, reply);
    }

    fn roll(&self, sides: u32) -> u32 {
        let mut dice = self.dice.lock().unwrap();
        *dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(*dice >> 33).unwrap() % sides
    }

    fn pace(&self, pace: Pace) {
        *self.pace.lock().unwrap() = pace;
    }

    fn dials(&self) -> u32 {
        self.dials.load(Ordering::SeqCst)
    }

    fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// Which connections were given a message, in order of their numbers.
    fn offered(&self) -> Vec<u32> {
        let mut offered = self.offered.lock().unwrap().clone();
        offered.sort_unstable();
        offered
    }

    /// How many messages arrived over each connection.
    fn shares(&self) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        for (connection, _) in &*self.arrived.lock().unwrap() {
            *shares.entry(*connection).or_default() += 1;
        }
        shares
    }
}

async fn dial(peer: Arc<Peer>) -> Result<Wire, SinkError> {
    let number = peer.dials.fetch_add(1, Ordering::SeqCst);
    let time = peer.pace.lock().unwrap().dial;
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    let deadly = peer.deadly.load(Ordering::SeqCst);
    if peer.down.load(Ordering::SeqCst) || (deadly > 0 && peer.roll(3) == 0) {
        return Err(SinkError::ConnectionFailed(Failure::new("")));
    }
    let open = peer.open.fetch_add(1, Ordering::SeqCst) + 1;
    peer.most_open.fetch_max(open, Ordering::SeqCst);
    Ok(Wire {
        peer,
        number,
        alive: AtomicBool::new(true),
        closing: AtomicBool::new(false),
        held: Mutex::default(),
    })
}

impl Wire {
    fn take(&self, message: Message) -> Result<(), SinkError> {
        self.peer.offered.lock().unwrap().push(self.number);
        let lost = || SinkError::ConnectionLost(Failure::new("wire").phase(Phase::Write));
        if self.closing.load(Ordering::SeqCst) {
            self.peer.disturbed.fetch_add(1, Ordering::SeqCst);
        }
        let reply = self.peer.answers.lock().unwrap().get(&self.number).copied();
        match reply {
            Some(Reply::Overloaded) => {
                return Err(SinkError::Overloaded(Failure::new("wire")).returning(message));
            }
            Some(Reply::TooLarge) => {
                return Err(SinkError::MessageTooLarge(Failure::new("wire")).returning(message));
            }
            Some(Reply::Doubt) => {
                self.die();
                return Err(lost());
            }
            Some(Reply::Dead) => self.die(),
            None => {}
        }
        let deadly = self.peer.deadly.load(Ordering::SeqCst);
        if deadly > 0 && self.peer.roll(deadly) == 0 {
            self.die();
        }
        {
            // Under the lock: what is taken before a death is handed on by it.
            let mut held = self.held.lock().unwrap();
            if !self.alive.load(Ordering::SeqCst) {
                return Err(lost().returning(message));
            }
            held.push(message);
        }
        if !self.peer.holds_back.load(Ordering::SeqCst) || self.peer.roll(8) == 0 {
            self.hand_on();
        }
        Ok(())
    }

    fn hand_on(&self) {
        // In this order, so that nobody hands on later messages first.
        let mut arrived = self.peer.arrived.lock().unwrap();
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        arrived.extend(held.into_iter().map(|message| (self.number, message)));
    }

    /// What it took arrives nevertheless, before anything that comes after it.
    fn die(&self) {
        let was_alive = {
            let _held = self.held.lock().unwrap();
            self.alive.swap(false, Ordering::SeqCst)
        };
        if was_alive {
            self.hand_on();
            self.peer.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.die();
    }
}

impl MessageSink for Wire {
    fn send(&self, message: Message) -> Sending<'_> {
        let brake = self.peer.brake.lock().unwrap().clone();
        match brake {
            None => Sending::ready(self.take(message)),
            Some(brake) => Sending::new(async move {
                brake.acquire().await.unwrap().forget();
                self.take(message)
            }),
        }
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        if self.peer.brake.lock().unwrap().is_some() {
            return Err(TrySendError::WouldWait(message));
        }
        self.take(message).map_err(TrySendError::Refused)
    }

    /// True even after a death: only a send finds out.
    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new("wire", "test");
        metadata.endpoint = Some("mem:peer".to_owned());
        metadata
    }

    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            self.closing.store(true, Ordering::SeqCst);
            self.peer.disconnects.fetch_add(1, Ordering::SeqCst);
            let time = self.peer.pace.lock().unwrap().disconnect;
            tokio::time::sleep(time).await;
            self.die();
            Ok(())
        })
    }

    fn flush(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            let time = self.peer.pace.lock().unwrap().flush;
            tokio::time::sleep(time.min(within)).await;
            Ok(Report::default())
        })
    }
}

fn steady() -> LazyConfig {
    LazyConfig {
        jitter: 0.0,
        ..LazyConfig::default()
    }
}

fn up_to(max_size: usize) -> PoolConfig {
    PoolConfig {
        max_size,
        lazy_config: steady(),
        ..PoolConfig::default()
    }
}

/// Sends so many messages at once, each from its own task.
fn burst(pool: &Arc<Pool>, count: usize) -> JoinSet<Result<(), SinkError>> {
    let mut senders = JoinSet::new();
    for number in 0..count {
        let pool = Arc::clone(pool);
        senders.spawn(async move { pool.send(numbered(number as u64)).await });
    }
    senders
}

async fn all_sent(mut senders: JoinSet<Result<(), SinkError>>) {
    while let Some(sent) = senders.join_next().await {
        sent.unwrap().unwrap();
    }
}

/// Long enough for everything that is not held; time is paused.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn keyed(key: &str, count: u64) -> Message {
    numbered(count).with_target(key)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_before_the_first_send() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(4));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(
        pool.try_send(numbered(0)),
        Err(TrySendError::WouldWait(_))
    ));
    pool.flush(Duration::from_secs(1)).await.unwrap();
    pool.disconnect().await.unwrap();
    assert_eq!((peer.dials(), pool.stats().members), (0, 0));
    assert_eq!(pool.state(), ConnectionState::Disconnected);
    assert!(!pool.is_connected());
    pool.send(numbered(1)).await.unwrap();
    assert_eq!((peer.dials(), pool.stats().open), (1, 1));
    assert_eq!(pool.state(), ConnectionState::Connected);
    let metadata = pool.metadata();
    assert_eq!(metadata.name, "lanes");
    assert_eq!(metadata.sink_type, "pool");
    assert_eq!(metadata.endpoint.as_deref(), Some("mem:peer"));
    assert_eq!(metadata.messages_sent, 1);
}

#[tokio::test(start_paused = true)]
async fn one_sender_after_the_other_needs_one_connection() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(4));
    for number in 0..100 {
        pool.send(numbered(number)).await.unwrap();
    }
    assert_eq!(peer.dials(), 1);
    // Nor does a sink that never takes anything at once, while nobody else waits.
    peer.hold();
    let mut sending = pool.send(numbered(100));
    assert!(poll_fn(|cx| Poll::Ready(pin!(&mut sending).poll(cx).is_pending())).await);
    peer.release();
    sending.await.unwrap();
    assert_eq!(peer.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn sends_at_once_open_members_up_to_max_size_and_no_more() {
    let peer = Peer::new();
    peer.pace(Pace {
        dial: Duration::from_millis(50),
        ..Pace::default()
    });
    let pool = Arc::new(peer.pool(up_to(4)));
    peer.hold();
    let mut senders = burst(&pool, 3);
    settle().await;
    assert_eq!((pool.stats().open, pool.stats().in_flight), (3, 3));
    for _ in 0..50 {
        let pool = Arc::clone(&pool);
        senders.spawn(async move { pool.send(numbered(9)).await });
    }
    settle().await;
    let stats = pool.stats();
    assert_eq!((stats.members, stats.open, stats.in_flight), (4, 4, 53));
    peer.release();
    all_sent(senders).await;
    assert_eq!(pool.stats().in_flight, 0);
    assert_eq!(pool.stats().passed_over, 0, "nobody was failing");
    assert_eq!(peer.dials(), 4);
    assert_eq!(peer.most_open.load(Ordering::SeqCst), 4);
    let shares = peer.shares();
    assert!(
        shares.values().all(|share| (13..=14).contains(share)),
        "{shares:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn sends_that_were_made_and_not_yet_polled_count_as_well() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(3));
    let sends: Vec<_> = (0..5).map(|number| pool.send(numbered(number))).collect();
    assert_eq!(pool.stats().in_flight, 5);
    drop(sends);
    assert_eq!((pool.stats().in_flight, peer.dials()), (0, 0));
    assert!(peer.arrived.lock().unwrap().is_empty());
    // All three are made before the first is polled.
    let sent = tokio::join!(
        pool.send(numbered(0)),
        pool.send(numbered(1)),
        pool.send(numbered(2))
    );
    assert!(sent.0.and(sent.1).and(sent.2).is_ok());
    assert_eq!(peer.dials(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_open_no_more_than_max_size() {
    for _ in 0..20 {
        let peer = Peer::new();
        let pool = Arc::new(peer.pool(up_to(3)));
        all_sent(burst(&pool, 200)).await;
        let most = peer.most_open.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most}");
        assert_eq!(peer.arrived.lock().unwrap().len(), 200);
        assert_eq!(pool.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_members_disconnect_but_for_the_least_number_and_open_again() {
    for min_idle in [0, 1, 2] {
        let peer = Peer::new();
        let config = PoolConfig {
            min_idle,
            idle_timeout: Duration::from_secs(20),
            ..up_to(4)
        };
        let pool = peer.pool_with(4, config).await;
        tokio::time::sleep(Duration::from_secs(18)).await;
        assert_eq!(pool.stats().open, 4);
        let tasks = Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 1, "one looks after all");
        tokio::time::sleep(Duration::from_secs(8)).await;
        let stats = pool.stats();
        assert_eq!((stats.members, stats.open), (min_idle, min_idle));
        assert_eq!(peer.open() as usize, min_idle);
        assert_eq!(
            peer.disconnects.load(Ordering::SeqCst) as usize,
            4 - min_idle
        );
        // Nothing is left that waits or looks.
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        peer.hold();
        let senders = burst(&pool, 4);
        settle().await;
        assert_eq!(pool.stats().open, 4);
        peer.release();
        all_sent(senders).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_in_use_is_not_put_to_sleep() {
    let peer = Peer::new();
    let config = PoolConfig {
        min_idle: 0,
        idle_timeout: Duration::from_secs(20),
        ..up_to(2)
    };
    let pool = peer.pool_with(2, config).await;
    peer.hold();
    let senders = burst(&pool, 1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(pool.stats().open, 1, "one waits for its message");
    peer.release();
    all_sent(senders).await;
    for number in 0..20 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        pool.send(numbered(number)).await.unwrap();
    }
    assert_eq!((pool.stats().open, peer.dials()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_dropped_leaves_no_task_and_no_connection() {
    let peer = Peer::new();
    let pool = peer.pool_with(3, up_to(4)).await;
    assert!(Handle::current().metrics().num_alive_tasks() > 0);
    drop(pool);
    assert_eq!(peer.open(), 0);
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn load_goes_over_the_healthy_while_one_is_dead_and_back_when_it_lives() {
    let peer = Peer::new();
    let pool = peer.pool_with(3, up_to(3)).await;
    peer.down.store(true, Ordering::SeqCst);
    peer.answer(0, Reply::Dead);
    for number in 0..300 {
        pool.send(numbered(number)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(peer.shares(), BTreeMap::from([(1, 150), (2, 150)]));
    let stats = pool.stats();
    assert_eq!((stats.members, stats.failing), (3, 1));
    assert!(stats.passed_over > 200, "{stats:?}");
    assert_eq!(pool.state(), ConnectionState::Connected);
    peer.down.store(false, Ordering::SeqCst);
    peer.arrived.lock().unwrap().clear();
    for number in 0..3000 {
        pool.send(numbered(number)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let shares = peer.shares();
    assert_eq!(shares.len(), 3, "{shares:?}");
    assert!(shares.values().all(|share| *share > 100), "{shares:?}");
    assert_eq!(pool.stats().failing, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_came_back_goes_to_each_member_at_most_once() {
    let peer = Peer::new();
    let pool = peer.pool_with(3, up_to(4)).await;
    for connection in 0..4 {
        peer.answer(connection, Reply::Overloaded);
    }
    let error = pool.send(numbered(7)).await.unwrap_err();
    assert!(matches!(error, SinkError::Overloaded(_)), "{error}");
    assert_eq!(number(&error.into_message().unwrap()), 7);
    assert!(peer.arrived.lock().unwrap().is_empty());
    assert_eq!(peer.offered(), [0, 1, 2, 3]);
    assert_eq!(pool.metadata().messages_failed, 1);
    // With one that has room it arrives there, once.
    let peer = Peer::new();
    let pool = peer.pool_with(3, up_to(3)).await;
    peer.answer(0, Reply::Overloaded);
    peer.answer(2, Reply::Overloaded);
    pool.send(numbered(8)).await.unwrap();
    assert_eq!(peer.shares(), BTreeMap::from([(1, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_message_in_doubt_goes_to_the_caller_and_nowhere_else() {
    let peer = Peer::new();
    let pool = peer.pool_with(3, up_to(3)).await;
    peer.answer(0, Reply::Doubt);
    peer.answer(1, Reply::Doubt);
    peer.answer(2, Reply::Doubt);
    for waits in [false, true] {
        if waits {
            peer.hold();
        }
        let mut senders = burst(&pool, 1);
        settle().await;
        if waits {
            peer.release();
        }
        let error = senders.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(error.into_message(), None);
        assert_eq!(peer.offered.lock().unwrap().drain(..).len(), 1);
    }
    assert!(peer.arrived.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_costs_a_send_one_series_and_the_message_comes_back() {
    let peer = Peer::new();
    peer.down.store(true, Ordering::SeqCst);
    let pool = peer.pool(up_to(4));
    for sends in 1..=10 {
        let error = pool.send(numbered(sends)).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
        assert_eq!(number(&error.into_message().unwrap()), sends);
    }
    // Four attempts each, and the probes of those passed over beside it.
    assert!(peer.dials() <= 4 * 10 + 4 * 4 * 3, "{}", peer.dials());
    assert_eq!(pool.state(), ConnectionState::Failed);
    peer.down.store(false, Ordering::SeqCst);
    pool.send(numbered(11)).await.unwrap();
    assert_eq!(pool.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_key_take_one_lane_and_keys_spread_over_all() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(4)).ordered_by_target();
    for count in 0..20 {
        for key in 0..63 {
            pool.send(keyed(&key.to_string(), count)).await.unwrap();
        }
    }
    let mut lanes: HashMap<String, Vec<u32>> = HashMap::new();
    for (connection, message) in &*peer.arrived.lock().unwrap() {
        let key = message.target.as_deref().unwrap().to_owned();
        lanes.entry(key).or_default().push(*connection);
    }
    assert_eq!(lanes.len(), 63);
    for (key, lane) in lanes {
        assert!(lane.iter().all(|one| *one == lane[0]), "{key}: {lane:?}");
    }
    assert_eq!(peer.shares().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_key_waits_for_its_lane_and_comes_back_with_that_lanes_error() {
    let peer = Peer::new();
    let config = PoolConfig {
        min_idle: 3,
        ..up_to(3)
    };
    let pool = peer.pool(config).ordered_by_target();
    pool.connect().await.unwrap();
    pool.send(keyed("WETH", 0)).await.unwrap();
    let its_own = peer.arrived.lock().unwrap()[0].0;
    peer.answer(its_own, Reply::Dead);
    peer.down.store(true, Ordering::SeqCst);
    let error = pool.send(keyed("WETH", 1)).await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert_eq!(number(&error.into_message().unwrap()), 1);
    for count in 0..9 {
        pool.send(numbered(count)).await.unwrap();
    }
    assert_eq!(pool.stats().failing, 1);
    // It waits there while there is hope.
    let mut sending = pool.send(keyed("WETH", 2));
    assert!(poll_fn(|cx| Poll::Ready(pin!(&mut sending).poll(cx).is_pending())).await);
    peer.down.store(false, Ordering::SeqCst);
    sending.await.unwrap();
    let arrived = peer.arrived.lock().unwrap();
    let keyed = arrived
        .iter()
        .filter(|(_, message)| message.target.is_some());
    assert_eq!(
        keyed
            .map(|(_, message)| number(message))
            .collect::<Vec<_>>(),
        [0, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_arrives_or_comes_back_with_a_key_and_without() {
    for has_key in [false, true] {
        let peer = Peer::new();
        let mut pool = peer.pool(up_to(1));
        if has_key {
            pool = pool.ordered_by_target();
        }
        match pool.try_send(keyed("WETH", 7)) {
            Err(TrySendError::WouldWait(message)) => assert_eq!(number(&message), 7),
            other => panic!("{other:?}"),
        }
        pool.connect().await.unwrap();
        pool.try_send(keyed("WETH", 8)).unwrap();
        let arrived = peer.arrived.lock().unwrap();
        let numbers: Vec<_> = arrived.iter().map(|(_, one)| number(one)).collect();
        assert_eq!(numbers, [8]);
    }
}

/// One life of a pool under dying connections, failing dials, idle disconnects and cancelled sends.
async fn keys_keep_their_order(seed: u64) {
    const KEYS: u64 = 12;
    const MESSAGES: u64 = 60;
    let peer = Peer::new();
    *peer.dice.lock().unwrap() = seed;
    peer.deadly.store(10 + peer.roll(30), Ordering::SeqCst);
    peer.holds_back.store(true, Ordering::SeqCst);
    peer.pace(Pace {
        dial: Duration::from_millis(5),
        disconnect: Duration::from_millis(8),
        ..Pace::default()
    });
    let config = PoolConfig {
        min_idle: 0,
        idle_timeout: Duration::from_millis(20),
        lazy_config: LazyConfig {
            max_retries: 1,
            retry_delay: Duration::from_millis(5),
            ..steady()
        },
        ..up_to(4)
    };
    let pool = Arc::new(peer.pool(config).ordered_by_target());
    let mut senders = JoinSet::new();
    for key in 0..=KEYS {
        let (pool, peer) = (Arc::clone(&pool), Arc::clone(&peer));
        senders.spawn(async move {
            let target = key.to_string();
            for count in 0..MESSAGES {
                if peer.roll(4) == 0 {
                    let pause = Duration::from_millis(u64::from(peer.roll(60)));
                    tokio::time::sleep(pause).await;
                }
                // The last "key" is none.
                let message = || match key {
                    KEYS => numbered(count),
                    _ => keyed(&target, count),
                };
                loop {
                    let patience = Duration::from_millis(1 + u64::from(peer.roll(40)));
                    match tokio::time::timeout(patience, pool.send(message())).await {
                        Ok(Ok(())) => break,
                        Ok(Err(error)) => assert!(error.into_message().is_some()),
                        // Dropped while pending: not accepted, so it is sent again.
                        Err(_) => {}
                    }
                }
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    assert_eq!(pool.stats().in_flight, 0, "seed {seed}");
    drop(pool);
    eventually("nothing is open", || peer.open() == 0).await;
    assert_eq!(peer.disturbed.load(Ordering::SeqCst), 0, "seed {seed}");
    let most = peer.most_open.load(Ordering::SeqCst);
    assert!(most <= 4, "seed {seed}: {most} open");
    let mut by_key: HashMap<Option<String>, Vec<u64>> = HashMap::new();
    for (_, message) in &*peer.arrived.lock().unwrap() {
        let key = message.target.as_deref().map(str::to_owned);
        by_key.entry(key).or_default().push(number(message));
    }
    let mut loose = by_key.remove(&None).unwrap();
    loose.sort_unstable();
    assert!(loose.into_iter().eq(0..MESSAGES), "seed {seed}");
    assert_eq!(by_key.len() as u64, KEYS);
    for (key, counts) in by_key {
        assert!(
            counts.iter().copied().eq(0..MESSAGES),
            "seed {seed}, key {key:?}: {counts:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_each_key_is_kept_whatever_fails() {
    for seed in 0..100 {
        keys_keep_their_order(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_each_key_is_kept_on_many_threads() {
    let mut lives = JoinSet::new();
    for seed in 0..10 {
        lives.spawn(keys_keep_their_order(seed));
    }
    let all = async {
        while let Some(life) = lives.join_next().await {
            life.unwrap();
        }
    };
    // Some two seconds; what takes this long never ends.
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, all)
        .await
        .expect("a sender never gets through");
}

#[tokio::test(start_paused = true)]
async fn connect_opens_the_least_number_and_says_when_it_cannot() {
    for (min_idle, opens) in [(0, 1), (1, 1), (3, 3)] {
        let peer = Peer::new();
        let pool = peer.pool(PoolConfig {
            min_idle,
            ..up_to(4)
        });
        pool.connect().await.unwrap();
        pool.connect().await.unwrap();
        assert_eq!(peer.dials(), opens);
        assert_eq!(pool.stats().open, opens as usize);
    }
    let peer = Peer::new();
    peer.down.store(true, Ordering::SeqCst);
    let pool = peer.pool(up_to(4));
    let error = pool.connect().await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert!(error.to_string().contains("lanes#0"), "{error}");
    assert_eq!(pool.state(), ConnectionState::Failed);
    peer.down.store(false, Ordering::SeqCst);
    pool.connect().await.unwrap();
    assert_eq!(pool.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn flush_disconnect_and_close_take_no_longer_than_one_member() {
    let second = Duration::from_secs(1);
    let peer = Peer::new();
    let pool = peer.pool_with(4, up_to(4)).await;
    peer.pace(Pace {
        flush: second * 60,
        disconnect: second * 2,
        ..Pace::default()
    });
    let within = |start: Instant, most: Duration| {
        let took = start.elapsed();
        assert!(took >= most && took < most + second / 2, "{took:?}");
    };
    let start = Instant::now();
    let report = pool.flush(second * 3).await.unwrap();
    within(start, second * 3);
    assert_eq!(report.per_sink.len(), 1);
    assert_eq!(
        (report.per_sink[0].name.as_str(), report.delivered),
        ("lanes", 4)
    );
    let start = Instant::now();
    pool.disconnect().await.unwrap();
    within(start, second * 2);
    assert_eq!((pool.stats().members, peer.open()), (0, 0));
    assert_eq!(pool.state(), ConnectionState::Disconnected);
    // A later send wakes it.
    pool.send(numbered(0)).await.unwrap();
    peer.hold();
    let mut senders = burst(&pool, 5);
    settle().await;
    let start = Instant::now();
    pool.close(second * 3).await.unwrap();
    within(start, second * 3);
    peer.release();
    while senders.join_next().await.is_some() {}
    assert_eq!(
        (pool.state(), pool.is_connected()),
        (ConnectionState::Closed, false)
    );
    let error = pool.send(numbered(5)).await.unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert_eq!(number(&error.into_message().unwrap()), 5);
    let dials = peer.dials();
    assert!(pool.connect().await.is_err());
    assert_eq!((peer.dials(), peer.open()), (dials, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_was_never_used_closes_too() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(4));
    let report = pool.close(Duration::from_secs(1)).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(pool.state(), ConnectionState::Closed);
    let error = pool.send(numbered(1)).await.unwrap_err();
    assert!(matches!(&error, SinkError::Closed(failure) if failure.service() == "lanes"));
    assert_eq!(number(&error.into_message().unwrap()), 1);
    assert!(matches!(
        pool.try_send(numbered(2)),
        Err(TrySendError::Refused(SinkError::Closed(_)))
    ));
    assert_eq!((peer.dials(), pool.stats().members), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_come_to_its_end_holds_a_key_no_longer_than_wait_timeout() {
    let peer = Peer::new();
    peer.pace(Pace {
        disconnect: Duration::from_secs(3600),
        ..Pace::default()
    });
    let config = PoolConfig {
        min_idle: 0,
        idle_timeout: Duration::from_secs(1),
        ..up_to(1)
    };
    let pool = peer.pool(config).ordered_by_target();
    pool.send(keyed("WETH", 0)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(peer.disconnects.load(Ordering::SeqCst), 1);
    let start = Instant::now();
    pool.send(keyed("WETH", 1)).await.unwrap();
    assert!(
        start.elapsed() > Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() <= Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn without_auto_reconnect_nobody_but_connect_opens_a_lost_member() {
    let peer = Peer::new();
    let mut config = up_to(1);
    config.lazy_config.auto_reconnect = false;
    let pool = peer.pool_with(1, config).await;
    peer.answer(0, Reply::Dead);
    for count in 0..20 {
        let error = pool.send(numbered(count)).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(number(&error.into_message().unwrap()), count);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(peer.dials(), 1);
    pool.connect().await.unwrap();
    pool.send(numbered(20)).await.unwrap();
}

#[test]
fn a_bad_config_is_refused_with_what_is_allowed() {
    let refused = |config: PoolConfig| {
        let peer = Peer::new();
        let error = LazyConnectionPool::new(move || dial(Arc::clone(&peer)), config).unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)));
        error.to_string()
    };
    let sound = PoolConfig::default;
    let cases = [
        (
            PoolConfig {
                max_size: 0,
                ..sound()
            },
            "`max_size` is 0",
            "1 to 64",
        ),
        (
            PoolConfig {
                max_size: 65,
                ..sound()
            },
            "`max_size` is 65",
            "1 to 64",
        ),
        (
            PoolConfig {
                min_idle: 9,
                ..sound()
            },
            "`min_idle` is 9",
            "0 to `max_size`",
        ),
        (
            PoolConfig {
                idle_timeout: Duration::ZERO,
                ..sound()
            },
            "`idle_timeout` is 0ns",
            "1 ms to a year",
        ),
        (
            PoolConfig {
                idle_timeout: Duration::MAX,
                ..sound()
            },
            "`idle_timeout` is",
            "1 ms to a year",
        ),
    ];
    for (config, what, allowed) in cases {
        let text = refused(config);
        assert!(text.contains(what) && text.contains(allowed), "{text}");
    }
    for max_size in [1, 64] {
        let config = PoolConfig {
            max_size,
            min_idle: max_size,
            ..sound()
        };
        config.validate().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_connected_while_a_member_is() {
    let peer = Peer::new();
    let pool = peer.pool(up_to(4));
    pool.send(numbered(1)).await.unwrap();
    assert!(pool.is_connected());
    pool.disconnect().await.unwrap();
    assert!(!pool.is_connected());
    pool.send(numbered(2)).await.unwrap();
    assert!(pool.is_connected());
    pool.close(Duration::from_secs(1)).await.unwrap();
    assert!(!pool.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_no_member_can_take_is_offered_to_one_only() {
    for open in [0, 3] {
        let peer = Peer::new();
        let pool = peer.pool_with(open, up_to(3)).await;
        for connection in 0..3 {
            peer.answer(connection, Reply::TooLarge);
        }
        let error = pool.send(numbered(7)).await.unwrap_err();
        assert!(matches!(error, SinkError::MessageTooLarge(_)), "{error}");
        assert_eq!(number(&error.into_message().unwrap()), 7);
        assert_eq!(peer.offered().len(), 1);
        assert_eq!(pool.stats().failing, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nor_to_another_after_it_waited_for_one() {
    let peer = Peer::new();
    let pool = peer.pool_with(2, up_to(2)).await;
    peer.answer(0, Reply::TooLarge);
    peer.answer(1, Reply::TooLarge);
    peer.hold();
    let mut senders = burst(&pool, 1);
    settle().await;
    assert_eq!(peer.offered(), []);
    peer.release();
    let result = senders.join_next().await.unwrap().unwrap();
    assert!(matches!(result, Err(SinkError::MessageTooLarge(_))));
    assert_eq!(peer.offered().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_member_died_waits_for_another_that_is_busy() {
    let peer = Peer::new();
    let pool = peer.pool_with(2, up_to(2)).await;
    peer.hold();
    let senders = burst(&pool, 4);
    settle().await;
    peer.down.store(true, Ordering::SeqCst);
    peer.answer(0, Reply::Dead);
    peer.release();
    // Those on the living member are sent; it has no room for the others at once.
    peer.hold();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(peer.shares(), BTreeMap::from([(1, 2)]));
    assert_eq!(pool.stats().in_flight, 2);
    peer.release();
    all_sent(senders).await;
    assert_eq!(peer.shares(), BTreeMap::from([(1, 4)]));
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_after_members_none_of_which_may_sleep() {
    let peer = Peer::new();
    let config = PoolConfig {
        min_idle: 4,
        ..up_to(4)
    };
    let _pool = peer.pool_with(4, config).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}
