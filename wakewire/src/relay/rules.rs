//! The rules one by one, each by what it promises.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::attach::{MOST_PASSED, MOST_STRANGERS};
use super::effects::{
    ConnectionId, ConsumerHello, ConsumerKey, HubConfig, Offered, Outgoing, ProducerNews, Refused,
    Wake, Welcome,
};
use super::hub::Hub;
use crate::message::Message;
use crate::wire::frame::{SEQUENCE_LIMIT, encode_message};
use crate::wire::hello::Start;
use crate::wire::run::Run;
use crate::wire::session::{MOST_SESSIONS, Position};
use crate::wire::{ProtocolError, SessionId};

const A: SessionId = SessionId(0xA << 64);
const B: SessionId = SessionId(0xB << 64);
const SECOND: Duration = Duration::from_secs(1);

struct Relay {
    hub: Hub,
    wake: Wake,
    now: Instant,
}

fn frames(first: u64, last: u64) -> Run {
    let mut out = BytesMut::new();
    for sequence in first..=last {
        let message = Message {
            payload: vec![7; 68].into(),
            ..Message::default()
        };
        encode_message(&message, sequence, false, &mut out);
    }
    let bytes = out.freeze();
    Run::new(first, last, bytes)
}

fn config() -> HubConfig {
    HubConfig {
        named: Vec::new(),
        hold: true,
        at_least_once: true,
        log_bytes: 1000, // five runs of one frame
        unnamed_deadline: 10 * SECOND,
        named_deadline: None,
    }
}

fn name(name: &str) -> ConsumerHello {
    ConsumerHello {
        key: ConsumerKey::Name(name.to_owned()),
        at_most_once: false,
        start: Start::Owed,
        positions: Vec::new(),
    }
}

fn lossy(key: &str, start: Start) -> ConsumerHello {
    ConsumerHello {
        at_most_once: true,
        start,
        ..name(key)
    }
}

const fn at(session: SessionId, processed: u64, have: u64) -> Position {
    Position {
        session,
        processed,
        have,
    }
}

impl Relay {
    fn new(config: HubConfig) -> Self {
        Self {
            hub: Hub::new(config),
            wake: Wake::default(),
            now: Instant::now(),
        }
    }
    fn producer(&mut self, session: SessionId, first_owed: u64, c: u64) -> Welcome {
        let id = ConnectionId(c);
        self.hub
            .producer_hello(session, first_owed, id, &mut self.wake)
            .unwrap()
    }
    fn data(&mut self, c: u64, first: u64, last: u64) -> Result<bool, ProtocolError> {
        let run = frames(first, last);
        let offered = self
            .hub
            .data(ConnectionId(c), run, self.now, &mut self.wake)?;
        self.hub.check_invariants();
        Ok(matches!(offered, Offered::Taken))
    }
    fn hello(&mut self, hello: ConsumerHello, c: u64) -> Result<(), Refused> {
        self.hub
            .consumer_hello(hello, ConnectionId(c), self.now, &mut self.wake)
    }
    fn ack(&mut self, c: u64, origin: u32, sequence: u64) -> Result<bool, ProtocolError> {
        let id = ConnectionId(c);
        let result = self
            .hub
            .acknowledge(id, origin, sequence, self.now, &mut self.wake);
        self.hub.check_invariants();
        result
    }
    /// What a consumer is sent: `g4` for a gap up to 4, `d5-6` for frames; with the origin before it.
    fn sent(&mut self, c: u64) -> String {
        let mut out = Vec::new();
        let id = ConnectionId(c);
        while self.hub.poll_consumer(id, 300, &mut out, &mut self.wake) {}
        self.hub.check_invariants();
        let text = out.iter().map(|out| match out {
            Outgoing::Gap { origin, after, .. } => format!("{origin}g{after}"),
            Outgoing::Data { origin, run } => {
                assert_eq!(run.bytes, frames(run.first, run.last).bytes);
                format!("{origin}d{}-{}", run.first, run.last)
            }
        });
        text.collect::<Vec<_>>().join(" ")
    }
    fn lost(&mut self, c: u64) {
        self.hub.lost(ConnectionId(c), &mut self.wake);
        self.hub.check_invariants();
    }
    fn news(&mut self, c: u64) -> Option<(u64, bool)> {
        let news = self.hub.poll_producer(ConnectionId(c));
        news.map(
            |ProducerNews {
                 acked,
                 consumers_attached,
             }| (acked, consumers_attached),
        )
    }
    fn woken(&mut self) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
        let wake = std::mem::take(&mut self.wake);
        let numbers = |ids: Vec<ConnectionId>| ids.into_iter().map(|c| c.0).collect();
        (numbers(wake.poll), numbers(wake.room), numbers(wake.close))
    }
}

