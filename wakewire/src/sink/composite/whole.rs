//! What concerns all targets at once: connecting, flushing, closing, and the state of the whole.

use std::sync::atomic::Ordering;

use super::target::Target;
use super::{CompositeSink, Rule, fanout};
use crate::error::{Phase, SinkError};
use crate::sink::together::{Ended, Together};
use crate::sink::{ConnectionState, MessageSink, Report, Sending};

impl CompositeSink {
    /// Asks all targets at the same time.
    pub(super) async fn ask<'a, T: Unpin>(
        &'a self,
        what: impl Fn(&'a dyn MessageSink) -> Sending<'a, T>,
    ) -> Vec<Ended<T>> {
        let mut together = Together::new();
        for (index, target) in self.targets.iter().enumerate() {
            together.add(index, what(&*target.sink));
        }
        together.all().await
    }

    /// Merges what the targets reported; a sink that several of them lead to is counted once.
    pub(super) fn merged(
        &self,
        ended: Vec<Ended<Report>>,
        phase: Phase,
    ) -> Result<Report, SinkError> {
        let mut parts = Vec::new();
        let mut failed = Vec::new();
        for one in ended {
            match one.result {
                Ok(part) => parts.extend(part.per_sink),
                Err(error) => failed.push((one.target, error)),
            }
        }
        if failed.is_empty() {
            Ok(Report::over(parts))
        } else {
            Err(fanout::partial(self, failed, phase))
        }
    }

    pub(super) fn all_or_partial(
        &self,
        ended: Vec<Ended<()>>,
        phase: Phase,
    ) -> Result<(), SinkError> {
        let failed: Vec<_> = ended
            .into_iter()
            .filter_map(|one| Some((one.target, one.result.err()?)))
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(fanout::partial(self, failed, phase))
        }
    }

    pub(super) fn connected_over_all(&self) -> bool {
        let usable = |target: &Target| !target.is_failing() && target.sink.is_connected();
        match self.rule {
            _ if self.closed.load(Ordering::Acquire) => false,
            Rule::Fanout => self.targets.iter().all(usable),
            Rule::RoundRobin(_) | Rule::Failover => self.targets.iter().any(usable),
        }
    }

    pub(super) fn state_over_all(&self) -> ConnectionState {
        use ConnectionState::{Closed, Connected, Connecting, Disconnected, Failed};
        if self.closed.load(Ordering::Acquire) {
            return Closed;
        }
        let states = || {
            self.targets.iter().map(|target| match target.sink.state() {
                Closed => Closed,
                _ if target.is_failing() => Failed,
                state => state,
            })
        };
        match self.rule {
            Rule::Fanout => {
                let seen: Vec<_> = states().collect();
                let any = |wanted| seen.contains(&wanted);
                if seen.iter().all(|state| *state == Closed) {
                    Closed
                } else if any(Failed) || any(Closed) {
                    Failed
                } else if seen.iter().all(|state| *state == Connected) {
                    Connected
                } else if any(Connecting) {
                    Connecting
                } else {
                    Disconnected
                }
            }
            Rule::RoundRobin(_) | Rule::Failover => {
                let mut best = Closed;
                for state in states() {
                    if state == Connected {
                        return Connected; // Asked with every message from above: not further than needed.
                    }
                    if goodness(state) > goodness(best) {
                        best = state;
                    }
                }
                best
            }
        }
    }
}

pub(in crate::sink) const fn goodness(state: ConnectionState) -> u8 {
    match state {
        ConnectionState::Connected => 4,
        ConnectionState::Connecting => 3,
        ConnectionState::Disconnected => 2,
        ConnectionState::Failed => 1,
        ConnectionState::Closed => 0,
    }
}
