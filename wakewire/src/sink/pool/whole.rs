//! What concerns all lanes at once: connecting, disconnecting, the state and the report of the whole.

use crate::atomic::Ordering;
use std::sync::Arc;

use super::LazyConnectionPool;
use super::choice::Set;
use super::lanes::Lanes;
use super::stats::PoolStats;
use crate::error::SinkError;
use crate::outbox::Ledger;
use crate::sink::composite::whole::goodness;
use crate::sink::together::{Ended, Together};
use crate::sink::{ConnectionState, MessageSink, Report, Sending, SinkReport};

impl Lanes {
    /// Asks those lanes that are wanted at the same time.
    pub(super) async fn ask<'a, T: Unpin>(
        &self,
        wanted: impl Fn(usize) -> bool,
        what: impl Fn(usize) -> Sending<'a, T>,
    ) -> Vec<Ended<T>> {
        let mut together = Together::new();
        for number in (0..self.list.len()).filter(|number| wanted(*number)) {
            together.add(number, what(number));
        }
        together.all().await
    }

    /// Opens those that lost their connection, and further ones until `min_idle` are open, at least one.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<(), SinkError> {
        let wanted = self.config.min_idle.max(1);
        let (mut chosen, mut count) = (Set::default(), self.awake().count());
        for (number, lane) in self.list.iter().enumerate() {
            let further = !lane.is_awake() && count < wanted;
            count += usize::from(further);
            if further || lane.is_awake() {
                chosen.insert(number);
            }
        }
        let open = |number: usize| {
            let lane = &self.list[number];
            Sending::new(async move {
                let user = lane.entered().await;
                user.take_part();
                self.watch_idle();
                let connected = lane.target.sink.connect().await;
                match &connected {
                    Ok(()) => lane.target.took(),
                    Err(error) => lane.target.failed(error),
                }
                connected
            })
        };
        let mut ended = self.ask(|number| chosen.contains(number), open).await;
        if ended.iter().any(|one| one.result.is_ok()) {
            return Ok(());
        }
        ended.pop().map_or(Ok(()), |one| one.result)
    }

    /// Disconnects all; a timeout, after which something is owed, is told before any other error.
    pub(super) async fn disconnect(&self) -> Result<(), SinkError> {
        let all = self.ask(
            |_| true,
            |number| {
                let lane = &self.list[number];
                Sending::new(lane.disconnect(lane.leave()))
            },
        );
        let failed = all.await.into_iter().filter_map(|one| one.result.err());
        failed
            .min_by_key(|error| !matches!(error, SinkError::Timeout(_)))
            .map_or(Ok(()), Err)
    }

    pub(super) fn state(&self) -> ConnectionState {
        if self.is_closed() {
            return ConnectionState::Closed;
        }
        self.awake()
            .map(|lane| match lane.target.is_failing() {
                true => ConnectionState::Failed,
                false => lane.target.sink.state(),
            })
            .max_by_key(|state| goodness(*state))
            .unwrap_or_default()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats {
            passed_over: self.passed_over.load(Ordering::Relaxed),
            ..PoolStats::default()
        };
        for lane in &*self.list {
            let view = lane.view();
            stats.members += usize::from(lane.is_awake());
            stats.open += usize::from(lane.target.sink.is_connected());
            stats.failing += usize::from(lane.is_awake() && view.failing);
            stats.in_flight += view.in_flight;
        }
        stats
    }
}

impl<S> LazyConnectionPool<S> {
    /// Adds up what the members reported: a pool is one sink.
    pub(super) fn merged(&self, ended: Vec<Ended<Report>>) -> Result<Report, SinkError> {
        let last_error = self.last_error.lock().clone();
        let mut whole = SinkReport::new(&*self.name, Ledger::default(), last_error);
        for one in ended {
            for part in one.result?.per_sink {
                whole.ledger += part.ledger;
                whole.connects += part.connects;
                whole.wakes += part.wakes;
                whole.last_error = whole.last_error.or(part.last_error);
            }
        }
        Ok(Report::over([whole]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::error::Failure;
    use crate::sink::PoolConfig;

    /// A member's report whose ledger adds up.
    fn member() -> impl Strategy<Value = SinkReport> {
        any::<[u32; 8]>().prop_map(|count| {
            let mut ledger = Ledger::default();
            let [
                delivered,
                in_doubt,
                newest,
                oldest,
                undelivered,
                waiting,
                ..,
            ] = count.map(u64::from);
            (ledger.delivered, ledger.in_doubt) = (delivered, in_doubt);
            (ledger.dropped.newest, ledger.dropped.oldest) = (newest, oldest);
            (ledger.undelivered, ledger.waiting) = (undelivered, waiting);
            ledger.accepted = delivered + in_doubt + newest + oldest + undelivered + waiting;
            let mut report = SinkReport::new("member", ledger, None);
            (report.connects, report.wakes) = (count[6].into(), count[7].into());
            report
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_members_report_is_added_up(members in vec(member(), 0..9)) {
            let never = async || Err::<Arc<dyn MessageSink>, _>(SinkError::Closed(Failure::new("")));
            let pool = LazyConnectionPool::new(never, PoolConfig::default()).unwrap();
            let ended = members.iter().enumerate().map(|(target, member)| Ended {
                target,
                waited: false,
                result: Ok(Report::over([member.clone()])),
            });
            let merged = pool.merged(ended.collect()).unwrap();
            let [whole] = &merged.per_sink[..] else {
                panic!("{merged:?}");
            };
            let ledger = whole.ledger;
            prop_assert!(ledger.adds_up(), "{ledger:?}");
            let sum = |field: fn(&SinkReport) -> u64| members.iter().map(field).sum::<u64>();
            prop_assert_eq!(ledger.accepted, sum(|one| one.ledger.accepted));
            prop_assert_eq!(ledger.delivered, sum(|one| one.ledger.delivered));
            prop_assert_eq!(ledger.in_doubt, sum(|one| one.ledger.in_doubt));
            prop_assert_eq!(ledger.dropped.newest, sum(|one| one.ledger.dropped.newest));
            prop_assert_eq!(ledger.dropped.oldest, sum(|one| one.ledger.dropped.oldest));
            prop_assert_eq!(ledger.undelivered, sum(|one| one.ledger.undelivered));
            prop_assert_eq!(ledger.waiting, sum(|one| one.ledger.waiting));
            prop_assert_eq!(whole.connects, sum(|one| one.connects));
            prop_assert_eq!(whole.wakes, sum(|one| one.wakes));
        }
    }
}
