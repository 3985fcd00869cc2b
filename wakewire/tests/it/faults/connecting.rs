//! Lazy sinks, pools and composites that are closed, put to sleep or dropped while they connect, after any number of
//! polls of who waits for it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use wakewire::sink::PoolConfig;
use wakewire::{
    CompositeSink, LazyConfig, LazyConnectionPool, LazyMessageSink, Message, MessageSink, Sending,
    SinkError, SinkMetadata,
};

const SECOND: Duration = Duration::from_secs(1);

/// What connections lead to.
#[derive(Debug, Default)]
struct Remote {
    dials: AtomicU32,
    /// Attempts under way, and connections there are.
    dialling: AtomicU32,
    open: AtomicU32,
    /// Connections that came about.
    made: AtomicU32,
    taken: Mutex<Vec<Message>>,
}

/// Counts for as long as it is there.
#[derive(Debug)]
struct Counted(Arc<Remote>, fn(&Remote) -> &AtomicU32);

impl Counted {
    fn new(remote: &Arc<Remote>, which: fn(&Remote) -> &AtomicU32) -> Self {
        which(remote).fetch_add(1, SeqCst);
        Self(Arc::clone(remote), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, SeqCst);
    }
}

#[derive(Debug)]
struct Wire(Counted);

/// Takes its time, and further polls.
async fn dial(remote: Arc<Remote>) -> Result<Wire, SinkError> {
    remote.dials.fetch_add(1, SeqCst);
    let attempt = Counted::new(&remote, |remote| &remote.dialling);
    for _ in 0..3 {
        yield_now().await;
        sleep(Duration::from_millis(1)).await;
    }
    drop(attempt);
    remote.made.fetch_add(1, SeqCst);
    Ok(Wire(Counted::new(&remote, |remote| &remote.open)))
}

impl MessageSink for Wire {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::new(async move {
            sleep(Duration::from_millis(1)).await;
            self.0.0.taken.lock().unwrap().push(message);
            Ok(())
        })
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("wire", "test")
    }
}

type Make = fn(&Arc<Remote>) -> Arc<dyn MessageSink>;

fn lazy(remote: &Arc<Remote>) -> Arc<dyn MessageSink> {
    let remote = Arc::clone(remote);
    let config = LazyConfig::default();
    Arc::new(LazyMessageSink::new(move || dial(Arc::clone(&remote)), config).with_name("lazy"))
}

fn pool(remote: &Arc<Remote>) -> Arc<dyn MessageSink> {
    let remote = Arc::clone(remote);
    let config = PoolConfig {
        min_idle: 2,
        max_size: 3,
        ..PoolConfig::default()
    };
    let pool = LazyConnectionPool::new(move || dial(Arc::clone(&remote)), config);
    Arc::new(pool.unwrap().with_name("pool"))
}

fn targets(remote: &Arc<Remote>) -> Vec<(String, Arc<dyn MessageSink>)> {
    vec![
        ("lazy".to_owned(), lazy(remote)),
        ("pool".to_owned(), pool(remote)),
    ]
}

/// Each with how many targets take a message, and a name.
const SINKS: [(&str, usize, Make); 5] = [
    ("lazy", 1, lazy),
    ("pool", 1, pool),
    ("fan-out", 2, |remote| {
        Arc::new(CompositeSink::fanout("fan-out", targets(remote)).unwrap())
    }),
    ("round robin", 1, |remote| {
        Arc::new(CompositeSink::round_robin("round robin", targets(remote)).unwrap())
    }),
    ("failover", 1, |remote| {
        Arc::new(CompositeSink::failover("failover", targets(remote)).unwrap())
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Nobody waits any more, and then it is closed.
    DropThenClose,
    /// It is closed while somebody waits.
    Close,
    /// It is put to sleep while somebody waits, and closed.
    Disconnect,
    /// Nobody waits any more, and it is dropped.
    Drop,
}

/// Who waits: a send, or who asks for a connection.
fn waits(sink: &Arc<dyn MessageSink>, sends: bool) -> Pin<Box<dyn Future<Output = bool> + Send>> {
    let sink = Arc::clone(sink);
    Box::pin(async move {
        let done = if sends {
            sink.send(Message::new("x")).await
        } else {
            sink.connect().await
        };
        if let Err(error) = done {
            let is_told = matches!(
                error,
                SinkError::Closed(_) | SinkError::Partial(_) | SinkError::ConnectionFailed(_)
            );
            assert!(is_told, "{error}");
            return false;
        }
        true
    })
}

/// Acts after so many polls; returns whether who waited was done by then.
async fn acts(name: &str, make: Make, takers: usize, sends: bool, act: Act, polls: usize) -> bool {
    let what = format!("{name}, sends {sends}, {act:?} after {polls} polls");
    let remote = Arc::new(Remote::default());
    let mut sink = Some(make(&remote));
    let mut waiting = waits(sink.as_ref().unwrap(), sends);
    let mut done = None;
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
        if let Poll::Ready(result) = polled {
            done = Some(result);
            break;
        }
        sleep(Duration::from_micros(300)).await;
    }
    let in_time = timeout(60 * SECOND, async {
        let Some(open) = &sink else { return };
        match act {
            Act::DropThenClose => {
                drop(waiting);
                open.close(SECOND).await.unwrap();
            }
            Act::Close | Act::Disconnect => {
                let end = async {
                    if act == Act::Disconnect {
                        // It may say that something is still owed.
                        drop(open.disconnect().await);
                        yield_now().await;
                    }
                    open.close(SECOND).await.unwrap();
                };
                if done.is_some() {
                    end.await;
                } else {
                    let (result, ()) = tokio::join!(waiting, end);
                    done = Some(result);
                }
            }
            Act::Drop => {
                drop(waiting);
                sink = None;
            }
        }
    });
    in_time.await.unwrap_or_else(|_| panic!("{what}: stuck"));
    let counts = || (remote.dials.load(SeqCst), remote.made.load(SeqCst));
    let before = counts();
    // Longer than anything lingers.
    sleep(200 * SECOND).await;
    assert_eq!(counts(), before, "{what}: connected afterwards");
    assert_eq!(remote.dialling.load(SeqCst), 0, "{what}: still dials");
    assert_eq!(remote.open.load(SeqCst), 0, "{what}: a connection is open");
    drop(sink);
    assert_eq!(Arc::strong_count(&remote), 1, "{what}: somebody holds it");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "{what}");
    let taken = remote.taken.lock().unwrap().len();
    match done {
        Some(true) if sends => assert_eq!(taken, takers, "{what}"),
        _ => assert!(taken <= takers, "{what}: {taken} of {takers}"),
    }
    done.is_some() && act != Act::Close && act != Act::Disconnect || polls > MOST
}

/// More polls than anything takes until it is connected and has sent.
const MOST: usize = 30;

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_closed_or_dropped_while_it_connects_leaves_no_connection_and_no_task() {
    for (name, takers, make) in SINKS {
        for sends in [true, false] {
            for act in [Act::DropThenClose, Act::Close, Act::Disconnect, Act::Drop] {
                let mut polls = 0;
                while !acts(name, make, takers, sends, act, polls).await {
                    polls += 1;
                }
                assert!(polls >= 5, "it was never dropped while it connected");
            }
        }
    }
}
