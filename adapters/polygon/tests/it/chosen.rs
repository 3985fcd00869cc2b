//! Some pools are followed, and others not.

use crate::chain::{Anvil, Market};
use crate::system::{Place, until};
use crate::truth::{self, Fact};
use crate::witness::Witness;

const SERVICES: &str = "
[services.market_data_relay]
type = 'direct'
endpoint = 'unix://DIRECTORY/direct.sock'
";

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_not_chosen_is_not_heard_of() {
    let place = Place::new(SERVICES);
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    market.mint_v2(100_000).await;
    market.mint_v3(5_000_000_000_000_000).await;
    let (url, chosen) = (market.anvil.url(), market.v3.to_string());
    let arguments = ["--node", &url, "--from", "0", "--pool", &chosen];
    let adapter = place.start("adapter", "polygon-adapter", &arguments);
    let witness = Witness::of(&place, "market_data_relay", "witness");
    until("what was there is fetched", || !witness.facts().is_empty()).await;
    for number in 0..6 {
        market.trade(number).await;
    }
    let mut logs = market.logs().await;
    let of_both = logs.len();
    logs.retain(|log| log.address == market.v3);
    assert!(logs.len() < of_both);
    let chain: Vec<Fact> = logs.iter().map(truth::of_log).collect();
    // The last trade is of the chosen pool: whatever came before it is there by then.
    until("the last is there", || {
        witness.facts().last() == chain.last()
    })
    .await;
    assert_eq!(witness.facts(), chain);
    adapter.end().await;
}
