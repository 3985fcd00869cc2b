//! A recorded file: what a node has said of some pools, a JSON object a line. No I/O, no clock.
//!
//! A line is a log, in the node's own form, or a pool with its tokens, which stands before its first log.

use alloy_primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use crate::codec::{Pool, Token};
use crate::node::Log;
use crate::pools::Pools;

/// What is in a recorded file.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "tools write it as a literal")]
pub struct Recording {
    /// The pools.
    pub pools: Pools,
    /// The logs, in their order.
    pub logs: Vec<Log>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Pool(PoolLine),
    Log(Log),
}

#[derive(Serialize, Deserialize)]
struct PoolLine {
    pool: Address,
    token0: Option<Address>,
    decimals0: Option<u8>,
    token1: Option<Address>,
    decimals1: Option<u8>,
}

/// Returns a log as a line.
///
/// # Errors
///
/// None that is known of.
pub fn log_line(log: &Log) -> serde_json::Result<String> {
    Ok(serde_json::to_string(log)? + "\n")
}

/// Returns a pool as a line.
///
/// # Errors
///
/// None that is known of.
pub fn pool_line(pool: &Pool) -> serde_json::Result<String> {
    let line = PoolLine {
        pool: pool.address,
        token0: pool.token0.address,
        decimals0: pool.token0.decimals,
        token1: pool.token1.address,
        decimals1: pool.token1.decimals,
    };
    Ok(serde_json::to_string(&line)? + "\n")
}

impl Recording {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// A line is neither log nor pool: its number, and why.
    pub fn read(text: &str) -> Result<Self, (usize, serde_json::Error)> {
        let mut recording = Self::default();
        for (number, line) in text.lines().enumerate() {
            match serde_json::from_str(line).map_err(|error| (number + 1, error))? {
                Line::Log(log) => recording.logs.push(log),
                Line::Pool(line) => recording.pools.insert(Pool {
                    address: line.pool,
                    token0: Token {
                        address: line.token0,
                        decimals: line.decimals0,
                    },
                    token1: Token {
                        address: line.token1,
                        decimals: line.decimals1,
                    },
                }),
            }
        }
        Ok(recording)
    }

    /// Returns how many blocks the logs span: so much later each repetition is.
    fn span(&self) -> u64 {
        let numbers = self.logs.iter().map(|log| log.block_number);
        let first = numbers.clone().min().unwrap_or_default();
        numbers.max().unwrap_or_default() - first + 1
    }

    /// Returns all logs so many times, each time in later blocks, which have hashes of their own.
    pub fn repeated(&self, times: u64) -> impl Iterator<Item = Log> {
        let span = self.span();
        (0..times).flat_map(move |time| self.logs.iter().map(move |log| later(log, time, span)))
    }
}

fn later(log: &Log, time: u64, span: u64) -> Log {
    if time == 0 {
        return log.clone();
    }
    let other = |hash: B256| hash ^ B256::from(U256::from(time));
    Log {
        block_number: log.block_number.saturating_add(time.saturating_mul(span)),
        block_hash: other(log.block_hash),
        transaction_hash: other(log.transaction_hash),
        ..log.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(block: u64, index: u64) -> Log {
        Log {
            address: Address::repeat_byte(7),
            topics: vec![B256::repeat_byte(1)],
            data: vec![1, 2, 3].into(),
            block_number: block,
            block_hash: B256::repeat_byte(2),
            transaction_hash: B256::repeat_byte(3),
            log_index: index,
            removed: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let token = |byte, decimals| Token {
            address: Some(Address::repeat_byte(byte)),
            decimals,
        };
        let pool = Pool {
            address: Address::repeat_byte(7),
            token0: token(8, Some(18)),
            token1: token(9, None),
        };
        let logs = [log(5, 0), log(6, 1)];
        let text =
            pool_line(&pool).unwrap() + &log_line(&logs[0]).unwrap() + &log_line(&logs[1]).unwrap();
        let recording = Recording::read(&text).unwrap();
        assert_eq!(recording.logs, logs);
        assert_eq!(recording.pools.known(pool.address), pool);
        let (line, _) = Recording::read(&(text + "{}\n")).unwrap_err();
        assert_eq!(line, 4);
    }

    #[test]
    fn a_repetition_lies_in_blocks_of_its_own() {
        let recording = Recording {
            logs: vec![log(5, 0), log(5, 1), log(7, 0)],
            ..Recording::default()
        };
        let logs: Vec<_> = recording.repeated(3).collect();
        let numbers: Vec<_> = logs.iter().map(|log| log.block_number).collect();
        assert_eq!(numbers, [5, 5, 7, 8, 8, 10, 11, 11, 13]);
        let places: std::collections::BTreeSet<_> = logs
            .iter()
            .map(|log| (log.block_hash, log.block_number, log.log_index))
            .collect();
        assert_eq!(places.len(), 9);
        assert_eq!(recording.repeated(0).count(), 0);
    }
}
