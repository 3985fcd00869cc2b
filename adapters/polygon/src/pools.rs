//! Which tokens a pool trades, and their decimals: asked once, and kept.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::codec::{Pool, Token};
use crate::node::{Connection, NodeError};

/// The pools that are known.
#[derive(Debug, Default)]
pub struct Pools(HashMap<Address, Pool>);

impl Pools {
    /// Returns what is known of a pool; asks the node if nothing is.
    ///
    /// What a contract does not tell, because it is no such pool or token, stays unsaid.
    ///
    /// # Errors
    ///
    /// The node does not answer.
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::ask`].
    pub async fn get(
        &mut self,
        address: Address,
        node: &mut Connection,
    ) -> Result<Pool, NodeError> {
        if let Some(pool) = self.0.get(&address) {
            return Ok(*pool);
        }
        let pool = Pool {
            address,
            token0: token(node, address, TOKEN0).await?,
            token1: token(node, address, TOKEN1).await?,
        };
        self.insert(pool);
        Ok(pool)
    }

    /// Returns what is known of a pool, without asking anybody.
    pub fn known(&self, address: Address) -> Pool {
        let unknown = Token {
            address: None,
            decimals: None,
        };
        self.0.get(&address).copied().unwrap_or(Pool {
            address,
            token0: unknown,
            token1: unknown,
        })
    }

    /// Keeps what somebody else has found out.
    pub fn insert(&mut self, pool: Pool) {
        if self.0.len() >= MOST {
            // Rare and harmless: those that are still in use are asked again.
            self.0.clear();
        }
        self.0.insert(pool.address, pool);
    }
}

async fn token(node: &mut Connection, pool: Address, which: [u8; 4]) -> Result<Token, NodeError> {
    let word_of_pool = word(node, pool, which).await?.map(B256::from);
    let address = word_of_pool
        .filter(|word| word.starts_with(&[0; 12]))
        .map(Address::from_word);
    let decimals = match address {
        Some(address) => word(node, address, DECIMALS).await?,
        None => None,
    };
    let decimals = decimals.and_then(|word| u8::try_from(U256::from_be_bytes(word)).ok());
    Ok(Token { address, decimals })
}

/// Calls a function without arguments that returns one word.
async fn word(
    node: &mut Connection,
    contract: Address,
    function: [u8; 4],
) -> Result<Option<[u8; 32]>, NodeError> {
    match node.call(contract, Bytes::from(function.to_vec())).await {
        Ok(answer) => Ok(answer.as_ref().try_into().ok()),
        Err(NodeError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `token0()`.
const TOKEN0: [u8; 4] = [0x0d, 0xfe, 0x16, 0x81];
/// `token1()`.
const TOKEN1: [u8; 4] = [0xd2, 0x12, 0x20, 0xa7];
/// `decimals()`.
const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];

/// How many pools are kept: more than are traded on a chain in a day.
const MOST: usize = 100_000;
