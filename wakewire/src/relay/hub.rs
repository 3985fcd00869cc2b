//! The relay's rules towards producers and the room in its log (R1–R6, C5, C6). No I/O, no clock.
//!
//! The shell calls a method, drains the [`Wake`], and the connections named in it poll for what to send. Everything
//! is done per run of frames, not per message.
#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::consumer::Roster;
use super::effects::{ConnectionId, HubConfig, Offered, ProducerNews, Refused, Wake, Welcome};
use super::keeping::Keeping;
use super::log::{Log, cost};
use super::sessions::{Session, Sessions};
use crate::wire::session::{MOST_SESSIONS, check_sequence};
use crate::wire::{ProtocolError, SessionId, run::Run};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A producer's, with the origin of its session.
    Producer(u32),
    /// A consumer's, with its slot.
    Consumer(usize),
}

/// A relay's state: one log, the sessions in it, a cursor per consumer. It makes no promise of its own, it passes
/// acknowledgement through, unless it stores what it has.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) config: HubConfig,
    pub(super) log: Log,
    pub(super) sessions: Sessions,
    pub(super) roster: Roster,
    pub(super) connections: HashMap<ConnectionId, Role>,
    /// The producers whose run did not fit, and what it costs, in the order in which they came.
    pub(super) blocked: VecDeque<(ConnectionId, usize)>,
    /// Since when somebody is blocked and the front has not moved (C5).
    pub(super) full_since: Option<Instant>,
    /// What the relay's disk has, if it stores (S1–S4).
    pub(super) keeping: Option<Keeping>,
    /// What was at the front when that was looked at last.
    pub(super) front_seen: u64,
}

impl Hub {
    /// Makes the hub of a relay that has just started.
    pub(crate) fn new(config: HubConfig) -> Self {
        Self {
            log: Log::new(config.log_bytes),
            sessions: Sessions::new(MOST_SESSIONS),
            roster: Roster::new(&config),
            connections: HashMap::new(),
            blocked: VecDeque::new(),
            full_since: None,
            keeping: None,
            front_seen: 0,
            config,
        }
    }

    /// Takes a producer's hello (R1, R2). An unknown session starts at what it owes; of a known one is kept what is
    /// known, except that one which is behind what the producer still owes jumps there.
    ///
    /// # Errors
    ///
    /// `Refused` when the table of sessions is full or the number is out of range.
    pub(crate) fn producer_hello(
        &mut self,
        id: SessionId,
        first_owed: u64,
        connection: ConnectionId,
        wake: &mut Wake,
    ) -> Result<Welcome, Refused> {
        let baseline = check_sequence(first_owed)?.saturating_sub(1);
        let origin = self.enter(id).ok_or(Refused::TooManySessions {
            most: self.sessions.most,
        })?;
        self.sessions.busy(origin);
        self.connections.insert(connection, Role::Producer(origin));
        let consumers_attached = self.roster.takers();
        let is_stored = self.keeping.is_some();
        let Some(session) = self.sessions.get_mut(origin) else {
            return Err(Refused::TooManySessions {
                most: self.sessions.most,
            });
        };
        let old = session.connection.replace(connection);
        let is_news = !session.known || session.have < baseline;
        let is_new = !session.known;
        if is_new {
            session.known = true;
            session.have = baseline;
            session.acked = baseline;
        } else if session.have < baseline {
            if is_stored {
                session.skip_to(baseline);
            } else {
                session.have = baseline;
                session.acked = baseline;
            }
        }
        session.told = session.safe();
        session.told_attached = consumers_attached;
        session.woken = false;
        let (acked, have) = (session.safe(), session.have);
        if is_new {
            self.sessions.strangers -= 1;
        }
        let welcome = Welcome {
            acked,
            have,
            origin,
            consumers_attached,
        };
        if is_news {
            self.announce(origin, wake);
        }
        if let Some(old) = old.filter(|&old| old != connection) {
            self.connections.remove(&old);
            wake.close.push(old);
            self.unblock(old, wake);
        }
        // frames that were told not to be owed any more may have held the front
        self.make_room_for_blocked(wake);
        Ok(welcome)
    }

    /// Takes a run of frames, stamped with the origin (R3, R4): what is known is dropped, the rest is appended.
    ///
    /// # Errors
    ///
    /// `Hole` when an `at_least_once` producer left one: close the connection, nothing is lost by it.
    pub(crate) fn data(
        &mut self,
        connection: ConnectionId,
        mut run: Run,
        now: Instant,
        wake: &mut Wake,
    ) -> Result<Offered, ProtocolError> {
        let Some(&Role::Producer(origin)) = self.connections.get(&connection) else {
            return Ok(Offered::Ended);
        };
        let Some(have) = self.sessions.get(origin).map(|session| session.have) else {
            return Ok(Offered::Ended);
        };
        if run.last <= have {
            return Ok(Offered::Taken);
        }
        if run.first > have + 1 && self.config.at_least_once {
            return Err(ProtocolError::Hole {
                have,
                got: run.first,
            });
        }
        run.skip_to(have + 1);
        run.compact();
        if !self.make_room(cost(&run)) {
            self.blocked.retain(|&(other, _)| other != connection);
            self.blocked.push_back((connection, cost(&run)));
            self.full_since.get_or_insert(now);
            return Ok(Offered::Full(run));
        }
        self.append(origin, run, wake);
        Ok(Offered::Taken)
    }

