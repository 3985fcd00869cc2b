//! When a node is put out and when it comes back.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::connection::health::{Check, Cluster, NodeId, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const DATE: Timestamp = Timestamp::from_nanos(7);

fn fail(cluster: &mut Cluster, index: usize, times: u32, now: Instant) -> u32 {
    (0..times)
        .map(|_| u32::from(cluster.failed(index, now, 0.5)))
        .sum()
}

fn failures(cluster: &Cluster, index: usize) -> u32 {
    let health = cluster.health(index, NodeId::from("n")).unwrap();
    assert_eq!(health.is_healthy, cluster.is_healthy(index));
    health.consecutive_failures
}

#[test]
fn five_failures_in_a_row_put_a_node_out() {
    let now = Instant::now();
    let mut cluster = Cluster::new(2);
    assert_eq!(fail(&mut cluster, 0, 4, now), 0);
    assert_eq!(failures(&cluster, 0), 4);
    cluster.succeeded(0, now);
    assert_eq!(failures(&cluster, 0), 0, "counts and resets");
    assert_eq!(fail(&mut cluster, 0, 4, now), 0);
    assert_eq!(cluster.candidates(), [0, 1]);
    assert_eq!(fail(&mut cluster, 0, 1, now), 1);
    assert_eq!(cluster.candidates(), [1]);
}

/// Classic bug 15: never all of them.
#[test]
fn requests_never_put_out_the_last_node() {
    let now = Instant::now();
    let mut cluster = Cluster::new(3);
    for index in [0, 1, 2] {
        fail(&mut cluster, index, 100, now);
    }
    assert_eq!(cluster.candidates(), [2]);
    assert_eq!(fail(&mut Cluster::new(1), 0, 100, now), 0);
    let mut held = Cluster::new(2);
    held.hold(1);
    assert_eq!(fail(&mut held, 0, 100, now), 0, "one by hand, one alone");
}

#[test]
fn checks_put_out_even_the_last_and_then_the_least_bad_is_used() {
    let now = Instant::now();
    let mut cluster = Cluster::new(2);
    assert!(cluster.missed(1, now, DATE, 0.5));
    assert!(!cluster.missed(1, now, DATE, 0.5), "once");
    assert!(cluster.missed(0, now + SECOND, DATE, 0.5));
    assert!(!cluster.is_healthy(0) && !cluster.is_healthy(1));
    assert_eq!(cluster.candidates(), [1], "the first to come back");
    assert_eq!(
        cluster.health(1, NodeId::from("n")).unwrap().last_check,
        DATE
    );
    cluster.hold(1);
    assert_eq!(cluster.candidates(), [0], "never what a person put out");
    cluster.hold(0);
    assert!(cluster.candidates().is_empty());
    cluster.release(1, now);
    assert_eq!(cluster.candidates(), [1]);
}

#[test]
fn half_open_one_check_decides_and_the_next_comes_after_five_seconds() {
    let mut now = Instant::now();
    let mut cluster = Cluster::new(2);
    fail(&mut cluster, 0, 5, now);
    assert_eq!(cluster.next_check(), Some(now + SECOND * 5));
    assert!(cluster.due(now + SECOND * 4).is_empty());
    for _ in 0..100 {
        now = cluster.next_check().unwrap();
        assert_eq!(cluster.due(now), [0]);
        assert!(!cluster.missed(0, now, DATE, 0.5));
        assert_eq!(
            cluster.next_check(),
            Some(now + SECOND * 5),
            "being dead is not flapping"
        );
    }
    now += SECOND * 5;
    assert!(cluster.passed(0, now, DATE));
    assert_eq!(cluster.candidates(), [0, 1]);
    assert_eq!(cluster.next_check(), None);
}

#[test]
fn an_answer_from_before_brings_nobody_back() {
    let now = Instant::now();
    let mut cluster = Cluster::new(2);
    fail(&mut cluster, 0, 5, now);
    assert!(!cluster.succeeded(0, now + SECOND));
    assert_eq!(cluster.candidates(), [1]);
}

/// Puts the node out and brings it back by checks; returns for how long it was out.
fn outage(cluster: &mut Cluster, now: &mut Instant, unit: f64) -> Duration {
    let start = *now;
    for _ in 0..5 {
        cluster.failed(0, start, unit);
    }
    assert!(!cluster.is_healthy(0));
    *now = cluster.next_check().unwrap();
    assert!(cluster.passed(0, *now, DATE));
    *now - start
}

