//! A payload as a row of fields: type, length, value. No I/O, no clock.

use alloy_primitives::{Address, B256};
use bytes::{BufMut, Bytes, BytesMut};

/// The first byte of a payload: which layout it is in.
const VERSION: u8 = 1;

/// What stands before a value: its tag and, in two bytes, its length.
const HEADER: usize = 3;

/// The longest text.
pub(super) const TEXT_LIMIT: usize = 255;

/// Why a payload cannot be read. Places count from the payload's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// There is no layout for this message type.
    #[error("there is no layout for message type {0}")]
    UnknownType(u16),
    /// The first byte names no layout that is known here.
    #[error("the payload is in layout {0:?}, and 1 is known here")]
    Version(Option<u8>),
    /// The payload ends within a field.
    #[error("the payload ends within the field at byte {at}, {missing} bytes early")]
    Truncated {
        /// Where the field begins.
        at: usize,
        /// How many bytes are missing.
        missing: usize,
    },
    /// A field is there twice.
    #[error("field {tag} is there again at byte {at}")]
    Repeated {
        /// Which field.
        tag: u8,
        /// Where it begins for the second time.
        at: usize,
    },
    /// A field that this message type must have is not there.
    #[error("field {tag} is missing")]
    Missing {
        /// Which field.
        tag: u8,
    },
    /// A value has not the length that it must have.
    #[error("field {tag} at byte {at} has {found} bytes, not {expected}")]
    Length {
        /// Which field.
        tag: u8,
        /// Where it begins.
        at: usize,
        /// How long it must be.
        expected: usize,
        /// How long it is.
        found: usize,
    },
    /// A value stands for nothing.
    #[error("field {tag} at byte {at}: {what}")]
    Value {
        /// Which field.
        tag: u8,
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// One field, borrowed from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field<'a> {
    /// Which field it is.
    pub tag: u8,
    /// Where it begins, in bytes from the beginning of the payload.
    pub at: usize,
    /// What it says.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Returns the value of a field that has exactly `N` bytes.
    pub(super) fn bytes<const N: usize>(&self) -> Result<&'a [u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed::Length {
            tag: self.tag,
            at: self.at,
            expected: N,
            found: self.value.len(),
        })
    }

    pub(super) const fn fault(&self, what: &'static str) -> Malformed {
        Malformed::Value {
            tag: self.tag,
            at: self.at,
            what,
        }
    }
}

/// A payload that is well formed: it consists of whole fields, each there once. Nothing is copied.
///
/// ```
/// use wakewire_polygon::codec::Reader;
///
/// let reader = Reader::new(&[1, 28, 0, 4, 0, 0, 0, 7])?;
/// assert_eq!(reader.find(28).map(|field| field.value), Some(&[0, 0, 0, 7][..]));
/// # Ok::<(), wakewire_polygon::codec::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader<'a> {
    payload: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks that the payload is well formed; what its fields mean is not looked at.
    ///
    /// # Errors
    ///
    /// Says which byte is not as it must be.
    pub fn new(payload: &'a [u8]) -> Result<Self, Malformed> {
        match payload.first() {
            Some(&VERSION) => {}
            other => return Err(Malformed::Version(other.copied())),
        }
        let mut seen = [0_u128; 2];
        let mut fields = Fields { payload, at: 1 };
        while let Some(field) = fields.step()? {
            let bit = 1 << (field.tag % 128);
            for (half, seen) in seen.iter_mut().enumerate() {
                if usize::from(field.tag / 128) != half {
                    continue;
                }
                if *seen & bit != 0 {
                    let Field { tag, at, .. } = field;
                    return Err(Malformed::Repeated { tag, at });
                }
                *seen |= bit;
            }
        }
        Ok(Self { payload })
    }

    /// Returns the fields as they stand there, also those that nobody here knows.
    pub const fn fields(&self) -> Fields<'a> {
        let payload = self.payload;
        Fields { payload, at: 1 }
    }

    /// Returns a field, if it is there.
    pub fn find(&self, tag: u8) -> Option<Field<'a>> {
        self.fields().find(|field| field.tag == tag)
    }

    /// Returns a field that must be there.
    pub(super) fn field(&self, tag: u8) -> Result<Field<'a>, Malformed> {
        self.find(tag).ok_or(Malformed::Missing { tag })
    }

    /// Reads a value that must be there.
    pub(super) fn get<T: Value<'a>>(&self, tag: u8) -> Result<T, Malformed> {
        T::get(self.field(tag)?)
    }

    /// Reads a value that may be there.
    pub(super) fn optional<T: Value<'a>>(&self, tag: u8) -> Result<Option<T>, Malformed> {
        self.find(tag).map(T::get).transpose()
    }
}

