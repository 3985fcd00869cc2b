//! Lazy sinks: one dial for all, nothing lost that came back, no hot loop, nothing stuck.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use wakewire::{
    ConnectionState, Failure, LazyConfig, LazyMessageSink, Message, MessageSink, Phase, Sending,
    SinkError, SinkMetadata, TrySendError,
};

/// A remote whose behaviour is a knob: how dialling ends, and how many messages a connection lives.
#[derive(Debug)]
struct Remote {
    dials: AtomicU32,
    /// The most attempts under way at one moment.
    most_at_once: AtomicU32,
    at_once: AtomicU32,
    deaths: AtomicU32,
    /// Connections that were dropped while still good.
    dropped_alive: AtomicU32,
    up: AtomicBool,
    connecting_takes: Mutex<Duration>,
    messages_per_life: AtomicU32,
    ending: Mutex<Ending>,
    taken: Mutex<Vec<Message>>,
    /// Sends wait for a permit when there is one to wait for.
    brake: Mutex<Option<Arc<Semaphore>>>,
}

/// How a connection answers the message on which it dies.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Not sent, and given back.
    Returns,
    /// It may have been sent.
    Keeps,
}

#[derive(Debug)]
struct Wire {
    remote: Arc<Remote>,
    left: Mutex<Option<u32>>,
}

impl Remote {
    fn up() -> Arc<Self> {
        Arc::new(Self {
            dials: AtomicU32::new(0),
            most_at_once: AtomicU32::new(0),
            at_once: AtomicU32::new(0),
            deaths: AtomicU32::new(0),
            dropped_alive: AtomicU32::new(0),
            up: AtomicBool::new(true),
            connecting_takes: Mutex::default(),
            messages_per_life: AtomicU32::new(u32::MAX),
            ending: Mutex::new(Ending::Returns),
            taken: Mutex::default(),
            brake: Mutex::default(),
        })
    }

    fn down() -> Arc<Self> {
        let remote = Self::up();
        remote.up.store(false, Ordering::SeqCst);
        remote
    }

    fn dying_after(messages: u32) -> Arc<Self> {
        let remote = Self::up();
        remote.messages_per_life.store(messages, Ordering::SeqCst);
        remote
    }

    fn taking(self: Arc<Self>, time: Duration) -> Arc<Self> {
        *self.connecting_takes.lock().unwrap() = time;
        self
    }

    fn sink(self: &Arc<Self>, config: LazyConfig) -> LazyMessageSink<Wire> {
        let remote = Arc::clone(self);
        LazyMessageSink::new(move || dial(Arc::clone(&remote)), config).with_name("remote")
    }

    fn dials(&self) -> u32 {
        self.dials.load(Ordering::SeqCst)
    }

    fn texts(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(text).collect()
    }
}

async fn dial(remote: Arc<Remote>) -> Result<Wire, SinkError> {
    struct Attempt(Arc<Remote>);
    impl Drop for Attempt {
        fn drop(&mut self) {
            self.0.at_once.fetch_sub(1, Ordering::SeqCst);
        }
    }
    remote.dials.fetch_add(1, Ordering::SeqCst);
    let now = remote.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    remote.most_at_once.fetch_max(now, Ordering::SeqCst);
    let attempt = Attempt(Arc::clone(&remote));
    let time = *remote.connecting_takes.lock().unwrap();
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    drop(attempt);
    if !remote.up.load(Ordering::SeqCst) {
        let cause = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
        let failure = Failure::new("").phase(Phase::Dial).because(cause);
        return Err(SinkError::ConnectionFailed(failure));
    }
    let left = remote.messages_per_life.load(Ordering::SeqCst);
    Ok(Wire {
        remote,
        left: Mutex::new(Some(left)),
    })
}

