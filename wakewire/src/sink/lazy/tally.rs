//! A count to which mostly one thread adds. No I/O, no clock.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Exact, and without a locked operation for whoever counted first: a sink mostly has one sender, and that one would pay
/// with each message for others who never come. They pay what an atomic addition costs.
#[derive(Debug)]
pub(super) struct Tally {
    /// The thread that counted first.
    owner: AtomicU64,
    /// Written by the owner alone, so that it may load and store.
    owned: AtomicU64,
    others: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            owner: AtomicU64::new(NOBODY),
            owned: AtomicU64::new(0),
            others: AtomicU64::new(0),
        }
    }
}

impl Tally {
    #[inline]
    pub(super) fn add_one(&self) {
        if HERE.get() == self.owner.load(Relaxed) {
            self.owned.store(self.owned.load(Relaxed) + 1, Relaxed);
        } else {
            self.add_elsewhere();
        }
    }

    #[inline(never)]
    fn add_elsewhere(&self) {
        let owner = &self.owner;
        match owner.compare_exchange(NOBODY, here(), Relaxed, Relaxed) {
            Ok(_) => self.add_one(),
            Err(_) => {
                self.others.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.owned.load(Relaxed) + self.others.load(Relaxed)
    }
}

/// Returns the number of this thread, which no other has, also when it has ended.
fn here() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    if HERE.get() == 0 {
        HERE.set(LAST.fetch_add(1, Relaxed) + 1);
    }
    HERE.get()
}

/// What no thread's number is, nor that of one which has none yet.
const NOBODY: u64 = u64::MAX;

thread_local! {
    /// 0 until it is asked for.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_missed_whoever_counts() {
        const EACH: u64 = 50_000;
        let (tally, other) = (Tally::default(), Tally::default());
        tally.add_one();
        assert_eq!((tally.read(), other.read()), (1, 0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        tally.add_one();
                        other.add_one();
                    }
                });
            }
            for _ in 0..EACH {
                tally.add_one();
            }
        });
        assert_eq!(tally.read(), 5 * EACH + 1);
        assert_eq!(other.read(), 4 * EACH);
        assert_eq!(tally.owned.load(Relaxed), EACH + 1, "of the first alone");
    }
}
