//! What a consumer makes of the messages it receives: which came, which did not, which came twice.

use std::collections::BTreeMap;

use super::payload::{chained, checked};

/// Checks the messages of one feed as they come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: u64,
    /// That came before.
    pub(super) duplicated: u64,
    /// That came behind one with a higher number.
    pub(super) out_of_order: u64,
    /// That are not as they were sent.
    pub(super) corrupt: u64,
    /// The highest number that came.
    highest: u64,
    /// Below it, those that did not come: first → last.
    missing: BTreeMap<u64, u64>,
    chain: u64,
    difference: Option<String>,
}

impl Tally {
    pub(super) fn take(&mut self, payload: &[u8]) {
        self.received += 1;
        let Some((number, hash)) = checked(payload) else {
            self.corrupt += 1;
            let received = self.received;
            self.differs(|| format!("message {received} is not as it was sent"));
            return;
        };
        let expected = self.highest + 1;
        self.chain = chained(self.chain, hash);
        if number == expected {
            self.highest = number;
        } else if number > expected {
            self.missing.insert(expected, number - 1);
            self.highest = number;
            self.differs(|| format!("{number} came where {expected} was due"));
        } else if self.fill(number) {
            self.out_of_order += 1;
        } else {
            self.duplicated += 1;
            self.differs(|| format!("{number} came again where {expected} was due"));
        }
    }

    /// Returns how many did not come of so many that were sent.
    pub(super) fn lost(&self, sent: u64) -> u64 {
        let holes: u64 = self
            .missing
            .iter()
            .map(|(first, last)| last + 1 - first)
            .sum();
        holes + sent.saturating_sub(self.highest)
    }

    /// Returns a hash of everything that came, in the order in which it came.
    pub(super) const fn chain(&self) -> u64 {
        self.chain
    }

    /// Returns where it first differed from what was sent.
    pub(super) fn difference(&self) -> Option<&str> {
        self.difference.as_deref()
    }

    /// Notes that one came late; `false` when it had come before.
    fn fill(&mut self, number: u64) -> bool {
        let hole = self.missing.range(..=number).next_back();
        let Some((first, last)) = hole
            .map(|(&first, &last)| (first, last))
            .filter(|(_, last)| number <= *last)
        else {
            return false;
        };
        self.missing.remove(&first);
        if first < number {
            self.missing.insert(first, number - 1);
        }
        if number < last {
            self.missing.insert(number + 1, last);
        }
        true
    }

    fn differs(&mut self, how: impl FnOnce() -> String) {
        if self.difference.is_none() {
            self.difference = Some(how());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::Feed;
    use super::*;

    /// Takes the messages of these numbers; returns lost of ten, duplicated, out of order.
    fn tally(numbers: &[usize]) -> (u64, u64, u64, Option<String>) {
        let mut feed = Feed::new(10, None).unwrap();
        let messages: Vec<_> = std::iter::from_fn(|| feed.next().unwrap()).collect();
        let mut tally = Tally::default();
        for number in numbers {
            tally.take(&messages[number - 1]);
        }
        assert_eq!(tally.received, numbers.len() as u64);
        assert_eq!(
            tally.chain() == feed.chain(),
            numbers.iter().copied().eq(1..=10),
            "{numbers:?}"
        );
        (
            tally.lost(10),
            tally.duplicated,
            tally.out_of_order,
            tally.difference().map(str::to_owned),
        )
    }

    #[test]
    fn every_kind_of_fault_is_counted() {
        let all: Vec<usize> = (1..=10).collect();
        assert_eq!(tally(&all), (0, 0, 0, None));
        let short = Some("7 came where 4 was due".to_owned());
        assert_eq!(tally(&[1, 2, 3, 7, 8, 9, 10]), (3, 0, 0, short.clone()));
        assert_eq!(
            tally(&[1, 2, 3, 7, 5, 4, 6, 8, 9, 10]),
            (0, 0, 3, short.clone())
        );
        assert_eq!(tally(&[1, 2, 3, 7, 5, 5, 8]), (4, 1, 1, short));
        let again = Some("2 came again where 4 was due".to_owned());
        assert_eq!(
            tally(&[1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            (0, 2, 0, again)
        );
        assert_eq!(tally(&[1, 2]), (8, 0, 0, None));
        assert_eq!(tally(&[]), (10, 0, 0, None));
    }

    #[test]
    fn what_is_not_as_it_was_sent_is_no_message() {
        let mut tally = Tally::default();
        tally.take(b"");
        tally.take(&[0; 64]);
        assert_eq!((tally.corrupt, tally.lost(10)), (2, 10));
        assert_eq!(tally.difference(), Some("message 1 is not as it was sent"));
    }
}