#[test]
fn a_session_starts_at_what_it_owes_and_is_then_kept_r1() {
    let mut relay = Relay::new(config());
    let welcome = relay.producer(A, 5, 1);
    assert_eq!((welcome.acked, welcome.have, welcome.origin), (4, 4, 1));
    assert!(relay.data(1, 5, 6).unwrap());
    let welcome = relay.producer(A, 5, 2);
    assert_eq!((welcome.acked, welcome.have, welcome.origin), (4, 6, 1));
    assert_eq!(relay.woken().2, [1], "R2: the old connection ends");
    let offered = relay
        .hub
        .data(ConnectionId(1), frames(7, 7), relay.now, &mut relay.wake);
    assert!(matches!(offered, Ok(Offered::Ended)));
    // The producer was acknowledged elsewhere: what it no longer owes will never come.
    let welcome = relay.producer(A, 10, 3);
    assert_eq!((welcome.acked, welcome.have), (9, 9));
    assert!(relay.data(3, 10, 10).unwrap());
}

#[test]
fn known_frames_are_dropped_and_a_hole_ends_the_connection_r3() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    assert!(relay.data(1, 1, 3).unwrap());
    assert!(relay.data(1, 2, 4).unwrap());
    assert!(relay.data(1, 1, 4).unwrap());
    assert_eq!(
        relay.data(1, 6, 6),
        Err(ProtocolError::Hole { have: 4, got: 6 })
    );
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.sent(2), "1g0 1d1-3 1d4-4");
}

#[test]
fn a_full_log_stops_a_producer_until_there_is_room_r4_r6() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.news(1), Some((0, true)));
    for q in 1..=5 {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert!(!relay.data(1, 6, 6).unwrap());
    assert_eq!(relay.sent(2), "1g0 1d1-1 1d2-2 1d3-3 1d4-4 1d5-5");
    assert_eq!(relay.woken().1, []);
    relay.ack(2, 1, 1).unwrap();
    assert_eq!(relay.woken(), (vec![1], vec![1], vec![]));
    assert_eq!(relay.news(1), Some((1, true)));
    assert_eq!(relay.news(1), None);
    assert!(relay.data(1, 6, 6).unwrap());
    assert_eq!(relay.woken().0, [2], "polled dry: woken once");
    assert_eq!(relay.sent(2), "1d6-6");
}

#[test]
fn a_run_larger_than_the_log_is_taken_when_it_is_empty_r4() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.producer(B, 1, 2);
    relay.hello(name("u"), 3).unwrap();
    assert!(relay.data(1, 1, 1).unwrap());
    assert!(!relay.data(1, 2, 20).unwrap());
    assert!(!relay.data(2, 1, 20).unwrap());
    assert_eq!(relay.sent(3), "1g0 2g0 1d1-1");
    relay.ack(3, 1, 1).unwrap();
    assert_eq!(relay.woken().1, [1], "one at a time");
    assert!(relay.data(1, 2, 20).unwrap());
    assert_eq!(relay.sent(3), "1d2-20");
    relay.ack(3, 1, 20).unwrap();
    assert_eq!(relay.woken().1, [2]);
    assert!(relay.data(2, 1, 20).unwrap());
}

#[test]
fn room_promised_to_one_that_goes_is_offered_to_the_next() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.producer(B, 1, 2);
    relay.hello(name("u"), 3).unwrap();
    assert!(relay.data(1, 1, 8).unwrap());
    assert!(!relay.data(1, 9, 16).unwrap());
    assert!(!relay.data(2, 1, 8).unwrap());
    relay.sent(3);
    relay.ack(3, 1, 8).unwrap();
    assert_eq!(relay.woken().1, [1]);
    relay.lost(1);
    assert_eq!(relay.woken().1, [2]);
}

