//! Which nodes are healthy: when one is put out, when it comes back. No I/O, no clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::LazyConfig;

/// Which node: where it is, as its endpoint is written.
///
/// That is the host as configured with what it left out: `db1` is `tcp://db1:7000`, or `tls://db1:7000` with
/// `enable_tls`. It names a place in the configuration, not a process;
/// [`Connection::node_id`](super::Connection::node_id) is the number of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for NodeId {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A date, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// What stands for "never": the epoch itself.
    pub const NEVER: Self = Self(0);

    /// Makes one of nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

/// What is known of a node's health.
///
/// ```
/// use wakewire::connection::{ConnectionConfig, ConnectionManager, NodeId, Timestamp};
///
/// let config = ConnectionConfig { hosts: vec!["db1".into(), "db2".into()], ..ConnectionConfig::default() };
/// let manager = ConnectionManager::new(&config)?;
/// assert!(manager.mark_node_unhealthy(&NodeId::from("tcp://db2:7000")));
/// let [one, two] = &manager.node_health()[..] else { unreachable!() };
/// assert!(one.is_healthy && !two.is_healthy);
/// assert_eq!((two.last_check, two.consecutive_failures), (Timestamp::NEVER, 0)); // it was by hand
/// # Ok::<(), wakewire::SinkError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeHealth {
    /// Which node.
    pub node_id: NodeId,
    /// Whether it gets requests. A node is taken for healthy until something else is known.
    pub is_healthy: bool,
    /// When it was last checked by a ping; [`Timestamp::NEVER`] if it was not.
    pub last_check: Timestamp,
    /// How many requests and checks failed in a row. From 5 failed requests on it is out, unless it is the last.
    pub consecutive_failures: u32,
}

/// The health of all nodes of a cluster, by their index.
///
/// ```text
///              5 failed requests in a row, a failed check
///   healthy ────────────────────────────────────────────► ejected (5 s × 2ⁿ to 300 s)
///      ▲                                                     │ the time is over
///      │ the check succeeds                                  ▼
///      └────────────────────────────────────────────────── half-open ─► checked every 5 s
/// ```
///
/// Failed requests never put out the last node: a bad node is better than none. A check that fails does, for it is
/// asked in order to know; then the least bad node is used nevertheless. The numbers are Finagle's (5 failures, 5 to
/// 300 s).
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    state: State,
    /// A person has put it out, and takes it back.
    held: bool,
    failures: u32,
    /// How often it was ejected without having been well for [`HOLD_DOWN`] in between.
    ejections: u32,
    last_check: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Since this moment; none from the beginning.
    Healthy(Option<Instant>),
    Ejected {
        /// Until then no check brings it back, unless it is its first ejection.
        until: Instant,
        next_check: Instant,
    },
}

impl Cluster {
    pub(super) fn new(nodes: usize) -> Self {
        let node = Node {
            state: State::Healthy(None),
            held: false,
            failures: 0,
            ejections: 0,
            last_check: Timestamp::NEVER,
        };
        Self {
            nodes: vec![node; nodes],
        }
    }

    /// Returns the nodes that get requests: the healthy ones; of a cluster without any, the one that is allowed back
    /// first. Nodes that a person has put out are never among them.
    pub(super) fn candidates(&self) -> Vec<usize> {
        let healthy: Vec<_> = self.all(Node::is_healthy).collect();
        if !healthy.is_empty() {
            return healthy;
        }
        let back = |index: &usize| self.nodes.get(*index).and_then(Node::until);
        let least_bad = self.all(|node| !node.held).min_by_key(back);
        least_bad.into_iter().collect()
    }

    /// Returns whether the node gets requests while others do.
    pub(super) fn is_healthy(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(Node::is_healthy)
    }

    /// Returns what is known of a node.
    pub(super) fn health(&self, index: usize, node_id: NodeId) -> Option<NodeHealth> {
        self.nodes.get(index).map(|node| NodeHealth {
            node_id,
            is_healthy: node.is_healthy(),
            last_check: node.last_check,
            consecutive_failures: node.failures,
        })
    }

    /// A request succeeded. Returns whether that brings the node back.
    pub(super) fn succeeded(&mut self, index: usize, now: Instant) -> bool {
        self.nodes.get_mut(index).is_some_and(|node| {
            node.failures = 0;
            // An old answer that comes late says nothing of the node as it is now.
            matches!(node.state, State::Ejected { until, .. } if now >= until) && node.restore(now)
        })
    }

    /// A request failed, and it is the node's fault. Returns whether that puts the node out.
    pub(super) fn failed(&mut self, index: usize, now: Instant, unit: f64) -> bool {
        let others = self.all(Node::is_healthy).any(|other| other != index);
        self.nodes.get_mut(index).is_some_and(|node| {
            node.failures = node.failures.saturating_add(1);
            node.failures >= FAILURES && others && node.eject(now, unit)
        })
    }

