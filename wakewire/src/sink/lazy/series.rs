//! A dial series: the one task of a lazy sink, whose result every waiting caller gets.

use std::sync::Arc;

use tokio::sync::watch;

use super::gate::{Change, Gate, Outcome, Stage};
use super::live::{Core, Live};
use crate::dialer::Dialer;
use crate::error::{Failure, SinkError};
use crate::sink::MessageSink;

/// Dials until there is a connection, or `max_retries` are used up, or the error is permanent.
pub(super) async fn run<S: MessageSink + 'static>(mut running: Running<S>) {
    // Whoever is ready to run by now sends before the first dial, and joins rather than comes late.
    tokio::task::yield_now().await;
    let core = Arc::clone(&running.core);
    let mut failed = 0_u32;
    loop {
        let dialing = running.dialer.attempt(|| {
            core.counters.attempts.add_one();
            (core.open)()
        });
        match dialing.await {
            Ok(sink) => {
                core.counters.successful_connects.add_one();
                return running.succeed(sink);
            }
            Err(error) => {
                core.counters.failed_connects.add_one();
                failed = failed.saturating_add(1);
                if error.is_permanent() || failed > core.config.max_retries {
                    return running.fail(error, failed);
                }
                running.retry(&error, failed);
            }
        }
    }
}

/// A series and what it borrowed. However it ends, aborted and panicking included, it brings the dialer
/// back and tells everybody who waits.
pub(super) struct Running<S: MessageSink + 'static> {
    core: Arc<Core<S>>,
    dialer: Dialer,
    id: u64,
    teller: watch::Sender<Outcome>,
    told: bool,
}

impl<S: MessageSink + 'static> Running<S> {
    pub(super) const fn new(
        core: Arc<Core<S>>,
        dialer: Dialer,
        id: u64,
        teller: watch::Sender<Outcome>,
    ) -> Self {
        Self {
            core,
            dialer,
            id,
            teller,
            told: false,
        }
    }

    fn succeed(mut self, sink: S) {
        // The user's code, so before the lock.
        let endpoint = sink.metadata().endpoint.map(Arc::from);
        let live = Arc::new(Live::new(sink));
        self.finish(|core, gate| {
            gate.endpoint = endpoint;
            gate.lost = None;
            core.live.store(Some(live));
            if core.counters.successful_connects.read() > 1 {
                core.counters.reconnects.add_one();
            }
            (gate.shift(Stage::Up), Ok(()))
        });
    }

    fn fail(mut self, error: SinkError, attempts: u32) {
        let error = self.core.gate.lock().series_failed(error, attempts);
        let text = Arc::from(error.to_string());
        self.finish(|_, gate| {
            gate.last_error = Some(text);
            (gate.shift(Stage::Failed(error.clone())), Err(error))
        });
    }

    fn retry(&self, error: &SinkError, attempts: u32) {
        let name = {
            let text = Arc::from(error.to_string());
            let mut gate = self.core.gate.lock();
            gate.last_error = Some(text);
            Arc::clone(&gate.name)
        };
        let pause = self.dialer.next_attempt_in();
        tracing::debug!(service = %name, attempts, ?pause, %error, "attempt failed, another follows");
    }

    /// Ends the series once; of a sink that was closed meanwhile nothing changes any more, and what
    /// `decide` would have made the live connection is dropped, outside the lock.
    fn finish(
        &mut self,
        decide: impl FnOnce(&Core<S>, &mut Gate) -> (Change, Result<(), SinkError>),
    ) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let config = self.core.config.clone();
        let dialer = std::mem::replace(&mut self.dialer, Dialer::on_demand(config));
        let mut gate = self.core.gate.lock();
        gate.dialer = Some(dialer);
        let result = if gate.series(self.id).is_some() {
            let (change, result) = decide(&self.core, &mut gate);
            drop(gate);
            self.core.note(change.tell());
            result
        } else {
            let closed = gate.closed();
            drop(gate);
            drop(decide);
            Err(closed)
        };
        // After the connection is live: who wakes finds it.
        self.teller.send_replace(Some(result));
    }
}

impl<S: MessageSink + 'static> Drop for Running<S> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let panicked = std::thread::panicking();
        if panicked {
            self.core.counters.failed_connects.add_one();
            let error = self.core.gate.lock().panicked();
            self.dialer.failed(&error);
        }
        let id = self.id;
        self.finish(|_, gate| {
            let unwanted = gate.series(id).is_some_and(|series| series.unwanted);
            let error = match (panicked, unwanted) {
                (true, _) => gate.panicked(),
                (false, true) => gate.dismissed(),
                (false, false) => gate.no_runtime(),
            };
            let stage = if unwanted {
                Stage::Asleep
            } else {
                gate.last_error = Some(Arc::from(error.to_string()));
                Stage::Failed(error.clone())
            };
            (gate.shift(stage), Err(error))
        });
    }
}

/// Waits for the end of a series.
pub(super) async fn ended(outcome: &mut watch::Receiver<Outcome>) -> Result<(), SinkError> {
    match outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
        // A series tells before it goes. Should it ever not, an error is better than asking for ever.
        Err(_) => Err(SinkError::ConnectionFailed(
            Failure::new("").because("the dial series ended without a result"),
        )),
    }
}