impl Wire {
    fn take(&self, message: Message) -> Result<(), SinkError> {
        let mut left = self.left.lock().unwrap();
        let lost = || SinkError::ConnectionLost(Failure::new("remote").phase(Phase::Write));
        match &mut *left {
            Some(0) => {
                *left = None;
                self.remote.deaths.fetch_add(1, Ordering::SeqCst);
                match *self.remote.ending.lock().unwrap() {
                    Ending::Returns => Err(lost().returning(message)),
                    Ending::Keeps => Err(lost()),
                }
            }
            Some(left) => {
                *left -= 1;
                self.remote.taken.lock().unwrap().push(message);
                Ok(())
            }
            None => Err(lost().returning(message)),
        }
    }
}

impl MessageSink for Wire {
    fn send(&self, message: Message) -> Sending<'_> {
        let brake = self.remote.brake.lock().unwrap().clone();
        match brake {
            None => Sending::ready(self.take(message)),
            Some(brake) => Sending::new(async move {
                brake.acquire().await.unwrap().forget();
                self.take(message)
            }),
        }
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        if self.remote.brake.lock().unwrap().is_some() {
            return Err(TrySendError::WouldWait(message));
        }
        self.take(message).map_err(TrySendError::Refused)
    }

    /// True even after a death: only a send finds out, as on a socket that nobody reads.
    fn is_connected(&self) -> bool {
        self.remote.up.load(Ordering::SeqCst)
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new("wire", "test");
        metadata.endpoint = Some("mem:remote".to_owned());
        metadata
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.left.get_mut().unwrap().is_some() {
            self.remote.dropped_alive.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn steady() -> LazyConfig {
    LazyConfig {
        jitter: 0.0,
        ..LazyConfig::default()
    }
}

fn no_reconnect() -> LazyConfig {
    LazyConfig {
        auto_reconnect: false,
        ..steady()
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn returned(error: SinkError) -> String {
    text(&error.into_message().expect("the message comes back"))
}

/// Sends so many messages at once, each from its own task.
async fn send_at_once(sink: &Arc<LazyMessageSink<Wire>>, count: u32) -> Vec<(u32, SinkError)> {
    let mut senders = JoinSet::new();
    for number in 0..count {
        let sink = Arc::clone(sink);
        senders.spawn(async move {
            let sent = sink.send(Message::new(number.to_string())).await;
            (number, sent)
        });
    }
    let mut errors = Vec::new();
    while let Some(result) = senders.join_next().await {
        let (number, sent) = result.unwrap();
        errors.extend(sent.err().map(|error| (number, error)));
    }
    errors
}

/// Sends from a task of its own, while the test goes on.
fn send_aside(
    sink: &Arc<LazyMessageSink<Wire>>,
    text: &'static str,
) -> JoinHandle<Result<(), SinkError>> {
    let sink = Arc::clone(sink);
    Handle::current().spawn(async move { sink.send(Message::new(text)).await })
}

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_before_the_first_send() {
    let remote = Remote::up();
    let sink = remote.sink(steady());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(remote.dials(), 0);
    assert!(!sink.is_connected());
    assert_eq!(sink.state(), ConnectionState::Disconnected);
    sink.send(Message::new("a")).await.unwrap();
    assert_eq!(sink.state(), ConnectionState::Connected);
    let metadata = sink.metadata();
    assert_eq!(metadata.name, "remote");
    assert_eq!(metadata.endpoint.as_deref(), Some("mem:remote"));
    assert_eq!(metadata.messages_sent, 1);
}

#[tokio::test(start_paused = true)]
async fn first_sends_at_once_share_one_connect() {
    for count in [10, 64] {
        let remote = Remote::up().taking(Duration::from_millis(50));
        let sink = Arc::new(remote.sink(steady()));
        let start = Instant::now();
        assert!(send_at_once(&sink, count).await.is_empty());
        assert!(start.elapsed() < Duration::from_millis(60));
        assert_eq!(remote.dials(), 1);
        assert_eq!(remote.taken.lock().unwrap().len(), count as usize);
        let metrics = sink.metrics();
        assert_eq!(metrics.successful_connects, 1);
        assert_eq!(metrics.messages_sent, u64::from(count));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_sends_at_once_share_one_connect_on_many_threads() {
    for _ in 0..20 {
        let remote = Remote::up().taking(Duration::from_millis(5));
        let sink = Arc::new(remote.sink(steady()));
        assert!(send_at_once(&sink, 64).await.is_empty());
        assert_eq!(remote.dials(), 1);
        assert_eq!(remote.taken.lock().unwrap().len(), 64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_costs_one_series_for_all_and_each_gets_its_message_back() {
    let remote = Remote::down();
    let sink = Arc::new(remote.sink(steady()));
    let errors = send_at_once(&sink, 64).await;
    assert_eq!(remote.dials(), 4);
    assert_eq!(remote.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(errors.len(), 64);
    let first = errors[0].1.to_string();
    assert!(first.contains("after 4 attempts"), "{first}");
    assert!(first.contains("nobody listens"), "{first}");
    assert!(first.contains("`remote`"), "{first}");
    for (number, error) in errors {
        assert!(matches!(error, SinkError::ConnectionFailed(_)));
        assert_eq!(error.failure().attempts_made(), 4);
        assert_eq!(error.to_string(), first);
        assert_eq!(returned(error), number.to_string());
    }
    assert_eq!(sink.state(), ConnectionState::Failed);
    let metrics = sink.metrics();
    assert_eq!((metrics.attempts, metrics.failed_connects), (4, 4));
    assert_eq!((metrics.messages_failed, metrics.in_doubt), (64, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_series_the_next_send_connects() {
    let remote = Remote::down();
    let sink = remote.sink(steady());
    sink.send(Message::new("a")).await.unwrap_err();
    remote.up.store(true, Ordering::SeqCst);
    let start = Instant::now();
    sink.send(Message::new("b")).await.unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "the pause was not kept"
    );
    assert_eq!(remote.texts(), ["b"]);
    assert_eq!(remote.dials(), 5);
}

#[tokio::test(start_paused = true)]
async fn connect_with_nobody_listening_is_an_error_after_the_retries() {
    let remote = Remote::down();
    let sink = remote.sink(steady());
    let start = Instant::now();
    let error = sink.connect().await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionFailed(_)));
    assert_eq!(remote.dials(), 4);
    assert!(start.elapsed() >= Duration::from_millis(700));
    remote.up.store(true, Ordering::SeqCst);
    sink.connect().await.unwrap();
    sink.connect().await.unwrap();
    assert_eq!(remote.dials(), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_take_too_long_are_failures_with_growing_pauses() {
    let remote = Remote::up().taking(Duration::from_secs(3600));
    let sink = remote.sink(steady());
    let start = Instant::now();
    let error = sink.send(Message::new("a")).await.unwrap_err();
    let took = start.elapsed();
    // Four times five seconds, and 100 + 200 + 400 ms between.
    assert!(took >= Duration::from_millis(20_700), "{took:?}");
    assert!(took < Duration::from_millis(20_750), "{took:?}");
    assert_eq!(error.failure().attempts_made(), 4);
    assert!(error.to_string().contains("within 5s"), "{error}");
    assert_eq!(returned(error), "a");
}

#[tokio::test(start_paused = true)]
async fn a_send_dropped_after_any_number_of_polls_leaves_nothing_stuck() {
    let mut polls = 0;
    loop {
        let remote = Remote::up().taking(Duration::from_millis(1));
        *remote.brake.lock().unwrap() = Some(Arc::new(Semaphore::new(2)));
        let sink = remote.sink(steady());
        let mut finished = false;
        {
            let mut sending = pin!(sink.send(Message::new("dropped")));
            for _ in 0..polls {
                let poll = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await;
                if poll.is_ready() {
                    finished = true;
                    break;
                }
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
        timeout(Duration::from_secs(60), sink.send(Message::new("next")))
            .await
            .expect("the next send is stuck")
            .unwrap();
        assert_eq!(remote.dials(), 1, "after {polls} polls");
        let expected: &[&str] = if finished {
            &["dropped", "next"]
        } else {
            &["next"]
        };
        assert_eq!(remote.texts(), expected, "after {polls} polls");
        if finished {
            break;
        }
        polls += 1;
    }
    assert!(polls >= 3, "the send was never dropped while it waited");
}

/// A remote that is always up and whose connections live 200 messages, under eight senders.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_die_every_200_messages_lose_and_double_nothing() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 50_000;
    let remote = Remote::dying_after(200);
    let sink = Arc::new(remote.sink(steady()));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let sink = Arc::clone(&sink);
        senders.spawn(async move {
            for number in 0..EACH {
                let message = Message::new(format!("{sender}:{number}"));
                sink.send(message).await.unwrap();
            }
        });
    }
    while let Some(result) = senders.join_next().await {
        result.unwrap();
    }
    let mut next = HashMap::new();
    for text in remote.texts() {
        let (sender, number) = text.split_once(':').unwrap();
        let expected = next.entry(sender.to_owned()).or_insert(0_u32);
        assert_eq!(number, expected.to_string(), "sender {sender}");
        *expected += 1;
    }
    assert!(next.values().all(|&count| count == EACH));
    assert_eq!(next.len(), SENDERS as usize);
    assert_eq!(remote.dials() - remote.deaths.load(Ordering::SeqCst), 1);
    assert_eq!(remote.dropped_alive.load(Ordering::SeqCst), 0);
    assert_eq!(remote.most_at_once.load(Ordering::SeqCst), 1);
    let metrics = sink.metrics();
    assert_eq!(metrics.messages_sent, u64::from(SENDERS * EACH));
    assert_eq!((metrics.messages_failed, metrics.in_doubt), (0, 0));
    assert_eq!(metrics.reconnects + 1, metrics.successful_connects);
}

#[tokio::test(start_paused = true)]
async fn a_batch_heals_on_the_way() {
    let remote = Remote::dying_after(3);
    let sink = remote.sink(steady());
    let batch = (0..10).map(|number| Message::new(number.to_string()));
    sink.send_batch(batch.collect()).await.unwrap();
    let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(remote.texts(), expected);
    assert_eq!(remote.dials(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_accepts_and_dies_is_not_dialled_in_a_hot_loop() {
    let remote = Remote::dying_after(0);
    let sink = remote.sink(steady());
    let start = Instant::now();
    let mut errors = 0;
    while start.elapsed() < Duration::from_secs(60) {
        let error = sink.send(Message::new("a")).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(returned(error), "a");
        errors += 1;
    }
    // One each 400 ms once the pause has grown, and four a send.
    let dials = remote.dials();
    assert!((10..=160).contains(&dials), "{dials} dials in a minute");
    assert!(errors * 4 >= dials && errors * 4 <= dials + 4, "{errors}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_is_not_dialled_in_a_hot_loop_without_retries_either() {
    let remote = Remote::down();
    let sink = remote.sink(LazyConfig {
        max_retries: 0,
        ..steady()
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        sink.send(Message::new("a")).await.unwrap_err();
    }
    assert!(remote.dials() <= 601, "{} dials", remote.dials());
}

#[tokio::test(start_paused = true)]
async fn a_message_in_doubt_goes_to_the_caller_and_is_not_sent_again() {
    let remote = Remote::dying_after(1);
    *remote.ending.lock().unwrap() = Ending::Keeps;
    let sink = remote.sink(steady());
    sink.send(Message::new("a")).await.unwrap();
    let error = sink.send(Message::new("b")).await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionLost(_)));
    assert!(error.into_message().is_none());
    assert_eq!(sink.state(), ConnectionState::Disconnected);
    let metrics = sink.metrics();
    assert_eq!((metrics.in_doubt, metrics.messages_failed), (1, 1));
    sink.send(Message::new("c")).await.unwrap();
    assert_eq!(remote.texts(), ["a", "c"]);
    assert_eq!(remote.dials(), 2);
    let report = sink.flush(Duration::from_secs(1)).await.unwrap();
    assert_eq!((report.delivered, report.in_doubt), (2, 1));
    assert!(report.per_sink[0].ledger.adds_up());
}

#[tokio::test(start_paused = true)]
async fn without_auto_reconnect_a_loss_stays_until_connect() {
    let remote = Remote::dying_after(1);
    let sink = remote.sink(no_reconnect());
    sink.send(Message::new("a")).await.unwrap();
    for text in ["b", "c", "d"] {
        let error = sink.send(Message::new(text)).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
        assert_eq!(returned(error), text);
    }
    let refused = sink.try_send(Message::new("e")).unwrap_err();
    assert!(matches!(refused, TrySendError::Refused(_)));
    assert_eq!(remote.dials(), 1);
    remote.up.store(false, Ordering::SeqCst);
    sink.connect().await.unwrap_err();
    let error = sink.send(Message::new("f")).await.unwrap_err();
    assert!(matches!(error, SinkError::ConnectionLost(_)), "{error}");
    assert_eq!(remote.dials(), 5);
    remote.up.store(true, Ordering::SeqCst);
    sink.connect().await.unwrap();
    sink.send(Message::new("g")).await.unwrap();
    assert_eq!(remote.texts(), ["a", "g"]);
}

#[test]
fn outside_a_runtime_the_message_comes_back() {
    let remote = Remote::up();
    let sink = remote.sink(steady());
    let mut sending = Box::pin(sink.send(Message::new("a")));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(result) = sending.as_mut().poll(&mut cx) else {
        panic!("it waits for a runtime");
    };
    drop(sending);
    let error = result.unwrap_err();
    assert!(matches!(error, SinkError::NoRuntime(_)), "{error}");
    assert_eq!(returned(error), "a");
    // The runtime of its first use is as good.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(sink.send(Message::new("b"))).unwrap();
    drop(runtime);
    drop(sink);
    assert_eq!(remote.texts(), ["b"]);
}

#[test]
fn a_runtime_that_is_gone_gives_the_message_back() {
    let remote = Remote::up();
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let sink = build().block_on(async { remote.sink(steady()) });
    let error = build()
        .block_on(async { sink.send(Message::new("a")).await })
        .unwrap_err();
    assert!(matches!(error, SinkError::NoRuntime(_)), "{error}");
    assert_eq!(returned(error), "a");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hung_up_is_noticed_before_the_next_send() {
    let remote = Remote::up();
    let sink = remote.sink(steady());
    sink.send(Message::new("a")).await.unwrap();
    remote.up.store(false, Ordering::SeqCst);
    assert!(!sink.is_connected());
    assert_eq!(sink.state(), ConnectionState::Disconnected);
    let would_wait = sink.try_send(Message::new("b")).unwrap_err();
    assert!(matches!(would_wait, TrySendError::WouldWait(_)));
    remote.up.store(true, Ordering::SeqCst);
    sink.send(Message::new("c")).await.unwrap();
    assert_eq!(remote.texts(), ["a", "c"]);
    assert_eq!(remote.dials(), 2);
    assert_eq!(sink.metrics().messages_failed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_blocks_neither_the_questions_nor_the_other_senders() {
    let remote = Remote::up();
    let brake = Arc::new(Semaphore::new(0));
    *remote.brake.lock().unwrap() = Some(Arc::clone(&brake));
    let sink = Arc::new(remote.sink(steady()));
    let sending = send_aside(&sink, "slow");
    while !sink.is_connected() {
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished());
    assert_eq!(sink.state(), ConnectionState::Connected);
    assert_eq!(sink.metadata().messages_sent, 0);
    *remote.brake.lock().unwrap() = None;
    sink.try_send(Message::new("quick")).unwrap();
    brake.add_permits(1);
    sending.await.unwrap().unwrap();
    assert_eq!(remote.texts(), ["quick", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn disconnect_sleeps_and_a_send_wakes() {
    let remote = Remote::up();
    let sink = remote.sink(no_reconnect());
    sink.send(Message::new("a")).await.unwrap();
    sink.disconnect().await.unwrap();
    assert!(!sink.is_connected());
    assert_eq!(sink.state(), ConnectionState::Disconnected);
    sink.send(Message::new("b")).await.unwrap();
    assert_eq!(remote.texts(), ["a", "b"]);
    assert_eq!((sink.metrics().reconnects, remote.dials()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn disconnect_ends_a_series_and_keeps_the_pause() {
    let remote = Remote::down();
    let sink = Arc::new(remote.sink(steady()));
    let sending = send_aside(&sink, "a");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(remote.dials(), 3);
    sink.disconnect().await.unwrap();
    assert_eq!(returned(sending.await.unwrap().unwrap_err()), "a");
    assert_eq!(sink.state(), ConnectionState::Disconnected);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(remote.dials(), 3);
    remote.up.store(true, Ordering::SeqCst);
    let start = Instant::now();
    sink.send(Message::new("b")).await.unwrap();
    // The third failure, at 300 ms, earned a pause of 400.
    assert!(start.elapsed() >= Duration::from_millis(330));
}

#[tokio::test(start_paused = true)]
async fn closed_is_final_for_those_who_wait_and_those_who_come() {
    let remote = Remote::up().taking(Duration::from_secs(1));
    let sink = Arc::new(remote.sink(steady()));
    let sending = send_aside(&sink, "a");
    tokio::time::sleep(Duration::from_millis(10)).await;
    let report = sink.close(Duration::from_secs(1)).await.unwrap();
    assert!(report.is_complete());
    let error = sending.await.unwrap().unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert_eq!(returned(error), "a");
    let error = sink.send(Message::new("b")).await.unwrap_err();
    assert!(matches!(error, SinkError::Closed(_)), "{error}");
    assert!(matches!(
        sink.try_send(Message::new("c")),
        Err(TrySendError::Refused(SinkError::Closed(_)))
    ));
    assert!(matches!(sink.connect().await, Err(SinkError::Closed(_))));
    sink.disconnect().await.unwrap();
    assert_eq!(sink.state(), ConnectionState::Closed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(sink.metrics().successful_connects, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_sink_ends_the_series() {
    let remote = Remote::down();
    let sink = remote.sink(steady());
    let waited = timeout(Duration::from_millis(50), sink.send(Message::new("a"))).await;
    assert!(waited.is_err());
    drop(sink);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(remote.dials(), 1);
    assert_eq!(Arc::strong_count(&remote), 1, "the series still holds it");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_ends_the_series_and_parks_but_connect_asks_again() {
    let dials = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&dials);
    let sink = LazyMessageSink::<Wire>::new(
        move || {
            count.fetch_add(1, Ordering::SeqCst);
            async { Err(SinkError::InvalidConfig(Failure::new("remote"))) }
        },
        steady(),
    );
    for text in ["a", "b", "c"] {
        let start = Instant::now();
        let error = sink.send(Message::new(text)).await.unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
        assert_eq!(returned(error), text);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(dials.load(Ordering::SeqCst), 1);
    sink.connect().await.unwrap_err();
    assert_eq!(dials.load(Ordering::SeqCst), 2);
    tokio::time::sleep(Duration::from_secs(76)).await;
    sink.send(Message::new("d")).await.unwrap_err();
    assert_eq!(dials.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_panics_leaves_nobody_waiting() {
    let dials = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&dials);
    let sink = LazyMessageSink::<Wire>::new(
        move || {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                assert!(!first, "a fault in the user's code");
                dial(Remote::up()).await
            }
        },
        steady(),
    );
    let error = sink.send(Message::new("a")).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(returned(error), "a");
    sink.send(Message::new("b")).await.unwrap();
}

/// A sink that refuses every message in one way, and counts how often it was opened.
#[derive(Debug)]
struct Refusing(SinkError);

impl MessageSink for Refusing {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::ready(Err(self.0.clone().returning(message)))
    }
    fn is_connected(&self) -> bool {
        true
    }
    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("refusing", "test")
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_message_keeps_the_connection() {
    let failure = || Failure::new("remote").phase(Phase::Accept);
    for refusal in [
        SinkError::MessageTooLarge(failure()),
        SinkError::WrongDomain(failure()),
        SinkError::WrongPrecision(failure()),
        SinkError::BufferFull(failure()),
        SinkError::Timeout(failure()),
        SinkError::SendFailed(failure()),
    ] {
        let kind = std::mem::discriminant(&refusal);
        let sink = LazyMessageSink::new(
            move || {
                let refusal = refusal.clone();
                async move { Ok(Refusing(refusal)) }
            },
            steady(),
        );
        for text in ["a", "b"] {
            let error = sink.send(Message::new(text)).await.unwrap_err();
            assert_eq!(std::mem::discriminant(&error), kind);
            assert_eq!(returned(error), text);
        }
        let metrics = sink.metrics();
        assert_eq!((metrics.attempts, metrics.in_doubt), (1, 0), "{kind:?}");
        assert_eq!(metrics.messages_failed, 2);
        assert!(sink.is_connected());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_io_error_or_closed_is_replaced() {
    for error in [
        SinkError::from(io::Error::other("broken pipe")),
        SinkError::Closed(Failure::new("")),
        SinkError::SendFailed(Failure::new("").phase(Phase::Write)),
    ] {
        let sink = LazyMessageSink::new(
            move || {
                let error = error.clone();
                async move { Ok(Refusing(error)) }
            },
            steady(),
        );
        let error = sink.send(Message::new("a")).await.unwrap_err();
        assert_eq!(returned(error), "a");
        assert_eq!(sink.metrics().successful_connects, 4);
        assert!(!sink.is_connected());
    }
}

#[tokio::test(start_paused = true)]
async fn senseless_settings_never_panic() {
    for multiplier in [f64::NAN, f64::INFINITY, -1.0, f64::MAX] {
        let remote = Remote::down();
        let sink = remote.sink(LazyConfig {
            max_retries: 40,
            retry_delay: Duration::from_secs(u64::MAX / 2),
            backoff_multiplier: multiplier,
            max_retry_delay: Duration::from_millis(1),
            connect_timeout: Duration::MAX,
            jitter: multiplier,
            ..LazyConfig::default()
        });
        let error = sink.send(Message::new("a")).await.unwrap_err();
        assert_eq!(error.failure().attempts_made(), 41);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_die_under_waiting_sends_lose_and_double_nothing() {
    let remote = Remote::dying_after(5);
    // Every send waits inside the inner sink, so that several are there when it dies.
    *remote.brake.lock().unwrap() = Some(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)));
    let sink = Arc::new(remote.sink(steady()));
    for _ in 0..20 {
        assert!(send_at_once(&sink, 64).await.is_empty());
    }
    let mut counts = HashMap::new();
    for text in remote.texts() {
        *counts.entry(text).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 64);
    assert!(counts.values().all(|&count| count == 20), "{counts:?}");
    assert_eq!(remote.dials() - remote.deaths.load(Ordering::SeqCst), 1);
    assert_eq!(remote.dropped_alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disconnecting_among_senders_leaves_nobody_stuck_and_loses_nothing() {
    let remote = Remote::up();
    let sink = Arc::new(remote.sink(steady()));
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let sink = Arc::clone(&sink);
        senders.spawn(async move {
            for number in 0..500 {
                let mut message = Message::new(number.to_string());
                // Who waited for a connection when it was dismissed gets the message back.
                while let Err(error) = sink.send(message).await {
                    message = error.into_message().expect("the message comes back");
                }
            }
        });
    }
    let sleeper = {
        let sink = Arc::clone(&sink);
        Handle::current().spawn(async move {
            for _ in 0..200 {
                sink.disconnect().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let all = async {
        while let Some(result) = senders.join_next().await {
            result.unwrap();
        }
        sleeper.await.unwrap();
    };
    timeout(Duration::from_secs(60), all)
        .await
        .expect("somebody is stuck");
    assert_eq!(remote.taken.lock().unwrap().len(), 2_000);
    assert_eq!(remote.most_at_once.load(Ordering::SeqCst), 1);
}