#[test]
fn a_producer_is_acknowledged_what_everybody_waited_for_has_r5() {
    let named = vec!["x".to_owned(), "y".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    assert!(!relay.producer(A, 1, 1).consumers_attached);
    relay.data(1, 1, 3).unwrap();
    relay.hello(name("x"), 2).unwrap();
    relay.hello(name("u"), 3).unwrap();
    assert_eq!(relay.sent(2), "1g0 1d1-3");
    assert_eq!(relay.sent(3), "1g0 1d1-3");
    relay.ack(2, 1, 3).unwrap();
    relay.ack(3, 1, 2).unwrap();
    assert_eq!(relay.news(1), Some((0, true)), "y has never been here");
    relay.hello(name("y"), 4).unwrap();
    assert_eq!(relay.sent(4), "1g0 1d1-3");
    relay.ack(4, 1, 3).unwrap();
    assert_eq!(relay.news(1), Some((2, true)), "u has not said 3");
    relay.lost(4);
    relay.lost(3);
    assert_eq!(
        relay.news(1),
        Some((3, true)),
        "C4: y keeps its level, u is forgotten"
    );
    relay.lost(2);
    assert_eq!(relay.news(1), Some((3, false)), "promise 5");
}

#[test]
fn accept_acknowledges_what_is_in_the_log_while_nobody_is_there_r5() {
    let mut relay = Relay::new(HubConfig {
        hold: false,
        ..config()
    });
    relay.producer(A, 1, 1);
    relay.data(1, 1, 2).unwrap();
    assert_eq!(relay.news(1), Some((2, false)));
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.sent(2), "1g2");
    relay.data(1, 3, 3).unwrap();
    assert_eq!(relay.news(1), Some((2, true)));
    relay.lost(2);
    assert_eq!(relay.news(1), Some((3, false)));
    // One that says what it has gets what is still there.
    let positions = vec![at(A, 1, 1)];
    let hello = ConsumerHello {
        positions,
        ..name("u")
    };
    relay.hello(hello, 3).unwrap();
    assert_eq!(relay.sent(3), "1g1 1d2-2 1d3-3");
}

#[test]
fn a_consumer_that_was_here_before_the_producer_counts_c1() {
    let mut relay = Relay::new(config());
    let positions = vec![at(A, 3, 4)];
    let hello = ConsumerHello {
        positions,
        ..name("u")
    };
    relay.hello(hello, 2).unwrap();
    assert_eq!(relay.sent(2), "");
    relay.woken();
    relay.producer(A, 2, 1);
    assert_eq!(relay.woken().0, [2]);
    assert_eq!(relay.sent(2), "1g4");
    relay.data(1, 2, 5).unwrap();
    assert_eq!(relay.news(1), Some((3, true)), "processed in its hello");
    assert_eq!(relay.sent(2), "1d5-5");
    assert_eq!(relay.ack(2, 1, 5), Ok(true));
}

#[test]
fn a_new_connection_of_a_consumer_ends_its_old_one_c1() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.data(1, 1, 3).unwrap();
    relay.hello(name("u"), 2).unwrap();
    relay.sent(2);
    relay.ack(2, 1, 1).unwrap();
    relay.woken();
    let positions = vec![at(A, 1, 2)];
    let hello = ConsumerHello {
        positions,
        ..name("u")
    };
    relay.hello(hello, 3).unwrap();
    assert_eq!(relay.woken().2, [2]);
    assert_eq!(relay.sent(2), "");
    relay.ack(2, 1, 3).unwrap(); // too late: nobody's
    relay.lost(2);
    assert_eq!(relay.sent(3), "1g2 1d3-3");
    assert_eq!(relay.news(1), Some((1, true)));
}

#[test]
fn a_named_consumer_in_a_new_life_goes_on_where_the_last_one_was_c4() {
    let mut relay = Relay::new(HubConfig {
        named: vec!["a".to_owned(), "b".to_owned()],
        ..config()
    });
    relay.producer(A, 1, 1);
    relay.data(1, 1, 4).unwrap();
    relay.hello(name("a"), 2).unwrap();
    relay.hello(name("b"), 3).unwrap();
    relay.sent(2);
    relay.sent(3);
    relay.ack(2, 1, 1).unwrap();
    relay.ack(3, 1, 3).unwrap();
    relay.lost(3);
    // It knows no session any more; `a` is behind it, so that the producer has heard of less.
    relay.hello(name("b"), 4).unwrap();
    assert_eq!(relay.sent(4), "1g3 1d4-4");
    relay.ack(2, 1, 4).unwrap();
    assert_eq!(relay.news(1), Some((3, true)));
    relay.ack(4, 1, 4).unwrap();
    assert_eq!(relay.news(1), Some((4, true)));
}

