//! When what a link has written is on the disk itself: that is done by the runtime's blocking threads, without a lock,
//! and all who write while it goes on share the next one.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::lane::Lane;
use super::spooled::Spooled;
use crate::delivery::Fsync;
use crate::error::SinkError;
use crate::spool::journal::Unsynced;

/// Those who have written since the last syncing began.
pub(super) struct Group {
    outcome: watch::Sender<Option<Outcome>>,
    /// A task syncs, or will.
    syncs: bool,
}

impl Default for Group {
    fn default() -> Self {
        let (outcome, _) = watch::channel(None);
        Self {
            outcome,
            syncs: false,
        }
    }
}

impl Group {
    /// Begins the next one; returns how to tell those of this one.
    fn closed(&mut self) -> watch::Sender<Option<Outcome>> {
        let next = Self::default().outcome;
        std::mem::replace(&mut self.outcome, next)
    }
}

pub(super) type Outcome = Result<(), SinkError>;

/// How to hear of it.
pub(super) type Hearing = watch::Receiver<Option<Outcome>>;

impl Spooled {
    /// Sees to it that what was just written is synced; returns how to wait for that, if it is to be waited for.
    pub(super) fn joined(&self, shared: &Arc<Shared>, runtime: &Handle) -> Option<Hearing> {
        if self.spool.fsync() == Fsync::Never {
            return None;
        }
        let waits = self.spool.fsync() == Fsync::BeforeAccept;
        let mut group = self.group.lock();
        let outcome = waits.then(|| group.outcome.subscribe());
        if !group.syncs {
            group.syncs = true;
            if waits {
                runtime.spawn(commit(Arc::clone(shared)));
            } else {
                runtime.spawn(sync_later(Arc::downgrade(shared)));
            }
        }
        outcome
    }
}

impl Shared {
    /// Waits until everything is on the disk itself, at most this long; it goes on behind our back.
    pub(super) async fn sync_spool(&self, within: Duration) {
        let Some(spooled) = &self.spooled else {
            return;
        };
        let done = async {
            let (syncs, mut outcome) = {
                let group = spooled.group.lock();
                (group.syncs, group.outcome.subscribe())
            };
            match spooled.spool.fsync() {
                // Whoever comes last is in this group.
                Fsync::BeforeAccept if syncs => drop(outcome.wait_for(Option::is_some).await),
                Fsync::BeforeAccept | Fsync::Never => {}
                Fsync::Interval => {
                    if let Some(unsynced) = spooled.spool.unsynced() {
                        let (unsynced, synced) = synced(unsynced).await;
                        drop(self.conclude(spooled, &mut self.lane.lock(), &unsynced, synced));
                    }
                }
            }
        };
        if timeout(within, done).await.is_err() {
            tracing::debug!(service = %self.config.service, "closed before its spool was synced");
        }
    }

    /// Draws the conclusions of a syncing.
    fn conclude(
        &self,
        spooled: &Spooled,
        lane: &mut Lane,
        unsynced: &Unsynced,
        synced: io::Result<()>,
    ) -> Outcome {
        let reached = spooled.spool.has_synced(unsynced, synced.is_ok());
        let holds_back = spooled.spool.fsync() == Fsync::BeforeAccept;
        match synced {
            Ok(()) => {
                if holds_back {
                    lane.outbox.ready(reached);
                }
                Ok(())
            }
            Err(error) => {
                let refusal = self.not_kept(&spooled.spool, &error);
                if holds_back {
                    // What was written meanwhile is taken back with it.
                    lane.outbox.retract(reached);
                    lane.refused += 1;
                    let mut group = spooled.group.lock();
                    let further = group.closed();
                    further.send_replace(Some(Err(refusal.clone())));
                }
                let service = &self.config.service;
                tracing::warn!(%service, spool = %spooled.spool.path().display(), %error, "not synced");
                Err(refusal)
            }
        }
    }
}

/// Syncs for those who wait, one group after the other, as long as there is one.
async fn commit(shared: Arc<Shared>) {
    let Some(spooled) = &shared.spooled else {
        return;
    };
    loop {
        let (unsynced, waiting) = {
            let mut lane = shared.lane.lock();
            lane.outbox.closed_up();
            let mut group = spooled.group.lock();
            let waiting = group.closed();
            let Some(unsynced) = spooled.spool.unsynced() else {
                group.syncs = false;
                waiting.send_replace(Some(Ok(())));
                return;
            };
            (unsynced, waiting)
        };
        let (unsynced, synced) = synced(unsynced).await;
        let mut lane = shared.lane.lock();
        let outcome = shared.conclude(spooled, &mut lane, &unsynced, synced);
        if lane.outbox.has_unsent()
            && !lane.needs_nobody()
            && let Err(error) = shared.wake(lane)
        {
            tracing::debug!(%error, "not woken");
        }
        waiting.send_replace(Some(outcome));
        shared.changed.notify_waiters();
    }
}

/// Syncs what is written until nothing has been for an interval; holds nothing alive meanwhile.
async fn sync_later(link: Weak<Shared>) {
    loop {
        sleep(INTERVAL).await;
        let Some(shared) = link.upgrade() else {
            return;
        };
        let Some(spooled) = &shared.spooled else {
            return;
        };
        let unsynced = {
            let mut group = spooled.group.lock();
            let unsynced = spooled.spool.unsynced();
            group.syncs = unsynced.is_some();
            unsynced
        };
        let Some(unsynced) = unsynced else {
            return;
        };
        let (unsynced, synced) = synced(unsynced).await;
        // What was accepted is accepted; that it is not safe yet has been said.
        drop(shared.conclude(spooled, &mut shared.lane.lock(), &unsynced, synced));
    }
}

/// Syncs on a thread that may block.
async fn synced(unsynced: Unsynced) -> (Arc<Unsynced>, io::Result<()>) {
    let unsynced = Arc::new(unsynced);
    let there = Arc::clone(&unsynced);
    let done = tokio::task::spawn_blocking(move || there.sync()).await;
    (
        unsynced,
        done.unwrap_or_else(|error| Err(io::Error::other(error))),
    )
}

/// How long what is written waits to be synced, with `fsync = "interval"`: short enough to lose little, long enough
/// that a disk has other things to do.
const INTERVAL: Duration = Duration::from_secs(1);
