//! The vectors of `docs/payloads.md`, and what holds for any bytes.

use alloy_primitives::aliases::U160;
use alloy_primitives::{Address, B256, I256, U256, hex};
use proptest::prelude::*;
use wakewire::{Message, Precision};

use super::*;
use crate::price::Price;

const DOCUMENT: &str = include_str!("../../../../docs/payloads.md");

/// Message type, precision and payload of each vector, as documented.
fn documented() -> Vec<(String, u16, Precision, Vec<u8>)> {
    let (_, vectors) = DOCUMENT.split_once("\n## Vectors\n").unwrap();
    vectors
        .split("\n### ")
        .skip(1)
        .map(|vector| {
            let (name, rest) = vector.split_once("\n\nMessage type ").unwrap();
            let (message_type, rest) = rest.split_once(", precision `").unwrap();
            let (precision, rest) = rest.split_once("`:\n\n").unwrap();
            let rest = rest.strip_prefix("```hex\n").unwrap();
            let (bytes, _) = rest.split_once("```").unwrap();
            let digits: String = bytes
                .lines()
                .flat_map(|line| line.split_once('#').unwrap().0.split_whitespace())
                .collect();
            let precision = match precision {
                "TokenNative" => Precision::TokenNative,
                "FixedPoint8" => Precision::FixedPoint8,
                other => panic!("{other}"),
            };
            (
                name.to_owned(),
                message_type.parse().unwrap(),
                precision,
                hex::decode(digits).unwrap(),
            )
        })
        .collect()
}

const fn place(log_index: u64, removed: bool) -> Place {
    Place {
        block_number: 71_000_000,
        block_hash: B256::repeat_byte(0xb1),
        transaction_hash: B256::repeat_byte(0xa1),
        log_index,
        removed,
    }
}

const WETH: Token = Token {
    address: Some(Address::repeat_byte(0x22)),
    decimals: Some(18),
};
const USDC: Token = Token {
    address: Some(Address::repeat_byte(0x33)),
    decimals: Some(6),
};
const POOL: Pool = Pool {
    address: Address::repeat_byte(0x11),
    token0: WETH,
    token1: USDC,
};
const SENDER: Address = Address::repeat_byte(0x44);
const RECIPIENT: Address = Address::repeat_byte(0x55);
const OWNER: Address = Address::repeat_byte(0x66);

fn event(log_index: u64, change: Change) -> Payload<'static> {
    Payload::Pool(PoolEvent {
        place: place(log_index, false),
        pool: POOL,
        change,
    })
}

fn root() -> U160 {
    "4628000000000000000000000".parse().unwrap()
}

fn wei(text: &str) -> U256 {
    text.parse().unwrap()
}

