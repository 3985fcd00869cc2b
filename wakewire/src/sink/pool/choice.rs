//! Which lane takes a message that may go anywhere, and which may rest. No I/O, no clock.

use std::time::{Duration, Instant};

/// The most lanes: as many as a [`Set`] has bits, and more than any peer is glad to see from one process.
pub(super) const MOST_LANES: usize = 64;

/// Some of the lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const fn insert(&mut self, lane: usize) {
        self.0 |= 1 << lane;
    }

    pub(super) const fn contains(self, lane: usize) -> bool {
        self.0 & (1 << lane) != 0
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What counts of a lane when one is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) rest: Rest,
    pub(super) failing: bool,
    /// Sends that are pending on it.
    pub(super) in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing is open.
    Asleep,
    /// It takes part.
    Awake,
    /// It is being put to sleep.
    Leaving,
}

impl View {
    const fn is_usable(self) -> bool {
        matches!(self.rest, Rest::Awake) && !self.failing
    }
}

/// Returns the usable lane with the fewest sends in flight; equals take turns, beginning with `turn`.
pub(super) fn least_busy(
    count: usize,
    turn: usize,
    without: Set,
    view: impl Fn(usize) -> View,
) -> Option<usize> {
    in_turn(count, turn)
        .filter(|lane| !without.contains(*lane))
        .map(|lane| (lane, view(lane)))
        .filter(|(_, view)| view.is_usable())
        .min_by_key(|(_, view)| view.in_flight)
        .map(|(lane, _)| lane)
}

/// Returns the lane to wait for, after none took the message at once.
///
/// A usable lane on which nobody waits; else one more is opened; else the least busy. Failing lanes come
/// last. Who may not dial (any more) waits only for lanes that are `ready`, that is connected.
pub(super) fn to_wait_for(
    count: usize,
    turn: usize,
    without: Set,
    may_dial: bool,
    view: impl Fn(usize) -> View,
    ready: impl Fn(usize) -> bool,
) -> Option<usize> {
    let cost = |lane: usize, view: View| match view.rest {
        _ if view.failing => may_dial.then_some((4, view.in_flight)),
        Rest::Awake if !may_dial && !ready(lane) => None,
        Rest::Awake if view.in_flight == 0 => Some((0, 0)),
        Rest::Awake => Some((2, view.in_flight)),
        // The lowest first, so that the same few lanes are used again and again.
        Rest::Asleep => may_dial.then_some((1, lane)),
        Rest::Leaving => may_dial.then_some((3, 0)),
    };
    in_turn(count, turn)
        .filter(|lane| !without.contains(*lane))
        .filter_map(|lane| Some((lane, cost(lane, view(lane))?)))
        .min_by_key(|(_, cost)| *cost)
        .map(|(lane, _)| lane)
}

fn in_turn(count: usize, turn: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |offset| (turn + offset) % count)
}

/// How long each lane has been idle, as far as repeated looks can tell.
#[derive(Debug)]
pub(super) struct Idleness {
    since: Vec<Instant>,
    limit: Duration,
}

impl Idleness {
    pub(super) fn new(count: usize, limit: Duration, now: Instant) -> Self {
        Self {
            since: vec![now; count],
            limit,
        }
    }

    /// Returns how far apart the looks are.
    pub(super) fn period(&self) -> Duration {
        (self.limit / 4).max(Duration::from_millis(1))
    }

