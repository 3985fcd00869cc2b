//! A log as an EVM node tells it. No I/O, no clock.

use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

/// What a contract has said in a transaction: the node's JSON object, as `eth_getLogs` and `eth_subscribe` give it.
///
/// Read and written in the node's own form, so that a recorded file is what the node said. Fields of the node that are
/// not here are passed over; a log that is not in a block yet has no number, and is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::exhaustive_structs,
    reason = "what the node's interface defines; tests and tools write it as a literal"
)]
pub struct Log {
    /// The contract: for the events of a pool, the pool.
    pub address: Address,
    /// The signature of the event, and its indexed arguments.
    pub topics: Vec<B256>,
    /// The other arguments.
    pub data: Bytes,
    /// The number of its block.
    #[serde(with = "quantity")]
    pub block_number: u64,
    /// The hash of its block: after a reorganisation another block has the number.
    pub block_hash: B256,
    /// The transaction that it came from.
    pub transaction_hash: B256,
    /// Its place among the logs of the block.
    #[serde(with = "quantity")]
    pub log_index: u64,
    /// Whether its block is no longer part of the chain: what it said has not happened.
    #[serde(default)]
    pub removed: bool,
}

/// Numbers as the node writes them: hexadecimal, with `0x`.
pub(super) mod quantity {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::node) fn parse(text: &str) -> Option<u64> {
        u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
    }

    pub(in crate::node) fn written(number: u64) -> String {
        format!("{number:#x}")
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `with` passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&written(*number))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no number of 64 bits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = r#"{"address":"0x0d500b1d8e8ef31e21c99d1db9a6444d3adf1270","topics":["0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"],"data":"0x0102","blockNumber":"0x1f","blockHash":"0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1","transactionHash":"0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1","logIndex":"0x2","removed":true}"#;

    #[test]
    fn it_is_read_and_written_as_the_node_does() {
        let log: Log = serde_json::from_str(TOLD).unwrap();
        assert_eq!((log.block_number, log.log_index), (31, 2));
        assert!(log.removed);
        assert_eq!(log.data.as_ref(), [1, 2]);
        assert_eq!(serde_json::to_string(&log).unwrap(), TOLD);
    }

    #[test]
    fn further_fields_are_passed_over_and_a_pending_log_is_refused() {
        let more = TOLD.replacen('{', r#"{"transactionIndex":"0x0","#, 1);
        assert!(serde_json::from_str::<Log>(&more).is_ok());
        for wrong in ["null", "\"31\"", "\"0x11112222333344445\"", "31"] {
            let pending = TOLD.replace(r#""0x1f""#, wrong);
            assert!(serde_json::from_str::<Log>(&pending).is_err(), "{wrong}");
        }
    }
}
