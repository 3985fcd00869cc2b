//! What a lazy sink and its dial series share: the live connection, the gate, and the rules between them.

use crate::atomic::{AtomicBool, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::gate::{Blame, Gate, Outcome, Series, Stage, blame};
use super::metrics::Counters;
use super::series::{self, Running};
use crate::backoff::LazyConfig;
use crate::dialer::{Dialer, Redial};
use crate::error::{SinkError, TrySendError};
use crate::message::Message;
use crate::sink::{ConnectionState, MessageSink};

pub(super) type Opening<S> = Pin<Box<dyn Future<Output = Result<S, SinkError>> + Send>>;

/// `live` is read by everybody at any time, and changed only under the gate's lock.
pub(super) struct Core<S> {
    pub(super) live: ArcSwapOption<Live<S>>,
    pub(super) gate: Mutex<Gate>,
    pub(super) counters: Counters,
    pub(super) config: LazyConfig,
    pub(super) open: Box<dyn Fn() -> Opening<S> + Send + Sync>,
    runtime: OnceLock<Handle>,
}

/// A connection that stands, or did until a moment ago.
pub(super) struct Live<S> {
    pub(super) sink: S,
    /// It took a message: that is its proof.
    took: AtomicBool,
    /// It said once that it is connected, so that its "not connected" is news. A sink that wakes with its
    /// own first message says so from the start, and is let be.
    was_up: AtomicBool,
}

/// Who asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A message: it heeds `auto_reconnect = false` and the long pause after a permanent error.
    Send,
    /// The user, by `connect()`: it overrides both.
    Connect,
}