#[test]
fn a_new_life_goes_on_where_the_last_one_was_also_if_it_comes_before_the_producer_c4() {
    let mut relay = Relay::new(HubConfig {
        named: vec!["a".to_owned()],
        ..config()
    });
    // What it says after a start of the relay, and what the next life of it no longer knows.
    let positions = vec![at(A, 3, 3)];
    let hello = ConsumerHello {
        positions,
        ..name("a")
    };
    relay.hello(hello, 2).unwrap();
    relay.lost(2);
    relay.hello(name("a"), 3).unwrap();
    relay.producer(A, 2, 1);
    assert_eq!(relay.sent(3), "1g3", "not again what is acknowledged");
    relay.data(1, 2, 4).unwrap();
    assert_eq!(relay.news(1), Some((3, true)));
    assert_eq!(relay.sent(3), "1d4-4");
}

#[test]
fn acknowledgements_beyond_what_was_sent_end_the_connection_c4() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.data(1, 1, 3).unwrap();
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.ack(2, 1, 0), Err(ProtocolError::UnknownOrigin(1)));
    relay.sent(2);
    let beyond = ProtocolError::AckBeyondSent { seq: 4, sent: 3 };
    assert_eq!(relay.ack(2, 1, 4), Err(beyond));
    assert_eq!(relay.ack(2, 9, 1), Err(ProtocolError::UnknownOrigin(9)));
}

#[test]
fn earliest_replays_what_is_still_there_and_latest_does_not_c1() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("u"), 2).unwrap();
    for q in 1..=6 {
        relay.data(1, q, q).unwrap();
        relay.sent(2);
        relay.ack(2, 1, q).unwrap();
    }
    let hello = ConsumerHello {
        start: Start::Earliest,
        ..name("e")
    };
    relay.hello(hello, 3).unwrap();
    assert_eq!(relay.sent(3), "1g1 1d2-2 1d3-3 1d4-4 1d5-5 1d6-6");
    relay.hello(lossy("l", Start::Latest), 4).unwrap();
    assert_eq!(relay.sent(4), "1g6");
    relay.hello(name("o"), 5).unwrap();
    assert_eq!(relay.sent(5), "1g6");
}

#[test]
fn an_onlooker_is_not_waited_for_and_takes_nothing_from_others_c6() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(lossy("l", Start::Owed), 2).unwrap();
    assert_eq!(relay.sent(2), "1g0");
    for q in 1..=5 {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert_eq!(relay.sent(2), "1d1-1 1d2-2 1d3-3 1d4-4 1d5-5");
    relay.ack(2, 1, 5).unwrap();
    assert_eq!(relay.news(1), None, "held for one that acknowledges");
    relay.hello(name("u"), 3).unwrap();
    assert_eq!(relay.sent(3), "1g0 1d1-1 1d2-2 1d3-3 1d4-4 1d5-5");
    relay.ack(3, 1, 5).unwrap();
    // now the onlooker is slow: it is skipped ahead, and told
    for q in 6..=12 {
        assert!(relay.data(1, q, q).unwrap());
        relay.sent(3);
        relay.ack(3, 1, q).unwrap();
    }
    assert_eq!(relay.sent(2), "1g7 1d8-8 1d9-9 1d10-10 1d11-11 1d12-12");
}

