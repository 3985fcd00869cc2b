//! Patience with frames that are legal and of no use. No I/O, no clock.

use std::time::{Duration, Instant};

use super::ProtocolError;
use super::frame::Kind;

/// How much uselessness of a peer is still borne: a bucket that fills by itself.
#[derive(Debug)]
pub(crate) struct Temper {
    left: u32,
    /// Until when it was filled up.
    filled: Instant,
}

impl Temper {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// A frame came that was of no use; too many of them end the connection.
    pub(crate) fn useless(&mut self, kind: Kind, now: Instant) -> Result<(), ProtocolError> {
        let elapsed = now.saturating_duration_since(self.filled);
        let fresh = u32::try_from(elapsed.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(BURST);
            self.filled = if self.left == BURST {
                now
            } else {
                self.filled + REFILL * fresh
            };
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(ProtocolError::Useless { kind }),
        }
    }
}

/// In a row.
const BURST: u32 = 32;

/// One more each: ten a second, where an honest peer asks once in five.
const REFILL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_two_in_a_row_are_borne_and_then_ten_a_second() {
        let start = Instant::now();
        let mut temper = Temper::new(start);
        for _ in 0..32 {
            temper.useless(Kind::Ping, start).unwrap();
        }
        temper.useless(Kind::Ping, start).unwrap_err();
        let mut borne = 0;
        for millisecond in 0..10_000 {
            let now = start + Duration::from_millis(millisecond);
            borne += u32::from(temper.useless(Kind::Ping, now).is_ok());
        }
        assert_eq!(borne, 99);
        let later = start + Duration::from_secs(3600);
        for _ in 0..32 {
            temper.useless(Kind::Pong, later).unwrap();
        }
        temper.useless(Kind::Pong, later).unwrap_err();
    }

    #[test]
    fn an_honest_peer_is_never_too_much() {
        let start = Instant::now();
        let mut temper = Temper::new(start);
        for second in 0..100_000 {
            temper
                .useless(Kind::Ping, start + Duration::from_secs(second))
                .unwrap();
        }
    }
}
