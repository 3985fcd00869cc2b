//! The recorded file is what a local node says, and replayed it is what arrives.

use std::fs;

use alloy_primitives::{B256, U256};
use wakewire_polygon::codec::{Pool, Token};
use wakewire_polygon::recording::{Recording, log_line, pool_line};

use crate::chain::{Anvil, Market};
use crate::system::Place;
use crate::truth::{self, Fact};
use crate::witness::{Witness, held};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded.jsonl");

/// What is the same each time: hashes depend on the hour.
fn alike(facts: Vec<Fact>) -> Vec<Fact> {
    let (hash, transaction) = (B256::ZERO, B256::ZERO);
    let alike = |fact| Fact {
        hash,
        transaction,
        ..fact
    };
    facts.into_iter().map(alike).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_file_is_what_a_node_says() {
    let place = tempfile::tempdir().unwrap();
    let mut market = Market::open(Anvil::start(place.path()).await).await;
    market.mint_v2(100_000).await;
    market.mint_v3(5_000_000_000_000_000).await;
    for number in 0..180 {
        market.trade(number).await;
    }
    market.burn_v2(U256::from(10).pow(U256::from(12))).await;
    let logs = market.logs().await;
    if let Some(path) = std::env::var_os("WAKEWIRE_RECORD") {
        let tokens = [market.token0, market.token1].map(|token| Token {
            address: Some(token.address),
            decimals: Some(token.decimals),
        });
        let mut text = String::new();
        for address in [market.v2, market.v3] {
            let [token0, token1] = tokens;
            text += &pool_line(&Pool {
                address,
                token0,
                token1,
            })
            .unwrap();
        }
        text.extend(logs.iter().map(|log| log_line(log).unwrap()));
        fs::write(path, text).unwrap();
    }
    let recording = recording();
    let recorded = recording.logs.iter().map(truth::of_log).collect();
    assert_eq!(
        alike(recorded),
        alike(logs.iter().map(truth::of_log).collect())
    );
}

fn recording() -> Recording {
    let text = fs::read_to_string(FILE).unwrap();
    assert!(text.len() < 200_000, "it is kept in git");
    Recording::read(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_each_log_once_as_often_as_it_is_told() {
    let place = Place::new(
        "[services.market_data_relay]\ntype = 'direct'\nendpoint = 'unix://DIRECTORY/direct.sock'\n",
    );
    let witness = Witness::of(&place, "market_data_relay", "witness");
    let arguments = ["--replay", FILE, "--repeat", "3", "--json"];
    let adapter = place.start("adapter", "polygon-adapter", &arguments);
    let printed = adapter.ended_well().await;
    let told: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let expected: Vec<Fact> = recording()
        .repeated(3)
        .map(|log| truth::of_log(&log))
        .collect();
    assert_eq!(told["sent"], expected.len());
    assert_eq!(told["delivered"], expected.len());
    assert_eq!(held(&witness.facts()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_do_not_decode_are_counted_and_stop_nothing() {
    let place = Place::new(
        "[services.market_data_relay]\ntype = 'direct'\nendpoint = 'unix://DIRECTORY/direct.sock'\n",
    );
    let witness = Witness::of(&place, "market_data_relay", "witness");
    let mut logs = recording().logs;
    logs[3].data = vec![1].into();
    let text: String = logs.iter().map(|log| log_line(log).unwrap()).collect();
    let file = place.path().join("broken.jsonl");
    fs::write(&file, text).unwrap();
    let arguments = ["--replay", file.to_str().unwrap(), "--json"];
    let adapter = place.start("adapter", "polygon-adapter", &arguments);
    let told: serde_json::Value = serde_json::from_str(&adapter.ended_well().await).unwrap();
    assert_eq!(told["undecodable"], 1);
    assert_eq!(told["delivered"], logs.len() - 1);
    logs.remove(3);
    let expected: Vec<Fact> = logs.iter().map(truth::of_log).collect();
    assert_eq!(held(&witness.facts()), expected);
}
