//! Which logs were passed on, what is to be fetched after a gap, what a reorganisation takes back. No I/O, no clock.
//!
//! A node tells of logs in two ways: a subscription says what comes and goes, in order, from the moment it begins and
//! until the connection breaks; a fetch says what there is in a range of blocks at some moment. Here both become one
//! stream for the consumer, in which every log comes once, and goes once if its block leaves the chain:
//!
//! * what was passed on and is still part of the chain is a set; each entry changes it, or is not passed on;
//! * a fetch is the whole truth about its range: what was passed on and is not in it has left the chain;
//! * a subscription begins before the last fetch is asked for, and what it says is applied after that fetch. Whatever
//!   the fetch has seen of it already changes nothing then.
//!
//! What is remembered reaches `depth` blocks back, and is bounded in number. Deeper, the node is believed as it is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use alloy_primitives::B256;

use crate::node::Log;

/// How far one has come along a chain; see the module.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How many blocks behind the last one a reorganisation may reach.
    depth: u64,
    /// How many logs are remembered at most.
    most: usize,
    /// The first block whose logs are remembered.
    from: u64,
    /// The last block whose logs are complete.
    seen: Option<u64>,
    /// What was passed on and is part of the chain, from `from` on.
    passed: BTreeMap<Key, Log>,
}

/// A log's identity, in the order of the chain: after a reorganisation the same place has another hash.
type Key = (u64, B256, u64);

fn key(log: &Log) -> Key {
    (log.block_number, log.block_hash, log.log_index)
}

/// The first key that a log of this block can have.
const fn at(block: u64) -> Key {
    (block, B256::ZERO, 0)
}

/// The last key that a log of this block can have.
const fn end_of(block: u64) -> Key {
    (block, B256::repeat_byte(0xff), u64::MAX)
}

impl Progress {
    /// Begins with this block: of those before it nothing is fetched.
    ///
    /// `depth` is how many blocks a reorganisation may take back and still be told of after a gap, `most` how many
    /// logs may be remembered for that: beyond it the oldest blocks are forgotten. It must be more than a block has.
    pub const fn starting_at(first: u64, depth: u64, most: usize) -> Self {
        Self {
            depth,
            most,
            from: first,
            seen: None,
            passed: BTreeMap::new(),
        }
    }

    /// Returns the block to fetch from after a gap: the first that is remembered, or else the first that is wanted.
    pub const fn from(&self) -> u64 {
        self.from
    }

    /// Returns the last block of which something is known: a node that is not as far is behind, or has another chain.
    pub const fn seen(&self) -> Option<u64> {
        self.seen
    }

    /// Returns what was passed on, is part of the chain, and is remembered, in the order of the chain.
    pub fn remembered(&self) -> impl ExactSizeIterator<Item = &Log> {
        self.passed.values()
    }

    /// Returns this many blocks to fetch before there is a subscription, if so many are missing: from `next` on, and so
    /// far behind the head of the chain that no reorganisation reaches them. What is left is fetched at once, when
    /// there is one.
    pub fn behind(&self, next: u64, head: u64, blocks: u64) -> Option<RangeInclusive<u64>> {
        let last = next.checked_add(blocks)?.checked_sub(1)?;
        (last.saturating_add(self.depth) <= head).then_some(next..=last)
    }

    /// Takes what a subscription says, and returns what of it is news: mostly the log itself, or nothing.
    ///
    /// A log of another block at a height where something is says that the chain is another from there on, even if
    /// nobody has said what has gone.
    pub fn notified(&mut self, log: Log) -> Vec<Log> {
        let (block, hash) = (log.block_number, log.block_hash);
        if block < self.from {
            return vec![log];
        }
        if log.removed {
            return self
                .passed
                .remove(&key(&log))
                .map(|_| log)
                .into_iter()
                .collect();
        }
        let mut here = self.passed.range(at(block)..=end_of(block));
        let mut news = match here.next() {
            Some(((_, other, _), _)) if *other != hash => self.take_back(block, u64::MAX, |_| true),
            _ => Vec::new(),
        };
        if self.passed.insert(key(&log), log.clone()).is_none() {
            self.came_to(block);
            news.push(log);
        }
        news
    }

    /// Takes all logs that a node has in a range of blocks, and returns what is news: what has gone, the last first,
    /// and what has come, in the order of the chain.
    ///
    /// `is_last` says that a subscription has begun before, and that the node has no block behind the range: nothing
    /// that was passed on from there is left. Ranges before that bring one near the head of the chain.
    pub fn fetched(
        &mut self,
        range: RangeInclusive<u64>,
        is_last: bool,
        logs: Vec<Log>,
    ) -> Vec<Log> {
        let (first, last) = range.into_inner();
        let there: BTreeMap<Key, Log> = logs
            .into_iter()
            .filter(|log| !log.removed && (first..=last).contains(&log.block_number))
            .map(|log| (key(&log), log))
            .collect();
        let end = if is_last { u64::MAX } else { last };
        let mut news = self.take_back(first, end, |key| !there.contains_key(key));
        for (key, log) in there {
            if key.0 < self.from {
                // It lies before what is remembered, so it was passed on.
                continue;
            }
            if self.passed.insert(key, log.clone()).is_none() {
                news.push(log);
            }
        }
        if is_last {
            // What the subscription has said by now may reach further back than this head: it is remembered still.
            self.seen = Some(last);
            self.keep_bound();
        } else {
            self.came_to(last);
        }
        news
    }

    /// Removes what has left the chain between these blocks, and returns its removal, the last first.
    fn take_back(&mut self, first: u64, last: u64, is_gone: impl Fn(&Key) -> bool) -> Vec<Log> {
        if first > last {
            return Vec::new();
        }
        let held = self.passed.range(at(first)..=end_of(last));
        let gone: Vec<Key> = held.map(|(key, _)| *key).filter(is_gone).collect();
        let gone = gone.iter().rev().filter_map(|key| self.passed.remove(key));
        gone.map(|log| Log {
            removed: true,
            ..log
        })
        .collect()
    }

    /// Says that all logs up to this block have come: what lies too far behind it is forgotten.
    pub fn came_to(&mut self, block: u64) {
        self.seen = self.seen.max(Some(block));
        self.forget_before(block.saturating_sub(self.depth));
        self.keep_bound();
    }

    fn keep_bound(&mut self) {
        while self.passed.len() > self.most
            && let Some(((oldest, ..), _)) = self.passed.first_key_value()
        {
            self.forget_before(oldest.saturating_add(1));
        }
    }

    fn forget_before(&mut self, block: u64) {
        if block > self.from {
            self.from = block;
            self.passed = self.passed.split_off(&at(block));
        }
    }
}

#[cfg(test)]
mod tests;
