//! The adapter is killed while it works: with a spool and a position nothing is lost, and what is repeated is counted.

use crate::chain::{Anvil, Market};
use crate::system::{Place, until};
use crate::truth::{self, Fact};
use crate::witness::{Witness, held_and_repeated};

const SERVICES: &str = "
[services.market_data_relay]
type = 'direct'
endpoint = 'unix://DIRECTORY/direct.sock'
spool = 'DIRECTORY/spool'
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

const KILLS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_works_it_loses_nothing_and_repeats_what_it_had_in_hand() {
    let place = Place::new(SERVICES);
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    market.mint_v2(100_000).await;
    market.mint_v3(5_000_000_000_000_000).await;
    let url = market.anvil.url();
    let noted = || {
        let text = std::fs::read_to_string(place.path().join("position"));
        text.unwrap_or_default().lines().count()
    };
    let mut number = 0;
    for _ in 0..KILLS {
        let before = noted();
        for _ in 0..8 {
            market.trade(number).await;
            number += 1;
        }
        // Nobody receives yet. As soon as it has noted something, it dies in the middle of the rest.
        let adapter = place.adapter(&url);
        until("something is noted", || noted() > before).await;
        adapter.kill().await;
    }
    let witness = Witness::of(&place, "market_data_relay", "witness");
    let adapter = place.adapter(&url);
    let chain: Vec<Fact> = market.logs().await.iter().map(truth::of_log).collect();
    until("everything is there", || {
        held_and_repeated(&witness.facts()).0 == chain
    })
    .await;
    adapter.end().await;
    let (held, repeated) = held_and_repeated(&witness.facts());
    assert_eq!(held, chain);
    assert!(repeated.len() <= KILLS, "one a kill at most: {repeated:?}");
}
