//! The greeting over datagrams, any of which may be lost, doubled or late. No I/O, no clock.
//!
//! Only the dialer repeats, until it has an answer; the listener says its answer again when it is greeted again. So
//! each side hands up exactly one greeting, and nobody waits for what the other takes for done.

use bytes::Bytes;

use super::cookie::{Cookie, Step};
use crate::wire::frame::{HEADER, Header, Kind};

/// How far the greeting of a connection is.
#[derive(Debug)]
pub(super) enum Opening {
    /// Of the side that dialled.
    Dialed {
        nonce: u64,
        /// The cookie, then what was written until the answer came, to be sent again as long as it has not.
        flight: Vec<Bytes>,
        answered: bool,
    },
    /// Of the side that listens.
    Accepted {
        greeted: bool,
        positioned: bool,
        /// The answer, to be sent again when the greeting is repeated.
        answer: Vec<Bytes>,
    },
}

/// What becomes of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is handed up.
    Pass,
    /// It is old, doubled or too early.
    Drop,
    /// Not handed up, but [`kept`](Opening::kept) is to be sent again.
    Repeat,
    /// The peer has ended the connection.
    Ended,
    /// The peer knows of no connection.
    Unknown,
}

impl Opening {
    /// Begins on the side that dials, with the cookie that the listener said.
    pub(super) fn dialed(nonce: u64, value: u64) -> Self {
        Self::Dialed {
            nonce,
            flight: vec![proof(nonce, value)],
            answered: false,
        }
    }

    /// Begins on the side that listens.
    pub(super) const fn accepted() -> Self {
        Self::Accepted {
            greeted: false,
            positioned: false,
            answer: Vec::new(),
        }
    }

    /// Returns whether the dialer is to send again what it keeps, now and then.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::Dialed {
                answered: false,
                ..
            }
        )
    }

    /// Returns what is to be sent again.
    pub(super) fn kept(&self) -> &[Bytes] {
        match self {
            Self::Dialed { flight, .. } => flight,
            Self::Accepted { answer, .. } => answer,
        }
    }

    /// Notes a frame that is sent for the first time.
    pub(super) fn sent(&mut self, frame: &Bytes) {
        match self {
            Self::Dialed {
                flight, answered, ..
            } if !*answered => flight.push(frame.clone()),
            Self::Accepted { answer, .. } if answer.is_empty() => answer.push(frame.clone()),
            Self::Dialed { .. } | Self::Accepted { .. } => {}
        }
    }

    /// Judges a sound frame from the peer.
    pub(super) fn received(&mut self, header: &Header, frame: &[u8]) -> Fate {
        if header.kind == Kind::Cookie {
            let cookie = frame.get(HEADER..);
            let cookie = cookie.and_then(|body| Cookie::decode(header, body));
            return cookie.map_or(Fate::Drop, |cookie| self.cookie(cookie));
        }
        let is_answer = matches!(header.kind, Kind::Welcome | Kind::Reject);
        let is_greeting = matches!(header.kind, Kind::Hello | Kind::Positions);
        match self {
            Self::Dialed {
                flight, answered, ..
            } => {
                if *answered {
                    return if is_answer { Fate::Drop } else { Fate::Pass };
                }
                if !is_answer && header.kind != Kind::Close {
                    return Fate::Drop;
                }
                *answered = true;
                *flight = Vec::new();
                Fate::Pass
            }
            Self::Accepted {
                greeted,
                positioned,
                answer,
            } => match header.kind {
                Kind::Hello if !*greeted => {
                    *greeted = true;
                    Fate::Pass
                }
                Kind::Hello if !answer.is_empty() => Fate::Repeat,
                // The answer to a greeting with positions waits for them.
                Kind::Positions if *greeted && !*positioned && answer.is_empty() => {
                    *positioned = true;
                    Fate::Pass
                }
                _ if is_greeting || answer.is_empty() => Fate::Drop,
                _ => Fate::Pass,
            },
        }
    }

    fn cookie(&mut self, cookie: Cookie) -> Fate {
        let Self::Dialed {
            nonce,
            flight,
            answered,
        } = self
        else {
            return Fate::Drop;
        };
        match cookie.step {
            Step::Gone if cookie.nonce == *nonce => Fate::Ended,
            Step::Gone if cookie.nonce == 0 && *answered => Fate::Unknown,
            // It took so long that the cookie is too old, or the listener is another.
            Step::Answer if cookie.nonce == *nonce && !*answered => {
                let proof = proof(*nonce, cookie.value);
                match flight.first_mut() {
                    Some(old) if *old != proof => {
                        *old = proof;
                        Fate::Repeat
                    }
                    _ => Fate::Drop,
                }
            }
            Step::Gone | Step::Answer | Step::Ask => Fate::Drop,
        }
    }
}

