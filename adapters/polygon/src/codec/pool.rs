//! What a pool has done: types 1–7. No I/O, no clock.

use alloy_primitives::{Address, B256};
use bytes::Bytes;
use wakewire::{Message, Precision};

use super::change::{Amounts, Change};
use super::fields::{Malformed, Reader, Writer};
use super::scale::{Amount, Integer, Scale};

/// An event of a pool: what happened to which pool, and where the chain says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct PoolEvent {
    /// Where it stands in the chain.
    pub place: Place,
    /// Which pool, and what is in it.
    pub pool: Pool,
    /// What happened.
    pub change: Change,
}

/// Where a log stands in the chain: block hash and log index name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Place {
    /// The number of its block.
    pub block_number: u64,
    /// The hash of its block.
    pub block_hash: B256,
    /// The transaction that caused it.
    pub transaction_hash: B256,
    /// Its number among the logs of the block.
    pub log_index: u64,
    /// The chain has taken it back in a reorganisation: this is not something new, it is the end of something old.
    pub removed: bool,
}

/// A pool and its two tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Pool {
    /// The contract of the pool.
    pub address: Address,
    /// The token whose address is the lower.
    pub token0: Token,
    /// The other one.
    pub token1: Token,
}

/// What is known of a token. It is not in the logs: the chain must have been asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written as a literal; a field more is another layout"
)]
pub struct Token {
    /// Its contract.
    pub address: Option<Address>,
    /// How many decimals it has. In the payload they are the scale of each of its amounts.
    pub decimals: Option<u8>,
}

impl Token {
    /// Returns the scale of its amounts.
    pub fn scale(&self) -> Scale {
        self.decimals.map_or(Scale::Smallest, Scale::Native)
    }

    /// Returns so many smallest units of it as an amount.
    pub fn amount<T: Integer>(&self, value: T) -> Amount<T> {
        Amount::new(value, self.scale())
    }
}

pub(super) const BLOCK_NUMBER: u8 = 1;
pub(super) const BLOCK_HASH: u8 = 2;
pub(super) const TRANSACTION_HASH: u8 = 3;
pub(super) const LOG_INDEX: u8 = 4;
pub(super) const REMOVED: u8 = 5;
const POOL: u8 = 6;
pub(super) const TOKEN0: u8 = 7;
pub(super) const TOKEN1: u8 = 8;
impl PoolEvent {
    /// Returns the message type, 1–7, by what happened.
    pub const fn message_type(&self) -> u16 {
        self.change.message_type()
    }

    /// Returns the payload.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::new();
        self.place.write(&mut to);
        to.put(POOL, self.pool.address);
        to.put_some(TOKEN0, self.pool.token0.address);
        to.put_some(TOKEN1, self.pool.token1.address);
        self.change.write(&self.pool, &mut to);
        to.finish()
    }

    /// Returns the message, with its type and its precision: the tokens' own.
    pub fn to_message(&self) -> Message {
        Message::new(self.encode())
            .with_type(self.message_type())
            .with_precision(Precision::TokenNative)
    }

    /// Reads the payload of a message of this type.
    ///
    /// # Errors
    ///
    /// Says what of the payload is not as documented, and at which byte.
    pub fn read(message_type: u16, payload: &[u8]) -> Result<Self, Malformed> {
        let from = Reader::new(payload)?;
        let mut amounts = Amounts::of(from);
        let change = Change::read(message_type, &mut amounts)?;
        Ok(Self {
            place: Place::read(from)?,
            pool: Pool {
                address: from.get(POOL)?,
                token0: Token {
                    address: from.optional(TOKEN0)?,
                    decimals: amounts.token0.and_then(Scale::decimals),
                },
                token1: Token {
                    address: from.optional(TOKEN1)?,
                    decimals: amounts.token1.and_then(Scale::decimals),
                },
            },
            change,
        })
    }
}

impl Place {
    pub(super) fn write(&self, to: &mut Writer) {
        to.put(BLOCK_NUMBER, self.block_number);
        to.put(BLOCK_HASH, self.block_hash);
        to.put(TRANSACTION_HASH, self.transaction_hash);
        to.put(LOG_INDEX, self.log_index);
        to.put(REMOVED, self.removed);
    }

    pub(super) fn read(from: Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            block_number: from.get(BLOCK_NUMBER)?,
            block_hash: from.get(BLOCK_HASH)?,
            transaction_hash: from.get(TRANSACTION_HASH)?,
            log_index: from.get(LOG_INDEX)?,
            removed: from.get(REMOVED)?,
        })
    }
}