/// What the vectors say, in the order in which they are documented.
#[expect(clippy::too_many_lines, reason = "one literal a vector")]
fn meant() -> Vec<(&'static str, Payload<'static>)> {
    vec![
        (
            "swap-v2",
            event(
                7,
                Change::SwapV2 {
                    sender: SENDER,
                    recipient: RECIPIENT,
                    in0: wei("1000000000000000000"),
                    in1: U256::ZERO,
                    out0: U256::ZERO,
                    out1: U256::from(3_400_000_000_u64),
                },
            ),
        ),
        (
            "swap-v3-removed",
            Payload::Pool(PoolEvent {
                place: place(8, true),
                pool: Pool {
                    address: POOL.address,
                    ..Pool::default()
                },
                change: Change::SwapV3 {
                    sender: SENDER,
                    recipient: RECIPIENT,
                    amount0: "-2500000000000000000".parse().unwrap(),
                    amount1: "8530000000".parse().unwrap(),
                    sqrt_price_x96: root(),
                    liquidity: (1 << 127) + 5,
                    tick: -194_872,
                },
            }),
        ),
        (
            "sync",
            event(
                9,
                Change::Sync {
                    reserve0: wei("2000000000000000000"),
                    reserve1: U256::from(6_824_140_000_u64),
                },
            ),
        ),
        (
            "mint-v2",
            event(
                10,
                Change::MintV2 {
                    sender: SENDER,
                    amount0: U256::MAX,
                    amount1: U256::from(1),
                },
            ),
        ),
        (
            "mint-v3",
            event(
                11,
                Change::MintV3 {
                    sender: SENDER,
                    owner: OWNER,
                    tick_lower: -887_220,
                    tick_upper: 887_220,
                    liquidity: 123_456_789,
                    amount0: wei("500000000000000000"),
                    amount1: U256::from(1_706_035_000),
                },
            ),
        ),
        (
            "burn-v2",
            event(
                12,
                Change::BurnV2 {
                    sender: SENDER,
                    recipient: RECIPIENT,
                    amount0: wei("100000000000000000"),
                    amount1: U256::from(341_207_000),
                },
            ),
        ),
        (
            "burn-v3",
            event(
                13,
                Change::BurnV3 {
                    owner: OWNER,
                    tick_lower: -60,
                    tick_upper: 60,
                    liquidity: 42,
                    amount0: U256::ZERO,
                    amount1: U256::from(7),
                },
            ),
        ),
        (
            "spread",
            Payload::Spread(Spread {
                cause: place(9, false),
                token0: WETH,
                token1: USDC,
                low: PoolPrice {
                    pool: POOL.address,
                    price: Price::from_reserves(
                        wei("2000000000000000000"),
                        U256::from(6_824_140_000_u64),
                    )
                    .unwrap(),
                },
                high: PoolPrice {
                    pool: Address::repeat_byte(0x12),
                    price: Price::from_sqrt_x96(root()).unwrap(),
                },
                threshold: 1000,
            }),
        ),
        (
            "order",
            Payload::Order(Order {
                id: "a-17",
                market: "ETH-USD",
                side: Side::Buy,
                quantity: Amount::new(U256::from(150_000_000), Scale::FixedPoint8),
                limit: Some(Amount::new(
                    U256::from(341_207_000_000_u64),
                    Scale::FixedPoint8,
                )),
            }),
        ),
        (
            "fill",
            Payload::Fill(Fill {
                order: "a-18",
                id: "0xa1",
                quantity: WETH.amount(wei("1000000000000000000")),
                paid: USDC.amount(U256::from(3_400_000_000_u64)),
                fee: Some(USDC.amount(U256::from(10_200_000))),
            }),
        ),
    ]
}

fn message(payload: &Payload<'_>) -> Message {
    match payload {
        Payload::Pool(event) => event.to_message(),
        Payload::Spread(spread) => spread.to_message(),
        Payload::Order(order) => order.to_message().unwrap(),
        Payload::Fill(fill) => fill.to_message().unwrap(),
    }
}

#[test]
fn the_documented_bytes_are_read_and_written() {
    let documented = documented();
    let meant = meant();
    assert_eq!(documented.len(), meant.len());
    for ((name, message_type, precision, bytes), (what, payload)) in documented.iter().zip(&meant) {
        assert_eq!(name, what);
        let read = Payload::read(*message_type, bytes);
        assert_eq!(read.as_ref(), Ok(payload), "{name}");
        let message = message(payload);
        assert_eq!(message.message_type, *message_type, "{name}");
        assert_eq!(message.precision, Some(*precision), "{name}");
        assert_eq!(hex::encode(&message.payload), hex::encode(bytes), "{name}");
    }
}

#[test]
fn every_field_but_the_tokens_and_choices_must_be_there_with_its_length() {
    for (name, message_type, _, bytes) in documented() {
        for field in Reader::new(&bytes).unwrap().fields() {
            let (before, after) = (
                &bytes[..field.at],
                &bytes[field.at + 3 + field.value.len()..],
            );
            let without = [before, after].concat();
            let may_miss = [7, 8, 69, 71].contains(&field.tag);
            match Payload::read(message_type, &without) {
                Ok(_) => assert!(may_miss, "{name}: {}", field.tag),
                Err(error) => {
                    assert_eq!(error, Malformed::Missing { tag: field.tag }, "{name}");
                }
            }
            // Texts may be of any length.
            if ![64, 65, 66].contains(&field.tag) {
                let [_, low] = u16::try_from(field.value.len() + 1).unwrap().to_be_bytes();
                let longer = [before, &[field.tag, 0, low], field.value, &[0], after].concat();
                let error = Payload::read(message_type, &longer).unwrap_err();
                assert!(
                    matches!(error, Malformed::Length { tag, at, .. } if tag == field.tag && at == field.at),
                    "{name}: {error}"
                );
            }
            let again = [&bytes[..], &bytes[field.at..][..3 + field.value.len()]].concat();
            assert_eq!(
                Payload::read(message_type, &again),
                Err(Malformed::Repeated {
                    tag: field.tag,
                    at: bytes.len()
                }),
                "{name}"
            );
        }
    }
}