fn proof(nonce: u64, value: u64) -> Bytes {
    let step = Step::Ask;
    Cookie { step, nonce, value }.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::udp::table::gone;
    use crate::wire::frame::encode_control;
    use bytes::BytesMut;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    fn frame(kind: Kind) -> Bytes {
        let mut bytes = BytesMut::new();
        encode_control(Header::control(kind), &[], true, &mut bytes);
        bytes.freeze()
    }

    fn hear(opening: &mut Opening, frame: &[u8]) -> Fate {
        let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
        opening.received(&header, frame)
    }

    fn cookie(step: Step, nonce: u64, value: u64) -> Bytes {
        Cookie { step, nonce, value }.encode()
    }

    #[test]
    fn a_dialer_repeats_until_it_is_answered_and_hears_one_answer() {
        let mut dialed = Opening::dialed(7, 70);
        dialed.sent(&frame(Kind::Hello));
        dialed.sent(&frame(Kind::Positions));
        assert_eq!(dialed.kept().len(), 3);
        assert_eq!(hear(&mut dialed, &frame(Kind::Data)), Fate::Drop, "early");
        assert!(dialed.is_waiting());
        assert_eq!(hear(&mut dialed, &cookie(Step::Answer, 7, 70)), Fate::Drop);
        assert_eq!(hear(&mut dialed, &cookie(Step::Answer, 8, 71)), Fate::Drop);
        assert_eq!(
            hear(&mut dialed, &cookie(Step::Answer, 7, 71)),
            Fate::Repeat
        );
        assert_eq!(dialed.kept()[0], cookie(Step::Ask, 7, 71));
        assert_eq!(hear(&mut dialed, &gone(0)), Fate::Drop, "of before");
        assert_eq!(hear(&mut dialed, &frame(Kind::Welcome)), Fate::Pass);
        assert!(!dialed.is_waiting() && dialed.kept().is_empty());
        assert_eq!(hear(&mut dialed, &frame(Kind::Welcome)), Fate::Drop);
        assert_eq!(hear(&mut dialed, &frame(Kind::Ack)), Fate::Pass);
        assert_eq!(hear(&mut dialed, &gone(6)), Fate::Drop);
        assert_eq!(hear(&mut dialed, &gone(0)), Fate::Unknown);
        assert_eq!(hear(&mut dialed, &gone(7)), Fate::Ended);
    }

    #[test]
    fn a_listener_hears_one_greeting_and_says_its_answer_again() {
        let mut accepted = Opening::accepted();
        assert_eq!(hear(&mut accepted, &frame(Kind::Positions)), Fate::Drop);
        assert_eq!(hear(&mut accepted, &frame(Kind::Data)), Fate::Drop);
        assert_eq!(hear(&mut accepted, &frame(Kind::Hello)), Fate::Pass);
        assert_eq!(hear(&mut accepted, &frame(Kind::Hello)), Fate::Drop);
        assert_eq!(hear(&mut accepted, &frame(Kind::Positions)), Fate::Pass);
        assert_eq!(hear(&mut accepted, &frame(Kind::Positions)), Fate::Drop);
        accepted.sent(&frame(Kind::Welcome));
        accepted.sent(&frame(Kind::Data));
        assert_eq!(hear(&mut accepted, &frame(Kind::Hello)), Fate::Repeat);
        assert_eq!(accepted.kept(), [frame(Kind::Welcome)]);
        assert_eq!(hear(&mut accepted, &frame(Kind::Positions)), Fate::Drop);
        assert_eq!(hear(&mut accepted, &frame(Kind::Data)), Fate::Pass);
    }

    /// Both sides against a network that loses 30 %, doubles and reorders: each hands up one greeting, and both end
    /// up connected.
    #[test]
    fn greetings_come_about_over_a_network_that_loses_a_third() {
        for seed in 0..500 {
            let mut dice = SmallRng::seed_from_u64(seed);
            let (mut dialed, mut accepted) = (Opening::dialed(7, 70), Opening::accepted());
            dialed.sent(&frame(Kind::Hello));
            dialed.sent(&frame(Kind::Positions));
            let (mut up, mut heard, mut rounds) = (Vec::new(), Vec::new(), 0);
            while dialed.is_waiting() {
                rounds += 1;
                assert!(rounds < 100, "seed {seed}");
                let mut flight = dialed.kept().to_vec();
                flight.extend(dialed.kept().to_vec());
                let mut back = Vec::new();
                for _ in 0..flight.len() {
                    let one = flight.swap_remove(dice.random_range(0..flight.len()));
                    if dice.random_bool(0.3) {
                        continue;
                    }
                    match hear(&mut accepted, &one) {
                        Fate::Pass => up.push(one[4]),
                        Fate::Repeat => back.extend(accepted.kept().to_vec()),
                        _ => {}
                    }
                    if up.len() == 2 && accepted.kept().is_empty() {
                        accepted.sent(&frame(Kind::Welcome));
                        back.push(frame(Kind::Welcome));
                    }
                }
                for one in back {
                    if !dice.random_bool(0.3) && hear(&mut dialed, &one) == Fate::Pass {
                        heard.push(one[4]);
                    }
                }
            }
            assert_eq!(up, [Kind::Hello as u8, Kind::Positions as u8]);
            assert_eq!(heard, [Kind::Welcome as u8]);
        }
    }
}
