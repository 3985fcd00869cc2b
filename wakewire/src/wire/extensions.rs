//! What stands between header and payload when the flag says so: tag, length, value. No I/O, no clock.

use bytes::{BufMut, BytesMut};

use super::ProtocolError;
use super::frame::Kind;
use crate::domain::FIELD_LIMIT;
use crate::message::{Message, Parts, Precision};

/// The length of all extensions together, before the first one.
const BLOCK_HEAD: usize = 2;

/// Tag and length before each extension.
const EXTENSION_HEAD: usize = 3;

#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Target = 1,
    CorrelationId = 2,
    Precision = 3,
    Within = 4,
}

/// Returns how many bytes the extensions of a message take; 0 when it has none.
#[inline]
pub(super) fn length(message: &impl Parts, within_ms: Option<u32>) -> usize {
    if message.target().is_none()
        && message.correlation_id().is_none()
        && message.precision().is_none()
        && within_ms.is_none()
    {
        return 0;
    }
    let text = |text: Option<&str>| text.map_or(0, |text| EXTENSION_HEAD + text.len());
    let precision = if message.precision().is_some() {
        EXTENSION_HEAD + 1
    } else {
        0
    };
    let within = within_ms.map_or(0, |ms| EXTENSION_HEAD + size_of_val(&ms));
    BLOCK_HEAD + text(message.target()) + text(message.correlation_id()) + precision + within
}

/// Appends the extensions of a message that has some; `length` is what [`length`] says.
pub(super) fn put(message: &impl Parts, within_ms: Option<u32>, length: usize, out: &mut BytesMut) {
    out.put_u16_le(u16::try_from(length - BLOCK_HEAD).unwrap_or(u16::MAX));
    if let Some(target) = message.target() {
        put_one(out, Tag::Target, target.as_bytes());
    }
    if let Some(id) = message.correlation_id() {
        put_one(out, Tag::CorrelationId, id.as_bytes());
    }
    if let Some(precision) = message.precision() {
        let code = match precision {
            Precision::TokenNative => 1,
            Precision::FixedPoint8 => 2,
        };
        put_one(out, Tag::Precision, &[code]);
    }
    if let Some(ms) = within_ms {
        put_one(out, Tag::Within, &ms.to_le_bytes());
    }
}

fn put_one(out: &mut BytesMut, tag: Tag, value: &[u8]) {
    out.put_u8(tag as u8);
    out.put_u16_le(u16::try_from(value.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(value);
}

/// Returns where in the body the payload starts.
pub(super) fn end(body: &[u8]) -> Result<usize, ProtocolError> {
    body.first_chunk()
        .map(|bytes| usize::from(u16::from_le_bytes(*bytes)) + BLOCK_HEAD)
        .filter(|&end| end <= body.len())
        .ok_or_else(|| malformed("extensions longer than the frame"))
}

/// Reads the extensions at the start of a body and keeps the scale of its amounts only: what passes here, [`read`] reads.
pub(super) fn check(body: &[u8]) -> Result<Option<Precision>, ProtocolError> {
    let mut precision = None;
    for extension in Extensions::of(body)? {
        if let Extension::Precision(scale) = extension? {
            precision = Some(scale);
        }
    }
    Ok(precision)
}

/// Writes the extensions at the start of a body into the message.
pub(super) fn read(body: &[u8], message: &mut Message) -> Result<(), ProtocolError> {
    for extension in Extensions::of(body)? {
        match extension? {
            Extension::Target(text) => message.target = Some(text.into()),
            Extension::CorrelationId(text) => message.correlation_id = Some(text.into()),
            Extension::Precision(precision) => message.precision = Some(precision),
            Extension::Within(_) | Extension::Unknown => {}
        }
    }
    Ok(())
}

/// Reads for how many ms a request is wanted.
pub(super) fn within(body: &[u8]) -> Result<Option<u32>, ProtocolError> {
    let mut within = None;
    for extension in Extensions::of(body)? {
        if let Extension::Within(ms) = extension? {
            within = Some(ms);
        }
    }
    Ok(within)
}

enum Extension<'a> {
    Target(&'a str),
    CorrelationId(&'a str),
    Precision(Precision),
    /// In ms.
    Within(u32),
    /// A tag or a scale that this version does not know; skipped, so that later ones may add some.
    Unknown,
}

/// The extensions that are left; ends after the first that is malformed.
struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    fn of(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let end = end(body)?;
        Ok(Self(&body[BLOCK_HEAD..end]))
    }

    fn first(&mut self) -> Result<Extension<'a>, ProtocolError> {
        let bytes = std::mem::take(&mut self.0);
        let cut_off = || malformed("an extension is cut off");
        let (head, rest) = bytes
            .split_first_chunk::<EXTENSION_HEAD>()
            .ok_or_else(cut_off)?;
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let (value, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        let extension = match head[0] {
            tag if tag == Tag::Target as u8 => Extension::Target(text(value)?),
            tag if tag == Tag::CorrelationId as u8 => Extension::CorrelationId(text(value)?),
            tag if tag == Tag::Precision as u8 => match value {
                [1] => Extension::Precision(Precision::TokenNative),
                [2] => Extension::Precision(Precision::FixedPoint8),
                _ => Extension::Unknown,
            },
            tag if tag == Tag::Within as u8 => {
                let value = value
                    .try_into()
                    .map_err(|_| malformed("the time of a request has 4 bytes"))?;
                Extension::Within(u32::from_le_bytes(value))
            }
            _ => Extension::Unknown,
        };
        self.0 = rest;
        Ok(extension)
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.first())
    }
}

fn text(value: &[u8]) -> Result<&str, ProtocolError> {
    if value.len() > FIELD_LIMIT {
        return Err(malformed("a text extension is longer than 255 bytes"));
    }
    std::str::from_utf8(value).map_err(|_| malformed("an extension is not UTF-8"))
}

fn malformed(what: &str) -> ProtocolError {
    ProtocolError::Malformed {
        kind: Kind::Data,
        what: what.to_owned(),
    }
}
