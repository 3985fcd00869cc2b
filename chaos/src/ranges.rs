//! A set of numbers, kept as the ranges of which it consists. No I/O, no clock.

use std::collections::BTreeMap;

/// Numbers from 1; mostly one range, since they come in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `first` to `last`; returns how many of them were in it.
    pub(crate) fn add(&mut self, first: u64, last: u64) -> u64 {
        let known = self.within(first, last);
        let (mut start, mut end) = (first, last);
        // What overlaps or touches becomes one with it.
        while let Some((&low, &high)) = self.0.range(..=last.saturating_add(1)).next_back()
            && high.saturating_add(1) >= first
        {
            start = start.min(low);
            end = end.max(high);
            self.0.remove(&low);
        }
        self.0.insert(start, end);
        known
    }

    /// Returns how many of `first` to `last` are in it; none if there are none.
    pub(crate) fn within(&self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let below = self.0.range(..=last).rev();
        below
            .take_while(|(_, high)| **high >= first)
            .map(|(low, high)| last.min(*high) + 1 - first.max(*low))
            .sum()
    }

    /// Returns the highest; 0 of none.
    pub(crate) fn highest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, high)| *high)
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut chance = 1_u64;
        let mut next = move |below: u64| {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (chance >> 33) % below
        };
        for _ in 0..300 {
            let (mut ranges, mut set) = (Ranges::default(), std::collections::BTreeSet::new());
            for _ in 0..30 {
                let first = 1 + next(60);
                let last = first + next(8);
                let known = (first..=last).filter(|n| set.contains(n)).count();
                assert_eq!(ranges.within(first, last), known as u64);
                assert_eq!(ranges.add(first, last), known as u64);
                set.extend(first..=last);
                assert_eq!(ranges.highest(), *set.last().unwrap());
                assert_eq!(ranges.within(1, 100), set.len() as u64);
                let pieces = set.iter().filter(|n| !set.contains(&(*n + 1))).count();
                assert_eq!(ranges.0.len(), pieces, "{ranges:?}");
            }
        }
    }
}
