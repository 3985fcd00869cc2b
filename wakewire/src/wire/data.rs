//! A message as it was received: borrowed where it lies, or made an owned one. No I/O, no clock.

use bytes::{Buf, Bytes};

use super::frame::{HEADER, Header, Kind};
use super::{ProtocolError, extensions};
use crate::message::{Message, Precision};

/// One received `Data` frame, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataView<'a> {
    pub(crate) header: Header,
    /// Extensions and payload.
    pub(crate) body: &'a [u8],
}

impl<'a> DataView<'a> {
    /// Reads the frame at the start of these bytes, which the scanner has checked to be whole.
    #[inline]
    pub(crate) fn at(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        let malformed = |what: &str| ProtocolError::Malformed {
            kind: Kind::Data,
            what: what.to_owned(),
        };
        let (head, rest) = bytes
            .split_first_chunk()
            .ok_or_else(|| malformed("no header"))?;
        let header = Header::parse(head)?;
        let body = rest
            .get(..header.length as usize)
            .ok_or_else(|| malformed("cut off"))?;
        Ok(Self { header, body })
    }

    /// Returns where in the body the payload starts.
    pub(crate) fn payload_at(&self) -> Result<usize, ProtocolError> {
        if !self.header.has_extensions() {
            return Ok(0);
        }
        extensions::end(self.body)
    }

    /// Refuses extensions that [`decode_message`] could not read, and returns the scale of the payload's amounts; costs
    /// nothing where there are none.
    #[inline]
    pub(super) fn check(&self) -> Result<Option<Precision>, ProtocolError> {
        if !self.header.has_extensions() {
            return Ok(None);
        }
        extensions::check(self.body)
    }
}

/// Makes an owned message of one encoded frame. The payload is what is left of `frame`: no copy, and no further
/// reference count.
pub(crate) fn decode_message(mut frame: Bytes) -> Result<Message, ProtocolError> {
    let header = DataView::at(&frame)?.header;
    frame.truncate(header.frame_length());
    frame.advance(HEADER);
    decode_carried(&header, frame)
}

/// Makes an owned message of what follows the header of a frame that carries one.
pub(crate) fn decode_carried(header: &Header, body: Bytes) -> Result<Message, ProtocolError> {
    let mut message = plain_message(header, body);
    if header.has_extensions() {
        read_extensions(&mut message)?;
    }
    Ok(message)
}

/// Makes an owned message of a frame without extensions.
///
/// Always inline, so that it is made where it is to be: to move what was just written field by field waits for each of
/// them to be written.
#[inline(always)]
pub(crate) const fn plain_message(header: &Header, body: Bytes) -> Message {
    Message {
        payload: body,
        target: None,
        correlation_id: None,
        timestamp: header.timestamp,
        message_type: header.message_type,
        priority: header.priority(),
        precision: None,
    }
}

/// Reads what stands before the payload, and takes it off.
#[inline(never)]
fn read_extensions(message: &mut Message) -> Result<(), ProtocolError> {
    let body = message.payload.clone();
    message.payload.advance(extensions::end(&body)?);
    extensions::read(&body, message)
}

/// Returns for how many ms a request is wanted, if it says so.
pub(crate) fn wanted_within(header: &Header, body: &[u8]) -> Result<Option<u32>, ProtocolError> {
    if !header.has_extensions() {
        return Ok(None);
    }
    extensions::within(body)
}
