//! More sessions than the relay and the consumers remember: they are forgotten, and return.

use super::super::effects::{Refused, Welcome};
use super::{Consumer, Setup, World};
use crate::wire::SessionId;
use crate::wire::session::{Positions, Side};

impl Setup {
    pub(super) fn positions(&self) -> Positions {
        match self.most {
            Some(most) => Positions::bounded(Side::Consumer, most),
            None => Positions::new(Side::Consumer),
        }
    }
}

impl Consumer {
    /// It begins without any memory.
    pub(super) fn forgets_all(&mut self) {
        self.memory += 1;
        self.forgot_all = self.memory;
        self.known.clear();
    }

    /// What was processed in this session may come again, if it was not acknowledged.
    fn forgets(&mut self, session: SessionId) {
        self.memory += 1;
        self.forgot.insert(session, self.memory);
        self.known.remove(&session);
        self.really.remove(&session);
        self.said.forget(session);
    }
}

impl World {
    /// A consumer has heard of a session, and may have forgotten others for it.
    pub(super) fn consumer_remembers(&mut self, k: usize, session: SessionId) {
        if self.setup.most.is_some() {
            self.consumers[k].known.insert(session);
            self.consumer_forgets(k);
        }
    }

    pub(super) fn consumer_forgets(&mut self, k: usize) {
        let consumer = &mut self.consumers[k];
        let gone = consumer.known.iter().copied();
        let gone: Vec<_> = gone
            .filter(|&session| consumer.positions.get(session).is_none())
            .collect();
        for session in gone {
            consumer.forgets(session);
            self.seen.unknown += 1;
        }
    }

    /// A producer that owes nothing closes its connection, so that its session may be forgotten.
    pub(super) fn producer_sleeps(&mut self, i: usize) {
        let producer = &mut self.producers[i];
        if !producer.outbox.owes()
            && let Some(c) = producer.connection.take()
        {
            producer.outbox.disconnected();
            self.cut(c);
        }
    }

    /// Returns what a producer is told, if there is a place for its session. Otherwise it comes again.
    pub(super) fn unless_full(&mut self, hello: Result<Welcome, Refused>) -> Option<Welcome> {
        match hello {
            Ok(welcome) => Some(welcome),
            Err(Refused::TooManySessions { most }) if Some(most) == self.setup.most => {
                self.seen.refused += 1;
                None
            }
            Err(refused) => panic!("{refused}"),
        }
    }
}
