//! The sessions that a relay knows, and what each consumer has of them (R1, R5, C1, C2). No I/O, no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::effects::ConnectionId;
use crate::wire::SessionId;

/// Where one consumer is in one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// It acknowledged everything up to here (C1, C4); nobody else's business for `at_most_once` consumers.
    pub(super) level: u64,
    /// It was sent, or said that it has, everything up to here.
    pub(super) sent: u64,
    /// Its connection acknowledged everything up to here.
    pub(super) heard: u64,
    /// Its hello spoke of this session.
    pub(super) stated: bool,
    /// Its connection knows which session the origin stands for.
    pub(super) announced: bool,
    /// A `Gap` waits to be told.
    pub(super) gap_due: bool,
    /// It may have more than was sent, and may have said so before the session was forgotten here.
    pub(super) unsure: bool,
}

/// One producer's session as the relay knows it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// A producer has said hello. Otherwise only consumers have spoken of it, and nothing but `vouched` is meant.
    pub(super) known: bool,
    /// Appended to the log up to here (R3).
    pub(super) have: u64,
    /// May be forgotten by the producer up to here (R5); never goes back.
    pub(super) acked: u64,
    /// On the relay's disk up to here (S1).
    pub(super) stored: u64,
    /// Acknowledged up to here, as the disk knows (S3).
    pub(super) noted: u64,
    /// From the first to the second nothing will come: a producer that was acknowledged it has forgotten it, and so
    /// has the disk (S4).
    holes: VecDeque<(u64, u64)>,
    /// Some consumer has really acknowledged up to here (R5).
    pub(super) vouched: u64,
    /// What the producer's connection was told last.
    pub(super) told: u64,
    /// What the producer's connection was told about whether somebody takes messages (promise 5).
    pub(super) told_attached: bool,
    /// The producer's connection was woken and has not polled yet.
    pub(super) woken: bool,
    pub(super) connection: Option<ConnectionId>,
    /// How many runs of it are in the log.
    pub(super) runs: usize,
    /// The sequence before its first frame in the log, when there is one.
    before: u64,
    /// By the consumer's slot; dense, so that R5 is one pass over a short array.
    places: Vec<Place>,
    /// Its key in the order of idle sessions.
    idle_since: u64,
}

/// Who is waited for (R5), the same for all sessions of a relay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited<'a> {
    /// The first so many slots: the named consumers, attached or not.
    pub(super) named: usize,
    /// The slots of the other attached `at_least_once` consumers.
    pub(super) others: &'a [usize],
    /// Whether somebody must have really acknowledged it.
    pub(super) vouched: bool,
    /// Whether anybody is waited for at all; not in an `at_most_once` service.
    pub(super) anybody: bool,
}

impl Session {
    const fn new(id: SessionId) -> Self {
        Self {
            id,
            known: false,
            have: 0,
            acked: 0,
            stored: 0,
            noted: 0,
            holes: VecDeque::new(),
            vouched: 0,
            told: 0,
            told_attached: false,
            woken: false,
            connection: None,
            runs: 0,
            before: 0,
            places: Vec::new(),
            idle_since: 0,
        }
    }

    /// Returns where a consumer is.
    pub(super) fn place(&self, slot: usize) -> Place {
        self.places.get(slot).copied().unwrap_or_default()
    }

    /// Returns where a consumer is, to change it.
    pub(super) fn place_mut(&mut self, slot: usize) -> &mut Place {
        if self.places.len() <= slot {
            self.places.resize(slot + 1, Place::default());
        }
        &mut self.places[slot]
    }

    /// Forgets what a consumer's connection knew, but not its level (C4).
    pub(super) fn leave_place(&mut self, slot: usize) {
        if let Some(place) = self.places.get_mut(slot) {
            *place = Place {
                level: place.level,
                ..Place::default()
            };
        }
    }

    /// Forgets where a consumer is (C4).
    pub(super) fn clear_place(&mut self, slot: usize) {
        if let Some(place) = self.places.get_mut(slot) {
            *place = Place::default();
        }
    }

