//! One target of a composite: the sink, what is known of its health, and the one probe of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::standing::{Rank, Standing};
use crate::error::{Failure, Phase, SinkError, TrySendError};
use crate::message::Message;
use crate::sink::handing::Handing;
use crate::sink::{ConnectionState, MessageSink};

#[derive(Debug)]
pub(in crate::sink) struct Target {
    pub(in crate::sink) name: Arc<str>,
    pub(in crate::sink) sink: Arc<dyn MessageSink>,
    health: Arc<Health>,
    probe: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Health {
    standing: Mutex<Standing>,
    /// Set unless the standing is up, so that a healthy target costs one load and no lock.
    troubled: AtomicBool,
    /// It has taken a message without waiting, so its `try_send` means something.
    takes_at_once: AtomicBool,
}

impl Health {
    /// Changes the standing and keeps `troubled` true to it.
    fn change<T>(&self, by: impl FnOnce(&mut Standing) -> T) -> T {
        let mut standing = self.standing.lock();
        let result = by(&mut standing);
        self.troubled.store(!standing.is_up(), Ordering::Release);
        result
    }

    fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }
}

/// What a target says to a message that only one target is to take.
#[derive(Debug)]
pub(in crate::sink) enum Answer<T> {
    Taken(T),
    /// It is not taken yet.
    Wait(Message),
    /// It is surely not taken: another may have it.
    Next(Message, SinkError),
    /// It may be taken: nobody else may have it.
    Stop(SinkError),
}

impl Target {
    pub(in crate::sink) fn new(name: String, sink: Arc<dyn MessageSink>) -> Self {
        Self {
            name: name.into(),
            sink,
            health: Arc::new(Health {
                standing: Mutex::new(Standing::new()),
                troubled: AtomicBool::new(false),
                takes_at_once: AtomicBool::new(false),
            }),
            probe: Mutex::new(None),
        }
    }

    /// Offers a message without waiting.
    pub(in crate::sink) fn offer<H: Handing>(&self, message: Message) -> Answer<H::Yield> {
        match H::offer(&*self.sink, message) {
            Ok(taken) => {
                self.took_at_once();
                Answer::Taken(taken)
            }
            Err(TrySendError::WouldWait(message)) => Answer::Wait(message),
            Err(TrySendError::Refused(error)) => self.refused(error),
        }
    }

    /// Hands a message over, waiting as long as the target does.
    pub(in crate::sink) async fn hand_over<H: Handing>(
        &self,
        message: Message,
    ) -> Answer<H::Yield> {
        match H::send(&*self.sink, message).await {
            Ok(taken) => {
                self.took();
                Answer::Taken(taken)
            }
            Err(error) => self.refused(error),
        }
    }

    fn refused<T>(&self, mut error: SinkError) -> Answer<T> {
        if is_about_the_target(&error) {
            self.failed(&error);
        }
        if !is_untouched(&error) {
            return Answer::Stop(error);
        }
        match error.take_message() {
            Some(message) => Answer::Next(message, error),
            None => Answer::Stop(error),
        }
    }

    pub(in crate::sink) fn took_at_once(&self) {
        if !self.health.takes_at_once.load(Ordering::Relaxed) {
            self.health.takes_at_once.store(true, Ordering::Relaxed);
        }
        self.took();
    }

    pub(in crate::sink) fn took(&self) {
        if self.health.is_troubled() {
            let now = now();
            if self.health.change(|standing| standing.took(now)) {
                tracing::info!(target_name = %self.name, "target takes messages again");
            }
        }
    }

    /// Records that a send to it failed.
    pub(in crate::sink) fn failed(&self, error: &SinkError) {
        let full = matches!(error, SinkError::BufferFull(_) | SinkError::Timeout(_))
            && self.health.takes_at_once.load(Ordering::Relaxed);
        // A `Partial` holds the messages of all below it; the record must not keep them.
        let kept = (!matches!(error, SinkError::Partial(_))).then(|| error.clone());
        let now = now();
        if self
            .health
            .change(|standing| standing.failed(kept, full, now))
        {
            tracing::warn!(target_name = %self.name, %error, "target is failing, passed over from now on");
        }
    }

