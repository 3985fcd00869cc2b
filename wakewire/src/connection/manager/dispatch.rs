//! One request: choose a node, get a connection, note what became of it, perhaps again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Node, Shared, checks};
use crate::connection::clock;
use crate::connection::node::NodeConnection;
use crate::connection::pool::PooledConnection;
use crate::connection::retry::Retrier;
use crate::error::{Failure, Phase, SinkError};
use crate::randomness::random;

impl<C: NodeConnection> Shared<C> {
    pub(super) async fn execute<T, F, Fut>(
        self: &Arc<Self>,
        retrier: &Retrier,
        operation: F,
    ) -> Result<T, SinkError>
    where
        F: Fn(Arc<C>) -> Fut,
        Fut: Future<Output = Result<T, SinkError>>,
    {
        let failed = AtomicUsize::new(NO_NODE);
        let attempt = || async {
            let (index, connection) = self.connect(Some(failed.load(Ordering::Relaxed))).await?;
            let result = operation(connection.connection()).await;
            failed.store(index, Ordering::Relaxed);
            let blame = result.as_ref().map_or_else(blame, |_| Blame::Nobody);
            self.record(index, blame);
            // Who says that it has too much to do has not gone silent, and has no time to greet us anew.
            if blame == Blame::Node && !matches!(result, Err(SinkError::Overloaded(_))) {
                connection.discard();
            }
            result
        };
        retrier.execute(attempt).await
    }

    /// Returns a connection and the index of its node; not one to `failed` if there is another.
    pub(super) async fn connect(
        self: &Arc<Self>,
        failed: Option<usize>,
    ) -> Result<(usize, PooledConnection<C>), SinkError> {
        let mut tried = Vec::new();
        let mut last = None;
        while let Some((index, node)) = self.choose(&tried, failed)? {
            let error = match node.pool.get_connection().await {
                Ok(connection) => return Ok((index, connection)),
                Err(error) => error,
            };
            self.record(index, blame(&error));
            tried.push(index);
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| {
            let failure = Failure::new("")
                .phase(Phase::Dial)
                .because("every node is marked unhealthy");
            SinkError::ConnectionFailed(failure.hint("`mark_node_healthy` takes one back"))
        }))
    }

    /// Chooses a node that was not tried; none when all were.
    fn choose(
        &self,
        tried: &[usize],
        failed: Option<usize>,
    ) -> Result<Option<(usize, &Node<C>)>, SinkError> {
        let (mut candidates, balance) = {
            let standing = self.standing.lock();
            if standing.closed {
                return Err(SinkError::Closed(Failure::new("")));
            }
            (standing.cluster.candidates(), standing.balance)
        };
        candidates.retain(|index| !tried.contains(index));
        if candidates.len() > 1 {
            candidates.retain(|index| Some(*index) != failed);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let units = [random(), random()];
        let load = |index: usize| self.nodes.get(index).map_or(0, |node| node.pool.load());
        let chosen = balance.choose(&candidates, turn, units, load);
        Ok(chosen.and_then(|index| Some((index, self.nodes.get(index)?))))
    }

    /// Notes what a request says about its node.
    fn record(self: &Arc<Self>, index: usize, blame: Blame) {
        let now = clock::now();
        let mut standing = self.standing.lock();
        let cluster = &mut standing.cluster;
        match blame {
            Blame::Nobody if cluster.succeeded(index, now) => {
                drop(standing);
                self.told(index, true);
            }
            Blame::Node if cluster.failed(index, now, random()) => {
                drop(standing);
                self.told(index, false);
            }
            Blame::Nobody | Blame::Node | Blame::Ourselves => {}
        }
    }

    /// Does what follows from a node's coming or going.
    pub(super) fn told(self: &Arc<Self>, index: usize, is_healthy: bool) {
        let node = self.nodes.get(index).map(|node| node.id.as_str());
        tracing::info!(node, is_healthy, "the health of a node has changed");
        self.changed.notify_one();
        if !is_healthy {
            self.rest(index);
            checks::start(self);
        }
    }
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The node answered.
    Nobody,
    Node,
    /// It says nothing about the node.
    Ourselves,
}

fn blame(error: &SinkError) -> Blame {
    match error {
        // It was our own queue that was too long.
        SinkError::Timeout(failure) if failure.failed_phase() == Some(Phase::Accept) => {
            Blame::Ourselves
        }
        SinkError::ConnectionFailed(_)
        | SinkError::ConnectionLost(_)
        | SinkError::Timeout(_)
        | SinkError::Io(_)
        | SinkError::Protocol(_)
        | SinkError::Unauthorized(_)
        | SinkError::Overloaded(_) => Blame::Node,
        SinkError::RequestFailed(_) => Blame::Nobody,
        _ => Blame::Ourselves,
    }
}

/// An index that no node has.
const NO_NODE: usize = usize::MAX;
