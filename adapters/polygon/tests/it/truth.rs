//! What a log says, read by hand from its words, and what an event says: to be compared.

use alloy_primitives::{B256, I256, U256, keccak256};
use serde_json::Value;
use wakewire_polygon::codec::{Change, PoolEvent};
use wakewire_polygon::node::Log;

/// An event as text, with what names it first: block hash, log index, and whether it was taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact {
    pub(crate) block: u64,
    pub(crate) hash: B256,
    pub(crate) index: u64,
    pub(crate) removed: bool,
    pub(crate) transaction: B256,
    pub(crate) kind: &'static str,
    pub(crate) amounts: Vec<String>,
}

/// What kind of event has this signature, and which words of its data are signed and unsigned amounts.
fn kinds() -> [(&'static str, &'static str, &'static str); 7] {
    [
        (
            "SwapV2",
            "Swap(address,uint256,uint256,uint256,uint256,address)",
            "uuuu",
        ),
        (
            "SwapV3",
            "Swap(address,address,int256,int256,uint160,uint128,int24)",
            "iiuui",
        ),
        ("Sync", "Sync(uint112,uint112)", "uu"),
        ("MintV2", "Mint(address,uint256,uint256)", "uu"),
        (
            "MintV3",
            "Mint(address,address,int24,int24,uint128,uint256,uint256)",
            "-uuu",
        ),
        ("BurnV2", "Burn(address,uint256,uint256,address)", "uu"),
        (
            "BurnV3",
            "Burn(address,int24,int24,uint128,uint256,uint256)",
            "uuu",
        ),
    ]
}

/// What the chain has.
pub(crate) fn of_log(log: &Log) -> Fact {
    let (kind, _, words) = kinds()
        .into_iter()
        .find(|(_, signature, _)| keccak256(signature) == log.topics[0])
        .unwrap();
    let amounts = words
        .chars()
        .zip(log.data.chunks(32))
        .filter_map(|(word, bytes)| {
            let number = U256::from_be_slice(bytes);
            match word {
                'u' => Some(number.to_string()),
                'i' => Some(I256::from_raw(number).to_string()),
                _ => None,
            }
        });
    Fact {
        block: log.block_number,
        hash: log.block_hash,
        index: log.log_index,
        removed: log.removed,
        transaction: log.transaction_hash,
        kind,
        amounts: amounts.collect(),
    }
}

/// What a consumer was told.
pub(crate) fn of_event(event: &PoolEvent) -> Fact {
    let text =
        |numbers: &[&dyn ToString]| numbers.iter().map(|number| number.to_string()).collect();
    let (kind, amounts) = match event.change {
        Change::SwapV2 {
            in0,
            in1,
            out0,
            out1,
            ..
        } => ("SwapV2", text(&[&in0, &in1, &out0, &out1])),
        Change::SwapV3 {
            amount0,
            amount1,
            sqrt_price_x96,
            liquidity,
            tick,
            ..
        } => (
            "SwapV3",
            text(&[&amount0, &amount1, &sqrt_price_x96, &liquidity, &tick]),
        ),
        Change::Sync { reserve0, reserve1 } => ("Sync", text(&[&reserve0, &reserve1])),
        Change::MintV2 {
            amount0, amount1, ..
        } => ("MintV2", text(&[&amount0, &amount1])),
        Change::MintV3 {
            liquidity,
            amount0,
            amount1,
            ..
        } => ("MintV3", text(&[&liquidity, &amount0, &amount1])),
        Change::BurnV2 {
            amount0, amount1, ..
        } => ("BurnV2", text(&[&amount0, &amount1])),
        Change::BurnV3 {
            liquidity,
            amount0,
            amount1,
            ..
        } => ("BurnV3", text(&[&liquidity, &amount0, &amount1])),
    };
    Fact {
        block: event.place.block_number,
        hash: event.place.block_hash,
        index: event.place.log_index,
        removed: event.place.removed,
        transaction: event.place.transaction_hash,
        kind,
        amounts,
    }
}

/// What a recorder has written: the same names as the contracts' events have.
pub(crate) fn of_line(line: &Value) -> Fact {
    let text = |name: &str| {
        line[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {line}"))
    };
    let (kind, names): (_, &[&str]) = match text("kind") {
        "SwapV2" => ("SwapV2", &["in0", "in1", "out0", "out1"]),
        "SwapV3" => {
            let names = &["amount0", "amount1", "sqrt_price_x96", "liquidity", "tick"];
            ("SwapV3", names)
        }
        "Sync" => ("Sync", &["reserve0", "reserve1"]),
        "MintV2" => ("MintV2", &["amount0", "amount1"]),
        "MintV3" => ("MintV3", &["liquidity", "amount0", "amount1"]),
        "BurnV2" => ("BurnV2", &["amount0", "amount1"]),
        "BurnV3" => ("BurnV3", &["liquidity", "amount0", "amount1"]),
        other => panic!("{other}"),
    };
    Fact {
        block: line["block_number"].as_u64().unwrap(),
        hash: text("block_hash").parse().unwrap(),
        index: line["log_index"].as_u64().unwrap(),
        removed: line["removed"].as_bool().unwrap(),
        transaction: text("transaction_hash").parse().unwrap(),
        kind,
        amounts: names.iter().map(|name| text(name).to_owned()).collect(),
    }
}
