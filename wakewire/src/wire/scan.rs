//! Cuts received bytes into runs of `Data` frames and single control frames. No I/O, no clock.

use bytes::{Bytes, BytesMut};

use super::ProtocolError;
use super::checksum::checksum;
use super::data::DataView;
use super::frame::{self, CHECKSUM, HEADER, Header, Kind};
use super::run::Run;
use crate::domain::Admission;

/// What stood at the front of the receive buffer.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Consecutive `Data` frames of one origin.
    Run { origin: u32, run: Run },
    /// Any other frame.
    Control { header: Header, body: Bytes },
}

/// How to read a peer: its limits, and what to write into what it sends.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    /// The most bytes that may follow a header.
    pub(crate) limit: u32,
    /// Whether each frame must carry a checksum.
    pub(crate) checksummed: bool,
    /// The origin that a relay writes into a producer's frames, so that they can be forwarded as they are.
    pub(crate) stamp: Option<u32>,
    /// Which messages are taken, if not all; what comes before another one is read.
    pub(crate) admission: Option<Admission>,
}

/// Until the peer has said who it is, nothing larger than this is read.
pub(crate) const GREETING_LIMIT: u32 = 4096;

impl Scanner {
    /// Makes one for a peer that has not said who it is.
    pub(crate) const fn new(checksummed: bool) -> Self {
        Self {
            limit: GREETING_LIMIT,
            checksummed,
            stamp: None,
            admission: None,
        }
    }

    /// Takes the next piece off the buffer; `None` when it holds no whole frame. A length above the limit is
    /// an error before anything is allocated for it.
    pub(crate) fn next(&self, buffer: &mut BytesMut) -> Result<Option<Piece>, ProtocolError> {
        let Some(head) = self.whole_frame(buffer)? else {
            return Ok(None);
        };
        if head.kind != Kind::Data {
            let frame = buffer.split_to(head.frame_length()).freeze();
            return Ok(Some(Piece::Control {
                header: head,
                body: frame.slice(HEADER..),
            }));
        }
        let (origin, first) = (head.origin, head.sequence);
        let (mut last, mut end) = (first, head.frame_length());
        self.stamp(buffer);
        // An error behind whole frames is found again by the next call: what came before it is not lost by it,
        // however the stream was cut.
        while let Ok(Some(next)) = self.whole_frame(&buffer[end..]) {
            if next.kind != Kind::Data || next.origin != origin || next.sequence != last + 1 {
                break;
            }
            self.stamp(&mut buffer[end..]);
            last = next.sequence;
            end += next.frame_length();
        }
        let bytes = buffer.split_to(end).freeze();
        Ok(Some(Piece::Run {
            origin,
            run: Run::new(first, last, bytes),
        }))
    }

    /// Returns how many bytes the frame at the front still lacks.
    pub(crate) fn missing(&self, buffer: &[u8]) -> usize {
        let whole = buffer.first_chunk().map_or(HEADER, |length| {
            HEADER + u32::from_le_bytes(*length) as usize
        });
        whole.saturating_sub(buffer.len())
    }

    #[cfg(feature = "udp")]
    /// Reads the header of bytes that are one whole frame and nothing else.
    pub(crate) fn sole_frame(&self, bytes: &[u8]) -> Option<Header> {
        let header = self.whole_frame(bytes).ok().flatten();
        header.filter(|header| header.frame_length() == bytes.len())
    }

    /// Reads the header of the frame at the front; `None` when it is not there to its end.
    pub(crate) fn whole_frame(&self, bytes: &[u8]) -> Result<Option<Header>, ProtocolError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let header = Header::parse(head)?;
        if header.length > self.limit {
            return Err(ProtocolError::TooLong {
                length: header.length,
                limit: self.limit,
            });
        }
        let Some(body) = rest.get(..header.length as usize) else {
            return Ok(None);
        };
        if header.flags & CHECKSUM != 0 {
            if checksum(head, body) != header.checksum {
                return Err(ProtocolError::Checksum);
            }
        } else if self.checksummed {
            return Err(ProtocolError::NoChecksum);
        }
        if header.kind.carries_message() {
            if header.sequence == 0 {
                return Err(ProtocolError::Sequence(0));
            }
            // Here, so that the application never meets a message that cannot be read.
            let precision = DataView { header, body }.check()?;
            if let Some(admission) = &self.admission {
                let judged = admission.judge(header.message_type, precision);
                judged.map_err(ProtocolError::NotTaken)?;
            }
        }
        Ok(Some(header))
    }

    fn stamp(&self, frame: &mut [u8]) {
        if let Some(origin) = self.stamp {
            frame::stamp_origin(frame, origin);
        }
    }
}
