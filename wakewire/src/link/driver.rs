//! Opens a connection whenever one is wanted, and pumps it until it ends.

use std::sync::Arc;

use super::pump::{self, End};
use super::{Phase, Shared};
use crate::dialer::{Dialer, Redial};
use crate::error::{Phase as ErrorPhase, SinkError};
use crate::transport::greeting::{Host, greet};
use crate::wire::frame::HEADER;
use crate::wire::hello::{self, Hello, Producer, VERSION};
use crate::wire::liveness::ASK_AFTER;

/// Runs until nothing is owed and nobody wants a connection.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut running = Running::start(&shared);
    loop {
        if running.sleeps() {
            return;
        }
        shared.enter(Phase::Dialing);
        if shared.lane.lock().connects > 0 {
            // Somebody asks: a permanent error may have been mended meanwhile.
            running.dialer.unpark();
        }
        let attempt = tokio::select! {
            attempt = running.dialer.attempt(|| open(&shared)) => attempt,
            () = told_to_stop(&shared) => continue,
        };
        match attempt {
            Ok(host) => {
                shared.enter(Phase::Up);
                let (end, proved) = pump::run(&shared, host).await;
                if proved {
                    running.dialer.proved();
                }
                shared.ended(end, &mut running.dialer);
            }
            Err(error) => shared.failed(&error, running.dialer.failures()),
        }
    }
}

/// The existence of the driver; when it ends, however it ends, the lane knows.
struct Running<'a> {
    shared: &'a Shared,
    dialer: Box<Dialer>,
    asleep: bool,
}

impl<'a> Running<'a> {
    fn start(shared: &'a Shared) -> Self {
        let kept = shared.dialer.lock().take();
        let dialer = kept.unwrap_or_else(|| dialer(shared));
        Self {
            shared,
            dialer,
            asleep: false,
        }
    }

    /// Goes to sleep if no connection is wanted; decided under the lock, so that a message accepted after it
    /// starts a new driver.
    fn sleeps(&mut self) -> bool {
        let mut lane = self.shared.lane.lock();
        if !lane.sleeps() {
            return false;
        }
        self.asleep = true;
        *self.shared.dialer.lock() = Some(std::mem::replace(&mut self.dialer, dialer(self.shared)));
        lane.running = false;
        lane.parked = false;
        lane.outbox.shrink();
        if lane.phase() != Phase::Failed {
            lane.enter(Phase::Asleep, &self.shared.up);
        }
        drop(lane);
        self.shared.changed.notify_waiters();
        true
    }
}

fn dialer(shared: &Shared) -> Box<Dialer> {
    Box::new(Dialer::new((*shared.config.lazy).clone()))
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.asleep {
            // Aborted by a deadline, or the runtime ends.
            let mut lane = self.shared.lane.lock();
            lane.outbox.disconnected();
            lane.enter(Phase::Asleep, &self.shared.up);
            self.asleep = true;
            lane.running = false;
            lane.parked = false;
            drop(lane);
            self.shared.changed.notify_waiters();
        }
    }
}

impl Shared {
    pub(super) fn enter(&self, phase: Phase) {
        let mut lane = self.lane.lock();
        if lane.enter(phase, &self.up) {
            let told = lane.waiters > 0;
            drop(lane);
            let service = &self.config.service;
            tracing::debug!(%service, endpoint = %self.config.endpoint, ?phase, "link");
            if told {
                self.changed.notify_waiters();
            }
        }
    }

    fn failed(&self, error: &SinkError, failures: u32) {
        let mut lane = self.lane.lock();
        lane.failed_attempts += 1;
        let first = lane.phase() != Phase::Failed && failures <= 1;
        lane.last_error = Some(self.placed(error, failures));
        lane.enter(Phase::Failed, &self.up);
        drop(lane);
        let service = &self.config.service;
        if first || error.is_permanent() {
            tracing::warn!(%service, endpoint = %self.config.endpoint, %error, failures, "no connection yet");
        } else {
            tracing::debug!(%service, endpoint = %self.config.endpoint, %error, failures, "no connection yet");
        }
        self.changed.notify_waiters();
    }