    /// Returns how good a choice it is now, its own word included.
    pub(super) fn rank(&self) -> Rank {
        let state = self.sink.state();
        let says_so = matches!(state, ConnectionState::Failed | ConnectionState::Closed);
        if !says_so && !self.health.is_troubled() {
            return Rank::Trusted;
        }
        let now = now();
        let (news, rank) = self.health.change(|standing| {
            let news = says_so && standing.failed(None, false, now);
            (news, standing.rank())
        });
        if news {
            tracing::warn!(target_name = %self.name, ?state, "target is failing, passed over from now on");
        }
        rank
    }

    pub(in crate::sink) fn is_failing(&self) -> bool {
        self.health.is_troubled() && self.health.standing.lock().is_failing()
    }

    /// Returns whether a message may wait for it.
    pub(in crate::sink) fn may_wait(&self) -> bool {
        !self.health.is_troubled() || self.health.standing.lock().may_wait()
    }

    /// Returns the error of a message that it was not asked to wait for.
    pub(in crate::sink) fn last_error(&self) -> SinkError {
        let known = self.health.standing.lock().last_error();
        known.unwrap_or_else(|| {
            SinkError::ConnectionFailed(
                Failure::new(Arc::clone(&self.name))
                    .phase(Phase::Accept)
                    .hint("the target is failing and is not waited for until it answers again"),
            )
        })
    }

    /// Connects it in the background, if it is time to: the only way to learn that a target which gets no
    /// messages works again. Called by sends, so that nothing runs while nothing is sent.
    pub(in crate::sink) fn probe(&self) {
        if self.sink.state() == ConnectionState::Closed {
            return; // It stays so.
        }
        let started = now();
        let Some(ticket) = self.health.change(|standing| standing.probe(started)) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            // Nothing to run a probe on: the next send is the probe.
            let _ = self
                .health
                .change(|standing| standing.answered(ticket, Ok(()), started));
            return;
        };
        let sink = Arc::clone(&self.sink);
        let health = Arc::clone(&self.health);
        let name = Arc::clone(&self.name);
        let task = runtime.spawn(async move {
            let outcome = sink.connect().await;
            let now = now();
            if health.change(|standing| standing.answered(ticket, outcome, now)) {
                tracing::info!(target_name = %name, "target answers again");
            }
        });
        if let Some(lost) = self.probe.lock().replace(task.abort_handle()) {
            lost.abort();
        }
    }

    /// Wakes it in the background if it sleeps, so that it can take messages at once.
    pub(in crate::sink) fn wake(&self) {
        if self.sink.state() == ConnectionState::Disconnected {
            self.probe();
        }
    }

    pub(in crate::sink) fn stop_probing(&self) {
        if let Some(probe) = self.probe.lock().take() {
            probe.abort();
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop_probing();
    }
}

/// Returns whether the message of this error is surely in nobody's hands.
fn is_untouched(error: &SinkError) -> bool {
    match error {
        SinkError::Partial(partial) => {
            partial.accepted().is_empty()
                && partial
                    .failed()
                    .iter()
                    .all(|(_, error)| is_untouched(error))
        }
        other => other.failure().message().is_some(),
    }
}

/// Returns whether the error speaks against the target; else it speaks against this one message.
pub(in crate::sink) fn is_about_the_target(error: &SinkError) -> bool {
    match error {
        SinkError::MessageTooLarge(_)
        | SinkError::WrongDomain(_)
        | SinkError::WrongPrecision(_)
        | SinkError::Unsupported(_) => false,
        SinkError::SendFailed(failure) => failure.failed_phase() != Some(Phase::Accept),
        _ => true,
    }
}

/// The runtime's clock, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
