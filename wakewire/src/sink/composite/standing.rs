//! Whether a target is passed over, when it is probed, when it is gone back to. No I/O, no clock.

use std::time::{Duration, Instant};

use crate::error::SinkError;

/// The wait before a failing target is probed for the first time: the time a restarted process needs.
pub(super) const FIRST_PROBE: Duration = Duration::from_secs(1);

/// The longest wait between two probes, that of a link's own redialing; also how long one probe may take
/// before another replaces it.
pub(super) const LONGEST_PROBE: Duration = Duration::from_secs(30);

/// How long a target must have been seen healthy before a failover goes back to it. A peer that restarts
/// again and again costs one failed send per half minute then, and not one per restart.
pub(super) const HOLD_DOWN: Duration = Duration::from_secs(30);

/// How far apart the looks at a target on trial are: a few within the hold-down, so that it is observed.
const TRIAL_PROBE: Duration = Duration::from_secs(5);

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Standing {
    health: Health,
    /// The last failure, without its message.
    last: Option<SinkError>,
    /// It has shown that it takes messages at once, and then let a wait for room run out: only taking one
    /// at once says that there is room again, a connection does not.
    full: bool,
    /// The wait before the next probe but one.
    wait: Duration,
    next_probe: Option<Instant>,
    /// When the probe under way was started.
    probe: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Health {
    Up,
    Failing,
    /// It works again; seen so first and last at these moments.
    Trial {
        since: Instant,
        seen: Instant,
    },
}

/// How good a choice a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// Nothing speaks against it.
    Trusted,
    /// It failed and works again since this moment.
    OnTrial(Instant),
    /// It is passed over.
    Failing,
}

/// Names one probe, so that the answer of a replaced one is not taken for that of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(Instant);

impl Standing {
    pub(super) const fn new() -> Self {
        Self {
            health: Health::Up,
            last: None,
            full: false,
            wait: FIRST_PROBE,
            next_probe: None,
            probe: None,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.health, Health::Up)
    }

    pub(super) const fn is_failing(&self) -> bool {
        matches!(self.health, Health::Failing)
    }

    /// Returns whether a message may wait for this target rather than fail at once.
    pub(super) const fn may_wait(&self) -> bool {
        !self.is_failing() && !self.full
    }

    pub(super) fn last_error(&self) -> Option<SinkError> {
        self.last.clone()
    }

    pub(super) fn rank(&self) -> Rank {
        match self.health {
            Health::Up => Rank::Trusted,
            Health::Failing => Rank::Failing,
            Health::Trial { since, seen } if seen >= since + HOLD_DOWN => Rank::Trusted,
            Health::Trial { since, .. } => Rank::OnTrial(since),
        }
    }

    /// It failed. Returns whether that is news.
    pub(super) fn failed(&mut self, error: Option<SinkError>, full: bool, now: Instant) -> bool {
        self.full |= full;
        if let Some(mut error) = error {
            // The record must not keep a payload alive.
            drop(error.take_message());
            self.last = Some(error);
        }
        match self.rank() {
            Rank::Failing => return false,
            Rank::Trusted => self.wait = FIRST_PROBE,
            // It flaps: what it had waited already is not forgotten.
            Rank::OnTrial(_) => self.wait = (self.wait * 2).min(LONGEST_PROBE),
        }
        self.health = Health::Failing;
        self.next_probe = Some(now + self.wait);
        true
    }

    /// It took a message. Returns whether it was failing until now.
    pub(super) fn took(&mut self, now: Instant) -> bool {
        self.full = false;
        self.seen_well(now)
    }

    /// Returns a ticket for a probe, if one is due; the caller starts it.
    pub(super) fn probe(&mut self, now: Instant) -> Option<Ticket> {
        let under_way = self.probe.is_some_and(|start| now < start + LONGEST_PROBE);
        let early = self.next_probe.is_some_and(|due| now < due);
        if under_way || early {
            return None;
        }
        self.probe = Some(now);
        Some(Ticket(now))
    }

