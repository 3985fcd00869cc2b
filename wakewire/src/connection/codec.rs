//! Turns what an application speaks of into messages, and back.

use std::error::Error;

use crate::message::Message;

/// Why something could not be turned into a message, or a message into something.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Turns a type of yours into [`Message`]s and back, so that a [`Connection`](super::Connection) speaks that type.
///
/// What it refuses to encode is never sent (`SendFailed`); an answer that it refuses to decode is an error of that
/// request only (`RequestFailed`). An error that returns a message returns it encoded. It is given to
/// [`Connection::open_with`](super::Connection::open_with); a server has none: its handler speaks of messages.
///
/// ```
/// use wakewire::Message;
/// use wakewire::connection::{CodecError, MessageCodec};
///
/// struct Lines;
///
/// impl MessageCodec for Lines {
///     type Item = String;
///
///     fn encode(&self, item: &String) -> Result<Message, CodecError> {
///         if item.contains('\n') {
///             return Err("more than one line".into());
///         }
///         Ok(Message::new(item.clone()))
///     }
///
///     fn decode(&self, message: Message) -> Result<String, CodecError> {
///         Ok(String::from_utf8(message.payload.to_vec())?)
///     }
/// }
///
/// let there = Lines.encode(&"a line".to_owned()).unwrap();
/// assert_eq!(Lines.decode(there).unwrap(), "a line");
/// assert!(Lines.encode(&"two\nlines".to_owned()).is_err());
/// ```
pub trait MessageCodec: Send + Sync + 'static {
    /// What the application speaks of: requests, responses and one-way messages alike.
    type Item;

    /// Makes a message of an item.
    ///
    /// # Errors
    ///
    /// When the item cannot be said in a message.
    fn encode(&self, item: &Self::Item) -> Result<Message, CodecError>;

    /// Makes an item of a message.
    ///
    /// # Errors
    ///
    /// When the message says no such item.
    fn decode(&self, message: Message) -> Result<Self::Item, CodecError>;
}

/// Messages as they are. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to it")]
pub struct Plain;

impl MessageCodec for Plain {
    type Item = Message;

    fn encode(&self, item: &Message) -> Result<Message, CodecError> {
        Ok(item.clone())
    }

    fn decode(&self, message: Message) -> Result<Message, CodecError> {
        Ok(message)
    }
}
