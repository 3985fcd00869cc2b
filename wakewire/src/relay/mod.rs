//! The relay: frames of many producers in one log with a cursor per consumer.

pub(crate) mod hub;
