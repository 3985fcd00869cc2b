//! What is sent: bytes, and the little that travels beside them. No I/O, no clock.

use std::sync::Arc;

use bytes::Bytes;

/// One message: a payload and what travels beside it, whatever the transport.
///
/// Cloning is cheap: payload and strings are shared. `Message::default()` is valid, an empty payload
/// of type 0.
///
/// ```
/// use wakewire::{Message, MessagePriority};
///
/// let tick = Message::new("WETH/USDC 3412.07").with_type(7).with_priority(MessagePriority::High);
/// assert_eq!(&tick.payload[..4], b"WETH");
/// assert_eq!(Message::default().priority, MessagePriority::Normal);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct Message {
    /// The bytes; wakewire never looks into them. A sink copies them when it accepts the message, and holds nothing of
    /// this memory afterwards; of a received message they are a slice of what was read with it.
    pub payload: Bytes,
    /// Whom inside the service it is for; at most 255 bytes travel.
    pub target: Option<Arc<str>>,
    /// What an answer or a log line can be matched by; at most 255 bytes travel.
    pub correlation_id: Option<Arc<str>>,
    /// When it happened, in nanoseconds since the Unix epoch; 0 means "not said".
    ///
    /// The library reads no clock for it: whoever wants a time sets it.
    pub timestamp: u64,
    /// Which kind of message the payload is; a service with a `domain` takes only that domain's range.
    pub message_type: u16,
    /// How urgent it is. Carried to the receiver; one sink is one ordered lane whatever it says.
    pub priority: MessagePriority,
    /// In which scale the payload's amounts are, if it carries amounts.
    pub precision: Option<Precision>,
}

impl Message {
    /// Makes a message of type 0 with this payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// Sets whom inside the service it is for.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<Arc<str>>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the time of the event, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn with_timestamp(mut self, nanoseconds: u64) -> Self {
        self.timestamp = nanoseconds;
        self
    }

    /// Sets the message type.
    #[must_use]
    pub const fn with_type(mut self, message_type: u16) -> Self {
        self.message_type = message_type;
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: MessagePriority) -> Self {
        self.priority = priority;
        self
    }

    /// Says in which scale the payload's amounts are.
    #[must_use]
    pub const fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }
}

/// A message that lies in somebody else's memory, to be sent from there.
///
/// What is sent is copied once, to where it waits to be written, so that the memory is the caller's again when the send
/// has ended. That is cheaper than an owned [`Message`] where the payload lies in a buffer that is used again; for a
/// payload that is a [`Bytes`] already, an owned message is the better one.
///
/// ```
/// use wakewire::{Message, MessageRef};
///
/// let mut buffer = [0; 16];
/// buffer[..8].copy_from_slice(&3412_u64.to_le_bytes());
/// let tick = MessageRef::new(&buffer).with_type(7);
/// assert_eq!(tick.to_message(), Message::new(buffer.to_vec()).with_type(7));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal with `..Default::default()`"
)]
pub struct MessageRef<'a> {
    /// As [`Message::payload`](field@Message::payload).
    pub payload: &'a [u8],
    /// As [`Message::target`](field@Message::target).
    pub target: Option<&'a str>,
    /// As [`Message::correlation_id`](field@Message::correlation_id).
    pub correlation_id: Option<&'a str>,
    /// As [`Message::timestamp`](field@Message::timestamp).
    pub timestamp: u64,
    /// As [`Message::message_type`](field@Message::message_type).
    pub message_type: u16,
    /// As [`Message::priority`](field@Message::priority).
    pub priority: MessagePriority,
    /// As [`Message::precision`](field@Message::precision).
    pub precision: Option<Precision>,
}

impl<'a> MessageRef<'a> {
    /// Makes a message of type 0 with this payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Self {
            payload,
            ..Self::default()
        }
    }

    /// Sets the message type.
    #[must_use]
    pub const fn with_type(mut self, message_type: u16) -> Self {
        self.message_type = message_type;
        self
    }

    /// Sets the time of the event, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn with_timestamp(mut self, nanoseconds: u64) -> Self {
        self.timestamp = nanoseconds;
        self
    }

    /// Copies it into a message of its own.
    pub fn to_message(&self) -> Message {
        Message {
            payload: Bytes::copy_from_slice(self.payload),
            target: self.target.map(Into::into),
            correlation_id: self.correlation_id.map(Into::into),
            timestamp: self.timestamp,
            message_type: self.message_type,
            priority: self.priority,
            precision: self.precision,
        }
    }
}

impl<'a> From<&'a Message> for MessageRef<'a> {
    #[inline]
    fn from(message: &'a Message) -> Self {
        Self {
            payload: &message.payload,
            target: message.target.as_deref(),
            correlation_id: message.correlation_id.as_deref(),
            timestamp: message.timestamp,
            message_type: message.message_type,
            priority: message.priority,
            precision: message.precision,
        }
    }
}

/// What a message consists of, wherever it lies: so that one that is owned need not be looked at as a borrowed one, which
/// costs some 60 instructions each.
pub(crate) trait Parts {
    fn payload(&self) -> &[u8];
    fn target(&self) -> Option<&str>;
    fn correlation_id(&self) -> Option<&str>;
    fn timestamp(&self) -> u64;
    fn message_type(&self) -> u16;
    fn priority(&self) -> MessagePriority;
    fn precision(&self) -> Option<Precision>;
}

macro_rules! parts {
    ($message:ty) => {
        impl Parts for $message {
            #[inline]
            fn payload(&self) -> &[u8] {
                &self.payload
            }
            #[inline]
            fn target(&self) -> Option<&str> {
                self.target.as_deref()
            }
            #[inline]
            fn correlation_id(&self) -> Option<&str> {
                self.correlation_id.as_deref()
            }
            #[inline]
            fn timestamp(&self) -> u64 {
                self.timestamp
            }
            #[inline]
            fn message_type(&self) -> u16 {
                self.message_type
            }
            #[inline]
            fn priority(&self) -> MessagePriority {
                self.priority
            }
            #[inline]
            fn precision(&self) -> Option<Precision> {
                self.precision
            }
        }
    };
}

parts!(Message);
parts!(MessageRef<'_>);

/// How urgent a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "two bits on the wire: there are exactly four"
)]
pub enum MessagePriority {
    /// May wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before the others, where there is a choice.
    High,
    /// Something is wrong if this waits.
    Critical,
}

/// The scale of the amounts in a payload. No amount ever passes through a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Integers in the token's own decimals: 18 for WETH, 6 for USDC.
    TokenNative,
    /// Fixed point with eight decimals, as traditional exchanges quote.
    FixedPoint8,
}