    /// The probe with this ticket has its answer. Returns whether the target was failing until now.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        outcome: Result<(), SinkError>,
        now: Instant,
    ) -> bool {
        if self.probe != Some(ticket.0) {
            return false;
        }
        self.probe = None;
        match outcome {
            Ok(()) => self.seen_well(now),
            Err(error) => {
                if !self.failed(Some(error), false, now) {
                    self.wait = (self.wait * 2).min(LONGEST_PROBE);
                    self.next_probe = Some(now + self.wait);
                }
                false
            }
        }
    }

    fn seen_well(&mut self, now: Instant) -> bool {
        let was_failing = self.is_failing();
        let since = match self.health {
            Health::Up => {
                self.next_probe = Some(now + FIRST_PROBE);
                return false;
            }
            Health::Failing => now,
            Health::Trial { since, .. } => since,
        };
        let proven = since + HOLD_DOWN;
        if now >= proven && !self.full {
            self.health = Health::Up;
        } else {
            self.health = Health::Trial { since, seen: now };
        }
        // The last look falls on the end of the hold-down, not up to a look's distance after it.
        let next = now + TRIAL_PROBE;
        self.next_probe = Some(if now < proven { next.min(proven) } else { next });
        was_failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::message::Message;

    const SECOND: Duration = Duration::from_secs(1);

    fn dead() -> SinkError {
        SinkError::ConnectionFailed(Failure::new("t"))
    }

    fn refuse(standing: &mut Standing, now: Instant) {
        let ticket = standing.probe(now).unwrap();
        assert!(!standing.answered(ticket, Err(dead()), now));
    }

    fn accept(standing: &mut Standing, now: Instant) {
        let ticket = standing.probe(now).unwrap();
        let _ = standing.answered(ticket, Ok(()), now);
    }

    #[test]
    fn probes_grow_from_one_second_to_thirty() {
        let mut now = Instant::now();
        let mut standing = Standing::new();
        assert!(standing.failed(Some(dead()), false, now));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let due = now + SECOND * seconds;
            assert_eq!(standing.probe(due - Duration::from_millis(1)), None);
            refuse(&mut standing, due);
            now = due;
        }
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_is_replaced() {
        let start = Instant::now();
        let mut standing = Standing::new();
        standing.failed(None, false, start);
        let lost = standing.probe(start + SECOND).unwrap();
        assert_eq!(standing.probe(start + SECOND * 30), None);
        let next = standing.probe(start + SECOND * 31).unwrap();
        assert!(
            !standing.answered(lost, Ok(()), start + SECOND * 32),
            "a late answer"
        );
        assert!(standing.is_failing());
        assert!(standing.answered(next, Ok(()), start + SECOND * 32));
    }

    #[test]
    fn trust_returns_after_thirty_observed_seconds() {
        let start = Instant::now();
        let mut standing = Standing::new();
        standing.failed(Some(dead()), false, start);
        let well = start + SECOND;
        accept(&mut standing, well);
        for seconds in [5, 10, 15, 20, 25] {
            assert_eq!(standing.rank(), Rank::OnTrial(well));
            accept(&mut standing, well + SECOND * seconds);
        }
        assert_eq!(standing.rank(), Rank::OnTrial(well));
        accept(&mut standing, well + HOLD_DOWN);
        assert_eq!(standing.rank(), Rank::Trusted);
    }

    #[test]
    fn the_last_look_falls_on_the_end_of_the_hold_down() {
        let start = Instant::now();
        let mut standing = Standing::new();
        standing.failed(Some(dead()), false, start);
        let well = start + SECOND;
        for seconds in [0, 7, 14, 21, 28, 30] {
            accept(&mut standing, well + SECOND * seconds);
        }
        assert_eq!(standing.rank(), Rank::Trusted);
    }

    #[test]
    fn a_failure_on_trial_starts_over_and_waits_longer() {
        let start = Instant::now();
        let mut standing = Standing::new();
        standing.failed(Some(dead()), false, start);
        accept(&mut standing, start + SECOND);
        assert!(standing.failed(Some(dead()), false, start + SECOND * 2));
        assert_eq!(standing.probe(start + SECOND * 3), None);
        accept(&mut standing, start + SECOND * 4);
        assert_eq!(standing.rank(), Rank::OnTrial(start + SECOND * 4));
    }

    #[test]
    fn a_full_target_may_wait_again_only_after_it_took_one() {
        let start = Instant::now();
        let mut standing = Standing::new();
        assert!(standing.may_wait());
        standing.failed(Some(SinkError::BufferFull(Failure::new("t"))), true, start);
        accept(&mut standing, start + SECOND);
        assert!(!standing.is_failing() && !standing.may_wait());
        standing.took(start + SECOND * 2);
        assert!(standing.may_wait());
    }

    #[test]
    fn the_record_keeps_no_message() {
        let mut standing = Standing::new();
        standing.failed(
            Some(dead().returning(Message::new("m"))),
            false,
            Instant::now(),
        );
        assert_eq!(standing.last_error().unwrap().into_message(), None);
    }
}
