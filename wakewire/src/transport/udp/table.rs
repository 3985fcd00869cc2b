//! The virtual connections of one socket, told apart by where their datagrams come from. No I/O, no clock.

use core::net::SocketAddr;
use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::cookie::{Baker, Cookie, Step};
use crate::wire::frame::{HEADER, Header, Kind};
use crate::wire::hello::{self, Code, Reject};

/// Who has proved to be where; `T` is where its datagrams go.
#[derive(Debug)]
pub(super) struct Table<T> {
    baker: Baker,
    /// So many connections there may be; those that say nothing are ended by their own pulse.
    most: usize,
    peers: HashMap<SocketAddr, Peer<T>>,
}

#[derive(Debug)]
struct Peer<T> {
    nonce: u64,
    inlet: T,
}

/// What to do with a frame.
#[derive(Debug)]
pub(super) enum Verdict<'a, T> {
    /// Nothing.
    Drop,
    /// Send this back.
    Answer(Bytes),
    /// It has proved its address: [`enter`](Table::enter) it.
    Open { nonce: u64 },
    /// Hand it to its connection.
    Deliver(&'a T),
}

impl<T> Table<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            baker: Baker::default(),
            most,
            peers: HashMap::new(),
        }
    }

    /// Judges a sound frame that came from there. Of an address that has not proved itself nothing is kept, and what
    /// it is answered is no larger than three times what came.
    pub(super) fn judge(
        &mut self,
        from: SocketAddr,
        header: &Header,
        frame: &[u8],
        elapsed: Duration,
    ) -> Verdict<'_, T> {
        if header.kind == Kind::Cookie {
            let cookie = frame.get(HEADER..);
            let Some(cookie) = cookie.and_then(|body| Cookie::decode(header, body)) else {
                return Verdict::Drop;
            };
            return self.cookie(from, cookie, elapsed);
        }
        match self.peers.get(&from) {
            Some(peer) => Verdict::Deliver(&peer.inlet),
            // It goes on with a connection that an earlier life of this listener had: dialling again now, it need
            // not find that out by silence. What is sent before a welcome may have overtaken its cookie.
            None if matches!(
                header.kind,
                Kind::Data | Kind::Ack | Kind::Ping | Kind::Pong | Kind::Request
            ) =>
            {
                Verdict::Answer(gone(0))
            }
            None => Verdict::Drop,
        }
    }

    fn cookie(&mut self, from: SocketAddr, cookie: Cookie, elapsed: Duration) -> Verdict<'_, T> {
        let nonce = cookie.nonce;
        let known = self
            .peers
            .get(&from)
            .is_some_and(|peer| peer.nonce == nonce);
        match cookie.step {
            Step::Ask if known => Verdict::Drop,
            Step::Ask if nonce == 0 => Verdict::Drop,
            Step::Ask if !self.baker.knows(from, cookie, elapsed) => {
                let answer = Cookie {
                    step: Step::Answer,
                    nonce,
                    value: self.baker.bake(from, nonce, elapsed),
                };
                Verdict::Answer(answer.encode())
            }
            Step::Ask if self.peers.len() >= self.most && !self.peers.contains_key(&from) => {
                Verdict::Answer(busy(self.most))
            }
            Step::Ask => Verdict::Open { nonce },
            Step::Gone if known => {
                self.peers.remove(&from);
                Verdict::Drop
            }
            Step::Gone | Step::Answer => Verdict::Drop,
        }
    }

    /// Enters a connection; one that the same address had before ends.
    pub(super) fn enter(&mut self, from: SocketAddr, nonce: u64, inlet: T) {
        self.peers.insert(from, Peer { nonce, inlet });
    }

    /// Removes a connection; says whether it was still there.
    pub(super) fn leave(&mut self, from: SocketAddr, nonce: u64) -> bool {
        let known = self.peers.get(&from).is_some_and(|p| p.nonce == nonce);
        known && self.peers.remove(&from).is_some()
    }
}

/// Says that there is no such connection.
pub(super) fn gone(nonce: u64) -> Bytes {
    let gone = Cookie {
        step: Step::Gone,
        nonce,
        value: 0,
    };
    gone.encode()
}

