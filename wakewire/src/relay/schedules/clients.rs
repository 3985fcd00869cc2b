//! The ends of the wire: producers and consumers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::super::effects::{ConsumerHello, ConsumerKey, Outgoing};
use super::outbox::{payload, serial};
use super::{Consumer, Down, Fault, Item, PIPE, Up, World};
use crate::wire::SessionId;
use crate::wire::data::DataView;
use crate::wire::hello::Start;
use crate::wire::run::Run;
use crate::wire::session::Position;

impl World {
    pub(super) fn producer_dials(&mut self, i: usize) {
        let producer = &self.producers[i];
        if producer.connection.is_none() && producer.outbox.owes() {
            let (session, mut first_owed) =
                (producer.outbox.session(), producer.outbox.first_owed());
            if self.fault == Fault::StartsAtOne {
                first_owed = 1;
            }
            let c = self.dial(Up::Producer {
                session,
                first_owed,
            });
            self.producers[i].connection = Some(c);
            self.producers[i].welcomed = false;
        }
    }

    pub(super) fn producer_reads(&mut self, i: usize) {
        let producer = &mut self.producers[i];
        let Some(c) = producer.connection else { return };
        match self.connections[c].down.pop_front() {
            Some(Down::Welcome {
                acked,
                have,
                attached,
            }) => {
                let one = self.fault == Fault::OneWatermark;
                producer
                    .outbox
                    .welcomed(if one { have } else { acked }, have);
                producer.welcomed = true;
                producer.attached = Some(attached);
            }
            Some(Down::News { acked, attached }) => {
                producer.outbox.acknowledged(acked);
                producer.attached = Some(attached);
            }
            Some(Down::Out(_)) => panic!("a producer got data"),
            None if !self.connections[c].open => {
                producer.outbox.disconnected();
                producer.connection = None;
            }
            None => {}
        }
    }

    pub(super) fn producer_writes(&mut self, i: usize) {
        let producer = &mut self.producers[i];
        let Some(c) = producer.connection else { return };
        let connection = &mut self.connections[c];
        if producer.welcomed
            && connection.open
            && connection.up.len() < PIPE
            && let Some(run) = producer.outbox.take()
        {
            connection.up.push_back(Up::Data(run));
        }
    }

    pub(super) fn consumer_dials(&mut self, k: usize) {
        let consumer = &mut self.consumers[k];
        if consumer.connection.is_some() || consumer.stalled {
            return;
        }
        let fault = self.fault;
        let mut positions: Vec<Position> = consumer.positions.iter().collect();
        let known = &consumer.positions;
        consumer
            .progress
            .retain(|&session, _| known.get(session).is_some());
        for position in &mut positions {
            if fault == Fault::BaselineNotPast {
                position.processed = consumer.reported(position.session, fault);
            }
            if fault == Fault::NoDedup {
                position.have = position.processed;
            }
        }
        if consumer.kind.start == Start::Latest && self.rng.below(2) == 0 {
            positions.clear(); // one that does not care
        }
        let key = if consumer.kind.named || k % 2 == 1 {
            ConsumerKey::Name(format!("c{k}"))
        } else {
            ConsumerKey::Id((k as u128) << 64 | u128::from(consumer.life))
        };
        let hello = ConsumerHello {
            key,
            at_most_once: consumer.kind.at_most_once,
            start: consumer.kind.start,
            positions,
        };
        consumer.fresh = false;
        consumer.sessions.clear();
        consumer.origins.clear();
        let c = self.dial(Up::Consumer(hello));
        self.consumers[k].connection = Some(c);
    }

    pub(super) fn consumer_reads(&mut self, k: usize) {
        let fault = self.fault;
        let consumer = &mut self.consumers[k];
        let Some(c) = consumer.connection.filter(|_| !consumer.stalled) else {
            return;
        };
        match self.connections[c].down.pop_front() {
            Some(Down::Out(Outgoing::Gap {
                session,
                origin,
                after,
            })) => {
                consumer.sessions.insert(origin, session);
                consumer.origins.insert(session, origin);
                if consumer.positions.get(session).is_none() {
                    consumer.progress.remove(&session);
                }
                let passed = consumer.positions.gap(session, after, false);
                consumer.note_missed(session, passed.missed);
                if passed.mark {
                    consumer.queue.push_back(Item::Past(session, after));
                } else if let Some(position) = consumer.positions.get(session) {
                    consumer.confirms(session, position.processed, fault);
                }
                self.consumer_remembers(k, session);
            }
            Some(Down::Out(Outgoing::Data { origin, run })) => {
                let session = consumer.sessions[&origin];
                let ledger = self.setup.spool.is_some().then_some(&mut self.ledger);
                check_frames(&run, session, origin, ledger);
                let verdict = consumer
                    .positions
                    .data(session, run.first, run.last)
                    .unwrap();
                consumer.note_missed(session, verdict.missed);
                let dedup = self.fault != Fault::NoDedup;
                let first = if dedup {
                    verdict.drop_before
                } else {
                    run.first
                };
                let messages = (first..=run.last).map(|q| Item::Message(session, q));
                consumer.queue.extend(messages);
                self.consumer_remembers(k, session);
            }
            Some(Down::Welcome { .. } | Down::News { .. }) => panic!("a consumer got an answer"),
            None if !self.connections[c].open => consumer.connection = None,
            None => {}
        }
    }

