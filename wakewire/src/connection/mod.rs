//! Request and response over many nodes.
//!
//! A sink sends one way, in order, and owes what it accepted. A request wants an answer, from any node that is well,
//! now. So this layer stands beside the sinks and shares their transports only:
//!
//! * a **pool** keeps connections to one node for the next use: [`ConnectionPool`]
//! * a **manager** has a pool for each node, knows which nodes are healthy, and spreads the load: [`ConnectionManager`]
//! * a **retrier** repeats what may be repeated: [`Retrier`]; [`is_retryable`] says what that is
//!
//! ```text
//! execute(request)
//!    │ again, if it was certainly never written, and the budget allows
//!    ▼
//! manager ── health: which nodes ── balance: which of them
//!    │
//!    ▼
//! pool of the node ── a connection that lies idle, or a fresh one
//! ```
//!
//! Everything is lazy: nothing is opened and no task runs before the first request. What decides is pure and takes the
//! time as an argument: `pool/stock.rs`, `health.rs`, `balance.rs`, `budget.rs`. The rest carries it out.
//!
//! Settings are in [`ConnectionConfig`]: in code, from a TOML file, from the environment.

mod balance;
mod budget;
mod clock;
mod config;
mod faults;
mod health;
mod load;
mod manager;
mod node;
mod pool;
mod report;
mod retry;
mod task;
#[cfg(test)]
mod tests;

/// What a password is kept in; `"…".into()` makes one.
pub use secrecy::SecretString;

pub use self::balance::Balance;
pub use self::config::{ConnectionConfig, DEFAULT_PORT, PoolConfig, RetryConfig};
pub use self::faults::{ConfigFault, ConfigFaults};
pub use self::health::{NodeHealth, NodeId, Timestamp};
pub use self::manager::ConnectionManager;
pub use self::node::{NodeConnection, Opening, Pooled};
pub use self::pool::{ClosedConnections, ConnectionPool, PoolStatistics, PooledConnection};
pub use self::report::DisconnectReport;
pub use self::retry::{
    Retrier, RetryBudget, execute_with_retry, is_retryable, is_retryable_if_idempotent,
};
