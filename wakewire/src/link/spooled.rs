//! A link whose messages are on a disk before they are accepted.
//!
//! They are appended and written under the lane's lock, so that no connection has a message that the file lacks: its
//! number would be given once more after a crash.

use std::io;
use std::path::Path;
use std::slice;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::syncing::{Group, Hearing};
use super::waiter::{Waiter, until};
use super::{Link, LinkConfig, Phase, Shared};
use crate::delivery::Fsync;
use crate::error::{Phase as ErrorPhase, SinkError, TrySendError};
use crate::message::Message;
use crate::outbox::{Limits, Outbox, Teller};
use crate::randomness::random;
use crate::spool::Spool;
use crate::spool::journal::is_full;
use crate::spool::recovery::Recovered;
use crate::transport::dial::Dial;
use crate::wire::SessionId;

/// A spool, and who waits for it to be synced.
pub(super) struct Spooled {
    pub(super) spool: Spool,
    pub(super) group: Mutex<Group>,
}

/// Why messages were not taken over.
enum Unkept {
    WouldWait,
    Refused(SinkError),
}

impl Spooled {
    pub(super) fn new(spool: Spool) -> Self {
        Self {
            spool,
            group: Mutex::default(),
        }
    }
}

impl Link {
    /// Makes one that keeps what it accepts in a spool, and goes on with what that has kept; awake if that is
    /// anything.
    pub(crate) fn spooled(
        config: LinkConfig,
        mut limits: Limits,
        dial: Box<dyn Dial>,
        spool: Spool,
        recovered: Recovered,
    ) -> Result<Self, SinkError> {
        // In a file each frame needs one, wherever it goes from there.
        limits.checksummed = true;
        let Recovered {
            acked,
            next,
            runs,
            session,
            ..
        } = recovered;
        let session = session.unwrap_or_else(|| SessionId(random()));
        let mut outbox = Outbox::recovered(session, limits, (acked, next), runs);
        if spool.fsync() == Fsync::BeforeAccept {
            outbox.hold_back();
        }
        let is_owed = !outbox.is_empty();
        let link = Self::with(config, dial, outbox, Some(Spooled::new(spool)));
        if is_owed {
            link.shared.wake(link.shared.lane.lock())?;
        }
        Ok(link)
    }

    /// Returns where what waits is kept over the end of the process.
    pub(crate) fn kept_in(&self) -> Option<&Path> {
        Some(self.shared.spooled.as_ref()?.spool.path())
    }

    /// Takes the message over if it can be written and need not be synced.
    #[cold]
    pub(super) fn try_accept_spooled(
        &self,
        spooled: &Spooled,
        message: Message,
    ) -> Result<(), TrySendError> {
        if spooled.spool.fsync() == Fsync::BeforeAccept {
            return Err(TrySendError::WouldWait(message));
        }
        match self.keep(spooled, slice::from_ref(&message), &mut None) {
            Ok(_) => Ok(()),
            Err(Unkept::WouldWait) => Err(TrySendError::WouldWait(message)),
            Err(Unkept::Refused(error)) => Err(TrySendError::Refused(error.returning(message))),
        }
    }

    /// Takes these over in order, with one write as many as there is room for; waits for room and for the disk.
    /// What is not accepted comes back in the error. `tell` is told the fate of the last one.
    pub(super) async fn accept_spooled(
        &self,
        spooled: &Spooled,
        messages: Vec<Message>,
        tell: &mut Option<Teller>,
    ) -> Result<(), SinkError> {
        let mut accepted = 0;
        while let Some(rest) = messages.get(accepted..).filter(|rest| !rest.is_empty()) {
            match self.keep_some(spooled, rest, tell).await {
                Ok(count) => accepted += count,
                Err(error) => {
                    let mut refused = messages.into_iter().skip(accepted);
                    let error = match refused.next() {
                        Some(message) => error.returning(message),
                        None => error,
                    };
                    return Err(error.returning_rest(refused.collect()));
                }
            }
        }
        Ok(())
    }