#[test]
fn at_most_once_goes_on_without_anybody_and_over_holes() {
    let mut relay = Relay::new(HubConfig {
        at_least_once: false,
        ..config()
    });
    relay.producer(A, 1, 1);
    relay.hello(lossy("l", Start::Owed), 2).unwrap();
    assert_eq!(relay.sent(2), "1g0");
    for q in (1..=13).step_by(2) {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert_eq!(relay.news(1), Some((13, true)));
    assert_eq!(relay.sent(2), "1g3 1d5-5 1d7-7 1d9-9 1d11-11 1d13-13");
    let welcome = relay.producer(A, 20, 3);
    assert_eq!((welcome.acked, welcome.have), (19, 19));
    relay.data(3, 20, 20).unwrap();
    assert_eq!(relay.sent(2), "1d20-20");
}

#[test]
fn who_holds_a_full_log_is_overdue_after_its_deadline_c5() {
    let named = vec!["x".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    relay.producer(A, 1, 1);
    for (c, who) in [(2, "x"), (3, "slow"), (4, "quick")] {
        relay.hello(name(who), c).unwrap();
        relay.sent(c);
    }
    for q in 1..=5 {
        relay.data(1, q, q).unwrap();
        relay.sent(4);
        relay.ack(4, 1, q).unwrap();
    }
    let start = relay.now;
    relay.now += 60 * SECOND;
    assert_eq!(relay.hub.next_deadline(), None, "not full");
    assert!(!relay.data(1, 6, 6).unwrap());
    let due = relay.now + 10 * SECOND;
    assert_eq!(relay.hub.next_deadline(), Some(due));
    assert!(relay.hub.overdue(due - SECOND).is_empty());
    assert_eq!(relay.hub.overdue(due), [ConnectionId(3)]);
    // progress counts
    relay.now += 5 * SECOND;
    relay.sent(3);
    relay.ack(3, 1, 1).unwrap();
    assert_eq!(
        relay.hub.next_deadline(),
        None,
        "only x holds the front now"
    );
    relay.sent(2);
    relay.ack(2, 1, 5).unwrap();
    assert!(relay.data(1, 6, 6).unwrap());
    assert!(!relay.data(1, 7, 7).unwrap());
    assert_eq!(
        relay.hub.next_deadline(),
        Some(start + 75 * SECOND),
        "the slow one holds the next"
    );
    relay.lost(3);
    assert_eq!(relay.hub.next_deadline(), None);
    assert!(relay.data(1, 7, 7).unwrap());
}

#[test]
fn an_acknowledgement_that_is_repeated_is_no_progress_c5() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("slow"), 2).unwrap();
    for q in 1..=5 {
        relay.data(1, q, q).unwrap();
    }
    relay.sent(2);
    relay.ack(2, 1, 1).unwrap();
    assert!(relay.data(1, 6, 6).unwrap());
    assert!(!relay.data(1, 7, 7).unwrap());
    assert!(relay.hub.overdue(relay.now).is_empty());
    let due = relay.now + 10 * SECOND;
    assert_eq!(relay.hub.next_deadline(), Some(due));
    relay.now += 9 * SECOND;
    relay.ack(2, 1, 1).unwrap();
    assert_eq!(relay.hub.next_deadline(), Some(due));
    assert_eq!(relay.hub.overdue(due), [ConnectionId(2)]);
}

