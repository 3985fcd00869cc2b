//! One frame: a header of 32 bytes, then extensions and payload, or a control frame's CBOR. No I/O, no clock.

use bytes::BytesMut;

use super::checksum::{checksum, crc32c, share_of};
use super::run::frame_length;
use super::{ProtocolError, extensions};
use crate::message::{MessagePriority, Parts};

/// What every frame starts with.
pub(crate) const HEADER: usize = 32;

/// The sequences of a session stay below this, so that arithmetic on them cannot overflow.
pub(crate) const SEQUENCE_LIMIT: u64 = 1 << 63;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Welcome = 2,
    Reject = 3,
    Data = 4,
    Ack = 5,
    Gap = 6,
    Request = 7,
    Response = 8,
    Failure = 9,
    Ping = 10,
    Pong = 11,
    Close = 12,
    Negotiate = 13,
    Positions = 14,
    Cookie = 15,
    Urge = 16,
}

impl Kind {
    /// Returns whether a message is inside: extensions and payload.
    pub(crate) const fn carries_message(self) -> bool {
        matches!(self, Self::Data | Self::Request | Self::Response)
    }

    const fn parse(byte: u8) -> Result<Self, ProtocolError> {
        Ok(match byte {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Reject,
            4 => Self::Data,
            5 => Self::Ack,
            6 => Self::Gap,
            7 => Self::Request,
            8 => Self::Response,
            9 => Self::Failure,
            10 => Self::Ping,
            11 => Self::Pong,
            12 => Self::Close,
            13 => Self::Negotiate,
            14 => Self::Positions,
            15 => Self::Cookie,
            16 => Self::Urge,
            _ => return Err(ProtocolError::UnknownKind(byte)),
        })
    }
}

/// The fixed part of a frame; little-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes after the header.
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) message_type: u16,
    /// Of the producer's session.
    pub(crate) sequence: u64,
    /// Nanoseconds since the Unix epoch, 0 = none.
    pub(crate) timestamp: u64,
    /// Which producer, as numbered by a relay towards its consumers; 0 between two peers.
    pub(crate) origin: u32,
    /// See [`checksum`], when [`CHECKSUM`] is set.
    pub(crate) checksum: u32,
}

/// The low two bits are the priority.
const PRIORITY: u8 = 0b11;
/// Extensions stand between header and payload.
pub(crate) const EXTENSIONS: u8 = 1 << 2;
/// The checksum field holds one.
pub(crate) const CHECKSUM: u8 = 1 << 3;
const RESERVED: u8 = !(PRIORITY | EXTENSIONS | CHECKSUM);

pub(super) const ORIGIN_AT: usize = 24;
const CHECKSUM_AT: usize = 28;

impl Header {
    /// Makes the header of a control frame.
    pub(crate) const fn control(kind: Kind) -> Self {
        Self {
            length: 0,
            kind,
            flags: 0,
            message_type: 0,
            sequence: 0,
            timestamp: 0,
            origin: 0,
            checksum: 0,
        }
    }

    /// Reads a header; refuses kinds, flags and sequences that this version does not know.
    #[inline]
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Result<Self, ProtocolError> {
        let flags = bytes[5];
        if flags & RESERVED != 0 {
            return Err(ProtocolError::ReservedFlags(flags));
        }
        let sequence = u64::from_le_bytes(field(bytes, 8));
        if sequence >= SEQUENCE_LIMIT {
            return Err(ProtocolError::Sequence(sequence));
        }
        Ok(Self {
            length: u32::from_le_bytes(field(bytes, 0)),
            kind: Kind::parse(bytes[4])?,
            flags,
            message_type: u16::from_le_bytes(field(bytes, 6)),
            sequence,
            timestamp: u64::from_le_bytes(field(bytes, 16)),
            origin: u32::from_le_bytes(field(bytes, ORIGIN_AT)),
            checksum: u32::from_le_bytes(field(bytes, CHECKSUM_AT)),
        })
    }

