//! Follows a node: connects, fetches what was missed, hears what comes; and again, when the connection breaks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};
use wakewire::{Failure, LazyConfig, SinkError};

use crate::adapter::Adapter;
use crate::node::{Connection, Filter, Log, NodeError};
use crate::pools::Pools;
use crate::position::Position;
use crate::progress::Progress;

/// Which node, which logs, from where on.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "users write it as a literal")]
pub struct Chain {
    /// The node: `ws://…` or `wss://…`.
    pub node: String,
    /// Which logs.
    pub filter: Filter,
    /// The first block; none means what comes after the first connection.
    pub from: Option<u64>,
    /// A file that says how far an earlier life has come, and is kept up to date; if it is there, it decides.
    pub position: Option<PathBuf>,
}

/// Passes on all that a chain says, through any number of connections to its node; ends only with an error.
///
/// # Errors
///
/// As [`Adapter::pass_on`], or the position cannot be read.
///
/// # Cancel safety
///
/// What was passed on has been accepted; how far that was is in the position's file, or else forgotten.
pub async fn follow(chain: &Chain, adapter: &mut Adapter<'_>) -> Result<Infallible, SinkError> {
    let position = match &chain.position {
        Some(path) => Position::read(path, beginning).map_err(|error| {
            let failure = Failure::new("").because(format!("`{}`: {error}", path.display()));
            SinkError::Io(failure.hint("remove the file to begin anew, or name another"))
        })?,
        None => None,
    };
    let mut follower = Follower {
        chain,
        adapter,
        pools: Pools::default(),
        progress: position
            .as_ref()
            .map(|position| position.accepted().clone()),
        position,
        owed: VecDeque::new(),
        failures: 0,
    };
    loop {
        let error = match follower.connected().await {
            Stop::Sink(error) => return Err(error),
            Stop::Node(error) => error,
        };
        follower.failures = follower.failures.saturating_add(1);
        let wait = LazyConfig::default().delay(follower.failures, rand::random());
        warn!(%error, again_in = ?wait, "no connection to the node");
        sleep(wait).await;
    }
}

struct Follower<'a, 'f> {
    chain: &'a Chain,
    adapter: &'a mut Adapter<'f>,
    pools: Pools,
    progress: Option<Progress>,
    position: Option<Position>,
    /// What is to be passed on, and counts as passed on in `progress` already.
    owed: VecDeque<Log>,
    /// Connections in a row that did not come to hear what comes.
    failures: u32,
}

/// Why a connection was given up.
enum Stop {
    Node(NodeError),
    Sink(SinkError),
}

impl From<NodeError> for Stop {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl Follower<'_, '_> {
    /// Uses one connection for as long as it lasts.
    async fn connected(&mut self) -> Stop {
        let used = async {
            let mut node = Connection::open(&self.chain.node).await?;
            self.pass_on(&mut node).await?;
            let mut progress = match (self.progress.take(), self.chain.from) {
                (Some(progress), _) => progress,
                (None, Some(first)) => beginning(first),
                (None, None) => beginning(node.head().await?.saturating_add(1)),
            };
            if let (None, Some(path)) = (&self.position, &self.chain.position) {
                self.position = Some(Position::beginning(path.clone(), progress.clone()));
            }
            let ended = self.run(&mut node, &mut progress).await;
            self.progress = Some(progress);
            ended
        };
        match used.await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn run(
        &mut self,
        node: &mut Connection,
        progress: &mut Progress,
    ) -> Result<Infallible, Stop> {
        let mut next = progress.from();
        while let Some(range) = progress.behind(next, node.head().await?, BLOCKS) {
            next = next.saturating_add(BLOCKS);
            let logs = fetch(node, &self.chain.filter, range.clone()).await?;
            self.owed.extend(progress.fetched(range, false, logs));
            self.pass_on(node).await?;
        }
        node.subscribe(&self.chain.filter).await?;
        let range = progress.from()..=head(node, progress.seen()).await?;
        info!(node = self.chain.node, blocks = ?range, "connected; what was missed is fetched");
        let logs = fetch(node, &self.chain.filter, range.clone()).await?;
        self.owed.extend(progress.fetched(range, true, logs));
        self.pass_on(node).await?;
        self.failures = 0;
        let mut quiet = None;
        loop {
            if let Some(log) = node.next(QUIET).await? {
                quiet = None;
                self.owed.extend(progress.notified(log));
                self.pass_on(node).await?;
                continue;
            }
            // Still there? And nothing came of what was its last block some time ago.
            let head = node.head().await?;
            if let Some(before) = quiet.replace(head) {
                progress.came_to(before);
            }
        }
    }

    /// Passes on what is owed; what the node must be asked for first waits for the next connection, if this one breaks.
    async fn pass_on(&mut self, node: &mut Connection) -> Result<(), Stop> {
        while let Some(log) = self.owed.front() {
            let pool = self.pools.get(log.address, node).await?;
            self.adapter.pass_on(log, pool).await?;
            if let Some(position) = &mut self.position {
                position.note(log);
            }
            self.owed.pop_front();
        }
        Ok(())
    }
}

fn beginning(first: u64) -> Progress {
    Progress::starting_at(first, DEPTH, MOST)
}

/// Returns all logs of these blocks, in smaller ranges if the node does not give them at once.
async fn fetch(
    node: &mut Connection,
    filter: &Filter,
    blocks: RangeInclusive<u64>,
) -> Result<Vec<Log>, NodeError> {
    let mut logs = Vec::new();
    let mut ranges = vec![blocks];
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let (first, last) = (*range.start(), *range.end());
        match node.logs(filter, range).await {
            Ok(more) => logs.extend(more),
            Err(NodeError::Refused { .. }) if first < last => {
                let middle = first + (last - first) / 2;
                ranges.extend([middle + 1..=last, first..=middle]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(logs)
}

/// Returns the number of the node's last block; waits a while for a node that is behind what was seen: one of several
/// behind an address may be, and has taken nothing back.
async fn head(node: &mut Connection, seen: Option<u64>) -> Result<u64, NodeError> {
    let mut head = node.head().await?;
    for _ in 0..LOOKS {
        if Some(head) >= seen {
            break;
        }
        sleep(BETWEEN_LOOKS).await;
        head = node.head().await?;
    }
    Ok(head)
}

/// How many blocks are fetched at once: what public nodes allow.
const BLOCKS: u64 = 1000;

/// How far back a reorganisation is told of after a gap: more than Polygon has ever had (157).
const DEPTH: u64 = 256;

/// How many logs are remembered for that, some 600 bytes each.
const MOST: usize = 200_000;

/// After so long without a log the node is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(15);

/// How often, and how far apart, a node that is behind is asked again.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
