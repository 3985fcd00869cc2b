//! A test kit: services without sockets, peers and wires that misbehave as a script says, and what must add up.
//!
//! | for | there is |
//! |---|---|
//! | a program that asks a factory for names | [`Network`]: the same names in memory, with real sinks, sources and relays |
//! | code that takes a [`MessageSink`](crate::MessageSink) | [`RecordingSink`]: remembers what it was sent, and answers as scripted |
//! | a peer that refuses, closes, is silent, reads nothing | [`Proxy`] with a [`Plan`], in memory, over Unix sockets and TCP |
//! | a wire that is cut, stalls, is slow, flips, doubles or swaps bytes | [`Faults`] in a [`Plan`] |
//! | nothing lost, doubled, reordered or damaged | [`Sequence`] and [`Checker`] |
//! | every accepted message accounted for | [`assert_ledger`] |
//!
//! Built with the feature `test-kit`, for `[dev-dependencies]`. What it finds wrong it says by panicking, as tests do.

mod checker;
mod faults;
mod ledger;
mod network;
mod proxy;
mod recording;

pub use self::checker::{Checker, Sequence, Verdict};
pub use self::faults::Faults;
pub use self::ledger::{Ledgers, assert_ledger};
pub use self::network::Network;
pub use self::proxy::{Plan, Proxy};
pub use self::recording::{Answer, RecordingSink};