    /// Looks at all lanes: `used` tells whether a lane was used since the last look. Returns those that
    /// may go to sleep, so that `min_idle` stay awake: failing ones first, then the highest.
    pub(super) fn surplus(
        &mut self,
        min_idle: usize,
        now: Instant,
        view: impl Fn(usize) -> View,
        used: impl Fn(usize) -> bool,
    ) -> Set {
        let mut awake = 0_usize;
        let mut idle = Vec::new();
        for (lane, since) in self.since.iter_mut().enumerate() {
            let view = view(lane);
            if used(lane) || view.in_flight > 0 || view.rest != Rest::Awake {
                *since = now;
            }
            if view.rest == Rest::Awake {
                awake += 1;
                if now.saturating_duration_since(*since) >= self.limit {
                    idle.push((!view.failing, std::cmp::Reverse(lane)));
                }
            }
        }
        idle.sort_unstable();
        let mut surplus = Set::default();
        for (_, lane) in idle.into_iter().take(awake.saturating_sub(min_idle)) {
            surplus.insert(lane.0);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Set = Set(0);

    fn awake(in_flight: usize) -> View {
        View {
            rest: Rest::Awake,
            failing: false,
            in_flight,
        }
    }

    fn failing(in_flight: usize) -> View {
        View {
            failing: true,
            ..awake(in_flight)
        }
    }

    fn resting(rest: Rest) -> View {
        View { rest, ..awake(0) }
    }

    fn set(lanes: &[usize]) -> Set {
        let mut set = Set::default();
        lanes.iter().for_each(|lane| set.insert(*lane));
        set
    }

    fn wait(views: &[View], turn: usize, without: &[usize]) -> Option<usize> {
        let view = |lane: usize| views[lane];
        to_wait_for(views.len(), turn, set(without), true, view, |_| false)
    }

    #[test]
    fn equals_take_turns_and_the_busier_wait() {
        let views = [awake(1), awake(0), failing(0), awake(0)];
        let pick = |turn, without| least_busy(4, turn, without, |lane| views[lane]);
        assert_eq!(pick(0, NOBODY), Some(1));
        assert_eq!(pick(2, NOBODY), Some(3), "2 is failing");
        assert_eq!(pick(3, NOBODY), Some(3));
        assert_eq!(pick(0, set(&[1, 3])), Some(0));
        assert_eq!(pick(0, set(&[0, 1, 3])), None);
    }

    #[test]
    fn an_idle_lane_is_waited_for_before_one_more_is_opened() {
        let asleep = resting(Rest::Asleep);
        assert_eq!(wait(&[awake(1), awake(0), asleep], 0, &[]), Some(1));
        assert_eq!(wait(&[awake(1), awake(2), asleep], 0, &[]), Some(2));
        assert_eq!(wait(&[asleep, asleep, asleep], 2, &[]), Some(0));
    }

    #[test]
    fn with_all_open_the_least_busy_is_waited_for() {
        let views = [awake(3), awake(1), awake(2), resting(Rest::Leaving)];
        assert_eq!(wait(&views, 0, &[]), Some(1));
        assert_eq!(wait(&views, 0, &[0, 1, 2]), Some(3));
    }

    #[test]
    fn a_failing_lane_is_the_last_resort() {
        let views = [failing(0), awake(9), failing(1)];
        assert_eq!(wait(&views, 0, &[]), Some(1));
        assert_eq!(wait(&views, 2, &[1]), Some(0));
        assert_eq!(wait(&views, 0, &[0, 1, 2]), None);
        let asleep = resting(Rest::Asleep);
        assert_eq!(wait(&[failing(0), asleep], 0, &[]), Some(1));
    }

    #[test]
    fn who_may_not_dial_waits_for_what_is_connected_only() {
        let views = [awake(0), awake(5), resting(Rest::Asleep), failing(0)];
        let view = |lane: usize| views[lane];
        let lane = to_wait_for(4, 0, NOBODY, false, view, |lane| lane == 1);
        assert_eq!(lane, Some(1));
        assert_eq!(to_wait_for(4, 0, NOBODY, false, view, |_| false), None);
    }

    #[test]
    fn who_refused_and_who_is_waited_for_are_both_left_out() {
        assert_eq!(set(&[1, 3]).with(set(&[0, 3])), set(&[0, 1, 3]));
    }

    #[test]
    fn idle_lanes_rest_but_for_the_least_number() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let views = [awake(0), awake(0), failing(0), awake(1)];
        let mut idleness = Idleness::new(4, second * 4, start);
        assert_eq!(idleness.period(), second);
        let mut look = |least, at: u32, used: usize| {
            let now = start + second * at;
            idleness.surplus(least, now, |lane| views[lane], |lane| lane == used)
        };
        assert_eq!(look(0, 3, 9), NOBODY);
        assert_eq!(look(0, 4, 0), set(&[1, 2]), "0 was used, 3 is busy");
        assert_eq!(look(2, 8, 9), set(&[1, 2]), "3 and one more stay");
        assert_eq!(look(3, 8, 9), set(&[2]), "the failing one first");
        assert_eq!(look(4, 8, 9), NOBODY);
    }
}