    /// Returns the number up to which the log has nothing any more (C2).
    pub(super) const fn kept(&self) -> u64 {
        if self.runs == 0 {
            self.have
        } else {
            self.before
        }
    }

    /// Returns the number up to which the producer may forget: processed (R5), or on the relay's disk (S1).
    pub(super) fn safe(&self) -> u64 {
        self.acked.max(self.stored)
    }

    /// Notes that the producer owes only what comes after this number, which is more than is here. What is in the log
    /// is owed to the consumers all the same (S4).
    pub(super) fn skip_to(&mut self, baseline: u64) {
        if self.acked >= self.have {
            self.acked = baseline;
        } else {
            match self.holes.back_mut().filter(|(_, last)| *last == self.have) {
                Some((_, last)) => *last = baseline,
                None => self.holes.push_back((self.have, baseline)),
            }
        }
        self.have = baseline;
        self.stored = baseline;
    }

    /// Notes that a run was appended (R3).
    pub(super) const fn appended(&mut self, first: u64, last: u64) {
        if self.runs == 0 {
            self.before = first - 1;
        }
        self.runs += 1;
        self.have = last;
    }

    /// Notes that a run that was on the disk is in the log again; `have` and the holes before it are known.
    pub(super) fn restored(&mut self, first: u64) {
        if self.runs == 0 {
            self.before = first - 1;
        }
        self.runs += 1;
    }

    /// Notes that its first run left the log (R6).
    pub(super) const fn trimmed(&mut self, last: u64) {
        self.runs -= 1;
        self.before = last;
    }

    /// Raises *acked* to what R5 allows; says whether it moved.
    pub(super) fn settle(&mut self, waited: Waited<'_>) -> bool {
        let mut to = self.have;
        if waited.anybody {
            if waited.vouched {
                to = to.min(self.vouched);
            }
            // Most calls end here: nothing new to tell, whatever the levels are.
            if to <= self.acked {
                return false;
            }
            // A named consumer that has not attached since the relay started has level 0.
            for slot in (0..waited.named).chain(waited.others.iter().copied()) {
                to = to.min(self.places.get(slot).map_or(0, |place| place.level));
            }
        }
        let moved = to > self.acked;
        self.acked = self.acked.max(to);
        while let Some(&(first, last)) = self.holes.front()
            && first <= self.acked
        {
            self.acked = self.acked.max(last);
            self.holes.pop_front();
        }
        moved
    }
}

/// The sessions by origin: numbered from 1, never reused in a relay's life, bounded.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) most: usize,
    next: u32,
    by_origin: BTreeMap<u32, Session>,
    by_id: HashMap<SessionId, u32>,
    /// The sessions without a connection, the longest idle first.
    idle: BTreeMap<u64, u32>,
    clock: u64,
    /// How many sessions are not known: only consumers have spoken of them.
    pub(super) strangers: usize,
    /// Something that was known or said of a session is not known any more.
    pub(super) forgetful: bool,
}

