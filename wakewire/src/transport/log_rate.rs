//! How many lines its peers can make a listener log. No I/O, no clock.

use std::time::{Duration, Instant};

/// The lines about one kind of event: [`MOST`] a second, and how many were withheld is told with the next.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    since: Option<Instant>,
    told: u32,
    withheld: u64,
}

/// What happens to a listener because of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Unaccepted,
    Unguarded,
    Refused,
    Connected,
    Gone,
}

/// A line may be logged.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// How many of its kind were withheld before it; none if none were.
    pub(crate) withheld: Option<u64>,
}

impl LogRate {
    /// Returns whether an event that happens now may be logged.
    pub(crate) fn line(&mut self, now: Instant) -> Option<LogLine> {
        let is_over = |since| now.saturating_duration_since(since) >= EVERY;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told >= MOST {
            self.withheld = self.withheld.saturating_add(1);
            return None;
        }
        self.told += 1;
        let withheld = std::mem::take(&mut self.withheld);
        Some(LogLine {
            withheld: (withheld > 0).then_some(withheld),
        })
    }
}

/// So many lines …
const MOST: u32 = 10;

/// … in so long.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_told_and_the_next_says_how_many_were_not() {
        let (mut rate, start) = (LogRate::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(rate.line(start), Some(LogLine { withheld: None }));
        }
        let late = start + EVERY - Duration::from_nanos(1);
        for _ in 0..1000 {
            assert_eq!(rate.line(late), None);
        }
        let withheld = Some(1000);
        assert_eq!(rate.line(start + EVERY), Some(LogLine { withheld }));
        assert_eq!(rate.line(start + EVERY), Some(LogLine { withheld: None }));
    }
}