    /// The application asks for the next message: the one in hand is processed (K4, K5).
    pub(super) fn consumer_asks(&mut self, k: usize) {
        let fault = self.fault;
        let consumer = &mut self.consumers[k];
        if consumer.stalled {
            return;
        }
        let mut owed = None;
        if let Some((session, q)) = consumer.hand.take() {
            self.seen.again += u64::from(consumer.takes(session, q));
            consumer.confirms(session, q, fault);
            owed = Some(session);
        } else if !consumer.origins.is_empty() {
            // idle: say again where we are
            let at = self.rng.below(consumer.origins.len());
            owed = consumer.origins.keys().nth(at).copied();
        }
        while let Some(&Item::Past(session, after)) = consumer.queue.front() {
            consumer.confirms(session, after, fault);
            consumer.queue.pop_front();
        }
        if let Some(&Item::Message(session, q)) = consumer.queue.front() {
            consumer.hand = Some((session, q));
            consumer.queue.pop_front();
            if fault == Fault::CursorBeforeEffect {
                consumer.confirms(session, q, fault);
            }
        }
        let Some(c) = consumer.connection else { return };
        let connection = &mut self.connections[c];
        if connection.open
            && connection.up.len() < PIPE
            && let Some(session) = owed
            && let Some(&origin) = consumer.origins.get(&session)
        {
            let sequence = consumer.reported(session, fault);
            connection.up.push_back(Up::Ack { origin, sequence });
        }
    }

    pub(super) fn consumer_killed(&mut self, k: usize) {
        if let Some(c) = self.consumers[k].connection.take() {
            self.cut(c);
        }
        if self.setup.durable {
            self.dies_with_a_cursor(k);
        }
        let setup = self.setup;
        let consumer = &mut self.consumers[k];
        consumer.life += 1;
        consumer.queue.clear();
        consumer.hand = None;
        consumer.stalled = false;
        consumer.really.clear();
        consumer.progress.clear();
        consumer.positions = setup.positions();
        if setup.durable {
            self.resumes(k);
        } else {
            consumer.fresh = true;
            consumer.forgets_all();
        }
    }
}

impl Consumer {
    /// The application has processed this; returns whether it had before, which it may when that was forgotten.
    pub(super) fn takes(&mut self, session: SessionId, q: u64) -> bool {
        let confirmed = self.said.confirmed(session);
        assert!(
            confirmed < q,
            "again: {session:?} {q}, confirmed {confirmed}"
        );
        let before = self.taken.insert((session, q), self.memory);
        let forgot = self.forgot.get(&session).copied().unwrap_or(0);
        let forgot = forgot.max(self.forgot_all);
        assert!(
            before.is_none_or(|before| before < forgot || self.said.is_uncertain(session, q)),
            "twice in one life: {session:?} {q}"
        );
        let last = self.really.insert(session, q);
        assert!(
            last.is_none_or(|last| last < q),
            "out of order: {session:?} {q}"
        );
        before.is_some() && forgot > self.forgot_all
    }

    /// Returns what a connection acknowledges: it remembers what was processed of a session that is forgotten.
    pub(super) fn reported(&self, session: SessionId, fault: Fault) -> u64 {
        if fault == Fault::BaselineNotPast {
            return self.really.get(&session).copied().unwrap_or(0);
        }
        self.progress.get(&session).copied().unwrap_or(0)
    }

    pub(super) fn note_missed(&mut self, session: SessionId, range: Option<RangeInclusive<u64>>) {
        if let Some(range) = range {
            assert!(range.start() <= range.end());
            let missed = self.missed.entry(session).or_default();
            missed.push((*range.start(), *range.end()));
        }
    }
}

fn check_frames(
    run: &Run,
    session: SessionId,
    origin: u32,
    mut ledger: Option<&mut BTreeMap<(SessionId, u64), u64>>,
) {
    let mut rest = &run.bytes[..];
    for sequence in run.first..=run.last {
        let frame = DataView::at(rest).unwrap();
        assert_eq!(
            (frame.header.sequence, frame.header.origin),
            (sequence, origin)
        );
        let serial = serial(frame.body);
        assert_eq!(frame.body, payload(session, serial));
        let stands_for = match &mut ledger {
            Some(ledger) => *ledger.entry((session, sequence)).or_insert(serial),
            None => sequence,
        };
        assert_eq!(stands_for, serial, "a number stands for two messages");
        rest = &rest[frame.header.frame_length()..];
    }
    assert!(rest.is_empty());
}
