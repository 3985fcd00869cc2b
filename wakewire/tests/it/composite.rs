//! Composites over sinks that accept, stall, refuse and die on command. Time is paused.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use wakewire::{
    CompositeSink, ConnectionState, Failure, Flushing, Ledger, Message, MessageSink, Report,
    Sending, SinkError, SinkMetadata, SinkReport, TrySendError,
};

const SECOND: Duration = Duration::from_secs(1);
/// What one send to a dead peer costs: the retry series of a lazy sink.
const SERIES: Duration = Duration::from_millis(700);
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Takes at once.
    Accepting,
    /// Takes, but never without being awaited.
    Awaited,
    /// Lets the wait for room run out; connected all the while.
    Full,
    /// Is never done.
    Stuck,
    /// Gives up after a retry series.
    Dead,
    /// Loses the connection and does not know whether the message went out.
    InDoubt,
    /// Gives up at once.
    Broken,
    /// Refuses this message at once.
    TooLarge,
    /// Refuses this message after a while.
    TooLargeLater,
}

#[derive(Debug)]
struct Fake {
    name: &'static str,
    mode: Mutex<Mode>,
    state: Mutex<ConnectionState>,
    got: Mutex<Vec<(String, Instant)>>,
    /// Sends that were begun, the costly kind.
    sends: AtomicUsize,
    connects: AtomicUsize,
    /// So many awaited sends fail before the mode counts.
    failures_first: AtomicUsize,
}

impl Fake {
    fn new(name: &'static str, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            name,
            mode: Mutex::new(mode),
            state: Mutex::new(ConnectionState::Connected),
            got: Mutex::default(),
            sends: AtomicUsize::new(0),
            connects: AtomicUsize::new(0),
            failures_first: AtomicUsize::new(0),
        })
    }

    fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    fn be(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    fn take(&self, message: &Message) {
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        self.got.lock().push((text, Instant::now()));
    }

    fn got(&self) -> Vec<String> {
        self.got
            .lock()
            .iter()
            .map(|(text, _)| text.clone())
            .collect()
    }

    fn count(&self) -> usize {
        self.got.lock().len()
    }

    fn sends(&self) -> usize {
        self.sends.load(Ordering::Relaxed)
    }

    fn connects(&self) -> usize {
        self.connects.load(Ordering::Relaxed)
    }

    fn failure(&self) -> Failure {
        Failure::new(self.name)
    }
}

impl MessageSink for Fake {
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.mode() {
            Mode::Accepting => {
                self.take(&message);
                Ok(())
            }
            Mode::TooLarge => Err(TrySendError::Refused(
                SinkError::MessageTooLarge(self.failure()).returning(message),
            )),
            _ => Err(TrySendError::WouldWait(message)),
        }
    }

    fn send(&self, message: Message) -> Sending<'_> {
        self.sends.fetch_add(1, Ordering::Relaxed);
        Sending::new(async move {
            let fails = self
                .failures_first
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok();
            match self.mode() {
                Mode::Accepting | Mode::Awaited if !fails => {
                    self.take(&message);
                    Ok(())
                }
                Mode::Full => {
                    sleep(WAIT_TIMEOUT).await;
                    Err(SinkError::BufferFull(self.failure()).returning(message))
                }
                Mode::Stuck => pending().await,
                Mode::Broken => Err(SinkError::ConnectionFailed(self.failure()).returning(message)),
                Mode::TooLargeLater => {
                    sleep(SERIES).await;
                    Err(SinkError::MessageTooLarge(self.failure()).returning(message))
                }
                Mode::InDoubt => Err(SinkError::ConnectionLost(self.failure())),
                Mode::TooLarge => {
                    Err(SinkError::MessageTooLarge(self.failure()).returning(message))
                }
                Mode::Dead | Mode::Accepting | Mode::Awaited => {
                    sleep(SERIES).await;
                    Err(SinkError::ConnectionFailed(self.failure()).returning(message))
                }
            }
        })
    }

    fn connect(&self) -> Sending<'_> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        if self.mode() == Mode::Dead {
            return Sending::ready(Err(SinkError::ConnectionFailed(self.failure())));
        }
        Sending::ready(Ok(()))
    }

    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            sleep(SECOND).await;
            match self.mode() {
                Mode::Full => Err(SinkError::Timeout(self.failure())),
                _ => Ok(()),
            }
        })
    }

    fn flush(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            sleep(within).await;
            let mut ledger = Ledger::default();
            ledger.accepted = self.count() as u64;
            ledger.delivered = ledger.accepted;
            Ok(Report::over([SinkReport::new(self.name, ledger, None)]))
        })
    }

    fn is_connected(&self) -> bool {
        self.state() == ConnectionState::Connected
    }

    fn state(&self) -> ConnectionState {
        *self.state.lock()
    }

    fn metadata(&self) -> SinkMetadata {
        let mut metadata = SinkMetadata::new(self.name, "fake");
        metadata.state = self.state();
        metadata
    }
}