    /// Takes over as many as there is room for, one at least; returns how many.
    async fn keep_some(
        &self,
        spooled: &Spooled,
        messages: &[Message],
        tell: &mut Option<Teller>,
    ) -> Result<usize, SinkError> {
        let shared = &self.shared;
        let deadline = Instant::now().checked_add(shared.config.lazy.wait_timeout);
        let waiter = Waiter::new(shared);
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.keep(spooled, messages, tell) {
                Ok((count, None)) => return Ok(count),
                Ok((count, Some(mut outcome))) => {
                    let outcome = match outcome.wait_for(Option::is_some).await {
                        Ok(outcome) => outcome.clone(),
                        Err(_) => None,
                    };
                    let closed = || Err(SinkError::Closed(shared.failure()));
                    return outcome.unwrap_or_else(closed).map(|()| count);
                }
                Err(Unkept::Refused(error)) => return Err(error),
                Err(Unkept::WouldWait) => {}
            }
            if !until(deadline, changed).await {
                let mut lane = waiter.shared.lane.lock();
                lane.refused += 1;
                return Err(lane.full(shared.failure()));
            }
        }
    }

    /// Writes as many as there is room for; returns how many, and how to wait until they are synced.
    fn keep(
        &self,
        spooled: &Spooled,
        messages: &[Message],
        tell: &mut Option<Teller>,
    ) -> Result<(usize, Option<Hearing>), Unkept> {
        let shared = &self.shared;
        let refusals = messages
            .iter()
            .map(|message| shared.config.admission.check(message).err());
        let fit = refusals.clone().take_while(Option::is_none).count();
        if fit == 0 {
            shared.lane.lock().refused += 1;
            return Err(Unkept::Refused(
                match refusals.into_iter().next().flatten() {
                    Some(refusal) => SinkError::refused(refusal, shared.failure()),
                    None => SinkError::SendFailed(shared.failure()),
                },
            ));
        }
        let Some(runtime) = shared.runtime() else {
            shared.lane.lock().refused += 1;
            return Err(Unkept::Refused(shared.no_runtime()));
        };
        let mut lane = shared.lane.lock();
        if lane.closing || lane.lost {
            lane.refused += 1;
            return Err(Unkept::Refused(lane.refusal(shared.failure())));
        }
        let before = lane.outbox.last();
        let (count, bytes) = lane.outbox.append_run(&messages[..fit]);
        if count == 0 && !lane.outbox.rejects() {
            return Err(Unkept::WouldWait);
        }
        if count == 0 {
            lane.refused += 1;
            return Err(Unkept::Refused(lane.full(shared.failure())));
        }
        let outbox = &lane.outbox;
        if let Err(error) = spooled.spool.write(outbox.last() + 1, outbox.newest(bytes)) {
            lane.outbox.retract(before);
            lane.refused += 1;
            drop(lane);
            return Err(Unkept::Refused(shared.not_kept(&spooled.spool, &error)));
        }
        if let Some(tell) = tell.take() {
            lane.outbox.await_last(tell);
        }
        let outcome = spooled.joined(shared, runtime);
        if lane.needs_nobody() || outcome.is_some() {
            // What is not synced yet is nothing to wake for.
            return Ok((count, outcome));
        }
        shared.wake(lane).map_err(Unkept::Refused)?;
        Ok((count, None))
    }
}

impl Shared {
    /// Tells the spool what was acknowledged.
    pub(super) fn note_acknowledged(&self, acknowledged: u64, is_all: bool) {
        if let Some(spooled) = &self.spooled {
            spooled.spool.acknowledged(acknowledged, is_all);
        }
    }

    /// Closes for good, and lets another process have the spool.
    pub(super) fn leave(&self) {
        let mut lane = self.lane.lock();
        if lane.phase() == Phase::Closed {
            return;
        }
        let left = lane.close(self.spooled.is_some(), &self.up);
        drop(lane);
        let service = &self.config.service;
        if let Some(spooled) = &self.spooled {
            spooled.spool.close();
            if left > 0 {
                let spool = spooled.spool.path().display();
                tracing::info!(%service, %spool, kept = left, "closed; what was not delivered is kept for the next life");
            }
        } else if left > 0 {
            tracing::warn!(%service, undelivered = left, "closed with messages that were not delivered");
        }
    }

    /// Says why a message is not kept.
    pub(super) fn not_kept(&self, spool: &Spool, error: &io::Error) -> SinkError {
        let place = spool.path().display();
        let failure = self.failure().phase(ErrorPhase::Accept);
        let failure = failure.because(format!("the spool in `{place}` does not take it: {error}"));
        if is_full(error) {
            let hint = "make room on that disk: what was accepted is kept, and sending goes on as soon as there is some";
            return SinkError::BufferFull(failure.hint(hint));
        }
        SinkError::Io(
            failure
                .hint("look after that disk: what was accepted is kept, and each send tries again"),
        )
    }
}

impl Drop for Link {
    /// Without a runtime and without blocking: what is still owed is given up, counted and told.
    fn drop(&mut self) {
        self.shared.leave();
        self.shared.abort();
    }
}
