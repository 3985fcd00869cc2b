//! What must hold when faults have stopped.

use std::collections::BTreeSet;

use super::{Consumer, OUTBOX, Producer, World};

impl World {
    pub(super) fn consumers_leave(&mut self) {
        for k in 0..self.consumers.len() {
            if let Some(c) = self.consumers[k].connection.take() {
                self.cut(c);
            }
        }
    }

    /// Promise 5, or what `accept` promises instead: what happens with nobody there.
    pub(super) fn with_nobody(&mut self) -> Result<(), String> {
        self.consumers_leave();
        for _ in 0..4 {
            self.round(false);
        }
        let before: Vec<u64> = self.producers.iter().map(|p| p.outbox.acked()).collect();
        for _ in 0..3 {
            for producer in &mut self.producers {
                if producer.outbox.next() - producer.outbox.first_owed() < OUTBOX {
                    producer.outbox.append();
                }
            }
            for _ in 0..4 {
                self.round(false);
            }
        }
        if !self.setup.hold || !self.setup.at_least_once {
            return self.drain(false);
        }
        for (producer, before) in self.producers.iter().zip(before) {
            assert_eq!(producer.outbox.acked(), before, "nobody has it");
            assert_eq!(producer.attached, Some(false), "promise 5");
        }
        Ok(())
    }

    /// Returns (lost for named or only consumers, missed untold, messages).
    pub(super) fn verdict(&self) -> (usize, usize, u64) {
        let (mut lost, mut untold, mut total) = (0, 0, 0);
        let owed_all =
            |u: &Consumer| u.kind.named || (self.consumers.len() == 1 && self.setup.hold);
        for producer in &self.producers {
            if let Some(spool) = &producer.outbox.spool {
                total += spool.offered();
                let owed = self.consumers.iter().filter(|u| owed_all(u));
                lost += owed.map(|u| self.broken(producer, u)).sum::<usize>();
                continue;
            }
            let (session, n) = (producer.outbox.session(), producer.outbox.next() - 1);
            total += n;
            for u in &self.consumers {
                let has = |q: &u64| u.taken.contains_key(&(session, *q));
                let missing = (1..=n).filter(|q| !has(q));
                if owed_all(u) && self.setup.at_least_once {
                    lost += missing.count();
                    let told = u.missed.contains_key(&session);
                    assert!(!told || u.life > 0, "told of a loss that was none");
                    continue;
                }
                let first = (1..=n).find(has).unwrap_or(n + 1);
                let missing = missing.filter(|&q| q > first);
                if self.calm && !u.was_stalled && !u.kind.at_most_once {
                    // Others were slow, and it loses nothing by that.
                    lost += missing.count();
                } else if u.life == 0 && !u.forgot.contains_key(&session) {
                    let told = |q: u64| {
                        let missed = u.missed.get(&session);
                        missed.is_some_and(|all| all.iter().any(|&(a, b)| a <= q && q <= b))
                    };
                    untold += missing.filter(|&q| !told(q)).count();
                }
            }
        }
        (lost, untold, total)
    }

    /// Returns how many of the messages that this producer was promised to deliver this consumer has not got.
    fn broken(&self, producer: &Producer, u: &Consumer) -> usize {
        let Some(spool) = &producer.outbox.spool else {
            return 0;
        };
        let whose = producer.outbox.session().0 >> 64;
        let taken = u
            .taken
            .keys()
            .filter(|(session, _)| session.0 >> 64 == whose);
        let taken: BTreeSet<u64> = taken.map(|key| self.ledger[key]).collect();
        spool.promised().difference(&taken).count()
    }
}
