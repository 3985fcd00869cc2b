//! The whole system: adapter, two relays, consumers, each a process, and each is killed.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::task::JoinHandle;
use wakewire::SinkFactory;
use wakewire_polygon::codec::PoolEvent;

use crate::chain::{Anvil, Market};
use crate::system::{Place, until};
use crate::truth::{self, Fact};

const SERVICES: &str = "
[services.market_data_relay]
type = 'relay'
endpoint = 'unix://DIRECTORY/market_data.sock'
domain = 'market_data'
precision_context = 'dex_token'
consumers = ['witness']
lazy = { retry_delay_ms = 20, max_retry_delay_secs = 0.2 }
";

/// A consumer in this process: all that it was told, in order.
struct Witness {
    facts: Arc<Mutex<Vec<Fact>>>,
    hearing: JoinHandle<()>,
}

impl Witness {
    fn of(place: &Place, service: &str, name: &str) -> Self {
        let facts = Arc::new(Mutex::new(Vec::new()));
        let (heard, service, name) = (Arc::clone(&facts), service.to_owned(), name.to_owned());
        let services = place.path().join("services.toml");
        let hearing = tokio::spawn(async move {
            let factory = SinkFactory::from_config(services).unwrap();
            let mut source = factory.create_source(&service).await.unwrap().named(name);
            while let Some(message) = source.recv().await.unwrap() {
                let event = PoolEvent::read(message.message_type, &message.payload).unwrap();
                heard.lock().unwrap().push(truth::of_event(&event));
            }
        });
        Self { facts, hearing }
    }

    fn facts(&self) -> Vec<Fact> {
        self.facts.lock().unwrap().clone()
    }

    /// Waits until it holds what the chain has, and nothing was told twice.
    async fn has_all(&self, market: &mut Market) {
        let chain: Vec<Fact> = market.logs().await.iter().map(truth::of_log).collect();
        until("the witness has what the chain has", || {
            held(&self.facts()) == chain
        })
        .await;
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

/// What is left of what was told: each comes once, and goes once if it was taken back.
fn held(told: &[Fact]) -> Vec<Fact> {
    let mut held = Vec::new();
    for fact in told {
        let same = Fact {
            removed: false,
            ..fact.clone()
        };
        let place = held.iter().position(|other| *other == same);
        match (fact.removed, place) {
            (false, None) => held.push(same),
            (true, Some(place)) => drop(held.remove(place)),
            (false, Some(_)) => panic!("twice: {fact:?}"),
            (true, None) => panic!("taken back and never there: {fact:?}"),
        }
    }
    held
}

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
