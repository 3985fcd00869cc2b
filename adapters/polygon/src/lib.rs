//! Pool events of an EVM chain as messages.

pub mod node;
mod progress;

pub use progress::Progress;