impl<S: MessageSink + 'static> Core<S> {
    pub(super) fn new(open: Box<dyn Fn() -> Opening<S> + Send + Sync>, config: LazyConfig) -> Self {
        let runtime = OnceLock::new();
        if let Ok(handle) = Handle::try_current() {
            runtime.get_or_init(|| handle);
        }
        Self {
            live: ArcSwapOption::empty(),
            gate: Mutex::new(Gate::new(Dialer::on_demand(config.clone()))),
            counters: Counters::default(),
            config,
            open,
            runtime,
        }
    }

    /// Offers a message to the live connection without waiting, and without allocating when it is taken.
    pub(super) fn offer(&self, message: Message) -> Result<(), TrySendError> {
        let live = self.live.load();
        let Some(live) = self.usable(&live) else {
            return Err(TrySendError::WouldWait(message));
        };
        match live.sink.try_send(message) {
            Ok(()) => {
                self.took(live);
                Ok(())
            }
            Err(error) => Err(self.untaken(live, error)),
        }
    }

    /// Returns the live connection that was loaded, for a message that is not to wait; one that says that it is down
    /// is put aside.
    #[inline]
    pub(super) fn usable<'l>(&self, live: &'l Option<Arc<Live<S>>>) -> Option<&'l Arc<Live<S>>> {
        let live = live.as_ref()?;
        if live.is_usable() {
            return Some(live);
        }
        self.lose_silent(live);
        None
    }

    /// Draws the conclusions when the live connection did not take a message at once; what remains is refused for good,
    /// or waits.
    #[cold]
    pub(super) fn untaken(&self, live: &Arc<Live<S>>, error: TrySendError) -> TrySendError {
        match error {
            TrySendError::Refused(error) => match self.judge(live, error) {
                Ok((message, _)) => TrySendError::WouldWait(message),
                Err(error) => TrySendError::Refused(error),
            },
            waits @ TrySendError::WouldWait(_) => waits,
        }
    }

    /// Returns the live connection; one that says that it is down is put aside first.
    pub(super) fn connection(&self) -> Option<Arc<Live<S>>> {
        let live = self.live.load_full()?;
        if live.is_usable() {
            return Some(live);
        }
        self.lose_silent(&live);
        None
    }

    /// Counts a message that the connection took.
    #[inline]
    pub(super) fn took(&self, live: &Live<S>) {
        // Read first: the line stays shared between the senders' processors.
        if !live.took.load(Ordering::Relaxed) {
            live.took.store(true, Ordering::Relaxed);
        }
        self.counters.messages_sent.add_one();
    }

    /// Decides what follows from an inner sink's error: `Ok` with the message, and the error without it,
    /// when it may be sent over another connection; `Err` with what the caller is told.
    pub(super) fn judge(
        &self,
        live: &Arc<Live<S>>,
        mut error: SinkError,
    ) -> Result<(Message, SinkError), SinkError> {
        let blame = blame(&error);
        let message = error.take_message();
        if matches!(blame, Blame::Connection | Blame::Both) {
            self.lose(live, &error);
        }
        if message.is_none() && blame != Blame::Message {
            self.counters.in_doubt.add_one();
        }
        match message {
            Some(message) if blame == Blame::Connection => {
                if self.config.auto_reconnect {
                    Ok((message, error))
                } else {
                    let lost = self.gate.lock().connection_lost(error);
                    Err(self.refuse(lost, Some(message)))
                }
            }
            message => Err(self.refuse(error, message)),
        }
    }

    /// Counts a message that is answered with an error.
    pub(super) fn refuse(&self, error: SinkError, message: Option<Message>) -> SinkError {
        self.counters.messages_failed.add_one();
        let text = Arc::from(error.to_string());
        self.gate.lock().last_error = Some(text);
        match message {
            Some(message) => error.returning(message),
            None => error,
        }
    }

    /// Puts the connection aside because of this error, unless somebody has done so already.
    pub(super) fn lose(&self, live: &Arc<Live<S>>, error: &SinkError) {
        let text = Arc::from(error.to_string());
        let mut gate = self.gate.lock();
        // Only the connection that failed is put aside, never the one that has since replaced it. The
        // caller holds it too, so that its end does not come under the lock.
        let before = self.live.compare_and_swap(Arc::as_ptr(live), None);
        if !before.as_ref().is_some_and(|it| Arc::ptr_eq(it, live)) {
            return;
        }
        gate.last_error = Some(text);
        if !self.config.auto_reconnect {
            gate.lost = Some(gate.connection_lost(error.clone()));
        }
        if let Some(dialer) = &mut gate.dialer {
            if live.took.load(Ordering::Relaxed) {
                dialer.proved();
            }
            dialer.lost(Redial::AtOnce);
        }
        let change = gate.shift(Stage::Asleep);
        drop(gate);
        self.note(change.tell());
    }

    fn lose_silent(&self, live: &Arc<Live<S>>) {
        let error = self.gate.lock().peer_closed();
        self.lose(live, &error);
    }

    /// Puts a connection aside that was closed on purpose.
    pub(super) fn release(&self, live: &Arc<Live<S>>) {
        let mut gate = self.gate.lock();
        let before = self.live.compare_and_swap(Arc::as_ptr(live), None);
        if !before.as_ref().is_some_and(|it| Arc::ptr_eq(it, live)) {
            return;
        }
        if let Some(dialer) = &mut gate.dialer {
            if live.took.load(Ordering::Relaxed) {
                dialer.proved();
            }
            dialer.released();
        }
        let change = gate.shift(Stage::Asleep);
        drop(gate);
        self.note(change.tell());
    }

    /// Joins the running series, or starts one. `Ok(None)`: there is a connection already.
    pub(super) fn join(
        self: &Arc<Self>,
        ask: Ask,
    ) -> Result<Option<watch::Receiver<Outcome>>, SinkError> {
        let mut gate = self.gate.lock();
        match gate.stage() {
            Stage::Closed => return Err(gate.closed()),
            Stage::Dialing(series) => return Ok(Some(series.outcome.clone())),
            Stage::Up => return Ok(None),
            Stage::Failed(error) if ask == Ask::Send => {
                if gate.dialer.as_ref().is_some_and(Dialer::is_parked) {
                    return Err(error.clone());
                }
            }
            Stage::Failed(_) | Stage::Asleep => {}
        }
        if ask == Ask::Send
            && let Some(lost) = &gate.lost
        {
            return Err(lost.clone());
        }
        let runtime = match self.runtime.get() {
            Some(handle) => handle,
            None => match Handle::try_current() {
                Ok(handle) => self.runtime.get_or_init(|| handle),
                Err(_) => return Err(gate.no_runtime()),
            },
        };
        let mut dialer = gate
            .dialer
            .take()
            .unwrap_or_else(|| Dialer::on_demand(self.config.clone()));
        if ask == Ask::Connect {
            dialer.unpark();
        }
        let (teller, outcome) = watch::channel(None);
        gate.last_series += 1;
        let id = gate.last_series;
        let change = gate.shift(Stage::Dialing(Series {
            id,
            outcome: outcome.clone(),
            abort: None,
            unwanted: false,
        }));
        drop(gate);
        self.note(change.tell());
        // Outside the lock: a runtime that is shutting down drops the task right here, and the series
        // takes the lock to say that it ended.
        let running = Running::new(Arc::clone(self), dialer, id, teller);
        let handle = runtime.spawn(series::run(running)).abort_handle();
        let mut gate = self.gate.lock();
        let unwanted = match gate.series(id) {
            Some(series) if !series.unwanted => {
                series.abort = Some(handle);
                None
            }
            _ => Some(handle),
        };
        drop(gate);
        if let Some(handle) = unwanted {
            handle.abort();
        }
        Ok(Some(outcome))
    }

    pub(super) fn state(&self) -> ConnectionState {
        match self.gate.lock().state() {
            ConnectionState::Connected => {}
            state => return state,
        }
        if self.is_connected() {
            ConnectionState::Connected
        } else {
            ConnectionState::Disconnected
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        let live = self.live.load();
        live.as_ref().is_some_and(|live| live.sink.is_connected())
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.gate.lock().last_error.as_deref().map(str::to_owned)
    }
}

impl<S> Core<S> {
    /// Closes for good: ends the running series, whose end can be waited for, and gives the connection away.
    pub(super) fn shut(&self) -> (Option<Arc<Live<S>>>, Option<watch::Receiver<Outcome>>) {
        let mut gate = self.gate.lock();
        let dialing = gate.dismiss();
        let live = self.live.swap(None);
        let change = gate.shift(Stage::Closed);
        drop(gate);
        self.note(change.tell());
        let outcome = dialing.map(|(abort, outcome)| {
            if let Some(abort) = abort {
                abort.abort();
            }
            outcome
        });
        (live, outcome)
    }

    pub(super) fn note(&self, changed: bool) {
        if changed {
            self.counters.state_changes.add_one();
        }
    }
}

impl<S: MessageSink> Live<S> {
    pub(super) fn new(sink: S) -> Self {
        let was_up = AtomicBool::new(sink.is_connected());
        Self {
            sink,
            took: AtomicBool::new(false),
            was_up,
        }
    }

    /// Returns whether a message may be given to it. What it was and no longer is, the peer ended; but
    /// while it connects again by itself it is not to be disturbed, for it may owe messages.
    #[inline]
    fn is_usable(&self) -> bool {
        if self.sink.is_connected() {
            if !self.was_up.load(Ordering::Relaxed) {
                self.was_up.store(true, Ordering::Relaxed);
            }
            return true;
        }
        !self.was_up.load(Ordering::Relaxed) || self.sink.state() == ConnectionState::Connecting
    }
}
