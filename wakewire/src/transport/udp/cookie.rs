//! How a dialer proves that it is where it says, before anything is kept of it. No I/O, no clock.
//!
//! As QUIC's Retry (RFC 9000 §8.1) and the cookie of DTLS (RFC 6347 §4.2.1) do it: whoever asks is told a number that
//! only the asker's address can receive, and which the listener can check without having kept it.

use core::net::SocketAddr;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::wire::frame::{self, Header, Kind};

/// The body of a `Cookie` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) step: Step,
    /// The dialer's random number for this connection, never 0; 0 from a listener that knows of no connection.
    pub(super) nonce: u64,
    /// What the listener said; 0 until it has.
    pub(super) value: u64,
}

/// What a `Cookie` frame is for; the message type of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Step {
    /// A dialer asks for a connection; with the right value it gets one.
    Ask = 1,
    /// The listener says the value to repeat. Never answered, or two listeners could keep each other busy.
    Answer = 2,
    /// There is no such connection, or no longer.
    Gone = 3,
}

impl Cookie {
    /// Writes the frame.
    pub(super) fn encode(self) -> Bytes {
        let header = Header {
            message_type: self.step as u16,
            ..Header::control(Kind::Cookie)
        };
        let mut body = [0; BODY];
        let (nonce, value) = body.split_at_mut(BODY / 2);
        nonce.copy_from_slice(&self.nonce.to_le_bytes());
        value.copy_from_slice(&self.value.to_le_bytes());
        let mut bytes = BytesMut::new();
        frame::encode_control(header, &body, true, &mut bytes);
        bytes.freeze()
    }

    /// Reads the body of a `Cookie` frame.
    pub(super) fn decode(header: &Header, body: &[u8]) -> Option<Self> {
        let step = match header.message_type {
            1 => Step::Ask,
            2 => Step::Answer,
            3 => Step::Gone,
            _ => return None,
        };
        let body: &[u8; BODY] = body.try_into().ok()?;
        let (nonce, value) = body.split_first_chunk()?;
        Some(Self {
            step,
            nonce: u64::from_le_bytes(*nonce),
            value: u64::from_le_bytes(*value.first_chunk()?),
        })
    }
}

/// Makes and checks cookies; keeps nothing of whom they are for.
#[derive(Debug, Default)]
pub(super) struct Baker {
    /// New with each listener.
    key: RandomState,
}

impl Baker {
    /// Returns the value for whoever asks from there; `elapsed` is the time since the listener started.
    pub(super) fn bake(&self, address: SocketAddr, nonce: u64, elapsed: Duration) -> u64 {
        self.at(address, nonce, window(elapsed))
    }

    /// Returns whether it was made for this address, in this window of time or in the one before.
    pub(super) fn knows(&self, address: SocketAddr, cookie: Cookie, elapsed: Duration) -> bool {
        let now = window(elapsed);
        let made_at = |window| self.at(address, cookie.nonce, window) == cookie.value;
        cookie.nonce != 0 && (made_at(now) || now.checked_sub(1).is_some_and(made_at))
    }

    fn at(&self, address: SocketAddr, nonce: u64, window: u64) -> u64 {
        // 0 means "not heard yet".
        self.key.hash_one((address, nonce, window)).max(1)
    }
}

const fn window(elapsed: Duration) -> u64 {
    elapsed.as_secs() / WINDOW_SECS
}

/// A cookie is good for one to two of these: longer than a dial takes.
const WINDOW_SECS: u64 = 10;

/// Nonce and value.
const BODY: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::HEADER;

    #[test]
    fn what_is_written_is_read() {
        for step in [Step::Ask, Step::Answer, Step::Gone] {
            let cookie = Cookie {
                step,
                nonce: 7,
                value: u64::MAX,
            };
            let frame = cookie.encode();
            let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
            assert_eq!(Cookie::decode(&header, &frame[HEADER..]), Some(cookie));
            assert_eq!(Cookie::decode(&header, &frame[HEADER + 1..]), None);
        }
    }

    /// As the vector in `docs/wire-protocol.md` says.
    #[test]
    fn nonce_and_value_are_little_endian_behind_the_header() {
        let cookie = Cookie {
            step: Step::Answer,
            nonce: 0x1122_3344_5566_7788,
            value: 0x99aa_bbcc_ddee_ff00,
        };
        let frame = cookie.encode();
        assert_eq!(frame[4..8], [15, 8, 2, 0]);
        assert_eq!(frame[32..40], cookie.nonce.to_le_bytes());
        assert_eq!(frame[40..], cookie.value.to_le_bytes());
    }

    #[test]
    fn a_cookie_is_good_for_its_address_its_nonce_and_a_short_while() {
        let baker = Baker::default();
        let (here, there) = ("1.2.3.4:5".parse().unwrap(), "1.2.3.4:6".parse().unwrap());
        let at = Duration::from_secs;
        let cookie = Cookie {
            step: Step::Ask,
            nonce: 9,
            value: baker.bake(here, 9, at(109)),
        };
        assert!(baker.knows(here, cookie, at(109)));
        assert!(baker.knows(here, cookie, at(119)), "the window before");
        assert!(!baker.knows(here, cookie, at(120)), "too old");
        assert!(!baker.knows(there, cookie, at(109)), "another port");
        assert!(!baker.knows(here, Cookie { nonce: 8, ..cookie }, at(109)));
        assert!(!baker.knows(here, Cookie { value: 0, ..cookie }, at(109)));
        assert!(
            !Baker::default().knows(here, cookie, at(109)),
            "another life"
        );
    }
}
