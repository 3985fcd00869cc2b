//! The pump: the one task that moves owed frames over a session while awake.
//!
//! ```text
//!            first message, connect()          greeted
//!   asleep ───────────────────────────► dialing ───────► up
//!     ▲                                  ▲   │ failed     │ lost, and something is owed
//!     │ nothing owed, idle, disconnect() │   ▼            │
//!     └──────────────────────────────────┴ pausing ◄──────┘
//! ```
//!
//! Asleep there is no task, no socket, no timer and no buffer. Only `closed` is final. What is owed is in the
//! [`Outbox`], *when* to dial is the [`Dialer`]'s; here they are put to work.

mod accept;
mod driver;
mod lane;
mod pump;
mod receipt;
mod rest;
mod spooled;
mod syncing;
mod waiter;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::lane::Lane;
pub(crate) use self::lane::{Phase, Snapshot};
use self::spooled::Spooled;
use self::waiter::Waiter;
use crate::atomic::{AtomicBool, Ordering};
use crate::backoff::LazyConfig;
use crate::brief_lock::{BriefGuard, BriefLock};
use crate::dialer::Dialer;
use crate::domain::Admission;
use crate::error::{Failure, SinkError};
use crate::outbox::{Ledger, Limits, Outbox};
use crate::randomness::random;
use crate::transport::dial::Dial;
use crate::wire::SessionId;

/// Where a link leads and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct LinkConfig {
    pub(crate) service: Arc<str>,
    /// Which service is asked for in the greeting; empty for whichever is served there.
    pub(crate) asks_for: Arc<str>,
    /// The endpoint as written, for errors.
    pub(crate) endpoint: Arc<str>,
    /// Whether what is said over a connection carries checksums.
    pub(crate) checksummed: bool,
    pub(crate) admission: Admission,
    pub(crate) lazy: Arc<LazyConfig>,
    /// After how long with nothing to do the connection is closed; none = never.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
}

/// A sink's outbox and the task that empties it.
pub(crate) struct Link {
    shared: Arc<Shared>,
}

/// What callers and the driver share.
struct Shared {
    config: LinkConfig,
    dial: Box<dyn Dial>,
    lane: BriefLock<Lane>,
    /// Whether a greeted connection stands, for those who ask before each message and need no lock for it.
    up: AtomicBool,
    /// Where what is accepted is written first.
    spooled: Option<Box<Spooled>>,
    /// Lies here while no driver runs, so that failures are remembered over a sleep; none before the first driver.
    dialer: Mutex<Option<Box<Dialer>>>,
    /// There is something for the driver to do.
    owed: Notify,
    /// Room, delivery or state have changed; only told while somebody waits.
    changed: Notify,
    runtime: OnceLock<Handle>,
    task: Mutex<Option<AbortHandle>>,
}

impl Link {
    /// Makes a sleeping link; opens nothing.
    pub(crate) fn new(config: LinkConfig, limits: Limits, dial: Box<dyn Dial>) -> Self {
        let outbox = Outbox::new(SessionId(random()), limits);
        Self::with(config, dial, outbox, None)
    }

    fn with(
        config: LinkConfig,
        dial: Box<dyn Dial>,
        outbox: Outbox,
        spooled: Option<Spooled>,
    ) -> Self {
        let runtime = OnceLock::new();
        if let Ok(handle) = Handle::try_current() {
            runtime.get_or_init(|| handle);
        }
        Self {
            shared: Arc::new(Shared {
                lane: BriefLock::new(Lane::new(outbox)),
                up: AtomicBool::new(false),
                spooled: spooled.map(Box::new),
                dialer: Mutex::new(None),
                dial,
                owed: Notify::new(),
                changed: Notify::new(),
                runtime,
                task: Mutex::new(None),
                config,
            }),
        }
    }

    /// Returns how the link is configured.
    pub(crate) fn config(&self) -> &LinkConfig {
        &self.shared.config
    }

    /// Returns state and counters.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.lane.lock().snapshot()
    }

    /// Returns whether a greeted connection stands.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Returns the state alone.
    pub(crate) fn phase(&self) -> Phase {
        self.shared.lane.lock().phase()
    }

    /// Returns where every accepted message is.
    pub(crate) fn ledger(&self) -> Ledger {
        self.shared.lane.lock().outbox.ledger()
    }

    /// Opens the connection now.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the attempt goes on only if something is owed.
    pub(crate) async fn connect(&self) -> Result<(), SinkError> {
        let shared = &self.shared;
        let waiter = Waiter::connecting(shared);
        let allowed = u64::from(shared.config.lazy.max_retries) + 1;
        let before = shared.lane.lock().failed_attempts;
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut lane = waiter.shared.lane.lock();
                match lane.phase() {
                    Phase::Up => return Ok(()),
                    Phase::Closed => return Err(lane.refusal(shared.failure())),
                    Phase::Asleep | Phase::Dialing | Phase::Failed => {}
                }
                let failed = lane.failed_attempts - before;
                if let Some(error) = &lane.last_error
                    && (failed >= allowed || (failed > 0 && error.is_permanent()))
                {
                    return Err(error.clone());
                }
                lane.rest = None;
                lane.lost = false;
                if !lane.running {
                    shared.wake(lane)?;
                }
            }
            changed.await;
        }
    }

    /// Waits until everything accepted before the call is settled; returns whether it is.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub(crate) async fn flush(&self, within: Duration) -> bool {
        let waiter = Waiter::new(&self.shared);
        let last = self.shared.lane.lock().outbox.last();
        waiter
            .wait_until(within, |lane| lane.outbox.is_settled(last))
            .await
    }
}

impl Shared {
    fn failure(&self) -> Failure {
        Failure::new(Arc::clone(&self.config.service)).endpoint(Arc::clone(&self.config.endpoint))
    }

    /// Starts the driver, or tells the one that waits for something to do.
    fn wake(self: &Arc<Self>, mut lane: BriefGuard<'_, Lane>) -> Result<(), SinkError> {
        if lane.running {
            lane.parked = false;
            drop(lane);
            self.owed.notify_one();
            return Ok(());
        }
        if lane.lost {
            return Ok(());
        }
        let Some(runtime) = self.runtime() else {
            return Err(self.no_runtime());
        };
        lane.running = true;
        lane.wakes += 1;
        lane.rest = None;
        drop(lane);
        let task = runtime.spawn(driver::run(Arc::clone(self)));
        *self.task.lock() = Some(task.abort_handle());
        Ok(())
    }

    fn no_runtime(&self) -> SinkError {
        let hint = "make the sink, or use it first, inside a tokio runtime";
        SinkError::NoRuntime(self.failure().hint(hint))
    }

    fn runtime(&self) -> Option<&Handle> {
        if self.runtime.get().is_none()
            && let Ok(handle) = Handle::try_current()
        {
            return Some(self.runtime.get_or_init(|| handle));
        }
        self.runtime.get()
    }

    fn abort(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Snapshot { phase, ledger, .. } = self.snapshot();
        write!(
            f,
            "`{}` at {} ({phase:?}; {ledger})",
            self.shared.config.service, self.shared.config.endpoint
        )
    }
}