#[test]
fn who_was_sent_nothing_has_its_whole_deadline_from_then_on_c5() {
    let named = vec!["slow".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    relay.producer(A, 1, 1);
    relay.producer(B, 1, 2);
    for (c, who) in [(3, "slow"), (4, "quick")] {
        relay.hello(name(who), c).unwrap();
    }
    for q in 1..=5 {
        relay.data(1, q, q).unwrap();
    }
    relay.sent(3);
    relay.sent(4);
    relay.ack(4, 1, 5).unwrap();
    assert!(!relay.data(1, 6, 6).unwrap());
    assert!(!relay.data(2, 1, 20).unwrap(), "it waits for an empty log");
    relay.now += 60 * SECOND;
    assert!(
        relay.hub.overdue(relay.now).is_empty(),
        "it has processed all"
    );
    relay.ack(3, 1, 5).unwrap();
    assert!(relay.data(1, 6, 6).unwrap());
    assert_eq!(relay.sent(4), "1d6-6");
    assert!(
        relay.hub.overdue(relay.now).is_empty(),
        "it was just sent this"
    );
    relay.now += 9 * SECOND;
    assert!(relay.hub.overdue(relay.now).is_empty());
    relay.now += SECOND;
    assert_eq!(relay.hub.overdue(relay.now), [ConnectionId(4)]);
}

#[test]
fn what_cannot_be_kept_is_refused_with_a_reason() {
    let named = vec!["x".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    let latest = ConsumerHello {
        start: Start::Latest,
        ..name("u")
    };
    assert_eq!(relay.hello(latest, 1), Err(Refused::LatestIsLossy));
    let refused = relay.hello(lossy("x", Start::Owed), 1);
    assert_eq!(
        refused,
        Err(Refused::NamedIsWaitedFor {
            name: "x".to_owned()
        })
    );
    let far = ConsumerHello {
        positions: vec![at(A, SEQUENCE_LIMIT, 0)],
        ..name("u")
    };
    assert!(matches!(relay.hello(far, 1), Err(Refused::Protocol(_))));
    let many = ConsumerHello {
        positions: vec![at(A, 0, 0); MOST_SESSIONS + 1],
        ..name("u")
    };
    assert!(matches!(
        relay.hello(many, 1),
        Err(Refused::TooManyPositions { .. })
    ));
    assert_eq!(relay.hub.status().consumers.len(), 1);
}

#[test]
fn sessions_are_bounded_and_the_longest_idle_is_forgotten() {
    let mut relay = Relay::new(config());
    relay.hub.sessions.most = 2;
    relay.hello(name("u"), 9).unwrap();
    relay.producer(A, 1, 1);
    relay.producer(B, 1, 2);
    let refused = relay
        .hub
        .producer_hello(SessionId(3), 1, ConnectionId(3), &mut relay.wake);
    assert_eq!(refused, Err(Refused::TooManySessions { most: 2 }));
    relay.data(1, 1, 1).unwrap();
    relay.lost(1);
    let refused = relay
        .hub
        .producer_hello(SessionId(3), 1, ConnectionId(3), &mut relay.wake);
    assert!(refused.is_err(), "somebody waits for its frame");
    assert_eq!(relay.sent(9), "1g0 2g0 1d1-1");
    relay.ack(9, 1, 1).unwrap();
    let welcome = relay.producer(SessionId(3), 1, 3);
    assert_eq!(welcome.origin, 3);
    assert_eq!(relay.sent(9), "3g0");
    assert_eq!(relay.ack(9, 1, 1), Ok(true), "forgotten, not unknown");
    // it comes back as new
    relay.lost(2);
    let welcome = relay.producer(A, 2, 4);
    assert_eq!((welcome.have, welcome.origin), (1, 4));
}

#[test]
fn a_hello_may_cost_the_place_of_a_session_that_it_speaks_of() {
    let mut relay = Relay::new(config());
    relay.hub.sessions.most = 2;
    for (session, c) in [(A, 1), (B, 2)] {
        relay.producer(session, 5, c);
        relay.lost(c);
    }
    let (unknown, other) = (SessionId(3), SessionId(4));
    let hello = ConsumerHello {
        positions: [unknown, A, other, B]
            .map(|session| at(session, 4, 4))
            .into(),
        ..name("u")
    };
    relay.hello(hello, 9).unwrap();
    assert_eq!(relay.hub.sessions.iter().count(), 2);
    // Its producer starts where it owes, whoever has been forgotten.
    assert_eq!(relay.producer(A, 5, 3).have, 4);
}

#[test]
fn of_sessions_that_no_producer_announced_some_thousand_are_kept() {
    let mut relay = Relay::new(config());
    for consumer in 1..=3 {
        let invented = (1..MOST_SESSIONS as u128 - 1).map(|n| SessionId(consumer << 64 | n));
        let all = [B].into_iter().chain(invented).chain([A]);
        let hello = ConsumerHello {
            positions: all.map(|session| at(session, 3, 4)).collect(),
            ..name(&consumer.to_string())
        };
        relay
            .hello(hello, u64::try_from(consumer).unwrap())
            .unwrap();
    }
    assert_eq!(relay.hub.sessions.iter().count(), MOST_STRANGERS);
    // The one that each used last counts; the other is sent again, and acknowledged again.
    relay.producer(A, 1, 11);
    let welcome = relay.producer(B, 1, 12);
    assert_eq!((welcome.acked, welcome.have), (0, 0));
    assert_eq!(relay.hub.sessions.iter().count(), MOST_STRANGERS + 1);
    relay.data(11, 1, 4).unwrap();
    relay.data(12, 1, 4).unwrap();
    assert_eq!(relay.news(11), Some((3, true)));
    for consumer in 1..=3 {
        relay.sent(consumer);
        assert_eq!(relay.ack(consumer, welcome.origin, 3), Ok(true));
    }
    assert_eq!(relay.news(12), Some((3, true)));
}

#[test]
fn the_view_shows_who_is_behind() {
    let named = vec!["x".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    relay.producer(A, 4, 1);
    relay.data(1, 4, 6).unwrap();
    relay.hello(name("u"), 2).unwrap();
    relay.sent(2);
    relay.ack(2, 1, 5).unwrap();
    let view = relay.hub.status();
    let lag = |i: usize| (view.consumers[i].unsent, view.consumers[i].unacknowledged);
    assert_eq!((lag(0), lag(1)), ((3, 3), (0, 1)));
    assert!(view.consumers[0].waited_for && !view.consumers[0].attached);
    assert_eq!((view.unacknowledged, view.producers), (3, 1));
    assert_eq!((view.blocked, view.log_limit), (0, 1000));
    assert_eq!(view.log_bytes, 3 * 100 + 96);
}

#[test]
fn an_onlooker_that_missed_a_name_is_told_it_again_and_nobody_else_is() {
    let mut relay = Relay::new(config());
    relay.hello(lossy("", Start::Owed), 10).unwrap();
    relay.hello(name("b"), 11).unwrap();
    let origin = relay.producer(A, 1, 1).origin;
    assert!(relay.data(1, 1, 2).unwrap());
    let sent = format!("{origin}g0 {origin}d1-2");
    assert_eq!(relay.sent(10), sent);
    assert_eq!(relay.sent(11), sent);
    relay.woken();
    let mut again = |c| {
        let Relay { hub, wake, .. } = &mut relay;
        hub.name_again(ConnectionId(c), origin, wake);
        hub.name_again(ConnectionId(c), origin, wake);
        hub.name_again(ConnectionId(c), origin + 1, wake);
        hub.check_invariants();
    };
    again(10);
    again(11);
    again(1);
    assert_eq!(relay.woken().0, [10]);
    assert_eq!(relay.sent(10), format!("{origin}g2"), "once, from here on");
    assert_eq!(relay.sent(11), "");
    let Relay { hub, wake, .. } = &mut relay;
    hub.name_again(ConnectionId(10), origin, wake);
    assert_eq!(relay.sent(10), format!("{origin}g2"), "as often as it asks");
}

#[test]
fn producers_hear_when_somebody_takes_their_messages_and_when_nobody_does() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.woken().0, [2, 1]);
    assert_eq!(relay.news(1), Some((0, true)));
    relay.hello(name("v"), 3).unwrap();
    assert_eq!(relay.woken().0, [3], "nothing new for the producer");
    relay.lost(3);
    assert_eq!(relay.woken().0, []);
    relay.lost(2);
    assert_eq!(relay.woken().0, [1]);
    assert_eq!(relay.news(1), Some((0, false)));
}

#[test]
fn a_consumer_may_speak_of_as_many_sessions_as_there_may_be() {
    let mut relay = Relay::new(config());
    let all = ConsumerHello {
        positions: vec![at(A, 0, 0); MOST_SESSIONS],
        ..name("u")
    };
    assert_eq!(relay.hello(all, 1), Ok(()));
}

#[test]
fn a_consumer_is_given_so_many_bytes_at_a_time_and_one_run_at_least_c3() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("u"), 2).unwrap();
    assert_eq!(relay.sent(2), "1g0");
    for q in 1..=5 {
        assert!(relay.data(1, q, q).unwrap());
    }
    let mut poll = |max_bytes| {
        let mut out = Vec::new();
        let more = relay
            .hub
            .poll_consumer(ConnectionId(2), max_bytes, &mut out, &mut relay.wake);
        (out.len(), more)
    };
    let frame = frames(1, 1).bytes.len();
    assert_eq!(poll(1), (1, true));
    assert_eq!(poll(2 * frame - 1), (1, true));
    assert_eq!(poll(2 * frame), (2, true));
    assert_eq!(poll(2 * frame), (1, false));
    assert_eq!(poll(2 * frame), (0, false));
}

