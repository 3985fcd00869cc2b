//! Request and response with one peer, many at a time.

mod channel;
mod codec;

pub use self::channel::{Connection, ConnectionSettings};
pub use self::codec::{CodecError, MessageCodec, Plain};
