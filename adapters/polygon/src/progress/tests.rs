//! The rules one by one, and any order of gaps, fetches and reorganisations against a model of a chain.

use std::collections::{BTreeMap, VecDeque};

use alloy_primitives::{Address, Bytes};
use proptest::prelude::*;

use super::*;

fn log(block: u64, version: u64, index: u64) -> Log {
    Log {
        address: Address::ZERO,
        topics: Vec::new(),
        data: Bytes::new(),
        block_number: block,
        block_hash: B256::from(alloy_primitives::U256::from(version)),
        transaction_hash: B256::ZERO,
        log_index: index,
        removed: false,
    }
}

fn gone(log: Log) -> Log {
    Log {
        removed: true,
        ..log
    }
}

#[test]
fn a_log_is_passed_on_once() {
    let mut progress = Progress::starting_at(0, 8, 100);
    assert_eq!(progress.notified(log(5, 1, 0)), [log(5, 1, 0)]);
    assert_eq!(progress.notified(log(5, 1, 0)), []);
    assert_eq!(progress.fetched(0..=5, true, vec![log(5, 1, 0)]), []);
    assert_eq!(progress.notified(log(5, 1, 1)), [log(5, 1, 1)]);
}

#[test]
fn what_left_the_chain_during_a_gap_is_taken_back_the_last_first() {
    let mut progress = Progress::starting_at(0, 8, 100);
    let old = [log(5, 1, 0), log(5, 1, 1), log(6, 2, 0)];
    for log in old.clone() {
        assert!(progress.notified(log).len() == 1);
    }
    let news = progress.fetched(0..=7, true, vec![log(5, 1, 0), log(5, 1, 1), log(7, 4, 0)]);
    assert_eq!(news, [gone(log(6, 2, 0)), log(7, 4, 0)]);
    // The chain is shorter now, and ends before anything that was there.
    let news = progress.fetched(0..=4, true, Vec::new());
    let expected = [log(7, 4, 0), log(5, 1, 1), log(5, 1, 0)].map(gone);
    assert_eq!(news, expected);
    assert_eq!(progress.seen(), Some(4));
}

#[test]
fn a_removal_comes_once_and_the_log_may_come_again() {
    let mut progress = Progress::starting_at(0, 8, 100);
    assert!(progress.notified(log(5, 1, 0)).len() == 1);
    assert_eq!(progress.notified(gone(log(5, 1, 0))), [gone(log(5, 1, 0))]);
    assert_eq!(progress.notified(gone(log(5, 1, 0))), []);
    assert_eq!(progress.notified(log(5, 1, 0)), [log(5, 1, 0)]);
}

#[test]
fn another_block_at_a_height_takes_back_what_was_there_even_unsaid() {
    let mut progress = Progress::starting_at(0, 8, 100);
    for log in [log(4, 1, 0), log(5, 2, 0), log(5, 2, 1), log(6, 3, 0)] {
        assert_eq!(progress.notified(log).len(), 1);
    }
    let news = progress.notified(log(5, 9, 0));
    let [c, b, a] = [log(6, 3, 0), log(5, 2, 1), log(5, 2, 0)].map(gone);
    assert_eq!(news, [c, b, a, log(5, 9, 0)]);
}

#[test]
fn what_is_remembered_is_bounded_in_blocks_and_in_number() {
    let mut progress = Progress::starting_at(0, 8, 10);
    for block in 0..100 {
        for index in 0..3 {
            assert!(progress.notified(log(block, block, index)).len() == 1);
            assert!(progress.passed.len() <= 10);
        }
    }
    assert_eq!(progress.from(), 97);
    let mut progress = Progress::starting_at(0, 8, 1000);
    assert_eq!(
        progress.fetched(0..=99, false, vec![log(90, 1, 0)]).len(),
        1
    );
    assert_eq!((progress.from(), progress.passed.len()), (91, 0));
    // Deeper the node is believed.
    let deep = gone(log(90, 1, 0));
    assert_eq!(progress.notified(deep.clone()), [deep]);
}

/// A chain, a node that tells of it, a connection that breaks, and a consumer that keeps accounts.
struct World {
    /// The logs of each block.
    chain: Vec<Vec<Log>>,
    highest: usize,
    versions: u64,
    connection: Connection,
    told: VecDeque<Log>,
    progress: Progress,
    first: u64,
    /// What the consumer holds to be part of the chain, by its place; and what went wrong.
    held: BTreeMap<(u64, u64), Log>,
}

#[derive(Clone, Copy)]
enum Connection {
    Broken,
    /// Catching up without a subscription.
    Behind(u64),
    Subscribed,
    /// The head was asked for, the logs up to it were not yet.
    Fetching(u64),
    Live,
}

#[derive(Clone, Debug)]
enum Event {
    Mine(u64),
    Reorganise(usize, Vec<u64>),
    GoOn,
    Hear(usize),
    Break,
}

const DEPTH: usize = 6;
const CHUNK: u64 = 4;