#[test]
fn flapping_lengthens_the_time_out_and_thirty_good_seconds_end_that() {
    let mut now = Instant::now();
    let mut cluster = Cluster::new(2);
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(outage(&mut cluster, &mut now, 0.5).as_secs(), seconds);
        now += SECOND * 29;
    }
    now += SECOND;
    assert_eq!(outage(&mut cluster, &mut now, 0.5).as_secs(), 5);
    let outage = outage(&mut cluster, &mut now, 0.0);
    assert_eq!(outage.as_secs(), 8, "jitter");
}

/// A check that is asked for by hand does not shorten the time of a node that flaps.
#[test]
fn who_flaps_is_not_brought_back_early() {
    let mut now = Instant::now();
    let mut cluster = Cluster::new(2);
    assert!(cluster.missed(0, now, DATE, 0.5));
    assert!(cluster.passed(0, now, DATE), "the first time at once");
    assert!(cluster.missed(0, now, DATE, 0.5));
    assert!(!cluster.passed(0, now, DATE));
    now += SECOND * 10;
    assert!(cluster.passed(0, now, DATE));
}

/// F17: a peer that goes up and down every 50 ms, checked as fast as may be: at most one event in five seconds, over
/// a minute.
#[test]
fn a_peer_that_flaps_every_50_ms_makes_few_events() {
    let start = Instant::now();
    let mut cluster = Cluster::new(2);
    let mut events = 0;
    for millis in (0..60_000).step_by(10) {
        let now = start + Duration::from_millis(millis);
        let up = millis / 50 % 2 == 0;
        events += u32::from(if up {
            cluster.passed(0, now, DATE) | cluster.succeeded(0, now)
        } else {
            cluster.missed(0, now, DATE, 0.5) | cluster.failed(0, now, 0.5)
        });
    }
    assert!((3..=12).contains(&events), "{events}");
}

#[test]
fn three_bad_pings_or_two_good_ones_in_a_row_decide() {
    let verdict = |was_healthy, pings: &[bool]| {
        let mut check = Check::new(was_healthy);
        pings.iter().find_map(|ping| check.pinged(*ping))
    };
    assert_eq!(verdict(true, &[true]), Some(true));
    assert_eq!(verdict(true, &[false, false]), None);
    assert_eq!(verdict(true, &[false, false, true]), Some(true));
    assert_eq!(verdict(true, &[false, false, false]), Some(false));
    assert_eq!(verdict(false, &[true]), None);
    assert_eq!(verdict(false, &[true, false, true, false]), None);
    assert_eq!(verdict(false, &[true, true]), Some(true));
}

#[derive(Clone, Debug)]
enum Event {
    Succeeded,
    Failed,
    Passed,
    Missed,
    Hold,
    Release,
}

proptest! {
    /// M37 (4), the pure part: whoever is not healthy is no candidate, unless nobody is; then there is exactly one, and
    /// it was not put out by hand.
    #[test]
    fn an_unhealthy_node_is_no_candidate(
        nodes in 1_usize..5,
        events in prop::collection::vec(
            (0_usize..5, 0_u64..20_000, 0.0..1.0, prop_oneof![
                Just(Event::Succeeded), Just(Event::Failed), Just(Event::Failed), Just(Event::Failed),
                Just(Event::Passed), Just(Event::Missed), Just(Event::Hold), Just(Event::Release),
            ]), 0..200),
    ) {
        let mut now = Instant::now();
        let mut cluster = Cluster::new(nodes);
        let mut held = vec![false; nodes];
        for (index, wait, unit, event) in events {
            let index = index % nodes;
            now += Duration::from_millis(wait);
            let before = (0..nodes).filter(|node| cluster.is_healthy(*node)).count();
            match event {
                Event::Succeeded => { cluster.succeeded(index, now); }
                Event::Failed => {
                    cluster.failed(index, now, unit);
                    let after = (0..nodes).filter(|node| cluster.is_healthy(*node)).count();
                    prop_assert!(after >= before.min(1), "a request put out the last");
                }
                Event::Passed => { cluster.passed(index, now, DATE); }
                Event::Missed => { cluster.missed(index, now, DATE, unit); }
                Event::Hold => { cluster.hold(index); held[index] = true; }
                Event::Release => { cluster.release(index, now); held[index] = false; }
            }
            let candidates = cluster.candidates();
            let healthy: Vec<_> = (0..nodes).filter(|node| cluster.is_healthy(*node)).collect();
            if healthy.is_empty() {
                prop_assert_eq!(candidates.len(), usize::from(held.contains(&false)));
            } else {
                prop_assert_eq!(&candidates, &healthy);
            }
            prop_assert!(candidates.iter().all(|node| !held[*node]));
            // Whoever is out and not held will be checked.
            let out = (0..nodes).any(|node| !held[node] && !cluster.is_healthy(node));
            prop_assert_eq!(cluster.next_check().is_some(), out);
        }
    }
}
