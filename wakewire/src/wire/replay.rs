//! Which numbers have come, where datagrams come twice or late. No I/O, no clock.

use std::collections::BTreeSet;

use super::frame::Kind;
use super::scan::Piece;

/// The numbers that have come, so that nothing is done twice: those of the last few thousand one by one, older ones
/// as if they all had. The window of RFC 4303 §3.4.3, for numbers with holes.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    recent: BTreeSet<u64>,
    /// Up to here nothing is taken any more.
    floor: u64,
}

impl Replay {
    /// Notes a piece that is one datagram; returns whether it is to be taken: what does something only once.
    pub(crate) fn takes(&mut self, piece: &Piece) -> bool {
        match piece {
            Piece::Run { run, .. } => self.is_first(run.first),
            Piece::Control { header, .. } if header.kind == Kind::Request => {
                self.is_first(header.sequence)
            }
            Piece::Control { .. } => true,
        }
    }

    /// Notes a number; returns whether it comes for the first time, as far as is known.
    fn is_first(&mut self, number: u64) -> bool {
        if number <= self.floor || !self.recent.insert(number) {
            return false;
        }
        if self.recent.len() > REMEMBERED
            && let Some(oldest) = self.recent.pop_first()
        {
            self.floor = oldest;
        }
        true
    }
}

/// More than a peer of ours has under way: what waits longest to be written is that far behind.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_once_in_any_order() {
        let mut replay = Replay::default();
        for number in [5, 3, 9, 4] {
            assert!(replay.is_first(number));
            assert!(!replay.is_first(number));
        }
        assert!(!replay.is_first(3) && replay.is_first(6));
    }

    #[test]
    fn what_is_too_old_to_be_known_has_come() {
        let mut replay = Replay::default();
        for number in 10..10 + REMEMBERED as u64 {
            assert!(replay.is_first(number));
        }
        assert!(replay.is_first(8), "there is room below");
        assert!(
            !replay.is_first(7),
            "8 was forgotten: it may have been one like it"
        );
        assert!(!replay.is_first(10) && replay.is_first(u64::MAX));
        assert_eq!(replay.recent.len(), REMEMBERED);
    }
}