    /// Makes an attempt's error one of this service, with the number of attempts.
    fn placed(&self, error: &SinkError, failures: u32) -> SinkError {
        let phase = error.failure().failed_phase().unwrap_or(ErrorPhase::Dial);
        let mut failure = self.failure().phase(phase).attempts(failures);
        failure = match error.failure().source() {
            Some(cause) => failure.because(cause.to_string()),
            None => failure.because(error.to_string()),
        };
        if let Some(hint) = error.failure().advice() {
            failure = failure.hint(hint);
        }
        match error {
            SinkError::Protocol(_) => SinkError::Protocol(failure),
            SinkError::Unauthorized(_) => SinkError::Unauthorized(failure),
            SinkError::InvalidConfig(_) => SinkError::InvalidConfig(failure),
            _ => SinkError::ConnectionFailed(failure),
        }
    }

    /// Draws the conclusions of a connection's end.
    fn ended(&self, end: End, dialer: &mut Dialer) {
        let mut lane = self.lane.lock();
        lane.outbox.disconnected();
        lane.parked = false;
        let service = &self.config.service;
        match end {
            End::Rested => dialer.released(),
            End::Left(reason) => {
                tracing::info!(%service, %reason, "the peer closed the connection");
                dialer.lost(Redial::Spread);
            }
            End::Refused(error) if !lane.outbox.forgets_on_write() => {
                // It would be sent again, and refused again.
                drop(lane);
                dialer.failed(&error);
                return self.failed(&error, dialer.failures());
            }
            End::Refused(error) | End::Lost(error) => {
                tracing::warn!(%service, endpoint = %self.config.endpoint, %error, "connection lost");
                lane.last_error = Some(error);
                lane.lost = !self.config.lazy.auto_reconnect;
                dialer.lost(Redial::Spread);
            }
        }
        lane.enter(Phase::Asleep, &self.up);
        drop(lane);
        self.changed.notify_waiters();
    }
}

/// Waits until the driver is to end without a connection.
async fn told_to_stop(shared: &Shared) {
    loop {
        if shared.lane.lock().rest.is_some() {
            return;
        }
        shared.owed.notified().await;
    }
}

/// Dials and greets: rule P2, and P3 and P4 for the answer.
async fn open(shared: &Shared) -> Result<Host, SinkError> {
    let checksummed = shared.config.checksummed;
    let reach = async {
        let line = shared.dial.dial().await?;
        greet(line, hello_of(shared), &[], checksummed).await
    };
    let host = reach
        .await
        .map_err(|unreached| unreached.error(shared.failure()))?;
    let refused = |what: String, hint: &str| {
        let failure = shared.failure().phase(ErrorPhase::Handshake);
        SinkError::Protocol(failure.because(what).hint(hint))
    };
    let welcome = &host.welcome;
    let mut lane = shared.lane.lock();
    let largest = lane.outbox.largest_frame().saturating_sub(HEADER);
    if largest > welcome.limits.frame as usize {
        let what = format!(
            "a message of {largest} bytes waits, the peer takes {}",
            welcome.limits.frame
        );
        return Err(refused(
            what,
            "raise `max_message_bytes` where the service listens",
        ));
    }
    lane.outbox
        .welcomed(welcome.acked, welcome.have)
        .map_err(|error| {
            refused(
                error.to_string(),
                "is another program's socket at this endpoint?",
            )
        })?;
    lane.consumers = Some(welcome.consumers);
    lane.connects_made += 1;
    let (acknowledged, is_all) = (lane.outbox.first_owed() - 1, lane.outbox.is_empty());
    drop(lane);
    shared.note_acknowledged(acknowledged, is_all);
    // What the welcome acknowledged may be what somebody waits for.
    shared.changed.notify_waiters();
    Ok(host)
}

/// Rule P2.
fn hello_of(shared: &Shared) -> Hello {
    let lane = shared.lane.lock();
    Hello {
        oldest: VERSION,
        newest: VERSION,
        service: shared.config.asks_for.to_string(),
        limits: hello::Limits {
            frame: u32::MAX,
            idle_ms: shared.config.idle_timeout.map_or(0, milliseconds),
            ping_ms: milliseconds(ASK_AFTER),
        },
        producer: Some(Producer {
            session: lane.outbox.session(),
            first_owed: lane.outbox.first_owed(),
            at_most_once: lane.outbox.forgets_on_write(),
            // At most once what is not confirmed when the connection breaks is in doubt: nothing is to be held.
            urges: (!lane.outbox.forgets_on_write()).then_some(true),
        }),
        consumer: None,
        requester: None,
        probe: None,
        credentials: None,
        offer: None,
    }
}

fn milliseconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