#[test]
fn a_consumer_that_has_most_of_a_large_log_lets_others_have_their_turn() {
    let runs = MOST_PASSED as u64 + 1;
    let mut relay = Relay::new(HubConfig {
        log_bytes: usize::MAX,
        ..config()
    });
    relay.producer(A, 1, 1);
    for q in 1..=runs {
        let (id, run) = (ConnectionId(1), frames(q, q));
        let offered = relay.hub.data(id, run, relay.now, &mut relay.wake);
        assert!(matches!(offered, Ok(Offered::Taken)));
    }
    let has_all_but_one = ConsumerHello {
        positions: vec![at(A, 0, runs - 1)],
        ..name("u")
    };
    relay.hello(has_all_but_one, 2).unwrap();
    let mut out = Vec::new();
    let mut poll = || {
        relay
            .hub
            .poll_consumer(ConnectionId(2), 300, &mut out, &mut relay.wake)
    };
    assert!(poll(), "it has not seen the end");
    assert!(!poll());
    let last = out.pop().unwrap();
    assert!(matches!(last, Outgoing::Data { run, .. } if run.first == runs));
    assert!(matches!(out[..], [Outgoing::Gap { .. }]));
}

#[test]
fn an_acknowledgement_that_says_nothing_new_is_no_news() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.hello(name("u"), 2).unwrap();
    relay.data(1, 1, 3).unwrap();
    relay.sent(2);
    assert_eq!(relay.ack(2, 1, 2), Ok(true));
    assert_eq!(relay.ack(2, 1, 2), Ok(false));
    assert_eq!(relay.ack(2, 1, 1), Ok(false));
    assert_eq!(relay.ack(2, 1, 3), Ok(true));
}

