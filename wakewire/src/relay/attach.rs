//! The relay's rules towards consumers: attaching, what they are sent, what they acknowledge (C1–C5). No I/O, no clock.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::{Duration, Instant};

use super::effects::{ConnectionId, ConsumerHello, ConsumerKey, Outgoing, Refused, Wake};
use super::hub::{Hub, Role, note_producer};
use super::sessions::Place;
use crate::wire::ProtocolError;
use crate::wire::hello::Start;
use crate::wire::session::{MOST_SESSIONS, check_sequence};

/// How many runs that the consumer has already are passed over in one poll, so that one consumer that attaches
/// to a large log does not keep the others waiting.
pub(super) const MOST_PASSED: usize = 8192;

/// Of how many sessions that no producer has announced it is kept what consumers say of them. After a start of the
/// relay that is what their producers are acknowledged when they come (R1, R5); of one beyond it they send again what
/// the consumers have, and these drop it and acknowledge it again (K2, K4).
pub(super) const MOST_STRANGERS: usize = 4096;

impl Hub {
    /// Attaches a consumer (C1, C2). A new connection of the same consumer ends its old one. It is to be polled at
    /// once.
    ///
    /// # Errors
    ///
    /// `Refused`, and nothing has changed.
    pub(crate) fn consumer_hello(
        &mut self,
        hello: ConsumerHello,
        connection: ConnectionId,
        now: Instant,
        wake: &mut Wake,
    ) -> Result<(), Refused> {
        self.check(&hello)?;
        let slot = match self.roster.find(&hello.key) {
            Some(slot) => slot,
            None => {
                let most = super::consumer::MOST_CONSUMERS;
                let entered = self.roster.enter(hello.key.clone());
                entered.ok_or(Refused::TooManyConsumers { most })?
            }
        };
        let had_takers = self.roster.takers();
        let lossy = hello.at_most_once;
        let latest = hello.start == Start::Latest;
        let cursor = if latest {
            self.log.end()
        } else {
            self.log.base()
        };
        if let Some(consumer) = self.roster.get_mut(slot) {
            consumer.gaps.clear();
            consumer.at_most_once = lossy;
            consumer.cursor = cursor;
            consumer.dry = false;
            consumer.progress = Some(now);
            if let Some(old) = consumer.connection.replace(connection)
                && old != connection
            {
                self.connections.remove(&old);
                wake.close.push(old);
            }
        }
        self.connections.insert(connection, Role::Consumer(slot));
        let stated = self.place(slot, &hello);
        self.roster.attach(slot);
        wake.poll.push(connection);
        if had_takers != self.roster.takers() {
            self.note_producers(wake);
        }
        for origin in stated {
            self.settle(origin, wake);
        }
        self.make_room_for_blocked(wake);
        Ok(())
    }

    fn check(&self, hello: &ConsumerHello) -> Result<(), Refused> {
        let count = hello.positions.len();
        if count > MOST_SESSIONS {
            let most = MOST_SESSIONS;
            return Err(Refused::TooManyPositions { count, most });
        }
        for position in &hello.positions {
            check_sequence(position.processed)?;
            check_sequence(position.have)?;
        }
        if hello.start == Start::Latest && !hello.at_most_once {
            return Err(Refused::LatestIsLossy);
        }
        if let ConsumerKey::Name(name) = &hello.key
            && hello.at_most_once
            && self.config.at_least_once
            && self
                .roster
                .find(&hello.key)
                .is_some_and(|slot| self.roster.is_named(slot))
        {
            return Err(Refused::NamedIsWaitedFor { name: name.clone() });
        }
        Ok(())
    }

