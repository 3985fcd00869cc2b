//! What an outbox may hold, and how. No I/O, no clock.

use crate::delivery::{Delivery, WhenFull};

/// The bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// At most this many messages are held.
    pub(crate) messages: usize,
    /// At most this many encoded bytes are held; one message is always taken by an empty outbox.
    pub(crate) bytes: usize,
    pub(crate) delivery: Delivery,
    pub(crate) when_full: WhenFull,
    /// Whether frames carry a checksum.
    pub(crate) checksummed: bool,
    /// Owned messages of this many encoded bytes or more are kept where they are, not copied. Where a frame must lie in
    /// one piece, on a disk or in a datagram, there are none.
    pub(crate) shared_from: usize,
    /// Whether single frames may be lost on the way: then an acknowledgement does not say that everything before it
    /// came, and what was written stays in doubt.
    pub(crate) loses_frames: bool,
}

impl Limits {
    /// From how many bytes on a payload stays where it is, over a transport that loses frames or one that does not.
    pub(crate) const fn shared_from(loses_frames: bool) -> usize {
        if loses_frames {
            usize::MAX
        } else {
            SHARED_FROM
        }
    }
}

/// From here on a copy costs more than a piece of its own does; and what a receiver hands on from its read buffer keeps
/// at most some thirty times its size in memory.
const SHARED_FROM: usize = 8 * 1024;