    /// A check succeeded. Returns whether that brings the node back.
    pub(super) fn passed(&mut self, index: usize, now: Instant, date: Timestamp) -> bool {
        self.nodes.get_mut(index).is_some_and(|node| {
            node.failures = 0;
            node.last_check = date;
            let flaps = node.ejections > 1 && node.until().is_some_and(|until| now < until);
            !flaps && node.restore(now)
        })
    }

    /// A check failed. Returns whether that puts the node out.
    pub(super) fn missed(
        &mut self,
        index: usize,
        now: Instant,
        date: Timestamp,
        unit: f64,
    ) -> bool {
        self.nodes.get_mut(index).is_some_and(|node| {
            node.failures = node.failures.saturating_add(1);
            node.last_check = date;
            if let State::Ejected { until, next_check } = &mut node.state {
                *next_check = (*until).max(after(now, between_checks(unit)));
            }
            node.eject(now, unit)
        })
    }

    /// A person puts the node out, until he takes it back.
    pub(super) fn hold(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.held = true;
        }
    }

    /// A person takes the node back, whatever is known of it.
    pub(super) fn release(&mut self, index: usize, now: Instant) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.held = false;
            node.failures = 0;
            node.ejections = 0;
            node.restore(now);
        }
    }

    /// Returns the nodes whose check is due. What a person has put out is not checked: no check brings it back.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        self.all(|node| node.next_check().is_some_and(|next| next <= now))
            .collect()
    }

    /// Returns when the next check is due; none while nobody needs one.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.nodes.iter().filter_map(Node::next_check).min()
    }

    fn all<'a>(&'a self, is_one: impl Fn(&Node) -> bool + 'a) -> impl Iterator<Item = usize> + 'a {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(move |(index, node)| is_one(node).then_some(index))
    }
}

impl Node {
    const fn is_healthy(&self) -> bool {
        !self.held && matches!(self.state, State::Healthy(_))
    }

    const fn until(&self) -> Option<Instant> {
        match self.state {
            State::Healthy(_) => None,
            State::Ejected { until, .. } => Some(until),
        }
    }

    const fn next_check(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { next_check, .. } if !self.held => Some(next_check),
            _ => None,
        }
    }

    /// Returns whether it was healthy until now.
    fn eject(&mut self, now: Instant, unit: f64) -> bool {
        let State::Healthy(since) = self.state else {
            return false;
        };
        // A node that flaps stays out longer each time; only good behaviour makes that forgotten.
        if since.is_none_or(|since| now.saturating_duration_since(since) >= HOLD_DOWN) {
            self.ejections = 0;
        }
        self.ejections = self.ejections.saturating_add(1);
        let until = after(now, ejection().delay(self.ejections, unit));
        self.state = State::Ejected {
            until,
            next_check: until,
        };
        true
    }

    /// Returns whether it was ejected until now.
    fn restore(&mut self, now: Instant) -> bool {
        let was_ejected = matches!(self.state, State::Ejected { .. });
        if was_ejected {
            self.state = State::Healthy(Some(now));
        }
        was_ejected
    }
}

/// How long a node is put out, by how often it was.
fn ejection() -> LazyConfig {
    LazyConfig {
        retry_delay: Duration::from_secs(5),
        max_retry_delay: Duration::from_secs(300),
        ..LazyConfig::default()
    }
}

/// From 4.5 to 5.5 seconds, so that many managers do not check at the same moment.
fn between_checks(unit: f64) -> Duration {
    let config = LazyConfig {
        retry_delay: CHECK_EVERY,
        jitter: 0.1,
        ..LazyConfig::default()
    };
    config.delay(1, unit)
}

fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}

/// How many requests must fail in a row: Finagle's and Envoy's number.
pub(super) const FAILURES: u32 = 5;

/// How long a node must be well for its ejections to be forgotten: Envoy's base time.
const HOLD_DOWN: Duration = Duration::from_secs(30);

/// How far apart the checks of an ejected node are.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// The answers to the pings of one check: three bad ones in a row decide, and two good ones.
///
/// One lost packet is no illness, and one lucky answer no recovery.
#[derive(Debug)]
pub(super) struct Check {
    /// A node that was healthy need not prove it twice.
    needed: u32,
    good: u32,
    bad: u32,
}

impl Check {
    pub(super) const fn new(was_healthy: bool) -> Self {
        Self {
            needed: if was_healthy { 1 } else { RISE },
            good: 0,
            bad: 0,
        }
    }

    /// One ping was answered or not. Returns the verdict when there is one.
    pub(super) const fn pinged(&mut self, answered: bool) -> Option<bool> {
        if answered {
            self.good += 1;
            self.bad = 0;
        } else {
            self.bad += 1;
            self.good = 0;
        }
        if self.good >= self.needed {
            Some(true)
        } else if self.bad >= FALL {
            Some(false)
        } else {
            None
        }
    }
}

/// How many unanswered pings in a row make a node unhealthy.
pub(super) const FALL: u32 = 3;

/// How many answered ones make it healthy again.
const RISE: u32 = 2;
