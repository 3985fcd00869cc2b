//! Which numbers have come, where datagrams come twice or late. No I/O, no clock.

use std::collections::BTreeSet;

use super::frame::Kind;
use super::scan::Piece;

/// What one peer has sent already, so that nothing is done twice. Requests and messages may be numbered apart.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    requests: Window,
    messages: Window,
}

/// The last few thousand numbers one by one; older ones as if they all had come. The window of RFC 4303 §3.4.3, for
/// numbers with holes.
#[derive(Debug, Default)]
struct Window {
    recent: BTreeSet<u64>,
    /// Up to here nothing is taken any more.
    floor: u64,
}

impl Replay {
    /// Notes a piece that is one datagram; returns whether it is to be taken: what does something only once.
    pub(crate) fn takes(&mut self, piece: &Piece) -> bool {
        match piece {
            Piece::Run { run, .. } => self.messages.is_first(run.first),
            Piece::Control { header, .. } if header.kind == Kind::Request => {
                self.requests.is_first(header.sequence)
            }
            Piece::Control { .. } => true,
        }
    }
}

impl Window {
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
    use bytes::Bytes;

    use super::super::frame::Header;
    use super::super::run::Run;
    use super::*;

    #[test]
    fn a_number_comes_once_in_any_order() {
        let mut window = Window::default();
        for number in [5, 3, 9, 4] {
            assert!(window.is_first(number));
            assert!(!window.is_first(number));
        }
        assert!(!window.is_first(3) && window.is_first(6));
    }

    #[test]
    fn what_is_too_old_to_be_known_has_come() {
        let mut window = Window::default();
        for number in 10..10 + REMEMBERED as u64 {
            assert!(window.is_first(number));
        }
        assert!(window.is_first(11 + REMEMBERED as u64), "10 is forgotten");
        assert!(!window.is_first(10) && !window.is_first(9));
        assert!(!window.is_first(11) && window.is_first(u64::MAX));
        assert_eq!(window.recent.len(), REMEMBERED);
    }

    #[test]
    fn requests_and_messages_are_taken_once_each_and_what_only_says_something_always() {
        let control = |kind| Piece::Control {
            header: Header {
                sequence: 1,
                ..Header::control(kind)
            },
            body: Bytes::new(),
        };
        let message = Piece::Run {
            origin: 0,
            run: Run::new(1, 1, Bytes::new()),
        };
        let mut replay = Replay::default();
        for first in [true, false] {
            assert_eq!(replay.takes(&message), first);
            assert_eq!(replay.takes(&control(Kind::Request)), first);
            assert!(replay.takes(&control(Kind::Ack)));
        }
    }
}