#[test]
fn at_most_once_who_was_not_sent_the_front_is_overdue_and_who_has_it_is_not_c5() {
    let mut relay = Relay::new(HubConfig {
        at_least_once: false,
        ..config()
    });
    relay.producer(A, 1, 1);
    let has_the_front = ConsumerHello {
        positions: vec![at(A, 0, 1)],
        ..name("has it")
    };
    relay.hello(has_the_front, 2).unwrap();
    relay.hello(name("slow"), 3).unwrap();
    for q in 1..=5 {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert!(!relay.data(1, 6, 6).unwrap());
    let due = relay.now + 10 * SECOND;
    assert_eq!(relay.hub.overdue(due), [ConnectionId(3)]);
}

#[test]
fn at_most_once_who_has_the_front_does_not_hold_it_r6() {
    let mut relay = Relay::new(HubConfig {
        at_least_once: false,
        ..config()
    });
    relay.producer(A, 1, 1);
    let has_the_front = ConsumerHello {
        positions: vec![at(A, 0, 1)],
        ..name("u")
    };
    relay.hello(has_the_front, 2).unwrap();
    for q in 1..=6 {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert!(!relay.data(1, 7, 7).unwrap(), "it was not sent 2");
}

#[test]
fn so_many_gaps_are_told_at_a_time_and_one_at_least() {
    let mut relay = Relay::new(config());
    for session in 1..=4 {
        relay.producer(SessionId(session), 1, 10);
    }
    relay.hello(name("u"), 2).unwrap();
    let mut poll = |max_bytes| {
        let (mut out, c) = (Vec::new(), ConnectionId(2));
        let more = relay
            .hub
            .poll_consumer(c, max_bytes, &mut out, &mut relay.wake);
        (out.len(), more)
    };
    assert_eq!(poll(0), (1, true));
    assert_eq!(poll(1), (1, true));
    assert_eq!(poll(65), (2, false));
}

#[test]
fn an_attached_consumer_is_told_of_a_session_that_jumps_c2() {
    let mut relay = Relay::new(config());
    relay.hello(name("u"), 2).unwrap();
    relay.producer(A, 1, 1);
    assert_eq!(relay.sent(2), "1g0");
    assert_eq!(
        relay.ack(2, 1, 5),
        Err(ProtocolError::AckBeyondSent { seq: 5, sent: 0 })
    );
    relay.producer(A, 10, 3);
    assert_eq!(relay.sent(2), "1g9");
}

#[test]
fn what_is_in_the_log_waits_for_its_consumers_though_its_producer_owes_it_no_more_r1() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.data(1, 1, 2).unwrap();
    let welcome = relay.producer(A, 3, 3);
    assert_eq!((welcome.acked, welcome.have), (0, 2));
}

#[test]
fn nobody_inherits_what_a_forgotten_consumer_acknowledged_c4() {
    let named = vec!["x".to_owned()];
    let mut relay = Relay::new(HubConfig { named, ..config() });
    relay.producer(A, 1, 1);
    relay.data(1, 1, 3).unwrap();
    relay.hello(name("u"), 2).unwrap();
    relay.sent(2);
    relay.ack(2, 1, 3).unwrap();
    relay.lost(2);
    relay.hello(name("v"), 3).unwrap();
    let view = relay.hub.status();
    assert_eq!(view.consumers[1].name.as_deref(), Some("v"));
    assert_eq!(view.consumers[1].unacknowledged, 3);
}

#[test]
fn so_many_blocked_producers_are_woken_as_there_is_room_for_r4() {
    let mut relay = Relay::new(config());
    relay.producer(A, 1, 1);
    relay.producer(B, 1, 2);
    relay.hello(name("u"), 3).unwrap();
    for q in 1..=5 {
        assert!(relay.data(1, q, q).unwrap());
    }
    assert!(!relay.data(1, 6, 6).unwrap());
    assert!(!relay.data(2, 1, 1).unwrap());
    relay.sent(3);
    relay.ack(3, 1, 2).unwrap();
    assert_eq!(relay.woken().1, [1, 2]);
    assert!(relay.data(1, 6, 6).unwrap() && relay.data(2, 1, 1).unwrap());
}

#[test]
fn a_session_that_is_forgotten_before_its_producer_came_is_no_stranger_any_more() {
    let mut relay = Relay::new(config());
    relay.hub.sessions.most = 1;
    let hello = ConsumerHello {
        positions: vec![at(A, 1, 1)],
        ..name("u")
    };
    relay.hello(hello, 2).unwrap();
    assert_eq!(relay.hub.sessions.strangers, 1);
    relay.producer(B, 1, 1);
    assert_eq!(relay.hub.sessions.strangers, 0);
    relay.hub.check_invariants();
}
