//! Measures what a WebSocket peer sends by the headers of RFC 6455 §5.2, before anything is kept of it: how long
//! a message is, and of how many fragments. No I/O, no clock.

/// A look at each byte on its way in.
#[derive(Debug)]
pub(super) struct Gauge {
    /// The most bytes of the first message, which comes before anybody knows who the peer is.
    pub(super) first: u64,
    /// The most bytes of each further message.
    pub(super) limit: u64,
    /// The header that is being read.
    header: Vec<u8>,
    /// What is left of a frame behind that.
    left: u64,
    /// The message that is being read: its bytes and its fragments.
    bytes: u64,
    fragments: u32,
    is_first: bool,
    /// Its last fragment has begun.
    is_last: bool,
}

/// Why nothing further is read from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("a WebSocket message has {bytes} bytes or more, {limit} are taken")]
    Bytes { bytes: u64, limit: u64 },
    #[error("a WebSocket message has more than {MOST_FRAGMENTS} fragments")]
    Fragments,
    #[error("a WebSocket control frame has {0} bytes, {MOST_CONTROL} are allowed")]
    Control(u64),
}

/// Fragments of one message. Nobody needs many; each costs more to handle than it carries.
pub(super) const MOST_FRAGMENTS: u32 = 256;

/// RFC 6455 §5.5.
const MOST_CONTROL: u64 = 125;

impl Gauge {
    pub(super) const fn new(first: u64, limit: u64) -> Self {
        Self {
            first,
            limit,
            header: Vec::new(),
            left: 0,
            bytes: 0,
            fragments: 0,
            is_first: true,
            is_last: true,
        }
    }

    /// Returns how many of these bytes may be read, and why not more.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> (usize, Option<Excess>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.left > 0 {
                let step = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - at);
                self.left -= step as u64;
                at += step;
                continue;
            }
            self.header.push(byte);
            if let Some(length) = payload_length(&self.header)
                && let Err(excess) = self.frame(length)
            {
                return (at, Some(excess));
            }
            at += 1;
        }
        (at, None)
    }

    /// Returns how much of a message has come that is not whole yet.
    pub(super) const fn unfinished(&self) -> u64 {
        if self.is_last && self.left == 0 {
            0
        } else {
            self.bytes.saturating_sub(self.left)
        }
    }

    /// Judges a frame by its whole header.
    fn frame(&mut self, length: u64) -> Result<(), Excess> {
        let (is_last, opcode, is_masked) = match self.header[..] {
            [one, two, ..] => (one & 0x80 != 0, one & 0x0f, two & 0x80 != 0),
            _ => return Ok(()),
        };
        self.header.clear();
        self.left = length.saturating_add(if is_masked { MASK } else { 0 });
        if opcode >= FIRST_CONTROL {
            if self.is_last {
                self.bytes = 0;
            }
            return if length > MOST_CONTROL {
                Err(Excess::Control(length))
            } else {
                Ok(())
            };
        }
        if opcode != CONTINUATION {
            (self.bytes, self.fragments) = (0, 0);
        }
        self.bytes = self.bytes.saturating_add(length);
        self.fragments += 1;
        let limit = if self.is_first {
            self.first
        } else {
            self.limit
        };
        if self.bytes > limit {
            let bytes = self.bytes;
            return Err(Excess::Bytes { bytes, limit });
        }
        if self.fragments > MOST_FRAGMENTS {
            return Err(Excess::Fragments);
        }
        self.is_last = is_last;
        if is_last {
            self.is_first = false;
        }
        Ok(())
    }
}

/// Returns the length that a header says, once it says it; the mask behind it counts to the payload here.
fn payload_length(header: &[u8]) -> Option<u64> {
    match *header {
        [_, two, ref rest @ ..] => match two & 0x7f {
            126 => rest
                .first_chunk()
                .map(|length| u16::from_be_bytes(*length).into()),
            127 => rest.first_chunk().map(|length| u64::from_be_bytes(*length)),
            length => Some(length.into()),
        },
        _ => None,
    }
}

