//! How far a consumer has come with one producer, as a value to be kept. No I/O, no clock.

use std::fmt;
use std::str::FromStr;

use crate::wire::SessionId;
use crate::wire::session::check_sequence;

/// Up to where the messages of one producer have been processed: a session, and a number in it.
///
/// An application that stores the positions together with its own data, in one transaction, gets each message's effect
/// exactly once, whatever dies at whatever moment: it begins again
/// [after](crate::MessageSource::starting_after) what it has stored. Keep the greatest one of each session.
///
/// It is 24 bytes, or a line of text.
///
/// ```
/// use wakewire::Position;
///
/// let position: Position = "000102030405060708090a0b0c0d0e0f:42".parse()?;
/// assert_eq!(position.sequence(), 42);
/// assert_eq!(Position::from_bytes(position.to_bytes()), Some(position));
/// assert_eq!(position.to_string(), "000102030405060708090a0b0c0d0e0f:42");
/// # Ok::<(), wakewire::PositionError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    session: SessionId,
    sequence: u64,
}

impl Position {
    pub(crate) const fn new(session: SessionId, sequence: u64) -> Self {
        Self { session, sequence }
    }

    pub(crate) const fn session_id(self) -> SessionId {
        self.session
    }

    /// Returns the producer's session: a number that no other producer has, as long as it runs or its spool is kept.
    pub const fn session(self) -> u128 {
        self.session.0
    }

    /// Returns the number of the message within the session, from 1 without holes.
    pub const fn sequence(self) -> u64 {
        self.sequence
    }

    /// Returns it as bytes that sort as it does.
    pub fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let mut bytes = [0; POSITION_BYTES];
        let (session, sequence) = bytes.split_at_mut(16);
        session.copy_from_slice(&self.session.0.to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave; `None` for a number that no message has.
    pub fn from_bytes(bytes: [u8; POSITION_BYTES]) -> Option<Self> {
        let (session, sequence) = bytes.split_first_chunk::<16>()?;
        let sequence = u64::from_be_bytes(*sequence.first_chunk()?);
        check_sequence(sequence).ok()?;
        Some(Self::new(
            SessionId(u128::from_be_bytes(*session)),
            sequence,
        ))
    }
}

/// The length of a position in bytes.
pub(super) const POSITION_BYTES: usize = 24;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}:{}", self.session.0, self.sequence)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({:?}:{})", self.session, self.sequence)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (session, sequence) = text.split_once(':').ok_or(PositionError)?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if session.len() != 32 || !is_plain(session) || !is_plain(sequence) {
            return Err(PositionError);
        }
        let session = u128::from_str_radix(session, 16).map_err(|_| PositionError)?;
        let sequence = sequence.parse().map_err(|_| PositionError)?;
        check_sequence(sequence).map_err(|_| PositionError)?;
        Ok(Self::new(SessionId(session), sequence))
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 32 hexadecimal digits, a colon, and a number below 2^63")]
#[non_exhaustive]
pub struct PositionError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(session: u128, sequence in 0..1_u64 << 63) {
            let position = Position::new(SessionId(session), sequence);
            prop_assert_eq!(Position::from_bytes(position.to_bytes()), Some(position));
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_a_position_or_none(text in ".{0,60}", digits in "[0-9a-f]{0,34}:?[0-9+-]{0,22}") {
            for text in [text, digits] {
                if let Ok(position) = text.parse::<Position>() {
                    prop_assert_eq!(position.to_string().len(), text.trim_start_matches('0').len().max(position.to_string().len()));
                }
            }
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "",
            ":",
            "00:1",
            "000102030405060708090a0b0c0d0e0f",
            "+00102030405060708090a0b0c0d0e0f:1",
            "000102030405060708090a0b0c0d0e0f:+1",
            "000102030405060708090a0b0c0d0e0f:9223372036854775808",
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
        assert_eq!(Position::from_bytes([0xff; 24]), None);
    }
}
