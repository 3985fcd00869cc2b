//! Received messages where they lie: views of the read buffer.

use std::fmt;

use crate::cursor::Position;
use crate::message::MessagePriority;
use crate::wire::data::DataView;
use crate::wire::run::{Run, frame_length};

use super::MessageSource;

/// Consecutive messages of one producer, borrowed from the read buffer.
///
/// Asking the source for more says that all of these were processed.
pub struct Batch<'a> {
    /// Keeps the source from being asked while the batch is looked at.
    _source: &'a mut MessageSource,
    position: Position,
    run: Run,
}

impl<'a> Batch<'a> {
    pub(super) const fn new(source: &'a mut MessageSource, position: Position, run: Run) -> Self {
        Self {
            _source: source,
            position,
            run,
        }
    }

    /// Returns how many messages there are; never none.
    pub fn len(&self) -> usize {
        usize::try_from(self.run.count()).unwrap_or(usize::MAX)
    }

    /// Returns where the last of them stands, to be stored with what they brought about.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Returns whether there are none, which does not happen.
    pub const fn is_empty(&self) -> bool {
        self.run.count() == 0
    }

    /// Returns the messages in order.
    pub fn iter(&self) -> Views<'_> {
        Views {
            bytes: &self.run.bytes,
        }
    }
}

impl<'b> IntoIterator for &'b Batch<'_> {
    type Item = MessageView<'b>;
    type IntoIter = Views<'b>;

    fn into_iter(self) -> Views<'b> {
        self.iter()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Batch({} messages, {} bytes)",
            self.len(),
            self.run.bytes.len()
        )
    }
}

/// The messages of a batch, in order.
#[derive(Debug)]
pub struct Views<'b> {
    bytes: &'b [u8],
}

impl<'b> Iterator for Views<'b> {
    type Item = MessageView<'b>;

    #[inline]
    fn next(&mut self) -> Option<MessageView<'b>> {
        if self.bytes.is_empty() {
            return None;
        }
        let (frame, rest) = self.bytes.split_at_checked(frame_length(self.bytes))?;
        self.bytes = rest;
        // The scanner has checked every frame of a run.
        let view = DataView::at(frame).ok()?;
        let payload = view.body.get(view.payload_at().ok()?..)?;
        Some(MessageView { view, payload })
    }
}

/// One received message, borrowed from the read buffer.
#[derive(Clone, Copy)]
pub struct MessageView<'b> {
    view: DataView<'b>,
    payload: &'b [u8],
}

impl<'b> MessageView<'b> {
    /// Returns the payload.
    pub const fn payload(&self) -> &'b [u8] {
        self.payload
    }

    /// Returns the message type.
    pub const fn message_type(&self) -> u16 {
        self.view.header.message_type
    }

    /// Returns the time of the event in nanoseconds since the Unix epoch, 0 when not said.
    pub const fn timestamp(&self) -> u64 {
        self.view.header.timestamp
    }

    /// Returns the priority.
    pub const fn priority(&self) -> MessagePriority {
        self.view.header.priority()
    }

    /// Returns the number of the message within its producer's session, from 1 without holes.
    pub const fn sequence(&self) -> u64 {
        self.view.header.sequence
    }
}

impl fmt::Debug for MessageView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sequence, bytes) = (self.sequence(), self.payload.len());
        write!(
            f,
            "MessageView({sequence}: type {}, {bytes} bytes)",
            self.message_type()
        )
    }
}