    /// Writes the header as it stands.
    #[inline]
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.flags;
        bytes[6..8].copy_from_slice(&self.message_type.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.timestamp.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.origin.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Returns the priority that the flags say.
    pub(crate) const fn priority(&self) -> MessagePriority {
        match self.flags & PRIORITY {
            0 => MessagePriority::Low,
            1 => MessagePriority::Normal,
            2 => MessagePriority::High,
            _ => MessagePriority::Critical,
        }
    }

    /// Returns whether something stands between header and payload.
    pub(crate) const fn has_extensions(&self) -> bool {
        self.flags & EXTENSIONS != 0
    }

    /// Returns the bytes of the whole frame.
    pub(crate) const fn frame_length(&self) -> usize {
        HEADER + self.length as usize
    }
}

/// Writes the origin into an encoded frame, and into its checksum if it has one.
pub(crate) fn stamp_origin(frame: &mut [u8], origin: u32) {
    let Some(header) = frame.first_chunk_mut::<HEADER>() else {
        return;
    };
    let origin = origin.to_le_bytes();
    if header[5] & CHECKSUM != 0 {
        let sum = u32::from_le_bytes(field(header, CHECKSUM_AT));
        let sum = sum ^ share_of(field(header, ORIGIN_AT)) ^ share_of(origin);
        header[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
    }
    header[ORIGIN_AT..CHECKSUM_AT].copy_from_slice(&origin);
}

/// Returns how many bytes a message takes on the wire.
#[inline]
pub(crate) fn encoded_length(message: &impl Parts) -> usize {
    HEADER + extensions::length(message, None) + message.payload().len()
}

/// Returns the largest frame body of a service that takes payloads of this size: extensions stand beside them.
pub(crate) fn frame_limit(max_message_bytes: usize) -> u32 {
    u32::try_from(max_message_bytes.saturating_add(MOST_EXTENSIONS)).unwrap_or(u32::MAX)
}

/// More than all extensions of this version together.
const MOST_EXTENSIONS: usize = 1024;

/// What a message travels as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carrier {
    /// One that [carries a message](Kind::carries_message).
    pub(crate) kind: Kind,
    pub(crate) sequence: u64,
    /// For how many ms a request is wanted.
    pub(crate) within_ms: Option<u32>,
}

impl Carrier {
    /// Makes one of kind `Data`.
    #[inline]
    pub(crate) const fn data(sequence: u64) -> Self {
        Self {
            kind: Kind::Data,
            sequence,
            within_ms: None,
        }
    }
}

/// Appends a message as one `Data` frame. The caller has checked its size.
#[cfg(any(test, fuzzing, feature = "ws"))]
pub(crate) fn encode_message(
    message: &impl Parts,
    sequence: u64,
    checksummed: bool,
    out: &mut BytesMut,
) {
    encode_carried(message, Carrier::data(sequence), checksummed, out);
}

/// Appends a message as one frame. The caller has checked its size.
pub(crate) fn encode_carried(
    message: &impl Parts,
    carrier: Carrier,
    checksummed: bool,
    out: &mut BytesMut,
) {
    let start = out.len();
    encode_unsummed(message, carrier, checksummed, out);
    if checksummed {
        sum_up(&mut out[start..]);
    }
}

/// The same, but a frame that is to have a checksum has 0 there until it is [summed up](sum_up): bytes that have only
/// just been written are slow to be read again in larger pieces, so that a checksum costs half as much a little later.
///
/// Always inline, as are those who call it on the way from `send`: with the calls between them one costs 12 % more.
#[inline(always)]
pub(crate) fn encode_unsummed(
    message: &impl Parts,
    carrier: Carrier,
    checksummed: bool,
    out: &mut BytesMut,
) {
    let extensions = extensions::length(message, carrier.within_ms);
    let mut header = Header {
        length: u32::try_from(extensions + message.payload().len()).unwrap_or(u32::MAX),
        kind: carrier.kind,
        flags: message.priority() as u8,
        message_type: message.message_type(),
        sequence: carrier.sequence,
        timestamp: message.timestamp(),
        origin: 0,
        checksum: 0,
    };
    if checksummed {
        header.flags |= CHECKSUM;
    }
    if extensions > 0 {
        header.flags |= EXTENSIONS;
        encode_extended(message, &header, carrier.within_ms, extensions, out);
        return;
    }
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(message.payload());
}

/// The same with something between header and payload; apart, so that what most messages need is short.
#[inline(never)]
fn encode_extended(
    message: &impl Parts,
    header: &Header,
    within_ms: Option<u32>,
    extensions: usize,
    out: &mut BytesMut,
) {
    out.extend_from_slice(&header.encode());
    extensions::put(message, within_ms, extensions, out);
    out.extend_from_slice(message.payload());
}

/// Writes their checksums into frames that have neither an origin nor a checksum yet.
pub(crate) fn sum_up(mut frames: &mut [u8]) {
    while frames.len() >= HEADER {
        let length = frame_length(frames).min(frames.len());
        let (frame, behind) = frames.split_at_mut(length);
        // Both count as zero in it, and are.
        let sum = crc32c(frame);
        frame[CHECKSUM_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
        frames = behind;
    }
}

/// Appends an encoded frame, with a checksum if it has none.
pub(crate) fn encode_checksummed(frame: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(frame);
    let Some((header, body)) = out[start..].split_first_chunk_mut::<HEADER>() else {
        return;
    };
    if header[5] & CHECKSUM == 0 {
        header[5] |= CHECKSUM;
        header[CHECKSUM_AT..].fill(0);
        let sum = checksum(header, body);
        header[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Appends a control frame.
pub(crate) fn encode_control(
    mut header: Header,
    body: &[u8],
    checksummed: bool,
    out: &mut BytesMut,
) {
    header.length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if checksummed {
        header.flags |= CHECKSUM;
        header.checksum = checksum(&header.encode(), body);
    }
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(body);
}

pub(super) fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn frames_that_are_summed_up_together_are_as_those_that_are_summed_one_by_one() {
        let (mut together, mut single) = (BytesMut::new(), BytesMut::new());
        for (sequence, size) in [0, 1, 31, 64, 224, 225, 1000, 20_000, 3]
            .into_iter()
            .enumerate()
        {
            let sequence = sequence as u64 + 1;
            for message in [
                Message::new(vec![7; size]),
                Message::new(vec![9; size]).with_target("somebody"),
            ] {
                encode_unsummed(&message, Carrier::data(sequence), true, &mut together);
                let start = single.len();
                encode_message(&message, sequence, false, &mut single);
                single[start + 5] |= CHECKSUM;
                let (header, body) = single[start..].split_first_chunk_mut::<HEADER>().unwrap();
                let sum = checksum(header, body);
                header[CHECKSUM_AT..].copy_from_slice(&sum.to_le_bytes());
            }
        }
        assert_ne!(together, single);
        sum_up(&mut together);
        assert_eq!(together, single);
    }

    #[test]
    fn every_kind_has_its_byte_and_no_other_byte_is_one() {
        for byte in 0..=u8::MAX {
            let kind = Kind::parse(byte).map(|kind| kind as u8).ok();
            assert_eq!(kind, (1..=16).contains(&byte).then_some(byte));
        }
    }

    #[test]
    fn a_frame_without_a_checksum_gets_one_and_is_otherwise_the_same() {
        for body in [&b""[..], b"body"] {
            let mut header = Header::control(Kind::Ping);
            header.flags |= PRIORITY;
            let (mut plain, mut summed) = (BytesMut::new(), BytesMut::new());
            encode_control(header, body, false, &mut plain);
            encode_control(header, body, true, &mut summed);
            assert_ne!(plain, summed);
            for frame in [&plain, &summed] {
                let mut out = BytesMut::from(&b"before"[..]);
                encode_checksummed(frame, &mut out);
                assert_eq!(out[..6], b"before"[..]);
                assert_eq!(out[6..], summed[..]);
            }
        }
    }
}
