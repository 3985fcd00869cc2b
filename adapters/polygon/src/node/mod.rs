//! What an EVM node says, and the connection to it.

mod connection;
mod log;

use std::time::Duration;

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};
use thiserror::Error;

pub use self::connection::Connection;
pub use self::log::Log;

/// Which logs are asked for.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "users write it as a literal")]
pub struct Filter {
    /// The contracts; none means all.
    pub addresses: Vec<Address>,
    /// The signatures of events, any of them.
    pub signatures: Vec<B256>,
}

impl Filter {
    fn wanted(&self) -> Value {
        let mut wanted = json!({ "topics": [self.signatures] });
        if !self.addresses.is_empty()
            && let Some(fields) = wanted.as_object_mut()
        {
            fields.insert("address".to_owned(), json!(self.addresses));
        }
        wanted
    }
}

/// Why a node did not answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no connection, or it broke.
    #[error("{0}")]
    Connection(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// The node hung up.
    #[error("the node has ended the connection")]
    Ended,
    /// Nothing came for so long.
    #[error("the node has said nothing for {0:?}")]
    Silent(Duration),
    /// The node does not do what it was asked for.
    #[error("the node refuses `{method}`: {cause}")]
    Refused {
        /// What it was asked for.
        method: &'static str,
        /// What it says about that.
        cause: String,
    },
    /// The answer is none that was asked for.
    #[error("the node's answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// What it says makes no sense.
    #[error("the node's answer makes no sense: {0}")]
    Protocol(&'static str),
}

impl From<tokio_tungstenite::tungstenite::Error> for NodeError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::Connection(Box::new(error))
    }
}
