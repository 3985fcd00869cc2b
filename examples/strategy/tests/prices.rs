//! The strategy as a process between two services.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use alloy_primitives::aliases::U160;
use alloy_primitives::{Address, I256, U256};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::timeout;
use wakewire::{MessageSink, Precision, SinkFactory};
use wakewire_polygon::codec::{Change, Place, Pool, PoolEvent, Spread, Token};
use wakewire_polygon::price::Price;

const V2: Address = Address::repeat_byte(0x12);
const V3: Address = Address::repeat_byte(0x13);

fn event(number: u64, address: Address, change: Change) -> PoolEvent {
    let token = |byte, decimals| Token {
        address: Some(Address::repeat_byte(byte)),
        decimals: Some(decimals),
    };
    PoolEvent {
        place: Place {
            block_number: 71_000_000,
            log_index: number,
            ..Place::default()
        },
        pool: Pool {
            address,
            token0: token(0x22, 18),
            token1: token(0x33, 6),
        },
        change,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one scene from beginning to end")]
async fn prices_are_printed_and_a_spread_is_signalled() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    // Without relays: a direct service each, and nothing else is different.
    let services = format!(
        "[services.market_data_relay]\ntype = 'direct'\nendpoint = 'unix://{at}/events.sock'\ndomain = 'market_data'\n\
         [services.signal_relay]\ntype = 'direct'\nendpoint = 'unix://{at}/signals.sock'\ndomain = 'signals'\nprecision_context = 'dex_token'\n"
    );
    fs::write(directory.path().join("services.toml"), &services).unwrap();
    let factory = SinkFactory::from_config_str(&services).unwrap();
    let mut signals = factory.create_source("signal_relay").await.unwrap();
    let sink = factory.create_sink("market_data_relay").await.unwrap();
    let reserves = (
        U256::from(2_000_000_000_000_000_000_u64),
        U256::from(6_824_140_000_u64),
    );
    let root: U160 = "4640000000000000000000000".parse().unwrap();
    let sync = Change::Sync {
        reserve0: reserves.0,
        reserve1: reserves.1,
    };
    let swap = Change::SwapV3 {
        sender: V2,
        recipient: V2,
        amount0: I256::MINUS_ONE,
        amount1: I256::ONE,
        sqrt_price_x96: root,
        liquidity: 1,
        tick: 0,
    };
    let removed = PoolEvent {
        place: Place {
            removed: true,
            ..event(2, V3, swap).place
        },
        ..event(2, V3, swap)
    };
    for event in [event(1, V2, sync), event(2, V3, swap), removed] {
        sink.send(event.to_message().with_timestamp(7))
            .await
            .unwrap();
    }
    let mut strategy = Command::new(env!("CARGO_BIN_EXE_strategy"))
        .args(["--json", "--threshold", "0.25"])
        .current_dir(directory.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(strategy.stdout.take().unwrap()).lines();
    let printed = tokio::task::spawn_blocking(move || -> Vec<Value> {
        lines
            .take(4)
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    let printed = timeout(Duration::from_secs(60), printed)
        .await
        .unwrap()
        .unwrap();
    let exact = |line: &Value| {
        let number = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        Price::new(number("numerator"), number("denominator")).unwrap()
    };
    let low = Price::from_reserves(reserves.0, reserves.1).unwrap();
    let high = Price::from_sqrt_x96(root).unwrap();
    assert_eq!(printed[0]["price"], "3412.07");
    assert_eq!(exact(&printed[0]), low);
    assert_eq!(exact(&printed[1]), high);
    assert_eq!(printed[2]["kind"], "spread");
    assert_eq!(
        (&printed[3]["price"], &printed[3]["removed"]),
        (&Value::Null, &true.into())
    );

    let signal = timeout(Duration::from_secs(60), signals.recv())
        .await
        .unwrap();
    let signal = signal.unwrap().unwrap();
    assert_eq!(
        (signal.message_type, signal.precision, signal.timestamp),
        (20, Some(Precision::TokenNative), 7)
    );
    let spread = Spread::read(&signal.payload).unwrap();
    assert_eq!((spread.low.pool, spread.low.price), (V2, low));
    assert_eq!((spread.high.pool, spread.high.price), (V3, high));
    assert_eq!((spread.threshold, spread.cause.log_index), (2500, 2));

    let id = Pid::from_raw(i32::try_from(strategy.id()).unwrap()).unwrap();
    // Says that the signal was processed, so that nothing is waited for.
    signals.close(Duration::from_secs(10)).await;
    kill_process(id, Signal::TERM).unwrap();
    assert_eq!(strategy.wait().unwrap().code(), Some(0));
}
