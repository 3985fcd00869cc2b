//! The relay: frames of many producers in one log with a cursor per consumer.

mod attach;
mod consumer;
pub(crate) mod effects;
pub(crate) mod hub;
mod log;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod schedules;
mod sessions;
pub(crate) mod view;
