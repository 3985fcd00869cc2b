//! A node without a wire, which does what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connection::node::{NodeConnection, Pooled};
use crate::error::{Failure, Phase, SinkError};

/// What a node does with those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Mood {
    Well,
    /// Nobody listens.
    Refuses,
    /// Accepts, greets and hangs up.
    HangsUp,
    /// Accepts, and answers nothing.
    Silent,
    /// Accepts, and says that it has too much to do.
    Overloaded,
    /// Accepts nobody and refuses nobody.
    Hangs,
    /// Opening it panics.
    Panics,
    /// Asking whether it is well panics.
    PanicsWhenAsked,
}

/// A node that counts.
#[derive(Clone, Debug)]
pub(in crate::connection) struct Node(Arc<Counts>);

#[derive(Debug)]
pub(in crate::connection) struct Counts {
    mood: Mutex<Mood>,
    pub(in crate::connection) announced: Mutex<Option<Duration>>,
    /// How long opening takes.
    pub(in crate::connection) delay: Mutex<Duration>,
    /// Whether a closing connection never comes to its end.
    pub(in crate::connection) lingers: AtomicBool,
    pub(in crate::connection) dials: AtomicUsize,
    pub(in crate::connection) open: AtomicUsize,
    pub(in crate::connection) most_open: AtomicUsize,
    pub(in crate::connection) pings: AtomicUsize,
    pub(in crate::connection) requests: AtomicUsize,
    ids: AtomicUsize,
    all: Mutex<Vec<Arc<Line>>>,
}

/// What both ends know of a connection.
#[derive(Debug)]
struct Line {
    open: AtomicBool,
    ended: Notify,
}

/// A connection to such a node.
#[derive(Debug)]
pub(in crate::connection) struct Fake {
    pub(in crate::connection) id: usize,
    node: Node,
    line: Arc<Line>,
}

impl std::ops::Deref for Node {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

impl Node {
    pub(in crate::connection) fn new() -> Self {
        Self(Arc::new(Counts {
            mood: Mutex::new(Mood::Well),
            announced: Mutex::new(None),
            delay: Mutex::new(Duration::ZERO),
            lingers: AtomicBool::new(false),
            dials: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            ids: AtomicUsize::new(0),
            all: Mutex::new(Vec::new()),
        }))
    }

    pub(in crate::connection) fn becomes(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub(in crate::connection) fn mood(&self) -> Mood {
        *self.mood.lock()
    }

    pub(in crate::connection) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub(in crate::connection) fn dials(&self) -> usize {
        self.dials.load(SeqCst)
    }

    /// Closes all connections from the other side.
    pub(in crate::connection) fn drops_all(&self) {
        for line in std::mem::take(&mut *self.all.lock()) {
            self.ends(&line);
        }
    }

    pub(in crate::connection) async fn accept(self) -> Result<Fake, SinkError> {
        // A hot loop must end for a test to tell of it.
        if self.dials.fetch_add(1, SeqCst) > 100_000 {
            std::future::pending::<()>().await;
        }
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match self.mood() {
            Mood::Refuses => {
                return Err(SinkError::ConnectionFailed(
                    Failure::new("fake").phase(Phase::Dial).because("refused"),
                ));
            }
            Mood::Hangs => std::future::pending().await,
            Mood::Panics => panic!("as told"),
            Mood::Well
            | Mood::Silent
            | Mood::Overloaded
            | Mood::HangsUp
            | Mood::PanicsWhenAsked => {}
        }
        let line = Arc::new(Line {
            open: AtomicBool::new(true),
            ended: Notify::new(),
        });
        let open = self.open.fetch_add(1, SeqCst) + 1;
        self.most_open.fetch_max(open, SeqCst);
        self.all.lock().push(Arc::clone(&line));
        let fake = Fake {
            id: self.ids.fetch_add(1, SeqCst),
            node: self.clone(),
            line,
        };
        if self.mood() == Mood::HangsUp {
            self.ends(&fake.line);
        }
        Ok(fake)
    }

    fn ends(&self, line: &Line) {
        if line.open.swap(false, SeqCst) {
            self.open.fetch_sub(1, SeqCst);
            line.ended.notify_waiters();
        }
    }
}

impl Fake {
    /// Asks something; `Ok` is the answer.
    pub(in crate::connection) async fn request(&self) -> Result<usize, SinkError> {
        self.node.requests.fetch_add(1, SeqCst);
        if self.node.mood() == Mood::Silent {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Err(SinkError::Timeout(Failure::new("fake").phase(Phase::Read)));
        }
        if self.node.mood() == Mood::Overloaded {
            return Err(SinkError::Overloaded(Failure::new("fake")));
        }
        if !self.is_open() {
            return Err(SinkError::ConnectionLost(
                Failure::new("fake").phase(Phase::Read),
            ));
        }
        Ok(self.id)
    }
}

impl Pooled for Fake {
    fn is_open(&self) -> bool {
        self.line.open.load(SeqCst)
    }

    fn announced_idle(&self) -> Option<Duration> {
        *self.node.announced.lock()
    }

    fn close(&self) {
        self.node.ends(&self.line);
    }

    async fn closed(&self) {
        if self.node.lingers.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let ended = self.line.ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        if self.is_open() {
            ended.await;
        }
    }
}

impl NodeConnection for Fake {
    async fn ping(&self, within: Duration) -> Result<(), SinkError> {
        let pings = self.node.pings.fetch_add(1, SeqCst);
        match self.node.mood() {
            Mood::Well | Mood::Overloaded if self.is_open() => Ok(()),
            // A hot loop must end for a test to tell of it.
            Mood::PanicsWhenAsked if pings < 1000 => panic!("as told"),
            Mood::Silent => {
                tokio::time::sleep(within).await;
                Err(SinkError::Timeout(Failure::new("fake").phase(Phase::Read)))
            }
            _ => Err(SinkError::ConnectionLost(Failure::new("fake"))),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.close();
    }
}
