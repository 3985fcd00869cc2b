//! Messages that say which they are, and what became of them. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::message::Message;

/// Makes messages that say which they are: sender, number from 0, and a checksum over the rest.
///
/// ```
/// use wakewire::testing::{Checker, Sequence};
///
/// let mut sequence = Sequence::of_sender(7);
/// let [first, second] = [sequence.message(100), sequence.message(0)];
/// let mut checker = Checker::new();
/// checker.receive(&second);
/// checker.receive(&first);
/// let verdict = checker.verdict(7, sequence.made());
/// assert_eq!((verdict.lost, verdict.reordered), (0, 1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    sender: u64,
    made: u64,
}

impl Sequence {
    /// Starts that of one of several senders.
    pub const fn of_sender(sender: u64) -> Self {
        Self { sender, made: 0 }
    }

    /// Returns how many messages were made.
    pub const fn made(&self) -> u64 {
        self.made
    }

    /// Makes the next message, with so many bytes beside its 24 of number and checksum.
    pub fn message(&mut self, bytes: usize) -> Message {
        let message = self.numbered(self.made, bytes);
        self.made += 1;
        message
    }

    /// Makes the message of this number, which counts for nothing.
    pub fn numbered(&self, number: u64, bytes: usize) -> Message {
        let mut payload = Vec::with_capacity(HEAD + bytes);
        payload.extend(self.sender.to_le_bytes());
        payload.extend(number.to_le_bytes());
        payload.extend([0; 8]);
        // Each byte differs from its neighbours, so that it is noticed when some trade places.
        payload.extend((0..bytes).map(|place| (place as u64 + number).to_le_bytes()[0]));
        let sum = checksum(&payload);
        payload.splice(SUM, sum);
        Message::new(payload)
    }
}

/// Checks what of a [`Sequence`] arrives.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    senders: BTreeMap<u64, Seen>,
    corrupted: u64,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    numbers: BTreeSet<u64>,
    duplicated: u64,
    reordered: u64,
}

impl Checker {
    /// Starts with nothing received.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a message; returns its sender and number unless it is damaged.
    pub fn receive(&mut self, message: &Message) -> Option<(u64, u64)> {
        let Some((sender, number)) = read(&message.payload) else {
            self.corrupted += 1;
            return None;
        };
        let seen = self.senders.entry(sender).or_default();
        if seen.numbers.last().is_some_and(|last| number < *last) && !seen.numbers.contains(&number)
        {
            seen.reordered += 1;
        }
        if !seen.numbers.insert(number) {
            seen.duplicated += 1;
        }
        Some((sender, number))
    }

    /// Returns how many different messages of a sender have arrived.
    pub fn received(&self, sender: u64) -> u64 {
        self.senders
            .get(&sender)
            .map_or(0, |seen| seen.numbers.len() as u64)
    }

    /// Returns what became of the messages that a sender made: of numbers below `made`. What is damaged says no sender
    /// and counts for every one.
    pub fn verdict(&self, sender: u64, made: u64) -> Verdict {
        let mut verdict = Verdict {
            lost: made,
            corrupted: self.corrupted,
            ..Verdict::default()
        };
        if let Some(seen) = self.senders.get(&sender) {
            verdict.lost -= seen.numbers.range(..made).count() as u64;
            verdict.duplicated = seen.duplicated;
            verdict.reordered = seen.reordered;
            verdict.invented = seen.numbers.range(made..).count() as u64;
        }
        verdict
    }

    /// Fails unless each message that a sender made has arrived once, in order, and nothing was damaged.
    ///
    /// # Panics
    ///
    /// If that is not so, with the numbers.
    #[track_caller]
    pub fn assert_all(&self, sender: u64, made: u64) {
        let verdict = self.verdict(sender, made);
        assert!(
            verdict == Verdict::default(),
            "of {made} messages of sender {sender}: {verdict}"
        );
    }
}

/// What became of a sender's messages; all zero is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Have not arrived.
    pub lost: u64,
    /// Arrived again, each time counted.
    pub duplicated: u64,
    /// Arrived for the first time after a later one.
    pub reordered: u64,
    /// Arrived with other bytes than were sent.
    pub corrupted: u64,
    /// Arrived and were never made.
    pub invented: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            duplicated,
            reordered,
            corrupted,
            invented,
        } = self;
        write!(
            f,
            "{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupted} corrupted, {invented} invented"
        )
    }
}

fn read(payload: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let bytes = payload.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let (sender, sequence) = (number(0)?, number(8)?);
    (payload.get(SUM)? == checksum(payload)).then_some((sender, sequence))
}

/// Over everything but itself: FNV-1a, and not the CRC that frames have, which would miss what that one misses.
fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for (place, byte) in payload.iter().enumerate() {
        if !SUM.contains(&place) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    sum.to_le_bytes()
}

const HEAD: usize = 24;
const SUM: std::ops::Range<usize> = 16..HEAD;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_swapped_or_damaged_is_counted() {
        let mut sequence = Sequence::of_sender(3);
        let made: Vec<_> = (0..6).map(|_| sequence.message(10)).collect();
        let mut checker = Checker::new();
        for place in [0, 2, 1, 1, 5] {
            assert_eq!(checker.receive(&made[place]), Some((3, place as u64)));
        }
        let mut damaged = made[3].payload.to_vec();
        damaged.swap(30, 31);
        assert_eq!(checker.receive(&Message::new(damaged)), None);
        assert_eq!(checker.receive(&Message::new("short")), None);
        let verdict = checker.verdict(3, 6);
        let expected = Verdict {
            lost: 2,
            duplicated: 1,
            reordered: 1,
            corrupted: 2,
            invented: 0,
        };
        assert_eq!(verdict, expected, "{verdict}");
        assert_eq!(checker.verdict(3, 5).invented, 1);
        assert_eq!(checker.verdict(4, 5).lost, 5);
        assert_eq!(checker.received(3), 4);
    }

    #[test]
    fn what_all_arrived_in_order_is_well() {
        let mut sequence = Sequence::default();
        let mut checker = Checker::new();
        for bytes in 0..300 {
            checker.receive(&sequence.message(bytes));
        }
        checker.assert_all(0, 300);
    }
}
