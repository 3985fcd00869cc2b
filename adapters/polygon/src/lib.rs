//! Pool events of an EVM chain as messages: their layout, how a log is decoded, and what a price is.
//!
//! Amounts and prices are exact integers and fractions of them; nothing passes through a float.

pub mod adapter;
pub mod codec;
pub mod events;
pub mod follow;
pub mod node;
pub mod pools;
pub mod position;
pub mod price;
pub mod progress;
pub mod recording;
pub mod replay;