fn targets(fakes: &[&Arc<Fake>]) -> Vec<(String, Arc<dyn MessageSink>)> {
    fakes
        .iter()
        .map(|fake| {
            (
                fake.name.to_owned(),
                Arc::clone(*fake) as Arc<dyn MessageSink>,
            )
        })
        .collect()
}

fn fanout(fakes: &[&Arc<Fake>]) -> CompositeSink {
    CompositeSink::fanout("all", targets(fakes)).unwrap()
}

fn round_robin(fakes: &[&Arc<Fake>]) -> CompositeSink {
    CompositeSink::round_robin("turns", targets(fakes)).unwrap()
}

fn failover(fakes: &[&Arc<Fake>]) -> CompositeSink {
    CompositeSink::failover("first", targets(fakes)).unwrap()
}

fn message(n: usize) -> Message {
    Message::new(n.to_string())
}

#[test]
fn no_targets_is_a_configuration_error_that_names_the_composite() {
    for made in [
        CompositeSink::fanout("empty", Vec::new()),
        CompositeSink::round_robin("empty", Vec::new()),
        CompositeSink::failover("empty", Vec::new()),
    ] {
        let error = made.unwrap_err();
        assert!(matches!(error, SinkError::InvalidConfig(_)));
        assert_eq!(error.failure().service(), "empty");
    }
}

// Fan-out

#[tokio::test(start_paused = true)]
async fn fanout_sends_everything_to_everyone_in_order() {
    let (a, b) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("b", Mode::Awaited),
    );
    let all = fanout(&[&a, &b]);
    all.send_batch((0..5).map(message).collect()).await.unwrap();
    assert_eq!(a.got(), ["0", "1", "2", "3", "4"]);
    assert_eq!(b.got(), a.got());
    assert_eq!(all.metadata().messages_sent, 5);
}

