//! Peers that stop as if by SIGSTOP, and go on: for a while they only look slow, and later they are given up and taken
//! back.
//!
//! A runtime whose one thread waits does nothing and reads no clock, while the system goes on to take its bytes.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::sleep;
use wakewire::testing::assert_ledger;
use wakewire::{MessageSink, SinkFactory};

use crate::support::{PATIENCE, factory, number, numbered, soon, tcp};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Sender,
    Receiver,
}

/// How long somebody who is silent is taken for alive, at most.
const GIVEN_UP: Duration = Duration::from_secs(16);

/// Runs this in a thread and a runtime of its own, which stops for so long when it is told to.
fn stops<F: Future<Output = u64>>(
    work: impl FnOnce() -> F + Send + 'static,
    stop: Option<Duration>,
) -> (JoinHandle<u64>, mpsc::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let work = work();
            tokio::pin!(work);
            loop {
                tokio::select! {
                    biased;
                    done = &mut work => return done,
                    () = sleep(Duration::from_millis(10)) => {}
                }
                if let (Ok(()), Some(stop)) = (told.try_recv(), stop) {
                    thread::sleep(stop);
                }
            }
        })
    });
    (thread, tell)
}

/// Returns how often the receiver was connected to.
async fn receives(factory: SinkFactory, messages: u64) -> u64 {
    let mut source = factory.create_source("x").await.unwrap();
    let end = Instant::now() + 4 * PATIENCE;
    for expected in 0..messages {
        let left = end.saturating_duration_since(Instant::now());
        let received = tokio::time::timeout(left, source.recv()).await;
        let message = received.expect("in time").unwrap().expect("not closed");
        assert_eq!(number(&message), expected, "once, in order");
    }
    assert!(soon(source.close(PATIENCE)).await);
    source.stats().connects
}

async fn sends(factory: SinkFactory, messages: u64, apart: Duration) -> u64 {
    let sink = factory.create_sink("x").await.unwrap();
    for number in 0..messages {
        sink.send(numbered(number)).await.unwrap();
        sleep(apart).await;
    }
    let report = factory.close(4 * PATIENCE).await;
    assert_ledger(&report);
    assert!(report.is_complete(), "{report:?}");
    report.delivered
}

/// Stops somebody for so long in the middle of some traffic.
fn stopped(who: Who, stop: Duration) -> JoinHandle<()> {
    thread::spawn(move || {
        let service = tcp("x", "direct", "lazy.wait_timeout_secs = 60");
        let apart = Duration::from_millis(20);
        // From a second before the stop to some seconds after it, by the clock of who is not stopped.
        let time = if who == Who::Receiver {
            stop
        } else {
            Duration::ZERO
        };
        let messages = u64::try_from((time + Duration::from_secs(4)).as_millis() / 20).unwrap();
        let (here, there) = (factory(&service), factory(&service));
        let pauses = |side| (who == side).then_some(stop);
        let (receiver, stop_receiver) =
            stops(move || receives(here, messages), pauses(Who::Receiver));
        let (sender, stop_sender) =
            stops(move || sends(there, messages, apart), pauses(Who::Sender));
        thread::sleep(Duration::from_secs(1));
        for stop in [stop_receiver, stop_sender] {
            stop.send(()).unwrap();
        }
        assert_eq!(sender.join().unwrap(), messages);
        let connects = receiver.join().unwrap();
        println!("{who:?} stopped for {stop:?}: {messages} messages, {connects} connections");
        if stop < GIVEN_UP / 2 {
            assert_eq!(
                connects, 1,
                "{who:?}: who is slow for {stop:?} is not given up"
            );
        } else {
            assert!(
                connects > 1,
                "{who:?}: who is silent for {stop:?} is given up"
            );
        }
    })
}

#[test]
fn a_peer_that_stops_is_slow_or_given_up_and_nothing_is_lost_or_doubled() {
    let all: Vec<_> = [Who::Sender, Who::Receiver]
        .into_iter()
        .flat_map(|who| [1, 5, 20].map(|seconds| stopped(who, Duration::from_secs(seconds))))
        .collect();
    for one in all {
        one.join().unwrap();
    }
}