    /// Works out a consumer's level and what it has, in every session (C1, C2); returns the sessions that it spoke
    /// of.
    fn place(&mut self, slot: usize, hello: &ConsumerHello) -> Vec<u32> {
        for (_, session) in self.sessions.iter_mut() {
            // C4: its level outlives its connection, and the process that had it.
            session.leave_place(slot);
        }
        let mut stated = Vec::with_capacity(hello.positions.len());
        let unknown = |hub: &Self, id| hub.sessions.find(id).is_none();
        let all = hello.positions.iter();
        let mut strangers = all.filter(|one| unknown(self, one.session)).count();
        for position in &hello.positions {
            if unknown(self, position.session) {
                let left = MOST_STRANGERS.saturating_sub(self.sessions.strangers);
                // One that was known may have been forgotten for another since they were counted.
                strangers = strangers.saturating_sub(1);
                // The last ones were used last: they are kept.
                if strangers >= left {
                    self.sessions.forgetful = true;
                    continue;
                }
            }
            // No room for one more session: the consumer drops what it has, and says again where it is (K2, K4).
            let Some(origin) = self.enter(position.session) else {
                continue;
            };
            let Some(session) = self.sessions.get_mut(origin) else {
                continue;
            };
            *session.place_mut(slot) = Place {
                level: position.processed,
                sent: position.have.max(position.processed),
                stated: true,
                ..Place::default()
            };
            if !hello.at_most_once {
                session.vouched = session.vouched.max(position.processed);
            }
            stated.push(origin);
        }
        let Some(consumer) = self.roster.get_mut(slot) else {
            return stated;
        };
        for (origin, session) in self.sessions.iter_mut() {
            if !session.known {
                // C4, also while its producer is away: it goes on where its last life was.
                let level = session.place(slot).level;
                if level > 0 && hello.start != Start::Earliest {
                    let place = session.place_mut(slot);
                    place.sent = place.sent.max(level);
                }
                continue;
            }
            let (kept, acked, have) = (session.kept(), session.acked, session.have);
            let place = session.place_mut(slot);
            if !place.stated {
                // ✱ What nobody has acknowledged yet is the concern of whoever comes.
                place.level = place.level.max(acked);
                if hello.start != Start::Earliest {
                    place.sent = place.level;
                }
            }
            if hello.start == Start::Latest {
                place.sent = place.sent.max(have);
            }
            // What has left the log will never come, and everybody who is waited for has had it.
            place.level = place.level.max(kept.min(acked));
            place.gap_due = true;
            consumer.gaps.push_back(origin);
        }
        stated
    }

    /// Gives a consumer's connection what comes next (C2, C3): up to `max_bytes`, but at least one run. Says whether
    /// there is more; otherwise a [`Wake`] names it when there is.
    pub(crate) fn poll_consumer(
        &mut self,
        connection: ConnectionId,
        max_bytes: usize,
        out: &mut Vec<Outgoing>,
        wake: &mut Wake,
    ) -> bool {
        let Some(&Role::Consumer(slot)) = self.connections.get(&connection) else {
            return false;
        };
        let mut spent = 0;
        let more = self.poll_gaps(slot, max_bytes, out, &mut spent)
            || self.poll_runs(slot, max_bytes, out, &mut spent);
        if let Some(consumer) = self.roster.get_mut(slot) {
            consumer.dry = !more;
        }
        // The slowest cursor may have passed the front.
        self.make_room_for_blocked(wake);
        more
    }

    fn poll_runs(
        &mut self,
        slot: usize,
        max_bytes: usize,
        out: &mut Vec<Outgoing>,
        spent: &mut usize,
    ) -> bool {
        let Some(consumer) = self.roster.get_mut(slot) else {
            return false;
        };
        // Who may be skipped ahead may find that its place has left the log (C6).
        consumer.cursor = consumer.cursor.max(self.log.base());
        let mut passed = 0;
        while let Some(entry) = self.log.get(consumer.cursor) {
            let Some(session) = self.sessions.get_mut(entry.origin) else {
                consumer.cursor += 1;
                continue;
            };
            let place = session.place_mut(slot);
            if entry.run.last <= place.sent {
                consumer.cursor += 1;
                passed += 1;
                if passed >= MOST_PASSED {
                    return true;
                }
                continue;
            }
            let mut run = entry.run.clone();
            run.skip_to(place.sent + 1);
            if *spent > 0 && *spent + run.bytes.len() > max_bytes {
                return true;
            }
            *spent += run.bytes.len();
            place.sent = run.last;
            consumer.cursor += 1;
            out.push(Outgoing::Data {
                origin: entry.origin,
                run,
            });
        }
        false
    }