/// The fields of a payload, in the order in which they stand there.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn step(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        let at = self.at;
        let rest = self.payload.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let truncated = |needed: usize| Malformed::Truncated {
            at,
            missing: needed - rest.len(),
        };
        let Some((&[tag, high, low], rest)) = rest.split_first_chunk::<HEADER>() else {
            return Err(truncated(HEADER));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest
            .get(..length)
            .ok_or_else(|| truncated(HEADER + length))?;
        self.at = at + HEADER + length;
        Ok(Some(Field { tag, at, value }))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        // The reader has seen that all of them are whole.
        self.step().ok().flatten()
    }
}

/// Writes a payload, field by field.
#[derive(Debug)]
pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn new() -> Self {
        // All but long texts fit, so that it is allocated once.
        let mut payload = BytesMut::with_capacity(512);
        payload.put_u8(VERSION);
        Self(payload)
    }

    pub(super) fn put<'a, T: Value<'a>>(&mut self, tag: u8, value: T) {
        let before = self.0.len();
        self.0.put_bytes(0, HEADER);
        value.put(&mut self.0);
        let length = self.0.len() - before - HEADER;
        debug_assert!(length <= usize::from(u16::MAX));
        let [.., high, low] = length.to_be_bytes();
        if let Some(header) = self.0.get_mut(before..before + HEADER) {
            header.copy_from_slice(&[tag, high, low]);
        }
    }

    pub(super) fn put_some<'a, T: Value<'a>>(&mut self, tag: u8, value: Option<T>) {
        if let Some(value) = value {
            self.put(tag, value);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// What can be the value of a field. Its bytes are at most 65,535.
pub(super) trait Value<'a>: Sized {
    fn get(field: Field<'a>) -> Result<Self, Malformed>;
    fn put(self, payload: &mut BytesMut);
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl<'a> Value<'a> for $integer {
            fn get(field: Field<'a>) -> Result<Self, Malformed> {
                field.bytes().copied().map(Self::from_be_bytes)
            }
            fn put(self, payload: &mut BytesMut) {
                payload.put_slice(&self.to_be_bytes());
            }
        }
    )+};
}

integers!(u32, i32, u64, u128);

macro_rules! fixed_bytes {
    ($($bytes:ty),+) => {$(
        impl<'a> Value<'a> for $bytes {
            fn get(field: Field<'a>) -> Result<Self, Malformed> {
                field.bytes().map(Self::from)
            }
            fn put(self, payload: &mut BytesMut) {
                payload.put_slice(self.as_slice());
            }
        }
    )+};
}

fixed_bytes!(Address, B256);

impl<'a> Value<'a> for bool {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        match field.bytes()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(field.fault("it is 0 or 1")),
        }
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_u8(self.into());
    }
}

impl<'a> Value<'a> for &'a str {
    fn get(field: Field<'a>) -> Result<Self, Malformed> {
        if field.value.len() > TEXT_LIMIT {
            return Err(field.fault("a text has at most 255 bytes"));
        }
        std::str::from_utf8(field.value).map_err(|_| field.fault("it is not UTF-8"))
    }
    fn put(self, payload: &mut BytesMut) {
        payload.put_slice(self.as_bytes());
    }
}