const CONTINUATION: u8 = 0;
const FIRST_CONTROL: u8 = 8;
const MASK: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with this first byte, as a client sends it.
    fn masked(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
            126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.resize(frame.len() + length, 9);
        frame
    }

    fn gauge() -> Gauge {
        Gauge::new(100, 70_000)
    }

    #[test]
    fn the_first_message_and_further_ones_have_limits_of_their_own() {
        for step in [1, 7, usize::MAX] {
            let mut gauge = gauge();
            let good = [masked(0x82, 100), masked(0x82, 70_000), masked(0x81, 300)].concat();
            for part in good.chunks(step.min(good.len())) {
                assert_eq!(gauge.pass(part), (part.len(), None));
            }
            let excess = Excess::Bytes {
                bytes: 70_001,
                limit: 70_000,
            };
            assert_eq!(gauge.pass(&masked(0x82, 70_001)).1, Some(excess));
        }
        let excess = Excess::Bytes {
            bytes: 101,
            limit: 100,
        };
        assert_eq!(gauge().pass(&masked(0x82, 101)).1, Some(excess));
    }

    #[test]
    fn fragments_count_together_and_control_frames_between_them_do_not() {
        let mut gauge = gauge();
        let parts = [masked(0x02, 60), masked(0x89, 125), masked(0x80, 40)].concat();
        assert_eq!(gauge.pass(&parts), (parts.len(), None));
        let mut gauge = Gauge::new(100, 70_000);
        let parts = [masked(0x02, 60), masked(0x89, 125), masked(0x80, 41)].concat();
        let (passed, excess) = gauge.pass(&parts);
        assert!(matches!(excess, Some(Excess::Bytes { bytes: 101, .. })));
        assert!(passed < parts.len() - 41);
    }

    #[test]
    fn as_many_fragments_as_allowed_pass_and_one_more_does_not() {
        let many = |count: usize| {
            let mut frames = masked(0x02, 0);
            frames.extend(masked(0x00, 0).repeat(count - 2));
            frames.extend(masked(0x80, 0));
            frames
        };
        let most = MOST_FRAGMENTS as usize;
        let mut gauge = gauge();
        assert_eq!(gauge.pass(&many(most)).1, None);
        assert_eq!(gauge.pass(&many(most)).1, None, "of each message anew");
        assert_eq!(gauge.pass(&many(most + 1)).1, Some(Excess::Fragments));
    }

    #[test]
    fn a_long_control_frame_is_refused_before_it_is_there() {
        let frame = masked(0x89, 126);
        assert_eq!(gauge().pass(&frame[..4]), (3, Some(Excess::Control(126))));
    }

    #[test]
    fn what_came_before_an_excess_may_be_read() {
        let mut gauge = gauge();
        let good = masked(0x82, 50);
        let all = [good.clone(), masked(0x82, 80_000)].concat();
        let (passed, excess) = gauge.pass(&all);
        assert!(passed >= good.len() && passed < good.len() + 10);
        assert!(excess.is_some());
    }

    #[test]
    fn what_has_come_of_a_message_is_known_until_it_is_whole() {
        let mut gauge = gauge();
        let (first, ping, last) = (masked(0x02, 60), masked(0x89, 9), masked(0x80, 40));
        gauge.pass(&first[..first.len() - 20]);
        assert_eq!(gauge.unfinished(), 40);
        gauge.pass(&first[first.len() - 20..]);
        gauge.pass(&ping);
        assert_eq!(gauge.unfinished(), 60);
        gauge.pass(&last[..last.len() - 1]);
        assert_eq!(gauge.unfinished(), 99);
        gauge.pass(&last[last.len() - 1..]);
        assert_eq!(gauge.unfinished(), 0);
        gauge.pass(&ping[..10]);
        assert_eq!(gauge.unfinished(), 0);
    }

    #[test]
    fn a_length_beyond_all_bounds_does_not_overflow() {
        let mut gauge = Gauge::new(u64::MAX, u64::MAX);
        let mut frame = vec![0x02, 0xff];
        frame.extend([0xff; 8]);
        assert_eq!(gauge.pass(&frame).1, None);
        assert_eq!(gauge.left, u64::MAX);
    }
}
