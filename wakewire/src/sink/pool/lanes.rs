//! All lanes of a pool, and the one task that puts idle members to sleep.

use crate::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::choice::{Idleness, Rest};
use super::config::PoolConfig;
use super::lane::Lane;
use crate::sink::{MessageSink, Sending};

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) list: Box<[Lane]>,
    pub(super) config: PoolConfig,
    turns: AtomicUsize,
    /// How often a message passed over a failing member.
    pub(super) passed_over: AtomicU64,
    closed: AtomicBool,
    /// Runs while more members are awake than may stay so.
    watch: Mutex<Option<AbortHandle>>,
}

impl Lanes {
    pub(super) fn new(
        name: &str,
        config: PoolConfig,
        member: impl Fn(String) -> Arc<dyn MessageSink>,
    ) -> Self {
        let lane = |number| {
            let name = format!("{name}#{number}");
            Lane::new(name.clone(), member(name))
        };
        Self {
            list: (0..config.max_size).map(lane).collect(),
            config,
            turns: AtomicUsize::new(0),
            passed_over: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            watch: Mutex::new(None),
        }
    }

    pub(super) fn awake(&self) -> impl Iterator<Item = &Lane> {
        self.list.iter().filter(|lane| lane.is_awake())
    }

    /// Returns the lane whose turn it is.
    pub(super) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed) % self.list.len()
    }

    /// This lane was chosen instead of the one whose turn it was: those between had theirs.
    pub(super) fn skipped_to(&self, lane: usize, turn: usize) {
        if lane != turn {
            let turns = lane + self.list.len() - turn;
            self.turns.fetch_add(turns, Ordering::Relaxed);
        }
    }

    /// Probes the failing lanes that a message goes past: of those asleep only when they are missed.
    pub(super) fn pass_over_failing(&self, missed: bool) {
        for lane in &*self.list {
            let view = lane.view();
            let counts = match view.rest {
                Rest::Awake => true,
                Rest::Asleep => missed,
                Rest::Leaving => false,
            };
            if view.failing && counts {
                self.passed_over.fetch_add(1, Ordering::Relaxed);
                self.open_aside(lane);
            }
        }
    }

    /// Connects a lane in the background, if it is time to.
    fn open_aside(&self, lane: &Lane) {
        // With `auto_reconnect = false` that is the user's to do.
        if !self.config.lazy_config.auto_reconnect {
            return;
        }
        if let Some(user) = lane.enter() {
            user.take_part();
            lane.target.probe();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stop_watching();
        self.list.iter().for_each(|lane| lane.target.stop_probing());
    }

    /// Sees to it that idle members will go to sleep; called after one woke, by whoever waits for it.
    pub(super) fn watch_idle(self: &Arc<Self>) {
        let mut watch = self.watch.lock();
        let runs = watch.as_ref().is_some_and(|task| !task.is_finished());
        if runs || self.is_closed() || !self.has_surplus() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let idleness = Idleness::new(self.list.len(), self.config.idle_timeout, now());
            let task = runtime.spawn(watch_over(Arc::downgrade(self), idleness));
            *watch = Some(task.abort_handle());
        }
    }

    pub(super) fn stop_watching(&self) {
        if let Some(task) = self.watch.lock().take() {
            task.abort();
        }
    }

    fn has_surplus(&self) -> bool {
        self.awake().count() > self.config.min_idle
    }

    /// Puts to sleep whoever has been idle for long. Returns whether there is more to watch.
    async fn look(&self, idleness: &mut Idleness) -> bool {
        let surplus = idleness.surplus(
            self.config.min_idle,
            now(),
            |lane| self.list[lane].view(),
            |lane| self.list[lane].was_used(),
        );
        // A disconnect may drain. A message that is bound to the lane waits no longer for it than for room.
        let limit = self.config.lazy_config.wait_timeout;
        let rest = |number: usize| {
            let lane = &self.list[number];
            Sending::new(async move {
                let Some(leaving) = lane.leave() else {
                    return Ok(()); // Somebody came.
                };
                let resting = timeout(limit, lane.disconnect(Some(leaving)));
                resting.await.unwrap_or(Ok(()))
            })
        };
        for ended in self.ask(|number| surplus.contains(number), rest).await {
            if let Err(error) = ended.result {
                tracing::debug!(lane = ended.target, %error, "an idle member did not close cleanly");
            }
        }
        let mut watch = self.watch.lock();
        let more = self.has_surplus();
        if !more {
            *watch = None;
        }
        more
    }
}

/// Looks again and again, and keeps nothing alive between.
async fn watch_over(lanes: Weak<Lanes>, mut idleness: Idleness) {
    loop {
        tokio::time::sleep(idleness.period()).await;
        let Some(lanes) = lanes.upgrade() else {
            return;
        };
        if !lanes.look(&mut idleness).await {
            return;
        }
    }
}

/// The runtime's clock, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
