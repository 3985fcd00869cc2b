//! What stands in a file of a spool: an opening and a mark, then frames as they go over the wire, and marks between them.
//! No I/O, no clock.
//!
//! A frame is its own record: it has its length, its number and its checksum. So what was appended is what is sent.
//! A relay's file is what a consumer's connection would carry: a `Gap` says whose the frames of an origin are.

use bytes::BytesMut;

use crate::wire::checksum::{checksum, crc32c};
use crate::wire::frame::{CHECKSUM, HEADER, Header, Kind, SEQUENCE_LIMIT};
use crate::wire::hello::{self, Gap};
use crate::wire::scan::Scanner;
use crate::wire::{ProtocolError, SessionId};

/// One run of the machine, from its start to its end: what was written in it and not synced is gone with it.
/// Zero where the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot(pub(crate) u128);

/// Whose frames a spool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// A sender's own, whose numbers are those of the spool.
    OneSession,
    /// Those of a relay's senders. The spool counts them through, and each has its origin.
    ManySessions,
}

impl Contents {
    /// The name and version of the format.
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::OneSession => *b"wwspool1",
            Self::ManySessions => *b"wwstore1",
        }
    }
}

/// Whose the frames of an origin are from here on, and what of them everybody has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) origin: u32,
    pub(crate) session: SessionId,
    pub(crate) acked: u64,
}

impl Name {
    /// Appends it as it stands in a file.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let header = Header {
            origin: self.origin,
            ..Header::control(Kind::Gap)
        };
        let gap = Gap {
            session: self.session,
            after: self.acked,
            filtered: false,
        };
        hello::encode_with(header, &gap, true, out);
    }
}

/// Returns the name of the file of this number; sorted by name, files are in their order.
pub(crate) fn name_of(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

/// Returns the number of a file, if it is one of ours.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name
        .strip_suffix(SUFFIX)
        .filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|number| *number < u64::MAX)
}

const SUFFIX: &str = ".seg";

/// What every file starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Which life of the spool wrote it; each is one more than the last.
    pub(crate) epoch: u64,
    pub(crate) session: SessionId,
    pub(crate) boot: Boot,
    /// The number of its first frame. What files before it hold from there on does not count.
    pub(crate) first: u64,
    /// The first number of the file before it.
    pub(crate) before: u64,
    /// Everything up to here was acknowledged.
    pub(crate) acked: u64,
    /// Everything up to here was on the disk itself.
    pub(crate) synced: u64,
    /// Nothing was sent before it was synced.
    pub(crate) holds_back: bool,
}

/// The length of an [`Opening`].
pub(crate) const OPENING: usize = 96;

/// The length of a [`Record::Mark`].
pub(crate) const MARK: usize = HEADER + MARK_BODY;

const MARK_BODY: usize = 24;
const MARK_LENGTH: u32 = 24;

const SUMMED: usize = OPENING - 4;

impl Opening {
    /// Writes it as it stands in a file.
    pub(crate) fn encode(&self, contents: Contents) -> [u8; OPENING] {
        let mut bytes = [0; OPENING];
        bytes[..8].copy_from_slice(&contents.magic());
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.session.0.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.boot.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.first.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.acked.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.synced.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.before.to_le_bytes());
        bytes[80] = u8::from(self.holds_back);
        let sum = crc32c(&bytes[..SUMMED]);
        bytes[SUMMED..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads it from the start of a file.
    pub(crate) fn parse(bytes: &[u8], contents: Contents) -> Result<Self, Fault> {
        let Some(bytes) = bytes.first_chunk::<OPENING>() else {
            return Err(Fault::Short);
        };
        let wrong = |what: &str| Err(Fault::Wrong(what.to_owned()));
        if bytes[..8] != contents.magic() {
            return wrong("it is not the file of such a spool, or of another version");
        }
        if crc32c(&bytes[..SUMMED]).to_le_bytes() != bytes[SUMMED..] {
            return wrong("the checksum of its opening does not match");
        }
        let opening = Self {
            epoch: u64::from_le_bytes(field(bytes, 8)),
            session: SessionId(u128::from_le_bytes(field(bytes, 16))),
            boot: Boot(u128::from_le_bytes(field(bytes, 32))),
            first: u64::from_le_bytes(field(bytes, 48)),
            acked: u64::from_le_bytes(field(bytes, 56)),
            synced: u64::from_le_bytes(field(bytes, 64)),
            before: u64::from_le_bytes(field(bytes, 72)),
            holds_back: bytes[80] != 0,
        };
        let numbered = (1..SEQUENCE_LIMIT).contains(&opening.first);
        if !numbered || opening.acked >= SEQUENCE_LIMIT || opening.epoch >= SEQUENCE_LIMIT {
            return wrong("a number of its opening is out of range");
        }
        Ok(opening)
    }
}

/// What stands at one place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A frame.
    Frame { origin: u32, sequence: u64 },
    /// Whose frames come next.
    Name(Name),
    /// What was known when the record behind it was written.
    Mark {
        acked: u64,
        synced: u64,
        /// The number of the frame behind it.
        next: u64,
    },
}