#[test]
fn an_unknown_field_is_skipped_and_a_cut_one_refused() {
    for (name, message_type, _, bytes) in documented() {
        let known = Payload::read(message_type, &bytes).unwrap();
        let more = [&[1, 200, 0, 2, 9, 9][..], &bytes[1..], &[250, 0, 0]].concat();
        assert_eq!(Payload::read(message_type, &more), Ok(known), "{name}");
        // Where a limit or a fee begins, an order or a fill may end as well.
        let ends = Reader::new(&bytes).unwrap();
        let ends = [69, 71].map(|tag| ends.find(tag).map(|field| field.at));
        for end in (0..bytes.len()).filter(|end| !ends.contains(&Some(*end))) {
            let error = Payload::read(message_type, &bytes[..end]).unwrap_err();
            assert!(
                matches!(
                    error,
                    Malformed::Truncated { .. }
                        | Malformed::Missing { .. }
                        | Malformed::Version(None)
                ),
                "{name} at {end}: {error}"
            );
        }
    }
}

#[test]
fn what_cannot_be_says_where() {
    let of = |wanted: &str| {
        let found = documented().into_iter().find(|(name, ..)| name == wanted);
        let (_, message_type, _, bytes) = found.unwrap();
        (message_type, bytes)
    };
    for (name, tag, offset, byte, text) in [
        ("swap-v2", 5, 0, 2, "it is 0 or 1"),
        (
            "swap-v2",
            18,
            1,
            6,
            "another amount of this token has another scale",
        ),
        ("sync", 16, 0, 3, "there is no such scale"),
        (
            "swap-v3-removed",
            20,
            1,
            95,
            "it is a square root with 96 binary places",
        ),
        ("order", 67, 0, 3, "it is 1 to buy or 2 to sell"),
        ("order", 64, 0, 0xff, "it is not UTF-8"),
        ("spread", 51, 1, 17, "the other price has another scale"),
    ] {
        let (message_type, mut bytes) = of(name);
        let at = Reader::new(&bytes).unwrap().find(tag).unwrap().at;
        bytes[at + 3 + offset] = byte;
        let error = Payload::read(message_type, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("field {tag} at byte {at}: {text}"),
            "{name}"
        );
    }
    let (_, mut bytes) = of("sync");
    assert_eq!(
        Payload::read(19, &bytes).unwrap_err().to_string(),
        "there is no layout for message type 19"
    );
    bytes[0] = 2;
    assert_eq!(Payload::read(3, &bytes), Err(Malformed::Version(Some(2))));
    // Fixed point in what a pool counts.
    let (message_type, mut bytes) = of("sync");
    let at = Reader::new(&bytes).unwrap().find(16).unwrap().at;
    bytes[at + 3..at + 5].copy_from_slice(&[2, 8]);
    assert!(Payload::read(message_type, &bytes).is_err());
    // A price of nothing.
    let (message_type, mut bytes) = of("spread");
    let at = Reader::new(&bytes).unwrap().find(49).unwrap().at;
    bytes[at + 7 + 40..at + 7 + 80].fill(0);
    assert_eq!(
        Payload::read(message_type, &bytes).unwrap_err().to_string(),
        format!("field 49 at byte {at}: a side of the fraction is 0")
    );
}

#[test]
fn amounts_of_two_precisions_are_no_order_and_no_fill() {
    let quantity = Amount::new(U256::from(1), Scale::Native(18));
    let other = Amount::new(U256::from(1), Scale::FixedPoint8);
    let order = Order {
        id: "",
        market: "",
        side: Side::Sell,
        quantity,
        limit: Some(other),
    };
    assert_eq!(order.to_message(), Err(Unencodable::MixedScales));
    let fill = Fill {
        order: "",
        id: "",
        quantity: other,
        paid: other,
        fee: Some(quantity),
    };
    assert_eq!(fill.to_message(), Err(Unencodable::MixedScales));
    let long = "x".repeat(256);
    let order = Order {
        id: &long,
        limit: None,
        ..order
    };
    let error = order.encode().unwrap_err();
    assert_eq!(error.to_string(), "`id` has 256 bytes, and may have 255");
    // Nor does anybody read one.
    let (_, message_type, _, mut bytes) = documented().pop().unwrap();
    let at = Reader::new(&bytes).unwrap().find(70).unwrap().at;
    bytes[at + 3..at + 5].copy_from_slice(&[2, 8]);
    assert!(matches!(
        Payload::read(message_type, &bytes),
        Err(Malformed::Value { tag: 68, .. })
    ));
}

