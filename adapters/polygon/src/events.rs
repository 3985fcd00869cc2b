//! From a log to what happened in a pool: the events of Uniswap V2 and V3 pools. No I/O, no clock.

use alloy_primitives::{B256, U256};
use alloy_sol_types::abi::AbiDecoderConfig;
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
    let config = AbiDecoderConfig::new().strict(true);
    E::decode_raw_log_with_config(topics.iter().copied(), data, config).map_err(|error| {
        Undecodable {
            event: E::SIGNATURE,
            cause: error.to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U160;
    use alloy_primitives::{Address, I256, b256, keccak256};

    use super::*;

    const A: Address = Address::repeat_byte(0xaa);
    const B: Address = Address::repeat_byte(0xbb);

    /// The first topics as they are known on the chain, not as they are computed here.
    const KNOWN: [(&str, B256); 7] = [
        (
            "Swap(address,uint256,uint256,uint256,uint256,address)",
            b256!("d78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822"),
        ),
        (
            "Swap(address,address,int256,int256,uint160,uint128,int24)",
            b256!("c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"),
        ),
        (
            "Sync(uint112,uint112)",
            b256!("1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"),
        ),
        (
            "Mint(address,uint256,uint256)",
            b256!("4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f"),
        ),
        (
            "Mint(address,address,int24,int24,uint128,uint256,uint256)",
            b256!("7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde"),
        ),
        (
            "Burn(address,uint256,uint256,address)",
            b256!("dccd412f0b1252819cb1fd330b93224ca42612892bb3f4f789976e6d81936496"),
        ),
        (
            "Burn(address,int24,int24,uint128,uint256,uint256)",
            b256!("0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c"),
        ),
    ];

    fn word(address: Address) -> B256 {
        address.into_word()
    }

    /// A signed number as a word.
    fn signed(number: i64) -> B256 {
        I256::try_from(number).unwrap().to_be_bytes().into()
    }

    fn number(number: u64) -> B256 {
        U256::from(number).into()
    }

    fn largest(bits: usize) -> B256 {
        (U256::MAX >> (256 - bits)).into()
    }

    #[expect(clippy::too_many_lines, reason = "one literal an event")]
    /// One log of each kind, word by word: topics behind the first, data, and what it means.
    fn logs() -> [(Vec<B256>, Vec<B256>, Change); 7] {
        [
            (
                vec![word(A), word(B)],
                vec![number(1), number(2), largest(256), number(4)],
                Change::SwapV2 {
                    sender: A,
                    recipient: B,
                    in0: U256::from(1),
                    in1: U256::from(2),
                    out0: U256::MAX,
                    out1: U256::from(4),
                },
            ),
            (
                vec![word(A), word(B)],
                vec![
                    signed(-5),
                    signed(6),
                    largest(160),
                    largest(128),
                    signed(-887_272),
                ],
                Change::SwapV3 {
                    sender: A,
                    recipient: B,
                    amount0: "-5".parse().unwrap(),
                    amount1: "6".parse().unwrap(),
                    sqrt_price_x96: U160::MAX,
                    liquidity: u128::MAX,
                    tick: -887_272,
                },
            ),
            (
                vec![],
                vec![largest(112), number(8)],
                Change::Sync {
                    reserve0: U256::MAX >> (256 - 112),
                    reserve1: U256::from(8),
                },
            ),
            (
                vec![word(A)],
                vec![number(9), largest(256)],
                Change::MintV2 {
                    sender: A,
                    amount0: U256::from(9),
                    amount1: U256::MAX,
                },
            ),
            (
                vec![word(B), signed(-60), signed(120)],
                vec![word(A), number(10), number(11), number(12)],
                Change::MintV3 {
                    sender: A,
                    owner: B,
                    tick_lower: -60,
                    tick_upper: 120,
                    liquidity: 10,
                    amount0: U256::from(11),
                    amount1: U256::from(12),
                },
            ),
            (
                vec![word(A), word(B)],
                vec![number(13), number(14)],
                Change::BurnV2 {
                    sender: A,
                    recipient: B,
                    amount0: U256::from(13),
                    amount1: U256::from(14),
                },
            ),
            (
                vec![word(B), signed(-120), signed(-60)],
                vec![number(15), number(16), number(17)],
                Change::BurnV3 {
                    owner: B,
                    tick_lower: -120,
                    tick_upper: -60,
                    liquidity: 15,
                    amount0: U256::from(16),
                    amount1: U256::from(17),
                },
            ),
        ]
    }

    fn topics(signature: B256, others: &[B256]) -> Vec<B256> {
        [&[signature], others].concat()
    }

    #[test]
    fn the_signatures_are_those_of_the_chain() {
        for ((text, hash), ours) in KNOWN.iter().zip(SIGNATURES) {
            assert_eq!(ours, *hash, "{text}");
            assert_eq!(keccak256(text), *hash, "{text}");
        }
    }

    #[test]
    fn every_event_is_decoded() {
        for (signature, (indexed, data, change)) in SIGNATURES.into_iter().zip(logs()) {
            let topics = topics(signature, &indexed);
            assert_eq!(decode(&topics, data.concat().as_slice()), Ok(Some(change)));
        }
    }

    #[test]
    fn what_is_of_something_else_is_none() {
        assert_eq!(decode(&[], &[]), Ok(None));
        let transfer = keccak256("Transfer(address,address,uint256)");
        let (indexed, data, _) = &logs()[0];
        assert_eq!(
            decode(&topics(transfer, indexed), data.concat().as_slice()),
            Ok(None)
        );
    }

    #[test]
    fn what_no_pool_has_written_is_refused() {
        for ((text, signature), (indexed, data, _)) in KNOWN.into_iter().zip(logs()) {
            let whole = data.concat();
            let right = topics(signature, &indexed);
            let refused = |topics: &[B256], data: &[u8], why: &str| {
                let Err(error) = decode(topics, data) else {
                    panic!("{text}: {why}");
                };
                assert_eq!(error.event, text, "{why}");
            };
            for end in 0..whole.len() {
                refused(&right, &whole[..end], "cut");
            }
            refused(&right, &[&whole[..], &[0; 32]].concat(), "a word too many");
            refused(&right, &[&whole[..], &[0]].concat(), "a byte too many");
            refused(
                &topics(right[0], &[&indexed[..], &[B256::ZERO]].concat()),
                &whole,
                "a topic too many",
            );
            for end in 1..right.len() {
                refused(&right[..end], &whole, "a topic too few");
            }
            // Every indexed argument is an address or a tick: smaller than a word.
            for dirty in 1..right.len() {
                let mut topics = right.clone();
                topics[dirty] = B256::repeat_byte(0x55);
                refused(&topics, &whole, "a topic beyond its type");
            }
        }
    }

    #[test]
    fn a_number_beyond_its_type_is_refused() {
        // Event, word of its data, the least that does not fit.
        for (event, at, bits) in [
            (1, 2, 160),
            (1, 3, 128),
            (2, 0, 112),
            (2, 1, 112),
            (4, 1, 128),
            (6, 0, 128),
        ] {
            let (indexed, mut data, _) = logs()[event].clone();
            data[at] = B256::from(U256::from(1_u8) << bits);
            let error = decode(
                &topics(SIGNATURES[event], &indexed),
                data.concat().as_slice(),
            );
            assert!(error.is_err(), "{event} {at}");
        }
        let (indexed, mut data, _) = logs()[1].clone();
        data[4] = signed(1 << 23);
        assert!(decode(&topics(SIGNATURES[1], &indexed), data.concat().as_slice()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_log_is_decoded_or_refused(
            event in 0_usize..7,
            others in proptest::collection::vec(proptest::prelude::any::<[u8; 32]>(), 0..4),
            data: Vec<u8>,
        ) {
            let others: Vec<B256> = others.into_iter().map(B256::from).collect();
            // A known signature is decoded or refused, never passed over.
            let decoded = decode(&topics(SIGNATURES[event], &others), &data);
            proptest::prop_assert!(decoded != Ok(None));
        }
    }
}