impl Sessions {
    /// Makes an empty table for at most so many sessions.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            next: 1,
            by_origin: BTreeMap::new(),
            by_id: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
            strangers: 0,
            forgetful: false,
        }
    }

    /// Returns the origin of a session.
    pub(super) fn find(&self, id: SessionId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Returns whether an origin has been given to a session, perhaps to one that is forgotten now.
    pub(super) const fn was_given(&self, origin: u32) -> bool {
        origin != 0 && origin < self.next
    }

    /// Returns a session by its origin.
    pub(super) fn get(&self, origin: u32) -> Option<&Session> {
        self.by_origin.get(&origin)
    }

    /// Returns a session by its origin, to change it.
    pub(super) fn get_mut(&mut self, origin: u32) -> Option<&mut Session> {
        self.by_origin.get_mut(&origin)
    }

    /// Returns all sessions in the order of their origins.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.by_origin
            .iter()
            .map(|(&origin, session)| (origin, session))
    }

    /// Returns all sessions, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Session)> {
        self.by_origin
            .iter_mut()
            .map(|(&origin, session)| (origin, session))
    }

    /// Enters a session, idle; forgets the longest idle one without frames in the log when the table is full.
    /// Returns nothing when none can go.
    pub(super) fn enter(&mut self, id: SessionId) -> Option<u32> {
        if self.by_origin.len() >= self.most && !self.forget_one() {
            self.forgetful = true;
            return None;
        }
        let origin = self.next;
        self.next = self.next.checked_add(1)?;
        self.by_origin.insert(origin, Session::new(id));
        self.by_id.insert(id, origin);
        self.strangers += 1;
        self.rest(origin);
        Some(origin)
    }

    /// Notes that a session has no connection.
    pub(super) fn rest(&mut self, origin: u32) {
        if let Some(session) = self.by_origin.get_mut(&origin) {
            self.clock += 1;
            session.idle_since = self.clock;
            self.idle.insert(self.clock, origin);
        }
    }

    /// Notes that a session has a connection.
    pub(super) fn busy(&mut self, origin: u32) {
        if let Some(session) = self.by_origin.get(&origin) {
            self.idle.remove(&session.idle_since);
        }
    }

    /// Forgets the longest idle session without frames in the log. That loses only what everybody agrees on: its
    /// next hello starts at what it owes, and a consumer drops what it had.
    pub(super) fn forget_one(&mut self) -> bool {
        let oldest = self.idle.iter().find_map(|(&since, &origin)| {
            let session = self.by_origin.get(&origin)?;
            (session.runs == 0).then_some((since, origin, session.id))
        });
        let Some((since, origin, id)) = oldest else {
            return false;
        };
        self.forgetful = true;
        self.idle.remove(&since);
        self.by_id.remove(&id);
        let forgotten = self.by_origin.remove(&origin);
        self.strangers -= usize::from(forgotten.is_some_and(|session| !session.known));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(have: u64, vouched: u64, levels: &[u64]) -> Session {
        let mut session = Session::new(SessionId(1));
        session.have = have;
        session.vouched = vouched;
        for (slot, &level) in levels.iter().enumerate() {
            session.place_mut(slot).level = level;
        }
        session
    }

    #[test]
    fn an_acknowledgement_is_what_everybody_has_and_somebody_said() {
        let waited = |named, others| Waited {
            named,
            others,
            vouched: true,
            anybody: true,
        };
        let mut all = session(9, 7, &[7, 5, 3]);
        // slot 2 is nobody who is waited for
        assert!(all.settle(waited(1, &[1])));
        assert_eq!(all.acked, 5);
        assert!(!all.settle(waited(1, &[1, 2])));
        assert_eq!(all.acked, 5, "never goes back");
        let mut absent = session(9, 7, &[7]);
        assert!(
            !absent.settle(waited(2, &[])),
            "a named one that never came has level 0"
        );
        let mut nobody = session(9, 0, &[]);
        assert!(!nobody.settle(waited(0, &[])));
        assert!(nobody.settle(Waited {
            vouched: false,
            ..waited(0, &[])
        }));
        assert_eq!(nobody.acked, 9);
    }

    #[test]
    fn a_session_with_a_connection_or_frames_is_not_forgotten() {
        let mut sessions = Sessions::new(3);
        let a = sessions.enter(SessionId(1)).unwrap();
        let b = sessions.enter(SessionId(2)).unwrap();
        let c = sessions.enter(SessionId(3)).unwrap();
        sessions.busy(a);
        sessions.get_mut(b).unwrap().appended(1, 1);
        assert_eq!(sessions.enter(SessionId(4)), Some(4));
        assert!(sessions.get(c).is_none() && sessions.was_given(c));
        sessions.busy(4);
        assert_eq!(sessions.enter(SessionId(5)), None);
        sessions.get_mut(b).unwrap().trimmed(1);
        assert_eq!(sessions.enter(SessionId(5)), Some(5));
        assert!(sessions.find(SessionId(2)).is_none());
        assert!(!sessions.was_given(6) && !sessions.was_given(0));
    }
}