fn busy(most: usize) -> Bytes {
    let reject = Reject {
        code: Code::Busy,
        text: format!("{most} connections are open"),
        retry_after_ms: 0,
    };
    let mut bytes = BytesMut::new();
    hello::encode(Kind::Reject, &reject, true, &mut bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::encode_control;

    const MOST: usize = 1024;

    fn address(number: usize) -> SocketAddr {
        let port = u16::try_from(number % 60_000).unwrap();
        let host = u8::try_from(number / 60_000).unwrap();
        SocketAddr::from(([10, 0, 0, host], port + 1))
    }

    /// What the table says of a frame, as bytes to send back, or what else.
    fn judge(table: &mut Table<usize>, from: SocketAddr, frame: &[u8]) -> Result<Bytes, String> {
        let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
        match table.judge(from, &header, frame, Duration::ZERO) {
            Verdict::Answer(bytes) => Ok(bytes),
            other => Err(format!("{other:?}")),
        }
    }

    fn ask(nonce: u64, value: u64) -> Bytes {
        let step = Step::Ask;
        Cookie { step, nonce, value }.encode()
    }

    fn cookie(frame: &[u8]) -> Cookie {
        let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
        Cookie::decode(&header, &frame[HEADER..]).unwrap()
    }

    fn open(table: &mut Table<usize>, from: SocketAddr, nonce: u64) -> Result<Bytes, String> {
        let value = cookie(&judge(table, from, &ask(nonce, 0)).unwrap()).value;
        judge(table, from, &ask(nonce, value))
    }

    #[test]
    fn an_unproven_address_gets_no_more_than_three_times_what_it_sent_and_leaves_no_trace() {
        let mut table = Table::new(MOST);
        let kinds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        for number in 0..100_000 {
            let from = address(number);
            let mut frame = BytesMut::new();
            let kind = kinds[number % kinds.len()];
            encode_control(Header::control(Kind::Ping), &[], true, &mut frame);
            frame[4] = kind;
            if let Ok(answer) = judge(&mut table, from, &frame) {
                assert!(answer.len() <= 3 * frame.len(), "kind {kind}");
            }
            let asked = ask(7, number as u64);
            let answer = judge(&mut table, from, &asked).unwrap();
            assert!(answer.len() <= asked.len());
        }
        assert_eq!(table.peers.capacity(), 0);
    }

    #[test]
    fn nobody_answers_an_answer() {
        let mut table = Table::new(MOST);
        for step in [Step::Answer, Step::Gone] {
            for nonce in [0, 7] {
                let frame = Cookie {
                    step,
                    nonce,
                    value: 3,
                }
                .encode();
                assert!(judge(&mut table, address(1), &frame).is_err());
            }
        }
    }

    #[test]
    fn a_connection_begins_with_its_cookie_and_ends_by_its_nonce() {
        let mut table = Table::new(MOST);
        let from = address(1);
        assert_eq!(open(&mut table, from, 7).unwrap_err(), "Open { nonce: 7 }");
        table.enter(from, 7, 70);
        let mut ping = BytesMut::new();
        encode_control(Header::control(Kind::Ping), &[], true, &mut ping);
        let delivered = judge(&mut table, from, &ping).unwrap_err();
        assert_eq!(delivered, "Deliver(70)");
        let other = judge(&mut table, address(2), &ping).unwrap();
        assert_eq!((cookie(&other).step, cookie(&other).nonce), (Step::Gone, 0));
        // A stranger's goodbye, and one of a connection before.
        for (from, nonce) in [(address(2), 7), (from, 6), (from, 0)] {
            assert!(judge(&mut table, from, &gone(nonce)).is_err());
        }
        assert_eq!(judge(&mut table, from, &ping).unwrap_err(), "Deliver(70)");
        // The next one from the same place takes over.
        assert_eq!(open(&mut table, from, 8).unwrap_err(), "Open { nonce: 8 }");
        table.enter(from, 8, 80);
        assert!(!table.leave(from, 7), "the old one ends without harm");
        assert_eq!(judge(&mut table, from, &ping).unwrap_err(), "Deliver(80)");
        assert!(judge(&mut table, from, &gone(8)).is_err());
        assert!(judge(&mut table, from, &ping).is_ok(), "forgotten");
    }

    #[test]
    fn one_connection_too_many_is_told_so() {
        let mut table = Table::new(MOST);
        for number in 0..MOST {
            assert!(open(&mut table, address(number), 7).is_err());
            table.enter(address(number), 7, number);
        }
        let refused = open(&mut table, address(MOST), 7).unwrap();
        let header = Header::parse(refused.first_chunk().unwrap()).unwrap();
        assert_eq!(header.kind, Kind::Reject);
        assert!(refused.len() <= 3 * ask(7, 7).len());
        assert!(open(&mut table, address(0), 8).is_err(), "in its own place");
        table.leave(address(0), 7);
        assert!(open(&mut table, address(MOST), 7).is_err());
    }
}
