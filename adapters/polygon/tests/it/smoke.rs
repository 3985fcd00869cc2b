use crate::chain::{Anvil, Market};
use serde_json::json;
use std::time::Duration;
use wakewire_polygon::node::Connection;

#[tokio::test]
async fn smoke() {
    let directory = tempfile::tempdir().unwrap();
    let t = std::time::Instant::now();
    let mut market = Market::open(Anvil::start(directory.path()).await).await;
    println!("open {:?}", t.elapsed());
    market.mint_v2(100_000).await;
    market.mint_v3(5_000_000_000_000_000).await;
    for n in 0..24 {
        market.trade(n).await;
    }
    market
        .burn_v2(alloy_primitives::U256::from(1_000_000))
        .await;
    let logs = market.logs().await;
    println!("{} logs {:?}", logs.len(), t.elapsed());
    let r = market.reserves().await;
    let s = market.sqrt_price().await;
    println!("{r:?} {s}");
    market.anvil.end().await;
    println!("ended {:?}", t.elapsed());
    market.anvil.run().await;
    println!("again {:?}", t.elapsed());
    assert_eq!(market.logs().await, logs);
    assert_eq!(market.reserves().await, r);
    let mut c = Connection::open(&market.anvil.url()).await.unwrap();
    c.subscribe(&market.filter()).await.unwrap();
    market.trade(0).await;
    market.trade(1).await;
    println!(
        "{:?}",
        c.next(Duration::from_secs(2))
            .await
            .unwrap()
            .map(|l| (l.block_number, l.log_index))
    );
    println!(
        "{:?}",
        c.next(Duration::from_secs(2))
            .await
            .unwrap()
            .map(|l| (l.block_number, l.log_index))
    );
    println!(
        "{:?}",
        c.next(Duration::from_secs(2))
            .await
            .unwrap()
            .map(|l| (l.block_number, l.log_index))
    );
    let a = market.anvil.ask("anvil_reorg", json!([2, []])).await;
    println!("{a}");
    while let Some(l) = c.next(Duration::from_secs(2)).await.unwrap() {
        println!("{} {} {}", l.block_number, l.log_index, l.removed);
    }
    println!("{} of {}", market.logs().await.len(), logs.len());
}