    /// Tells a producer's connection what is new since it was last told (R5, promise 5).
    pub(crate) fn poll_producer(&mut self, connection: ConnectionId) -> Option<ProducerNews> {
        let &Role::Producer(origin) = self.connections.get(&connection)? else {
            return None;
        };
        let consumers_attached = self.roster.takers();
        let session = self.sessions.get_mut(origin)?;
        session.woken = false;
        let acked = session.safe();
        if acked <= session.told && session.told_attached == consumers_attached {
            return None;
        }
        session.told = acked;
        session.told_attached = consumers_attached;
        Some(ProducerNews {
            acked,
            consumers_attached,
        })
    }

    /// Notes that a connection has ended, in whatever way.
    pub(crate) fn lost(&mut self, connection: ConnectionId, wake: &mut Wake) {
        match self.connections.remove(&connection) {
            Some(Role::Producer(origin)) => {
                if let Some(session) = self.sessions.get_mut(origin) {
                    session.connection = None;
                }
                self.sessions.rest(origin);
                self.unblock(connection, wake);
            }
            Some(Role::Consumer(slot)) => self.consumer_lost(slot, wake),
            None => {}
        }
    }

    /// Finds or enters a session; what has been acknowledged may leave the log for it.
    pub(super) fn enter(&mut self, id: SessionId) -> Option<u32> {
        if let Some(origin) = self.sessions.find(id) {
            return Some(origin);
        }
        self.sessions.enter(id).or_else(|| {
            while self.trim_front() {}
            self.sessions.enter(id)
        })
    }

    fn append(&mut self, origin: u32, run: Run, wake: &mut Wake) {
        let Some(session) = self.sessions.get_mut(origin) else {
            return;
        };
        session.appended(run.first, run.last);
        self.log.push(origin, run);
        wake.store = true;
        if session.settle(self.roster.waited()) {
            note_producer(session, wake);
        }
        for index in 0..self.roster.attached().len() {
            let slot = self.roster.attached()[index];
            let stirred = self.roster.get_mut(slot).and_then(|c| c.stir());
            wake.poll.extend(stirred);
        }
    }

    /// Recomputes R5 for one session.
    pub(super) fn settle(&mut self, origin: u32, wake: &mut Wake) {
        let waited = self.roster.waited();
        if let Some(session) = self.sessions.get_mut(origin)
            && session.settle(waited)
        {
            note_producer(session, wake);
        }
    }

    /// Lets go of the front until so many bytes fit; says whether they do. Nothing leaves before room is needed:
    /// what is kept is there for `earliest` (R6).
    fn make_room(&mut self, cost: usize) -> bool {
        while !self.log.has_room(cost) {
            if !self.trim_front() {
                return false;
            }
        }
        true
    }

    /// Lets the front go if R6 allows it: acknowledged to its producer, and every attached consumer that may not
    /// be skipped ahead has been sent it, or has it.
    pub(super) fn trim_front(&mut self) -> bool {
        let Some(front) = self.log.front() else {
            return false;
        };
        let (origin, last, position) = (front.origin, front.run.last, self.log.base());
        let Some(session) = self.sessions.get_mut(origin) else {
            return false;
        };
        if session.acked < last {
            return false;
        }
        let waits = self.roster.attached().iter().any(|&slot| {
            let consumer = self.roster.get(slot).filter(|c| !c.at_most_once);
            consumer.is_some_and(|c| c.cursor <= position && session.place(slot).sent < last)
        });
        if waits {
            return false;
        }
        session.trimmed(last);
        self.log.pop();
        // C6: who was not sent it and is not waited for is told what it missed
        for index in 0..self.roster.attached().len() {
            let slot = self.roster.attached()[index];
            let place = session.place_mut(slot);
            let Some(consumer) = self.roster.get_mut(slot) else {
                continue;
            };
            if consumer.cursor <= position && place.sent < last && !place.gap_due {
                place.gap_due = true;
                consumer.gaps.push_back(origin);
            }
        }
        true
    }

    /// Wakes the blocked producers whose runs fit now, in the order in which they came (R4).
    pub(super) fn make_room_for_blocked(&mut self, wake: &mut Wake) {
        let mut promised = 0;
        while let Some(&(connection, cost)) = self.blocked.front() {
            // One that is larger than the log waits for an empty one, alone.
            let fits = self.make_room(promised + cost)
                && (promised == 0 || self.log.bytes() + promised + cost <= self.log.limit());
            if !fits {
                break;
            }
            promised += cost;
            self.blocked.pop_front();
            wake.room.push(connection);
        }
        if self.blocked.is_empty() {
            self.full_since = None;
        }
    }

    /// Forgets that a connection was blocked; the room that it was promised is offered to the others.
    fn unblock(&mut self, connection: ConnectionId, wake: &mut Wake) {
        self.blocked.retain(|&(other, _)| other != connection);
        self.make_room_for_blocked(wake);
    }

    /// Wakes every producer: whether somebody takes messages has changed (promise 5).
    pub(super) fn note_producers(&mut self, wake: &mut Wake) {
        for (_, session) in self.sessions.iter_mut() {
            note_producer(session, wake);
        }
    }
}

/// Wakes a session's producer once, to poll for news.
pub(super) fn note_producer(session: &mut Session, wake: &mut Wake) {
    // What it was told, the disk is told too.
    wake.store = true;
    if let Some(connection) = session.connection.filter(|_| !session.woken) {
        session.woken = true;
        wake.poll.push(connection);
    }
}
