//! From a log to what happened in a pool: the events of Uniswap V2 and V3 pools. No I/O, no clock.

use alloy_primitives::{B256, U256};
use alloy_sol_types::{SolEvent, sol};

use crate::codec::Change;

/// The events as the contracts declare them; the two versions share names.
mod v2 {
    super::sol! {
        event Swap(address indexed sender, uint256 amount0In, uint256 amount1In, uint256 amount0Out, uint256 amount1Out, address indexed to);
        event Sync(uint112 reserve0, uint112 reserve1);
        event Mint(address indexed sender, uint256 amount0, uint256 amount1);
        event Burn(address indexed sender, uint256 amount0, uint256 amount1, address indexed to);
    }
}

mod v3 {
    super::sol! {
        event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick);
        event Mint(address sender, address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1);
        event Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1);
    }
}

/// The first topics of the events that are decoded: what a node is asked for.
pub const SIGNATURES: [B256; 7] = [
    v2::Swap::SIGNATURE_HASH,
    v3::Swap::SIGNATURE_HASH,
    v2::Sync::SIGNATURE_HASH,
    v2::Mint::SIGNATURE_HASH,
    v3::Mint::SIGNATURE_HASH,
    v2::Burn::SIGNATURE_HASH,
    v3::Burn::SIGNATURE_HASH,
];

/// A log has the first topic of a known event, and is not one: another contract's, most likely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is not a `{event}`: {cause}")]
#[non_exhaustive]
pub struct Undecodable {
    /// The signature of the event that it would have to be.
    pub event: &'static str,
    /// What is wrong with it.
    pub cause: String,
}

/// Returns what happened, as a log with these topics and data says it; `None` if it is of something else.
///
/// # Errors
///
/// Refuses what a pool cannot have written: topics or words too many or too few, or numbers beyond their type.
pub fn decode(topics: &[B256], data: &[u8]) -> Result<Option<Change>, Undecodable> {
    let Some(signature) = topics.first() else {
        return Ok(None);
    };
    Ok(Some(match *signature {
        v2::Swap::SIGNATURE_HASH => {
            let event: v2::Swap = read(topics, data)?;
            Change::SwapV2 {
                sender: event.sender,
                recipient: event.to,
                in0: event.amount0In,
                in1: event.amount1In,
                out0: event.amount0Out,
                out1: event.amount1Out,
            }
        }
        v3::Swap::SIGNATURE_HASH => {
            let event: v3::Swap = read(topics, data)?;
            Change::SwapV3 {
                sender: event.sender,
                recipient: event.recipient,
                amount0: event.amount0,
                amount1: event.amount1,
                sqrt_price_x96: event.sqrtPriceX96,
                liquidity: event.liquidity,
                tick: event.tick.as_i32(),
            }
        }
        v2::Sync::SIGNATURE_HASH => {
            let event: v2::Sync = read(topics, data)?;
            Change::Sync {
                reserve0: U256::from(event.reserve0),
                reserve1: U256::from(event.reserve1),
            }
        }
        v2::Mint::SIGNATURE_HASH => {
            let event: v2::Mint = read(topics, data)?;
            Change::MintV2 {
                sender: event.sender,
                amount0: event.amount0,
                amount1: event.amount1,
            }
        }
        v3::Mint::SIGNATURE_HASH => {
            let event: v3::Mint = read(topics, data)?;
            Change::MintV3 {
                sender: event.sender,
                owner: event.owner,
                tick_lower: event.tickLower.as_i32(),
                tick_upper: event.tickUpper.as_i32(),
                liquidity: event.amount,
                amount0: event.amount0,
                amount1: event.amount1,
            }
        }
        v2::Burn::SIGNATURE_HASH => {
            let event: v2::Burn = read(topics, data)?;
            Change::BurnV2 {
                sender: event.sender,
                recipient: event.to,
                amount0: event.amount0,
                amount1: event.amount1,
            }
        }
        v3::Burn::SIGNATURE_HASH => {
            let event: v3::Burn = read(topics, data)?;
            Change::BurnV3 {
                owner: event.owner,
                tick_lower: event.tickLower.as_i32(),
                tick_upper: event.tickUpper.as_i32(),
                liquidity: event.amount,
                amount0: event.amount0,
                amount1: event.amount1,
            }
        }
        _ => return Ok(None),
    }))
}

fn read<E: SolEvent>(topics: &[B256], data: &[u8]) -> Result<E, Undecodable> {
    E::decode_raw_log_validate(topics.iter().copied(), data).map_err(|error| Undecodable {
        event: E::SIGNATURE,
        cause: error.to_string(),
    })
}
