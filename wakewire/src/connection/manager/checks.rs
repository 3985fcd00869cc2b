//! Pings that decide about the health of nodes, and the task that sends them to those that are out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use crate::connection::clock;
use crate::connection::health::Check;
use crate::connection::node::NodeConnection;
use crate::randomness::random;

/// Sees to it that nodes that are out are checked.
pub(super) fn start<C: NodeConnection>(shared: &Arc<Shared<C>>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    {
        let mut standing = shared.standing.lock();
        if standing.closed || std::mem::replace(&mut standing.checking, true) {
            return;
        }
    }
    let checker = Checker {
        shared: Arc::clone(shared),
        done: false,
    };
    shared.task.start(&runtime, checker.run(runtime.clone()));
}

/// Checks these nodes, all at once, and notes what is found; ends with the manager.
pub(super) async fn check_all<C: NodeConnection>(
    shared: &Arc<Shared<C>>,
    nodes: Vec<usize>,
    within: Duration,
    runtime: &Handle,
) {
    let ended = shared.ended.notified();
    tokio::pin!(ended);
    ended.as_mut().enable();
    if shared.standing.lock().closed {
        return;
    }
    let mut checks = JoinSet::new();
    let mut checked = HashMap::new();
    for index in nodes {
        let shared = Arc::clone(shared);
        let check = async move { check(&shared, index, within).await };
        checked.insert(checks.spawn_on(check, runtime).id(), index);
    }
    loop {
        let done = tokio::select! {
            done = checks.join_next_with_id() => done,
            () = &mut ended => return checks.shutdown().await,
        };
        let (check, is_well) = match done {
            Some(Ok(done)) => done,
            // Not left open: it would be due again at once, for ever.
            Some(Err(error)) if error.is_panic() => (error.id(), false),
            Some(Err(_)) | None => return,
        };
        if let Some(index) = checked.get(&check) {
            note(shared, *index, is_well);
        }
    }
}

/// The task's hold on the manager: if its runtime ends, the next failure starts another.
struct Checker<C: NodeConnection> {
    shared: Arc<Shared<C>>,
    done: bool,
}

impl<C: NodeConnection> Checker<C> {
    /// Works while nodes are out.
    async fn run(mut self, runtime: Handle) {
        loop {
            let (due, next) = {
                let mut standing = self.shared.standing.lock();
                let next = standing.cluster.next_check();
                let Some(next) = next.filter(|_| !standing.closed) else {
                    standing.checking = false;
                    self.done = true;
                    return;
                };
                (standing.cluster.due(clock::now()), next)
            };
            if due.is_empty() {
                tokio::select! {
                    () = sleep_until(Instant::from_std(next)) => {}
                    () = self.shared.changed.notified() => {}
                }
            } else {
                let within = self.shared.timeout;
                check_all(&self.shared, due, within, &runtime).await;
            }
        }
    }
}

impl<C: NodeConnection> Drop for Checker<C> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.standing.lock().checking = false;
        }
    }
}

/// Pings one node until it is clear whether it is well, at most this long.
async fn check<C: NodeConnection>(shared: &Shared<C>, index: usize, within: Duration) -> bool {
    let was_healthy = shared.standing.lock().cluster.is_healthy(index);
    let mut check = Check::new(was_healthy);
    let pings = async {
        loop {
            let answered = ping(shared, index, within / 4).await;
            if let Some(verdict) = check.pinged(answered) {
                return verdict;
            }
            if !answered {
                sleep(within / 16).await;
            }
        }
    };
    timeout(within, pings).await.unwrap_or(false)
}

/// Notes what a check has found.
fn note<C: NodeConnection>(shared: &Arc<Shared<C>>, index: usize, is_well: bool) {
    let (now, date) = (clock::now(), clock::date());
    let changed = {
        let mut standing = shared.standing.lock();
        if is_well {
            standing.cluster.passed(index, now, date)
        } else {
            standing.cluster.missed(index, now, date, random())
        }
    };
    if changed {
        shared.told(index, is_well);
    }
}

/// Returns whether the node answered one ping. Opening the connection may take all the time of the check.
async fn ping<C: NodeConnection>(shared: &Shared<C>, index: usize, limit: Duration) -> bool {
    let Some(node) = shared.nodes.get(index) else {
        return false;
    };
    let answered = async |connection: &C| {
        let answer = timeout(limit, connection.ping(limit)).await;
        matches!(answer, Ok(Ok(())))
    };
    // Beside what is under way: all connections may be in use.
    if let Some(connection) = node.pool.any_in_use() {
        return answered(&connection).await;
    }
    let Ok(connection) = node.pool.get(false).await else {
        return false;
    };
    let is_well = answered(&connection).await;
    if !is_well {
        connection.discard();
    }
    is_well
}
