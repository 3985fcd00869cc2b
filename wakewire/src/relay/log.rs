//! The bounded log: runs of frames of many sessions in the order in which they came. No I/O, no clock.

use std::collections::VecDeque;

use crate::wire::run::Run;

/// What a run costs beside its bytes, so that many tiny runs cannot outgrow the bound.
pub(super) const RUN_OVERHEAD: usize = 96;

/// A run and the session it belongs to.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) origin: u32,
    pub(super) run: Run,
}

/// Runs with positions that only grow; what leaves, leaves at the front (R6).
#[derive(Debug)]
pub(super) struct Log {
    /// The position of the front.
    base: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
}

/// Returns what a run counts for towards the bound.
pub(super) fn cost(run: &Run) -> usize {
    run.bytes.len() + RUN_OVERHEAD
}

impl Log {
    /// Makes an empty log that keeps up to `limit` bytes.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            base: 0,
            entries: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    /// Returns whether so many bytes more may be appended. An empty log takes a run of any size: one that is
    /// larger than the whole log would never be taken otherwise.
    pub(super) fn has_room(&self, cost: usize) -> bool {
        self.entries.is_empty() || self.bytes + cost <= self.limit
    }

    /// Appends a run; the caller has seen to the room.
    pub(super) fn push(&mut self, origin: u32, run: Run) {
        self.bytes += cost(&run);
        self.entries.push_back(Entry { origin, run });
    }

    /// Takes the front off.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= cost(&entry.run);
        self.base += 1;
        if self.entries.is_empty() {
            // A burst of tiny runs must not keep its queue for ever.
            self.entries.shrink_to(1024);
        }
        Some(entry)
    }

    /// Returns the run at the front.
    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Returns the run at a position that has not left.
    pub(super) fn get(&self, position: u64) -> Option<&Entry> {
        let index = position.checked_sub(self.base)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// Returns the position of the front.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Returns the position that the next run will get.
    pub(super) fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Returns what the runs count for together.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bound.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how many runs there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns all runs from the front.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn run(first: u64, bytes: usize) -> Run {
        Run::new(first, first, Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn positions_grow_and_bytes_add_up() {
        let mut log = Log::new(1000);
        log.push(1, run(1, 100));
        log.push(2, run(1, 200));
        assert_eq!(
            (log.base(), log.end(), log.bytes()),
            (0, 2, 300 + 2 * RUN_OVERHEAD)
        );
        assert_eq!(log.pop().unwrap().origin, 1);
        assert!(log.get(0).is_none() && log.get(2).is_none());
        assert_eq!(log.get(1).unwrap().origin, 2);
        assert_eq!(
            (log.base(), log.end(), log.bytes()),
            (1, 2, 200 + RUN_OVERHEAD)
        );
    }

    #[test]
    fn an_empty_log_takes_anything_and_a_full_one_nothing() {
        let mut log = Log::new(1000);
        let large = run(1, 5000);
        assert!(log.has_room(cost(&large)));
        log.push(1, large);
        assert!(!log.has_room(1));
        log.pop();
        log.push(1, run(2, 1000 - RUN_OVERHEAD));
        assert!(!log.has_room(1));
    }

    #[test]
    fn tiny_runs_cost_their_overhead() {
        let mut log = Log::new(1000);
        let mut taken = 0;
        while log.has_room(cost(&run(1, 0))) {
            log.push(1, run(1, 0));
            taken += 1;
        }
        assert_eq!(taken, 1000 / RUN_OVERHEAD);
    }
}
