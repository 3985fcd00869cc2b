//! The protocol `wakewire/1` as values: frames, greetings, and the delivery rules. No I/O, no clock.

pub(crate) mod checksum;
#[cfg(any(feature = "udp", feature = "ws"))]
pub(crate) mod cutter;
pub(crate) mod data;
mod extensions;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod liveness;
pub(crate) mod negotiation;
pub(crate) mod outlet;
pub(crate) mod refusal;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod temper;
#[cfg(test)]
mod tests;
pub(crate) mod text;
#[cfg(test)]
mod vectors;

use std::fmt;

use crate::domain::Refusal;

/// One producer's outbox: a random 128-bit number, new with every outbox that is not recovered from a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) u128);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first half is enough to tell sessions apart in a log; the whole would let a reader resume it.
        write!(f, "{:016x}…", self.0 >> 64)
    }
}

/// The peer broke the protocol; the connection is closed, and nothing is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooLong { length: u32, limit: u32 },
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    #[error("reserved flag bits are set: {0:#04x}")]
    ReservedFlags(u8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("a frame without checksum on a transport that needs one")]
    NoChecksum,
    #[error("sequence {0} is out of range")]
    Sequence(u64),
    #[error("sequence {got} after {have}: a hole")]
    Hole { have: u64, got: u64 },
    #[error("acknowledgement of {seq}, but only {sent} was sent")]
    AckBeyondSent { seq: u64, sent: u64 },
    #[error("frame {kind:?} is not expected here")]
    Unexpected { kind: frame::Kind },
    #[error("the {kind:?} frame is malformed: {what}")]
    Malformed { kind: frame::Kind, what: String },
    #[error("origin {0} was never announced")]
    UnknownOrigin(u32),
    #[error("more than {0} origins on one connection")]
    TooManyOrigins(usize),
    #[error("too many {kind:?} frames, which are of no use")]
    Useless { kind: frame::Kind },
    #[error("{0}")]
    NotTaken(Refusal),
}
