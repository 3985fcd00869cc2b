//! The whole system: adapter, two relays, consumers, each a process, and each is killed.

use serde_json::json;

use crate::chain::{Anvil, Market};
use crate::system::Place;
use crate::witness::Witness;

const SERVICES: &str = "
[services.market_data_relay]
type = 'relay'
endpoint = 'unix://DIRECTORY/market_data.sock'
domain = 'market_data'
precision_context = 'dex_token'
consumers = ['witness']
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_killed_and_each_trade_arrives_once() {
    let place = Place::new(SERVICES);
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    // First those who have nobody to talk to yet.
    let adapter = place.adapter(&market.anvil.url());
    let witness = Witness::of(&place, "market_data_relay", "witness");
    market.mint_v2(100_000).await;
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

    // The relay dies with whatever it has in hand.
    relay.kill().await;
    trades(&mut market, 12).await;
    let relay = place.relay("market_data_relay");
    trades(&mut market, 3).await;
    witness.has_all(&mut market).await;

    // The node goes, and is asked afterwards for what nobody told.
    market.anvil.end().await;
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
    market.anvil.end().await;
    market.anvil.run().await;
    witness.has_all(&mut market).await;
    trades(&mut market, 6).await;
    witness.has_all(&mut market).await;
    let removed = witness.facts().iter().filter(|fact| fact.removed).count();
    assert!(removed > 0);
    for kind in ["SwapV2", "SwapV3", "Sync", "MintV2", "MintV3", "BurnV3"] {
        assert!(
            witness.facts().iter().any(|fact| fact.kind == kind),
            "{kind}"
        );
    }
    adapter.end().await;
    relay.end().await;
    drop(witness);
}