impl World {
    fn new(first: u64) -> Self {
        Self {
            chain: vec![Vec::new()],
            highest: 0,
            versions: 0,
            connection: Connection::Broken,
            told: VecDeque::new(),
            progress: Progress::starting_at(first, DEPTH as u64, 10_000),
            first,
            held: BTreeMap::new(),
        }
    }

    fn head(&self) -> u64 {
        self.chain.len() as u64 - 1
    }

    fn is_subscribed(&self) -> bool {
        matches!(
            self.connection,
            Connection::Subscribed | Connection::Fetching(_) | Connection::Live
        )
    }

    fn tell(&mut self, logs: impl IntoIterator<Item = Log>) {
        if self.is_subscribed() {
            self.told.extend(logs);
        }
    }

    fn mine(&mut self, logs: u64) {
        self.versions += 1;
        let block = self.chain.len() as u64;
        let logs: Vec<Log> = (0..logs)
            .map(|index| log(block, self.versions, index))
            .collect();
        self.tell(logs.clone());
        self.chain.push(logs);
        self.highest = self.highest.max(self.chain.len() - 1);
    }

    fn reorganise(&mut self, depth: usize, blocks: &[u64]) {
        for _ in 0..depth {
            if self.chain.len() <= 1 || self.chain.len() - 2 < self.highest.saturating_sub(DEPTH) {
                break;
            }
            let logs = self.chain.pop().unwrap();
            self.tell(logs.into_iter().rev().map(gone));
        }
        for logs in blocks {
            self.mine(*logs);
        }
    }

    fn logs(&self, first: u64, last: u64) -> Vec<Log> {
        let blocks = (0..).zip(&self.chain);
        let blocks = blocks.filter(|(number, _)| (first..=last).contains(number));
        blocks.flat_map(|(_, logs)| logs.clone()).collect()
    }

    /// What the adapter does next by itself.
    fn go_on(&mut self) {
        match self.connection {
            Connection::Broken => self.connection = Connection::Behind(self.progress.from()),
            Connection::Behind(next) => match self.progress.behind(next, self.head(), CHUNK) {
                Some(range) => {
                    let logs = self.logs(*range.start(), *range.end());
                    let news = self.progress.fetched(range, false, logs);
                    self.take(news);
                    self.connection = Connection::Behind(next + CHUNK);
                }
                None => self.connection = Connection::Subscribed,
            },
            Connection::Subscribed => self.connection = Connection::Fetching(self.head()),
            Connection::Fetching(head) => {
                let first = self.progress.from();
                let logs = self.logs(first, head);
                let news = self.progress.fetched(first..=head, true, logs);
                self.take(news);
                self.connection = Connection::Live;
            }
            Connection::Live => self.hear(1),
        }
    }

    fn hear(&mut self, most: usize) {
        if !matches!(self.connection, Connection::Live) {
            return;
        }
        for log in self
            .told
            .drain(..most.min(self.told.len()))
            .collect::<Vec<_>>()
        {
            let news = self.progress.notified(log);
            self.take(news);
        }
    }

    /// The consumer: nothing comes twice, nothing goes that is not there.
    fn take(&mut self, news: impl IntoIterator<Item = Log>) {
        for log in news {
            if log.block_number < self.first {
                continue;
            }
            let place = (log.block_number, log.log_index);
            if log.removed {
                let held = self.held.remove(&place);
                assert_eq!(
                    held.as_ref().map(key),
                    Some(key(&log)),
                    "removed, and was not there"
                );
            } else {
                let held = self.held.insert(place, log);
                assert_eq!(held.as_ref().map(key), None, "came where something is");
            }
        }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Mine(logs) => self.mine(logs),
            Event::Reorganise(depth, blocks) => self.reorganise(depth, &blocks),
            Event::GoOn => self.go_on(),
            Event::Hear(most) => self.hear(most),
            Event::Break => {
                self.connection = Connection::Broken;
                self.told.clear();
            }
        }
    }

    /// Lets everything settle; then the consumer has what the chain has.
    fn settle(mut self) {
        while !matches!(self.connection, Connection::Live) || !self.told.is_empty() {
            self.go_on();
        }
        let there: Vec<_> = self.logs(self.first, self.head()).iter().map(key).collect();
        let held: Vec<_> = self.held.values().map(key).collect();
        assert_eq!(held, there);
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..4_u64).prop_map(Event::Mine),
        3 => (1..=DEPTH, prop::collection::vec(0..3_u64, 0..5))
            .prop_map(|(depth, blocks)| Event::Reorganise(depth, blocks)),
        8 => Just(Event::GoOn),
        3 => (1..6_usize).prop_map(Event::Hear),
        1 => Just(Event::Break),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

    #[test]
    fn whatever_breaks_nothing_is_missing_and_nothing_comes_twice(
        first in 0..4_u64,
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(first);
        for event in events {
            world.play(event);
        }
        world.settle();
    }
}
