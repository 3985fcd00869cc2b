//! The whole system: adapter, two relays, strategy, recorders, each a process, and each is killed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{U256, U512};
use serde_json::{Value, json};

use crate::chain::{Anvil, Market};
use crate::system::{Place, Running, until};
use crate::truth::{self, Fact};
use crate::witness::{Witness, held};

/// The market's relay keeps what it takes, so that the strategy may come when the adapter has been replaced.
const SERVICES: &str = "
[services.market_data_relay]
type = 'relay'
endpoint = 'unix://DIRECTORY/market_data.sock'
domain = 'market_data'
precision_context = 'dex_token'
consumers = ['witness', 'recorder', 'strategy']
store_and_forward = 'DIRECTORY/store'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }

[services.signal_relay]
type = 'relay'
endpoint = 'unix://DIRECTORY/signals.sock'
domain = 'signals'
consumers = ['recorder']
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

fn recorder(place: &Place, service: &str) -> Running {
    let output = format!("{service}.jsonl");
    let name = format!("recorder of {service}");
    place.start(&name, "recorder", &["--from", service, "--output", &output])
}

/// What a recorder has written, as far as the lines are whole.
fn recorded(place: &Place, service: &str) -> Vec<Value> {
    lines(
        &std::fs::read_to_string(place.path().join(format!("{service}.jsonl"))).unwrap_or_default(),
    )
}

fn lines(text: &str) -> Vec<Value> {
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until the recorder holds what the chain has, amounts and all, and has it once.
async fn recorder_has_all(place: &Place, market: &mut Market) -> Vec<Fact> {
    let chain: Vec<Fact> = market.logs().await.iter().map(truth::of_log).collect();
    let facts = || -> Vec<Fact> {
        recorded(place, "market_data_relay")
            .iter()
            .map(truth::of_line)
            .collect()
    };
    until("the recorder has what the chain has", || {
        held(&facts()) == chain
    })
    .await;
    facts()
}

/// The last price of each pool, as the strategy prints it.
fn prices(strategy: &Running) -> BTreeMap<String, (U512, U512)> {
    let printed = lines(&strategy.printed());
    let quotes = printed.iter().filter(|line| line["kind"] == "price");
    let number = |quote: &Value, name: &str| quote[name].as_str().map(|text| text.parse().unwrap());
    quotes
        .filter_map(|quote| {
            let price = (number(quote, "numerator")?, number(quote, "denominator")?);
            Some((quote["pool"].as_str().unwrap().to_lowercase(), price))
        })
        .collect()
}

/// Waits until the strategy's prices are what the pools say of themselves, to the last digit.
async fn strategy_agrees(strategy: &Running, market: &mut Market) {
    let (reserve0, reserve1) = market.reserves().await;
    let root = U512::from(market.sqrt_price().await);
    let price =
        |pool: String, numerator, denominator| (pool.to_lowercase(), (numerator, denominator));
    let own = BTreeMap::from([
        price(
            market.v2.to_string(),
            U512::from(reserve1),
            U512::from(reserve0),
        ),
        price(market.v3.to_string(), root * root, U512::from(1) << 192),
    ]);
    until("the strategy's prices are the pools' own", || {
        prices(strategy) == own
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "it is one story, told in its order")]
async fn everybody_is_killed_and_each_trade_arrives_once() {
    let place = Place::new(SERVICES);
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    // First those who have nobody to talk to yet; the strategy comes last of all.
    let adapter = place.adapter(&market.anvil.url());
    let witness = Witness::of(&place, "market_data_relay", "witness");
    let market_recorder = recorder(&place, "market_data_relay");
    let signal_recorder = recorder(&place, "signal_relay");
    market.mint_v2(100_000).await;
    market.burn_v2(U256::from(1_000_000_000)).await;
    market.mint_v3(5_000_000_000_000_000).await;
    let relay = place.relay("market_data_relay");
    witness.has_all(&mut market).await;
    let mut number = 0;
    let mut trades = async |market: &mut Market, count: u64| {
        for _ in 0..count {
            market.trade(number).await;
            number += 1;
        }
    };
    trades(&mut market, 12).await;
    market_recorder.kill().await;

    // The relay dies with whatever it has in hand.
    relay.kill().await;
    trades(&mut market, 12).await;
    let relay = place.relay("market_data_relay");
    trades(&mut market, 3).await;
    witness.has_all(&mut market).await;
    let market_recorder = recorder(&place, "market_data_relay");
    recorder_has_all(&place, &mut market).await;

    // The node dies, and is asked afterwards for what nobody told.
    market.anvil.kill().await;
    market.anvil.run().await;
    trades(&mut market, 12).await;
    witness.has_all(&mut market).await;

    // The adapter ends, and goes on; then it is killed when all is delivered, and goes on.
    adapter.end().await;
    trades(&mut market, 6).await;
    let adapter = place.adapter(&market.anvil.url());
    witness.has_all(&mut market).await;
    adapter.kill().await;
    trades(&mut market, 6).await;
    let adapter = place.adapter(&market.anvil.url());
    witness.has_all(&mut market).await;

    // Three blocks are exchanged behind the adapter's back.
    let before = market.logs().await.len();
    market.anvil.ask("anvil_reorg", json!([3, []])).await;
    assert!(market.logs().await.len() < before);
    // One more, so that its number tells this chain from the one before.
    market.anvil.ask("evm_mine", json!([])).await;
    market.anvil.kill().await;
    market.anvil.run().await;
    witness.has_all(&mut market).await;
    let facts = recorder_has_all(&place, &mut market).await;
    assert!(facts.iter().any(|fact| fact.removed));

    // The strategy comes, hears all of it, and has something to say, though not to whom yet.
    let arguments = ["--json", "--threshold", "0.01"];
    let strategy = place.start("strategy", "strategy", &arguments);
    trades(&mut market, 6).await;
    strategy_agrees(&strategy, &mut market).await;
    let signal_relay = place.relay("signal_relay");
    until("a signal is recorded", || {
        !recorded(&place, "signal_relay").is_empty()
    })
    .await;
    signal_relay.kill().await;
    trades(&mut market, 12).await;
    let signal_relay = place.relay("signal_relay");
    strategy_agrees(&strategy, &mut market).await;
    witness.has_all(&mut market).await;
    let facts = recorder_has_all(&place, &mut market).await;
    for kind in [
        "SwapV2", "SwapV3", "Sync", "MintV2", "MintV3", "BurnV2", "BurnV3",
    ] {
        assert!(facts.iter().any(|fact| fact.kind == kind), "{kind}");
    }
    // Each event once to the strategy, and each of its signals once to who records them.
    let printed = lines(&strategy.printed());
    let spreads = printed
        .iter()
        .filter(|line| line["kind"] == "spread")
        .count();
    until("all signals are recorded", || {
        recorded(&place, "signal_relay").len() >= spreads
    })
    .await;
    let signals = recorded(&place, "signal_relay");
    let names: BTreeSet<String> = signals.iter().map(Value::to_string).collect();
    assert_eq!((signals.len(), names.len()), (spreads, spreads));
    for running in [
        adapter,
        strategy,
        market_recorder,
        signal_recorder,
        relay,
        signal_relay,
    ] {
        running.end().await;
    }
    let told = std::fs::read_to_string(place.path().join("strategy.err")).unwrap();
    let told: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(told["events"], facts.len());
}