    /// Takes a consumer's acknowledgement (C4, R5); returns whether it says more than its connection has said before.
    ///
    /// # Errors
    ///
    /// `UnknownOrigin` when this connection was never told of it; `AckBeyondSent` when it was not sent so much and
    /// did not have it before.
    pub(crate) fn acknowledge(
        &mut self,
        connection: ConnectionId,
        origin: u32,
        sequence: u64,
        now: Instant,
        wake: &mut Wake,
    ) -> Result<bool, ProtocolError> {
        let Some(&Role::Consumer(slot)) = self.connections.get(&connection) else {
            return Ok(true);
        };
        let Some(consumer) = self.roster.get_mut(slot) else {
            return Ok(true);
        };
        let Some(session) = self.sessions.get_mut(origin) else {
            // One that is forgotten here had nothing left to acknowledge.
            return if self.sessions.was_given(origin) || consumer.at_most_once {
                Ok(true)
            } else {
                Err(ProtocolError::UnknownOrigin(origin))
            };
        };
        let place = session.place_mut(slot);
        let is_news = sequence > place.heard;
        place.heard = place.heard.max(sequence);
        // C6: an onlooker's acknowledgement is nobody's.
        if consumer.at_most_once {
            return Ok(is_news);
        }
        if !place.announced {
            return Err(ProtocolError::UnknownOrigin(origin));
        }
        if sequence > place.sent && place.unsure {
            // As if it had said so in its hello, which it may have.
            place.sent = sequence;
        }
        if sequence > place.sent {
            return Err(ProtocolError::AckBeyondSent {
                seq: sequence,
                sent: place.sent,
            });
        }
        if sequence > place.level {
            place.level = sequence;
            consumer.progress = Some(now);
        }
        session.vouched = session.vouched.max(sequence);
        if session.settle(self.roster.waited()) {
            note_producer(session, wake);
            self.make_room_for_blocked(wake);
        }
        Ok(is_news)
    }

    /// C4: an unnamed consumer is forgotten, a named one keeps its level. Others may have waited for it.
    pub(super) fn consumer_lost(&mut self, slot: usize, wake: &mut Wake) {
        let had_takers = self.roster.takers();
        let named = self.roster.is_named(slot);
        self.roster.detach(slot);
        let waited = self.roster.waited();
        for (_, session) in self.sessions.iter_mut() {
            if !named {
                session.clear_place(slot);
            }
            if session.known && session.settle(waited) {
                note_producer(session, wake);
            }
        }
        if had_takers != self.roster.takers() {
            self.note_producers(wake);
        }
        self.make_room_for_blocked(wake);
    }

    /// Returns the consumers to be disconnected now (C5): they hold the front of a full log, and made no progress for as
    /// long as their kind may take. The shell closes them and reports them as [`Hub::lost`].
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<ConnectionId> {
        // What has moved to the front since, nobody has held for longer: who was sent it just now may have waited,
        // with everything else processed, for as long as others held the log.
        let base = self.log.base();
        if std::mem::replace(&mut self.front_seen, base) != base
            && let Some(since) = &mut self.full_since
        {
            *since = now;
        }
        let due = self.holders().filter(|&(_, at)| at <= now);
        due.map(|(connection, _)| connection).collect()
    }

    /// Returns when [`Hub::overdue`] has somebody next, as things stand.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.holders().map(|(_, at)| at).min()
    }

    /// Those who hold the front of a log that is full, and until when they may.
    fn holders(&self) -> impl Iterator<Item = (ConnectionId, Instant)> + '_ {
        let front = self.full_since.zip(self.log.front());
        front.into_iter().flat_map(move |(since, front)| {
            self.roster.attached().iter().filter_map(move |&slot| {
                let consumer = self.roster.get(slot).filter(|c| !c.at_most_once)?;
                let place = self.sessions.get(front.origin)?.place(slot);
                let last = front.run.last;
                let unsent = consumer.cursor <= self.log.base() && place.sent < last;
                let owes = self.config.at_least_once && place.level < last;
                if !unsent && !owes {
                    return None;
                }
                let at = since.max(consumer.progress?) + self.patience(slot)?;
                Some((consumer.connection?, at))
            })
        })
    }

    fn patience(&self, slot: usize) -> Option<Duration> {
        if self.roster.is_named(slot) {
            self.config.named_deadline
        } else {
            Some(self.config.unnamed_deadline)
        }
    }
}