#[tokio::test(start_paused = true)]
async fn fanout_a_blocked_target_delays_the_others_by_nothing() {
    for mode in [Mode::Full, Mode::Dead] {
        let bad = Fake::new("bad", mode);
        let good = Fake::new("good", Mode::Accepting);
        let awaited = Fake::new("awaited", Mode::Awaited);
        let all = fanout(&[&bad, &good, &awaited]);
        let start = Instant::now();
        for n in 0..1000 {
            let error = all.send(message(n)).await.unwrap_err();
            assert_eq!(error.into_message(), Some(message(n)));
        }
        assert_eq!(good.got.lock()[0].1, start, "message 0 was there at once");
        assert_eq!(awaited.got.lock()[0].1, start);
        assert_eq!((good.count(), awaited.count()), (1000, 1000));
        let once = if mode == Mode::Full {
            WAIT_TIMEOUT
        } else {
            SERIES
        };
        let took = start.elapsed();
        assert!(took >= once && took < once + SECOND / 10, "{took:?}");
        assert_eq!(bad.sends(), 1);
        assert_eq!(all.metadata().messages_failed, 1000);
        assert_eq!(all.state(), ConnectionState::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn fanout_a_stuck_target_keeps_nothing_from_the_others() {
    let (stuck, good) = (Fake::new("s", Mode::Stuck), Fake::new("g", Mode::Accepting));
    let all = fanout(&[&stuck, &good]);
    let sent = tokio::time::timeout(SECOND, all.send(message(0))).await;
    assert!(sent.is_err());
    assert_eq!(good.got(), ["0"], "accepted although the send was dropped");
    assert_eq!(stuck.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn fanout_waits_for_all_slow_targets_at_the_same_time() {
    let (a, b) = (Fake::new("a", Mode::Full), Fake::new("b", Mode::Full));
    let all = fanout(&[&a, &b]);
    let start = Instant::now();
    all.send(message(0)).await.unwrap_err();
    assert_eq!(start.elapsed(), WAIT_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn fanout_partial_names_both_sides_and_returns_the_message() {
    let a = Fake::new("a", Mode::Accepting);
    let b = Fake::new("b", Mode::Dead);
    let c = Fake::new("c", Mode::InDoubt);
    let all = fanout(&[&b, &a, &c]);
    let error = all.send(message(7)).await.unwrap_err();
    let SinkError::Partial(partial) = &error else {
        panic!("{error}");
    };
    assert_eq!(partial.accepted(), ["a"]);
    let [(b_name, b_error), (c_name, c_error)] = partial.failed() else {
        panic!("{partial:?}");
    };
    assert_eq!((&**b_name, &**c_name), ("b", "c"));
    assert!(matches!(b_error, SinkError::ConnectionFailed(_)));
    assert!(matches!(c_error, SinkError::ConnectionLost(_)));
    assert!(c_error.failure().message().is_none(), "in doubt there");
    assert_eq!(error.failure().service(), "all");
    assert!(all.metadata().last_error.unwrap().contains("`b`"));
    assert_eq!(error.into_message(), Some(message(7)));
}

#[tokio::test(start_paused = true)]
async fn fanout_fails_messages_at_once_with_the_last_error_until_the_target_takes_one() {
    let bad = Fake::new("bad", Mode::Accepting);
    let all = fanout(&[&bad]);
    all.send(message(0)).await.unwrap();
    bad.be(Mode::Full);
    all.send(message(1)).await.unwrap_err();

    // Its connection stands, so probes by `connect` succeed; the wait for room must not come back.
    let start = Instant::now();
    for n in 0..600 {
        let error = all.send(message(n)).await.unwrap_err();
        let SinkError::Partial(partial) = &error else {
            panic!("{error}");
        };
        assert!(matches!(partial.failed()[0].1, SinkError::BufferFull(_)));
        assert_eq!(partial.failed()[0].1.failure().message(), Some(&message(n)));
        sleep(SECOND / 10).await;
    }
    assert_eq!(start.elapsed(), SECOND * 60, "no send waited");

    bad.be(Mode::Accepting);
    all.send(message(2)).await.unwrap();
    bad.be(Mode::Awaited);
    all.send(message(3)).await.unwrap();
    assert_eq!(bad.got(), ["0", "2", "3"], "it is waited for again");
}

#[tokio::test(start_paused = true)]
async fn fanout_waits_again_for_a_target_that_a_probe_found_well() {
    let (bad, good) = (Fake::new("b", Mode::Dead), Fake::new("g", Mode::Accepting));
    let all = fanout(&[&bad, &good]);
    all.send(message(0)).await.unwrap_err();
    bad.be(Mode::Awaited);
    all.send(message(1)).await.unwrap_err();
    assert_eq!(bad.connects(), 0, "the first probe comes after a second");
    sleep(SECOND).await;
    all.send(message(2)).await.unwrap_err();
    sleep(SECOND / 10).await;
    assert_eq!(bad.connects(), 1);
    all.send(message(3)).await.unwrap();
    assert_eq!(bad.got(), ["3"]);
    assert_eq!(good.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn fanout_does_not_blame_a_target_for_a_message_nobody_can_send() {
    for mode in [Mode::TooLarge, Mode::TooLargeLater] {
        let (a, b) = (Fake::new("a", mode), Fake::new("b", Mode::Accepting));
        let all = fanout(&[&a, &b]);
        all.send(message(0)).await.unwrap_err();
        a.be(Mode::Awaited);
        all.send(message(1)).await.unwrap();
        assert_eq!(all.state(), ConnectionState::Connected);
    }
}

#[tokio::test(start_paused = true)]
async fn fanout_goes_on_asking_a_target_that_fails_without_costing_time() {
    let (a, b) = (
        Fake::new("a", Mode::Broken),
        Fake::new("b", Mode::Accepting),
    );
    let all = fanout(&[&a, &b]);
    all.send(message(0)).await.unwrap_err();
    a.be(Mode::Awaited);
    all.send(message(1)).await.unwrap();
    assert_eq!(a.got(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn fanout_try_send_touches_nothing_unless_there_is_one_target() {
    let (a, b) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("b", Mode::Accepting),
    );
    let Err(TrySendError::WouldWait(back)) = fanout(&[&a, &b]).try_send(message(0)) else {
        panic!("a fan-out to two took a message it could not give back");
    };
    assert_eq!(back, message(0));
    assert_eq!(a.count() + b.count(), 0);
    fanout(&[&a]).try_send(message(1)).unwrap();
    assert_eq!(a.got(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn fanout_of_fanouts_keeps_healthy_leaves_served() {
    let (dead, well, other) = (
        Fake::new("dead", Mode::Dead),
        Fake::new("well", Mode::Accepting),
        Fake::new("other", Mode::Accepting),
    );
    let inner = Arc::new(fanout(&[&dead, &well])) as Arc<dyn MessageSink>;
    let outer = CompositeSink::fanout(
        "outer",
        vec![
            ("inner".to_owned(), inner),
            (
                "other".to_owned(),
                Arc::clone(&other) as Arc<dyn MessageSink>,
            ),
        ],
    )
    .unwrap();
    let start = Instant::now();
    for n in 0..100 {
        outer.send(message(n)).await.unwrap_err();
    }
    assert_eq!((well.count(), other.count()), (100, 100));
    assert_eq!(start.elapsed(), SERIES);
}

// Round robin

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns() {
    for mode in [Mode::Accepting, Mode::Awaited] {
        let (a, b, c) = (
            Fake::new("a", mode),
            Fake::new("b", mode),
            Fake::new("c", mode),
        );
        let turns = round_robin(&[&a, &b, &c]);
        for n in 0..6 {
            turns.send(message(n)).await.unwrap();
        }
        assert_eq!(a.got(), ["0", "3"]);
        assert_eq!(b.got(), ["1", "4"]);
        assert_eq!(c.got(), ["2", "5"]);
    }
}

#[tokio::test(start_paused = true)]
async fn round_robin_passes_over_what_fails_and_shares_evenly() {
    let (a, b, c) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("b", Mode::Accepting),
        Fake::new("c", Mode::Accepting),
    );
    *b.state.lock() = ConnectionState::Failed;
    let turns = round_robin(&[&a, &b, &c]);
    for n in 0..100 {
        turns.send(message(n)).await.unwrap();
    }
    assert_eq!((a.count(), b.count(), c.count()), (50, 0, 50));
}

#[tokio::test(start_paused = true)]
async fn round_robin_a_dead_target_costs_one_series_and_no_message() {
    let (dead, well) = (Fake::new("d", Mode::Dead), Fake::new("w", Mode::Awaited));
    let turns = round_robin(&[&dead, &well]);
    let start = Instant::now();
    for n in 0..100 {
        turns.send(message(n)).await.unwrap();
    }
    assert_eq!(start.elapsed(), SERIES);
    assert_eq!((dead.sends(), well.count()), (1, 100));
    assert_eq!(turns.metadata().messages_sent, 100);

    // A probe finds it well, and it has its turns again.
    dead.be(Mode::Awaited);
    sleep(SECOND).await;
    turns.send(message(100)).await.unwrap();
    sleep(SECOND / 10).await;
    for n in 101..111 {
        turns.send(message(n)).await.unwrap();
    }
    assert_eq!(dead.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn round_robin_prefers_who_takes_at_once_and_wakes_who_sleeps() {
    let (asleep, well) = (Fake::new("a", Mode::Stuck), Fake::new("w", Mode::Accepting));
    *asleep.state.lock() = ConnectionState::Disconnected;
    let turns = round_robin(&[&asleep, &well]);
    turns.send(message(0)).await.unwrap();
    assert_eq!(well.got(), ["0"]);
    sleep(SECOND / 10).await;
    assert_eq!(asleep.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn round_robin_never_sends_elsewhere_what_did_not_come_back() {
    let (doubt, well) = (Fake::new("d", Mode::InDoubt), Fake::new("w", Mode::Awaited));
    for sink in [round_robin(&[&doubt, &well]), failover(&[&doubt, &well])] {
        let error = sink.send(message(0)).await.unwrap_err();
        assert!(matches!(error, SinkError::ConnectionLost(_)));
        assert_eq!(error.into_message(), None);
        assert_eq!(well.count(), 0);
        sink.send(message(1)).await.unwrap();
        assert_eq!(
            well.got.lock().drain(..).count(),
            1,
            "the next one passes it over"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_doubled_when_a_nested_fanout_took_it_in_part() {
    let (a, dead, spare) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("dead", Mode::Dead),
        Fake::new("spare", Mode::Accepting),
    );
    let pair = || Arc::new(fanout(&[&a, &dead])) as Arc<dyn MessageSink>;
    let spare_sink = || Arc::clone(&spare) as Arc<dyn MessageSink>;
    let first = CompositeSink::failover(
        "first",
        vec![("pair".into(), pair()), ("spare".into(), spare_sink())],
    )
    .unwrap();
    let error = first.send(message(0)).await.unwrap_err();
    assert!(matches!(error, SinkError::Partial(_)));
    assert_eq!((a.count(), spare.count()), (1, 0));

    // When surely nobody took it, it goes on to the next.
    a.be(Mode::Dead);
    let first = CompositeSink::failover(
        "first",
        vec![("pair".into(), pair()), ("spare".into(), spare_sink())],
    )
    .unwrap();
    first.send(message(1)).await.unwrap();
    assert_eq!(spare.got(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn when_everything_fails_the_last_error_returns_the_message() {
    let (a, b) = (Fake::new("a", Mode::Dead), Fake::new("b", Mode::Full));
    for sink in [round_robin(&[&a, &b]), failover(&[&a, &b])] {
        let error = sink.send(message(3)).await.unwrap_err();
        assert!(matches!(error, SinkError::BufferFull(_)));
        assert_eq!(error.failure().service(), "b");
        assert_eq!(error.into_message(), Some(message(3)));
        assert_eq!(sink.metadata().messages_failed, 1);
        assert_eq!(sink.state(), ConnectionState::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_twice_is_tried_in_panic_and_heals() {
    let a = Fake::new("a", Mode::Awaited);
    a.failures_first.store(2, Ordering::Relaxed);
    for sink in [round_robin(&[&a]), failover(&[&a])] {
        a.failures_first.store(2, Ordering::Relaxed);
        sink.send(message(0)).await.unwrap_err();
        sink.send(message(1)).await.unwrap_err();
        sink.send(message(2)).await.unwrap();
        assert_eq!(sink.state(), ConnectionState::Connected);
    }
    assert_eq!(a.got(), ["2", "2"]);
}

// Failover

#[tokio::test(start_paused = true)]
async fn failover_prefers_the_first_and_waits_for_it_when_it_sleeps() {
    let (first, second) = (
        Fake::new("1", Mode::Awaited),
        Fake::new("2", Mode::Accepting),
    );
    *first.state.lock() = ConnectionState::Disconnected;
    let sink = failover(&[&first, &second]);
    for n in 0..10 {
        sink.send(message(n)).await.unwrap();
    }
    assert_eq!((first.count(), second.count()), (10, 0));
    assert_eq!(
        first.connects() + second.connects(),
        0,
        "no probes while all is well"
    );
}

#[tokio::test(start_paused = true)]
async fn failover_a_dead_primary_does_not_cost_every_message_a_retry_series() {
    let (dead, well) = (Fake::new("1", Mode::Dead), Fake::new("2", Mode::Awaited));
    let sink = failover(&[&dead, &well]);
    let start = Instant::now();
    for n in 0..1000 {
        sink.send(message(n)).await.unwrap();
    }
    assert_eq!(start.elapsed(), SERIES);
    assert_eq!((dead.sends(), well.count()), (1, 1000));
    assert_eq!(well.got()[999], "999");
}

#[tokio::test(start_paused = true)]
async fn failover_probes_grow_and_stop_with_the_sends() {
    let (dead, well) = (Fake::new("1", Mode::Dead), Fake::new("2", Mode::Accepting));
    let sink = failover(&[&dead, &well]);
    sink.send(message(0)).await.unwrap();
    for n in 0..620 {
        sink.send(message(n)).await.unwrap();
        sleep(SECOND / 10).await;
    }
    // At 1, 3, 7, 15 and 31 s, and then after 30 more.
    assert_eq!(dead.connects(), 6);
    sleep(SECOND * 3600).await;
    assert_eq!(dead.connects(), 6, "no timers while nothing is sent");
    assert_eq!(dead.sends(), 1);
}

/// Sends every 100 ms for so long; returns when the first target got its first message, from the start.
async fn pump(sink: &CompositeSink, first: &Fake, seconds: u32) -> Option<Duration> {
    let start = Instant::now();
    let before = first.count();
    let mut back = None;
    while start.elapsed() < SECOND * seconds {
        sink.send(message(0)).await.unwrap();
        if first.count() > before && back.is_none() {
            back = Some(start.elapsed());
        }
        sleep(SECOND / 10).await;
    }
    back
}

#[tokio::test(start_paused = true)]
async fn failover_goes_back_after_thirty_seconds_of_health_and_not_earlier() {
    let (first, second) = (Fake::new("1", Mode::Dead), Fake::new("2", Mode::Accepting));
    let sink = failover(&[&first, &second]);
    sink.send(message(0)).await.unwrap();
    first.be(Mode::Awaited);
    // The probe that finds it well comes 1 s after the failure.
    let back = pump(&sink, &first, 40).await.unwrap();
    assert!(back >= SECOND * 31, "back after {back:?}");
    assert!(back <= SECOND * 31 + SECOND / 2, "back after {back:?}");
    let seconds = second.count();
    sink.send(message(1)).await.unwrap();
    assert_eq!(second.count(), seconds, "and it stays there");
}

#[tokio::test(start_paused = true)]
async fn failover_goes_back_to_a_primary_that_said_itself_it_failed() {
    let (first, second) = (
        Fake::new("1", Mode::Accepting),
        Fake::new("2", Mode::Accepting),
    );
    let sink = failover(&[&first, &second]);
    *first.state.lock() = ConnectionState::Failed;
    assert_eq!(pump(&sink, &first, 60).await, None);
    *first.state.lock() = ConnectionState::Connected;
    assert!(pump(&sink, &first, 70).await.unwrap() >= SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn failover_a_flapping_primary_is_not_gone_back_to() {
    let (first, second) = (Fake::new("1", Mode::Dead), Fake::new("2", Mode::Accepting));
    let sink = failover(&[&first, &second]);
    sink.send(message(0)).await.unwrap();
    for _ in 0..20 {
        first.be(Mode::Awaited);
        assert_eq!(pump(&sink, &first, 20).await, None);
        first.be(Mode::Dead);
        assert_eq!(pump(&sink, &first, 20).await, None);
    }
    assert_eq!(first.sends(), 1);
    first.be(Mode::Awaited);
    let back = pump(&sink, &first, 70).await.unwrap();
    assert!(back >= SECOND * 30, "back after {back:?}");
}

#[tokio::test(start_paused = true)]
async fn failover_a_blocked_primary_costs_one_wait_per_outage() {
    let (first, second) = (
        Fake::new("1", Mode::Accepting),
        Fake::new("2", Mode::Accepting),
    );
    let sink = failover(&[&first, &second]);
    sink.send(message(0)).await.unwrap();
    first.be(Mode::Full);
    // Its connection stands, so it looks healthy to every probe.
    assert_eq!(pump(&sink, &first, 300).await, None);
    assert_eq!(first.sends(), 1);
    first.be(Mode::Accepting);
    assert!(pump(&sink, &first, 70).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_target_is_waited_for_when_there_is_no_other() {
    for make in [round_robin, failover] {
        let only = Fake::new("1", Mode::Accepting);
        let sink = make(&[&only]);
        sink.send(message(0)).await.unwrap();
        only.be(Mode::Full);
        sink.send(message(1)).await.unwrap_err();
        sleep(SECOND).await;
        // Starts the probe, which finds a connection.
        sink.try_send(message(2)).unwrap_err();
        sleep(SECOND).await;
        assert_eq!(only.connects(), 1);
        let start = Instant::now();
        sink.send(message(3)).await.unwrap_err();
        assert_eq!(start.elapsed(), WAIT_TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn failover_tries_everything_when_everything_is_failing() {
    let (a, b) = (Fake::new("a", Mode::Dead), Fake::new("b", Mode::Dead));
    let sink = failover(&[&a, &b]);
    sink.send(message(0)).await.unwrap_err();
    b.be(Mode::Accepting);
    let start = Instant::now();
    sink.send(message(1)).await.unwrap();
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "who takes at once before who is waited for"
    );
    assert_eq!(b.got(), ["1"]);

    // The one that came back later does not take over from the one that works since before.
    a.be(Mode::Accepting);
    assert_eq!(pump(&sink, &a, 20).await, None);
}

#[tokio::test(start_paused = true)]
async fn failover_try_send_gives_back_what_the_first_would_wait_for() {
    let (first, second) = (
        Fake::new("1", Mode::Awaited),
        Fake::new("2", Mode::Accepting),
    );
    let sink = failover(&[&first, &second]);
    let Err(TrySendError::WouldWait(back)) = sink.try_send(message(4)) else {
        panic!("not given back");
    };
    assert_eq!(back, message(4));
    assert_eq!(second.count(), 0);
    assert_eq!(sink.metadata().messages_failed, 0);

    first.be(Mode::TooLarge);
    second.be(Mode::TooLarge);
    let Err(TrySendError::Refused(error)) = sink.try_send(message(5)) else {
        panic!("not refused");
    };
    assert_eq!(error.into_message(), Some(message(5)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_composite_takes_its_probe_with_it() {
    #[derive(Debug)]
    struct Silent(Mutex<Option<tokio::sync::oneshot::Sender<()>>>);
    impl MessageSink for Silent {
        fn send(&self, message: Message) -> Sending<'_> {
            Sending::ready(Err(
                SinkError::ConnectionFailed(Failure::new("silent")).returning(message)
            ))
        }
        fn connect(&self) -> Sending<'_> {
            let held = self.0.lock().take();
            Sending::new(async move {
                pending::<()>().await;
                drop(held);
                Ok(())
            })
        }
        fn is_connected(&self) -> bool {
            false
        }
        fn metadata(&self) -> SinkMetadata {
            SinkMetadata::new("silent", "fake")
        }
    }
    let (probing, dropped) = tokio::sync::oneshot::channel();
    let silent = Arc::new(Silent(Mutex::new(Some(probing)))) as Arc<dyn MessageSink>;
    let spare = Fake::new("spare", Mode::Accepting);
    let sink = CompositeSink::failover(
        "first",
        vec![("silent".into(), silent), ("spare".into(), spare.clone())],
    )
    .unwrap();
    sink.send(message(0)).await.unwrap();
    sleep(SECOND).await;
    sink.send(message(1)).await.unwrap();
    sleep(SECOND).await;
    drop(sink);
    tokio::time::timeout(SECOND, dropped)
        .await
        .expect("the probe outlived its sink")
        .unwrap_err();
}

#[test]
fn without_a_runtime_nothing_panics() {
    #[derive(Debug)]
    struct Refusing(Arc<Fake>);
    impl MessageSink for Refusing {
        fn try_send(&self, message: Message) -> Result<(), TrySendError> {
            Err(TrySendError::Refused(
                SinkError::ConnectionFailed(Failure::new("r")).returning(message),
            ))
        }
        fn send(&self, message: Message) -> Sending<'_> {
            self.0.send(message)
        }
        fn is_connected(&self) -> bool {
            false
        }
        fn metadata(&self) -> SinkMetadata {
            self.0.metadata()
        }
    }
    let inner = Fake::new("r", Mode::Awaited);
    let spare = Fake::new("spare", Mode::Accepting);
    let sink = CompositeSink::failover(
        "first",
        vec![
            (
                "r".into(),
                Arc::new(Refusing(inner)) as Arc<dyn MessageSink>,
            ),
            ("spare".into(), spare.clone()),
        ],
    )
    .unwrap();
    for n in 0..3 {
        sink.try_send(message(n)).unwrap();
    }
    assert_eq!(spare.count(), 3);
}

// All kinds

#[tokio::test(start_paused = true)]
async fn flush_asks_all_at_once_and_counts_a_shared_leaf_once() {
    let (leaf, other) = (
        Fake::new("leaf", Mode::Accepting),
        Fake::new("other", Mode::Accepting),
    );
    let left = Arc::new(fanout(&[&leaf])) as Arc<dyn MessageSink>;
    let right = Arc::new(fanout(&[&leaf, &other])) as Arc<dyn MessageSink>;
    let top =
        CompositeSink::fanout("top", vec![("left".into(), left), ("right".into(), right)]).unwrap();
    top.send(message(0)).await.unwrap();
    assert_eq!(leaf.got(), ["0", "0"], "a diamond's leaf gets it both ways");

    let start = Instant::now();
    let report = top.flush(SECOND).await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(report.delivered, 3);
    let names: Vec<_> = report.per_sink.iter().map(|sink| &*sink.name).collect();
    assert_eq!(names, ["leaf", "other"]);
    assert!(report.is_complete());
}

#[tokio::test(start_paused = true)]
async fn closed_is_final_and_returns_the_message() {
    let (a, b) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("b", Mode::Accepting),
    );
    for sink in [
        fanout(&[&a, &b]),
        round_robin(&[&a, &b]),
        failover(&[&a, &b]),
    ] {
        let report = sink.close(SECOND).await.unwrap();
        assert_eq!(report.per_sink.len(), 2);
        let error = sink.send(message(1)).await.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)));
        assert_eq!(error.into_message(), Some(message(1)));
        assert!(matches!(
            sink.try_send(message(2)),
            Err(TrySendError::Refused(SinkError::Closed(_)))
        ));
        assert_eq!(sink.state(), ConnectionState::Closed);
        assert!(!sink.is_connected());
    }
    assert_eq!(a.count() + b.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn connect_and_disconnect_reach_all_and_name_who_failed() {
    let (a, b) = (Fake::new("a", Mode::Awaited), Fake::new("b", Mode::Dead));
    let SinkError::Partial(partial) = fanout(&[&a, &b]).connect().await.unwrap_err() else {
        panic!("not partial");
    };
    assert_eq!(
        (partial.accepted(), &*partial.failed()[0].0),
        (&["a".to_owned()][..], "b")
    );
    failover(&[&b, &a]).connect().await.unwrap();
    failover(&[&b]).connect().await.unwrap_err();

    b.be(Mode::Full);
    let start = Instant::now();
    let error = round_robin(&[&a, &b]).disconnect().await.unwrap_err();
    assert_eq!(start.elapsed(), SECOND, "both at the same time");
    let SinkError::Partial(partial) = error else {
        panic!("{error}");
    };
    assert!(matches!(partial.failed()[0].1, SinkError::Timeout(_)));
}

#[tokio::test(start_paused = true)]
async fn the_state_is_that_of_all_or_of_the_best() {
    use ConnectionState::{Closed, Connected, Connecting, Disconnected, Failed};
    let (a, b) = (
        Fake::new("a", Mode::Accepting),
        Fake::new("b", Mode::Accepting),
    );
    for (left, right, all, one) in [
        (Connected, Connected, Connected, Connected),
        (Connected, Disconnected, Disconnected, Connected),
        (Connecting, Disconnected, Connecting, Connecting),
        (Connected, Failed, Failed, Connected),
        (Connected, Closed, Failed, Connected),
        (Failed, Disconnected, Failed, Disconnected),
        (Failed, Closed, Failed, Failed),
        (Closed, Closed, Closed, Closed),
    ] {
        *a.state.lock() = left;
        *b.state.lock() = right;
        let (both, first, turns) = (
            fanout(&[&a, &b]),
            failover(&[&a, &b]),
            round_robin(&[&b, &a]),
        );
        assert_eq!(both.state(), all, "{left:?} {right:?}");
        assert_eq!(first.state(), one, "{left:?} {right:?}");
        assert_eq!(turns.state(), one, "{left:?} {right:?}");
        assert_eq!(both.is_connected(), all == Connected);
        assert_eq!(first.is_connected(), one == Connected);
        assert_eq!(both.metadata().sink_type, "composite");
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_nested_composites_work() {
    let leaf = Fake::new("leaf", Mode::Awaited);
    let spare = Fake::new("spare", Mode::Accepting);
    let mut sink = leaf.clone() as Arc<dyn MessageSink>;
    for depth in 0..64 {
        let name = format!("level-{depth}");
        let inner = vec![("inner".to_owned(), sink)];
        sink = Arc::new(
            match depth % 3 {
                0 => CompositeSink::fanout(name, inner),
                1 => CompositeSink::round_robin(name, inner),
                _ => CompositeSink::failover(name, inner),
            }
            .unwrap(),
        );
    }
    sink.send(message(0)).await.unwrap();
    leaf.be(Mode::Accepting);
    sink.send(message(1)).await.unwrap();
    assert_eq!(leaf.got(), ["0", "1"]);
    assert_eq!(sink.state(), ConnectionState::Connected);
    assert_eq!(sink.flush(SECOND).await.unwrap().delivered, 2);

    // What failed at the bottom comes up with its message, and surely nobody has it.
    leaf.be(Mode::Dead);
    let top = CompositeSink::failover(
        "top",
        vec![("deep".into(), sink), ("spare".into(), spare.clone())],
    )
    .unwrap();
    top.send(message(2)).await.unwrap();
    assert_eq!(spare.got(), ["2"]);
}
