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
    /// Whether single frames may be lost on the way: then an acknowledgement does not say that everything before it
    /// came, and what was written stays in doubt.
    pub(crate) loses_frames: bool,
}
