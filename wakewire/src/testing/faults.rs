//! What happens to the bytes of a connection on their way in one direction. No I/O, no clock.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What happens to the bytes of a connection on their way in one direction; by default nothing.
///
/// Places are counted in bytes from the start of the connection.
///
/// ```
/// use wakewire::testing::Faults;
///
/// let cut = Faults::none().cut_after(100);
/// let slow = Faults::none().slices(7).rate(50_000);
/// let damaged = Faults::none().flip(8 * 400 + 3); // bit 3 of byte 400
/// # drop((cut, slow, damaged));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    cut_after: Option<u64>,
    stall_after: Option<u64>,
    edits: Vec<Edit>,
    slice: Option<usize>,
    rate: Option<u64>,
    delay: Duration,
}

/// Something else arrives than was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Flip { bit: u64 },
    Duplicate { at: u64, bytes: usize },
    Swap { at: u64, bytes: usize },
}

impl Faults {
    /// Lets everything pass as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// Damages one place within the first `bytes` bytes: flips a bit, or doubles or swaps up to 64 bytes. The same seed
    /// damages the same place.
    pub fn from_seed(seed: u64, bytes: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let at = random.random_range(0..bytes.max(1));
        let count = random.random_range(1..=64);
        match random.random_range(0..3) {
            0 => Self::none().flip(8 * at + random.random_range(0..8)),
            1 => Self::none().duplicate(at, count),
            _ => Self::none().swap(at, count),
        }
    }

    /// Ends the connection, in both directions, when so many bytes have passed.
    #[must_use]
    pub const fn cut_after(mut self, bytes: u64) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Lets nothing further pass after so many bytes; the connection stays open, and nobody reads what is sent.
    #[must_use]
    pub const fn stall_after(mut self, bytes: u64) -> Self {
        self.stall_after = Some(bytes);
        self
    }

    /// Flips this bit.
    #[must_use]
    pub fn flip(mut self, bit: u64) -> Self {
        self.edits.push(Edit::Flip { bit });
        self
    }

    /// Lets so many bytes from this one on pass twice, as far as they arrive together.
    #[must_use]
    pub fn duplicate(mut self, at: u64, bytes: usize) -> Self {
        self.edits.push(Edit::Duplicate { at, bytes });
        self
    }

    /// Lets so many bytes from this one on change places with as many after them, as far as they arrive together: fewer
    /// if they do not, since nothing is held back.
    #[must_use]
    pub fn swap(mut self, at: u64, bytes: usize) -> Self {
        self.edits.push(Edit::Swap { at, bytes });
        self
    }

    /// Lets at most so many bytes pass at once.
    #[must_use]
    pub const fn slices(mut self, bytes: usize) -> Self {
        self.slice = Some(bytes);
        self
    }

    /// Lets at most so many bytes pass in a second.
    #[must_use]
    pub const fn rate(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Holds what arrives together up for so long, and meanwhile reads nothing further.
    #[must_use]
    pub const fn delay(mut self, each: Duration) -> Self {
        self.delay = each;
        self
    }
}

/// Where one direction of a connection stands.
#[derive(Debug)]
pub(super) struct Course {
    faults: Faults,
    /// Bytes that were read.
    passed: u64,
}

/// What comes next in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read at most so many bytes.
    Read(usize),
    Cut,
    Stall,
}

impl Course {
    pub(super) const fn new(faults: Faults) -> Self {
        Self { faults, passed: 0 }
    }

    pub(super) fn next(&self) -> Next {
        let Faults {
            cut_after,
            stall_after,
            slice,
            rate,
            ..
        } = self.faults;
        let left = |end: Option<u64>| end.map(|end| end.saturating_sub(self.passed));
        if left(cut_after) == Some(0) {
            return Next::Cut;
        }
        if left(stall_after) == Some(0) {
            return Next::Stall;
        }
        let portion = rate.map(|rate| (rate / PORTIONS).max(1));
        let slice = slice.map(|bytes| bytes.max(1) as u64);
        let bounds = [left(cut_after), left(stall_after), portion, slice];
        let most = bounds.into_iter().flatten().min();
        let most = most.and_then(|most| usize::try_from(most).ok());
        Next::Read(most.unwrap_or(CHUNK).min(CHUNK))
    }

