//! The relay's shell, as small as it can be: connections that read, poll when they are woken, and end.

use super::super::effects::{ConnectionId, Offered, Wake};
use super::{Consumer, Down, Fault, HOUR, PIPE, Up, World};
use crate::wire::frame::stamp_origin;
use crate::wire::run::{Run, frame_length};
use crate::wire::session::Position;

impl World {
    pub(super) fn relay_reads(&mut self, c: usize) {
        let id = ConnectionId(c as u64);
        let connection = &mut self.connections[c];
        if connection.life != self.life || connection.ended {
            return;
        }
        if let Some(run) = connection.held.take() {
            if !connection.open && self.rng.below(4) == 0 {
                return self.relay_lost(c); // the shell notices without reading
            }
            if !connection.room {
                connection.held = Some(run);
                return;
            }
            connection.room = false;
            return self.offer(c, run);
        }
        match connection.up.pop_front() {
            Some(Up::Producer {
                session,
                first_owed,
            }) => {
                let hello = self
                    .hub
                    .producer_hello(session, first_owed, id, &mut self.wake);
                let Some(welcome) = self.unless_full(hello) else {
                    self.cut(c);
                    return self.relay_lost(c);
                };
                let connection = &mut self.connections[c];
                connection.origin = welcome.origin;
                if connection.open {
                    connection.down.push_back(Down::Welcome {
                        acked: welcome.acked,
                        have: welcome.have,
                        attached: welcome.consumers_attached,
                    });
                }
            }
            Some(Up::Data(run)) => {
                let run = stamped(run, connection.origin);
                self.offer(c, run);
            }
            Some(Up::Consumer(mut hello)) => {
                if self.fault == Fault::LatestSkipsUnacked && hello.positions.is_empty() {
                    let sessions = self.hub.sessions.iter().map(|(_, session)| session);
                    hello.positions = sessions
                        .filter(|session| session.known)
                        .map(|s| Position {
                            session: s.id,
                            processed: s.have,
                            have: s.have,
                        })
                        .collect();
                }
                self.hub
                    .consumer_hello(hello, id, self.now, &mut self.wake)
                    .unwrap();
            }
            Some(Up::Ack { origin, sequence }) => {
                self.hub
                    .acknowledge(id, origin, sequence, self.now, &mut self.wake)
                    .unwrap();
            }
            None if !connection.open => self.relay_lost(c),
            None => {}
        }
        self.wake();
    }

    pub(super) fn offer(&mut self, c: usize, run: Run) {
        let id = ConnectionId(c as u64);
        match self.hub.data(id, run, self.now, &mut self.wake).unwrap() {
            Offered::Taken => {}
            Offered::Full(run) => {
                self.connections[c].held = Some(run);
                self.seen.full += 1;
            }
            Offered::Ended => panic!("read from a connection that was replaced"),
        }
        self.wake();
    }

    pub(super) fn relay_lost(&mut self, c: usize) {
        self.connections[c].ended = true;
        self.connections[c].open = false;
        self.hub.lost(ConnectionId(c as u64), &mut self.wake);
        self.wake();
    }

    /// A connection sends what the hub has for it, if it was woken and its pipe has room.
    pub(super) fn relay_writes(&mut self, c: usize) {
        let id = ConnectionId(c as u64);
        let connection = &mut self.connections[c];
        if connection.life != self.life || !connection.poll || connection.ended {
            return;
        }
        if connection.open && connection.down.len() >= PIPE {
            return;
        }
        connection.poll = false;
        if connection.is_producer {
            let news = self.hub.poll_producer(id);
            if let Some(news) = news.filter(|_| connection.open) {
                connection.down.push_back(Down::News {
                    acked: news.acked,
                    attached: news.consumers_attached,
                });
            }
            return;
        }
        let most = self.rng.below(250);
        let more = self
            .hub
            .poll_consumer(id, most, &mut self.out, &mut self.wake);
        let connection = &mut self.connections[c];
        connection.poll |= more;
        // what is written to a broken connection is gone
        let out = self.out.drain(..).filter(|_| connection.open);
        connection.down.extend(out.map(Down::Out));
        self.wake();
    }

    pub(super) fn relay_killed(&mut self) {
        for c in self.oldest..self.connections.len() {
            if self.connections[c].life == self.life {
                self.cut(c);
                self.connections[c].up.clear();
            }
        }
        self.life += 1;
        self.seen.killed += 1;
        self.wake = Wake::default();
        self.hub = self.relay_comes_back();
    }

    /// C5, as if its time had come.
    pub(super) fn relay_loses_patience(&mut self) {
        assert!(self.hub.overdue(self.now).is_empty());
        let overdue = self.hub.overdue(self.now + HOUR);
        assert_eq!(overdue.is_empty(), self.hub.next_deadline().is_none());
        for id in overdue {
            self.seen.overdue += 1;
            let named = |u: &Consumer| u.kind.named && u.connection == Some(id.0 as usize);
            assert!(
                !self.consumers.iter().any(named),
                "no deadline is set for named ones"
            );
            self.cut(id.0 as usize);
            self.relay_lost(id.0 as usize);
        }
    }
}

fn stamped(run: Run, origin: u32) -> Run {
    let mut bytes = run.bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        stamp_origin(&mut bytes[at..], origin);
        at += frame_length(&bytes[at..]);
    }
    Run::new(run.first, run.last, bytes.into())
}
