//! What an EVM node says, and the connection to it.

mod log;

pub use self::log::Log;