    /// Does to what was read what is to happen to it; returns for how long it is held up before it passes, and how long
    /// nothing is read after.
    pub(super) fn pass(&mut self, chunk: &mut Vec<u8>) -> (Duration, Duration) {
        let start = self.passed;
        let count = chunk.len();
        self.passed += count as u64;
        let within = |at: u64| {
            let at = usize::try_from(at.checked_sub(start)?).ok()?;
            (at < count).then_some(at)
        };
        // From the end to the start: what is doubled moves only what is behind it.
        let mut edits: Vec<_> = self.faults.edits.iter().collect();
        edits.sort_by_key(|edit| std::cmp::Reverse(edit.place()));
        for edit in edits {
            let Some(at) = within(edit.place()) else {
                continue;
            };
            match *edit {
                Edit::Flip { bit } => {
                    if let Some(byte) = chunk.get_mut(at) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
                Edit::Duplicate { bytes, .. } => {
                    chunk.extend_from_within(at..count.min(at + bytes));
                    if let Some(rest) = chunk.get_mut(at..) {
                        rest.rotate_right(bytes.min(count - at));
                    }
                }
                Edit::Swap { bytes, .. } => {
                    let half = bytes.min((count - at) / 2);
                    if let Some(both) = chunk.get_mut(at..at + 2 * half) {
                        both.rotate_left(half);
                    }
                }
            }
        }
        let pause = self.faults.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs(count as u64) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX)
        });
        (self.faults.delay, pause)
    }
}

impl Edit {
    const fn place(&self) -> u64 {
        match *self {
            Self::Flip { bit } => bit / 8,
            Self::Duplicate { at, .. } | Self::Swap { at, .. } => at,
        }
    }
}

/// Read at once.
const CHUNK: usize = 64 * 1024;

/// Into so many portions a second is cut what passes at a rate.
const PORTIONS: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(faults: Faults, chunks: &[&[u8]]) -> Vec<u8> {
        let mut course = Course::new(faults);
        let mut all = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Next::Read(most @ 1..) = course.next()
                && !rest.is_empty()
            {
                let (part, after) = rest.split_at(most.min(rest.len()));
                let mut part = part.to_vec();
                course.pass(&mut part);
                all.extend(part);
                rest = after;
            }
        }
        all
    }

    #[test]
    fn bytes_arrive_as_the_script_says() {
        let bytes: &[&[u8]] = &[b"abcd", b"efgh"];
        let none = Faults::none;
        assert_eq!(passed(none(), bytes), b"abcdefgh");
        assert_eq!(passed(none().cut_after(5), bytes), b"abcde");
        assert_eq!(passed(none().cut_after(0), bytes), b"");
        assert_eq!(passed(none().stall_after(3), bytes), b"abc");
        assert_eq!(passed(none().flip(8 * 4 + 1), bytes), b"abcdgfgh");
        assert_eq!(passed(none().duplicate(1, 2), bytes), b"abcbcdefgh");
        assert_eq!(passed(none().duplicate(6, 9), bytes), b"abcdefghgh");
        assert_eq!(passed(none().swap(0, 2), bytes), b"cdabefgh");
        assert_eq!(passed(none().swap(5, 9), bytes), b"abcdegfh");
        assert_eq!(passed(none().slices(3), bytes), b"abcdefgh");
        assert_eq!(passed(none().flip(0).duplicate(2, 1), bytes), b"`bccdefgh");
    }

    #[test]
    fn a_rate_is_kept_and_a_stop_is_never_passed() {
        let mut course = Course::new(Faults::none().rate(1000).cut_after(50));
        assert_eq!(course.next(), Next::Read(20));
        let (held, pause) = course.pass(&mut vec![0; 20]);
        assert_eq!((held, pause), (Duration::ZERO, Duration::from_millis(20)));
        course.pass(&mut vec![0; 20]);
        assert_eq!(course.next(), Next::Read(10));
        course.pass(&mut vec![0; 10]);
        assert_eq!(course.next(), Next::Cut);
    }

    #[test]
    fn a_seed_says_the_whole_fault_and_all_kinds_occur() {
        let kinds: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| {
                let faults = Faults::from_seed(seed, 1000);
                assert_eq!(faults, Faults::from_seed(seed, 1000));
                assert!(faults.edits[0].place() < 1000);
                std::mem::discriminant(&faults.edits[0])
            })
            .map(|kind| format!("{kind:?}"))
            .collect();
        assert_eq!(kinds.len(), 3);
    }
}