fn bytes_32() -> impl Strategy<Value = [u8; 32]> {
    // The ends are drawn often.
    prop_oneof![
        Just([0; 32]),
        Just([255; 32]),
        Just({
            let mut least = [0; 32];
            least[0] = 0x80;
            least
        }),
        any::<[u8; 32]>()
    ]
}

prop_compose! {
    fn pool_events()(
        kind in 1_u16..=7,
        hashes: [[u8; 32]; 2],
        addresses: [[u8; 20]; 4],
        tokens: [Option<[u8; 20]>; 2],
        decimals: [Option<u8>; 2],
        numbers: [u64; 2],
        removed: bool,
        amounts in [bytes_32(), bytes_32(), bytes_32(), bytes_32()],
        root: [u8; 20],
        liquidity: u128,
        ticks: [i32; 2],
    ) -> PoolEvent {
        let [sender, recipient, owner, pool] = addresses.map(Address::from);
        let [a, b, c, d] = amounts.map(U256::from_be_bytes);
        let [tick_lower, tick_upper] = ticks;
        let token = |which: usize| Token {
            address: tokens[which].map(Address::from),
            decimals: decimals[which],
        };
        PoolEvent {
            place: Place {
                block_number: numbers[0],
                block_hash: hashes[0].into(),
                transaction_hash: hashes[1].into(),
                log_index: numbers[1],
                removed,
            },
            pool: Pool { address: pool, token0: token(0), token1: token(1) },
            change: match kind {
                1 => Change::SwapV2 { sender, recipient, in0: a, in1: b, out0: c, out1: d },
                2 => Change::SwapV3 {
                    sender,
                    recipient,
                    amount0: I256::from_raw(a),
                    amount1: I256::from_raw(b),
                    sqrt_price_x96: U160::from_be_bytes(root),
                    liquidity,
                    tick: tick_lower,
                },
                3 => Change::Sync { reserve0: a, reserve1: b },
                4 => Change::MintV2 { sender, amount0: a, amount1: b },
                5 => Change::MintV3 { sender, owner, tick_lower, tick_upper, liquidity, amount0: a, amount1: b },
                6 => Change::BurnV2 { sender, recipient, amount0: a, amount1: b },
                _ => Change::BurnV3 { owner, tick_lower, tick_upper, liquidity, amount0: a, amount1: b },
            },
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(message_type in 0_u16..80, bytes: Vec<u8>) {
        let read = Payload::read(message_type, &bytes);
        prop_assert!(read.is_err() || Reader::new(&bytes).is_ok());
    }

    /// Random bytes are seldom well formed; a vector with a few bytes that are others comes further.
    #[test]
    fn any_damage_is_read_or_refused(
        vector in 0_usize..10,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        let (_, message_type, _, mut bytes) = documented().swap_remove(vector);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(payload) = Payload::read(message_type, &bytes) {
            // What is read is what is written.
            let again = message(&payload);
            prop_assert_eq!(Payload::read(message_type, &again.payload), Ok(payload));
        }
        let cut = Payload::read(message_type, &bytes[..cut.index(bytes.len())]);
        prop_assert!(cut.is_err() || message_type >= 40);
    }

    #[test]
    fn what_is_written_is_read(event in pool_events()) {
        let message = event.to_message();
        prop_assert_eq!(PoolEvent::read(message.message_type, &message.payload), Ok(event));
    }

    #[test]
    fn fields_of_any_tags_and_lengths_are_found(fields: std::collections::BTreeMap<u8, Vec<u8>>) {
        let mut payload = vec![1];
        for (tag, value) in &fields {
            payload.push(*tag);
            payload.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            payload.extend(value);
        }
        let reader = Reader::new(&payload).unwrap();
        for (tag, value) in &fields {
            prop_assert_eq!(reader.find(*tag).map(|field| field.value), Some(&value[..]));
        }
        prop_assert_eq!(reader.fields().count(), fields.len());
    }
}