/// Why what stands somewhere is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file ends within it, as a write that was cut off leaves it.
    Short,
    /// It is something else.
    Wrong(String),
}

impl Fault {
    /// Says it for a person.
    pub(crate) fn what(self) -> String {
        match self {
            Self::Short => "the file ends within a record".to_owned(),
            Self::Wrong(what) => what,
        }
    }
}

/// Reads the record at this place, and how long it is; `None` at the end.
pub(crate) fn record(
    bytes: &[u8],
    contents: Contents,
    session: SessionId,
) -> Result<Option<(Record, usize)>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let wrong = |error: ProtocolError| Fault::Wrong(error.to_string());
    let Some(header) = SCANNER.whole_frame(bytes).map_err(wrong)? else {
        return Err(Fault::Short);
    };
    let names = contents == Contents::ManySessions;
    if header.origin != 0 && !names {
        return Err(Fault::Wrong("a frame with an origin".to_owned()));
    }
    let length = header.frame_length();
    let record = match header.kind {
        Kind::Data => Record::Frame {
            origin: header.origin,
            sequence: header.sequence,
        },
        Kind::Gap if names => {
            let gap: Gap = hello::decode(Kind::Gap, &bytes[HEADER..length]).map_err(wrong)?;
            Record::Name(Name {
                origin: header.origin,
                session: gap.session,
                acked: gap.after,
            })
        }
        Kind::Ack => mark(&header, &bytes[HEADER..length], session)
            .ok_or_else(|| Fault::Wrong("a mark of another spool".to_owned()))?,
        kind => return Err(wrong(ProtocolError::Unexpected { kind })),
    };
    Ok(Some((record, length)))
}

/// Returns every mark of this session that stands in these bytes, wherever it begins.
///
/// A message may hold what looks like frames; what looks like a mark has the session's number in it, which none but
/// the two ends know.
pub(crate) fn marks(bytes: &[u8], session: SessionId) -> impl Iterator<Item = Record> {
    bytes.windows(MARK).filter_map(move |bytes| {
        if bytes[4] != Kind::Ack as u8 || bytes[HEADER..HEADER + 16] != session.0.to_le_bytes() {
            return None;
        }
        let found = record(bytes, Contents::OneSession, session).ok()??;
        matches!(found.0, Record::Mark { .. }).then_some(found.0)
    })
}

/// Encodes a mark.
pub(crate) fn encode_mark(session: SessionId, acked: u64, synced: u64, next: u64) -> [u8; MARK] {
    let mut body = [0; MARK_BODY];
    body[..16].copy_from_slice(&session.0.to_le_bytes());
    body[16..].copy_from_slice(&next.to_le_bytes());
    let mut header = Header {
        length: MARK_LENGTH,
        flags: CHECKSUM,
        sequence: acked,
        timestamp: synced,
        ..Header::control(Kind::Ack)
    };
    header.checksum = checksum(&header.encode(), &body);
    let mut bytes = [0; MARK];
    bytes[..HEADER].copy_from_slice(&header.encode());
    bytes[HEADER..].copy_from_slice(&body);
    bytes
}

fn mark(header: &Header, body: &[u8], session: SessionId) -> Option<Record> {
    let body: &[u8; MARK_BODY] = body.try_into().ok()?;
    let whose = u128::from_le_bytes(*body.first_chunk()?);
    (whose == session.0).then_some(Record::Mark {
        acked: header.sequence,
        synced: header.timestamp,
        next: u64::from_le_bytes(*body.last_chunk()?),
    })
}

fn field<const N: usize>(bytes: &[u8; OPENING], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Whatever was accepted is read again, however large.
const SCANNER: Scanner = Scanner {
    limit: u32::MAX,
    checksummed: true,
    stamp: None,
    admission: None,
};
