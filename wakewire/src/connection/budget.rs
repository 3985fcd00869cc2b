//! How many retries all calls together may make. No I/O, no clock.

use std::time::Instant;

/// Counts calls and retries over the last ten seconds.
///
/// A cluster that is overloaded is not helped by everybody asking four times. With Finagle's and tower's numbers,
/// retries make at most a fifth of the calls, and ten a second when there are few.
#[derive(Clone, Debug)]
pub(super) struct Window {
    start: Instant,
    /// The second that was written last, counted from `start`.
    newest: u64,
    seconds: [Second; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    calls: u64,
    retries: u64,
}

impl Window {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            start: now,
            newest: 0,
            seconds: [Second {
                calls: 0,
                retries: 0,
            }; SECONDS],
        }
    }

    /// A call was made; its retries come out of this.
    pub(super) fn called(&mut self, now: Instant) {
        self.at(now).calls += 1;
    }

    /// Takes one retry out, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.left(now) == 0 {
            return false;
        }
        self.at(now).retries += 1;
        true
    }

    /// Returns how many retries are left.
    pub(super) fn left(&mut self, now: Instant) -> u64 {
        self.at(now);
        let calls: u64 = self.seconds.iter().map(|second| second.calls).sum();
        let retries: u64 = self.seconds.iter().map(|second| second.retries).sum();
        (RESERVE + calls / CALLS_PER_RETRY).saturating_sub(retries)
    }

    /// Returns the present second, and forgets those that are ten seconds old.
    fn at(&mut self, now: Instant) -> &mut Second {
        // A clock that goes back stays in the newest second.
        let present = now
            .saturating_duration_since(self.start)
            .as_secs()
            .max(self.newest);
        let passed = (present - self.newest).min(SECONDS as u64);
        for back in 0..passed {
            *self.slot(present - back) = Second::default();
        }
        self.newest = present;
        self.slot(present)
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than ten")]
    const fn slot(&mut self, second: u64) -> &mut Second {
        &mut self.seconds[(second % SECONDS as u64) as usize]
    }
}

/// Over how many seconds is counted.
const SECONDS: usize = 10;

/// One retry for so many calls: 20 %.
const CALLS_PER_RETRY: u64 = 5;

/// What may be retried without any calls: 10 a second.
const RESERVE: u64 = 10 * SECONDS as u64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const REMEMBERED: Duration = Duration::from_secs(SECONDS as u64);

    #[test]
    fn a_fifth_of_the_calls_and_ten_a_second() {
        let start = Instant::now();
        let mut window = Window::new(start);
        for _ in 0..1000 {
            window.called(start);
        }
        let taken = (0..2000).filter(|_| window.take(start)).count();
        assert_eq!(taken, 100 + 200);
        assert!(!window.take(start + REMEMBERED - Duration::from_millis(1)));
        let later = start + REMEMBERED;
        assert_eq!((0..2000).filter(|_| window.take(later)).count(), 100);
    }

    #[test]
    fn a_long_silence_and_a_clock_that_goes_back_do_no_harm() {
        let start = Instant::now();
        let mut window = Window::new(start + REMEMBERED);
        assert!(window.take(start));
        assert!(window.take(start + Duration::from_secs(1 << 40)));
        assert_eq!(window.left(start), 99);
    }

    proptest! {
        /// Whenever a retry is granted: no more in these ten seconds than the reserve and a fifth of the calls.
        #[test]
        fn never_more_than_allowed(steps in prop::collection::vec((0_u64..900, any::<bool>()), 1..600)) {
            let start = Instant::now();
            let mut window = Window::new(start);
            let (mut now, mut calls, mut retries) = (start, Vec::new(), Vec::new());
            for (wait, call) in steps {
                now += Duration::from_millis(wait / 10);
                if call {
                    window.called(now);
                    calls.push(now);
                    continue;
                }
                if !window.take(now) {
                    continue;
                }
                retries.push(now);
                let second = |at: &Instant| at.duration_since(start).as_secs();
                let recent = |all: &[Instant]| {
                    all.iter().filter(|at| second(at) + SECONDS as u64 > second(&now)).count() as u64
                };
                prop_assert!(recent(&retries) <= RESERVE + recent(&calls) / CALLS_PER_RETRY);
            }
        }
    }
}
