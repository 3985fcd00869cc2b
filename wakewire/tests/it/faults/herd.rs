//! Very many sinks whose peers go away together and come back together: their attempts are spread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use wakewire::testing::{Network, Plan, assert_ledger};
use wakewire::{LazyConfig, Message, MessageSink};

use crate::support::cases;

const SECOND: Duration = Duration::from_secs(1);

/// How long the peers are away: long enough that all wait the longest time between two attempts.
const AWAY: Duration = Duration::from_secs(300);

/// How many attempts fall into each piece of time of this length since a moment.
fn spread(attempts: &[Instant], since: Instant, piece: Duration) -> BTreeMap<u128, usize> {
    let mut pieces = BTreeMap::new();
    for at in attempts.iter().filter(|at| **at >= since) {
        *pieces
            .entry((*at - since).as_millis() / piece.as_millis())
            .or_default() += 1;
    }
    pieces
}

#[tokio::test(start_paused = true)]
async fn many_sinks_whose_peer_was_away_come_back_spread_and_in_half_a_minute() {
    let sinks = usize::try_from(cases("WAKEWIRE_SINKS", 500)).unwrap();
    let network = Network::new();
    let text: String = (0..sinks)
        .map(|n| format!("[services.s{n}]\ntype = 'direct'\nendpoint = 'unix:///s{n}'\n"))
        .collect();
    let (here, there) = (
        network.factory(&text).unwrap(),
        network.factory(&text).unwrap(),
    );
    let away = Arc::new(AtomicBool::new(false));
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    for n in 0..sinks {
        let name = format!("s{n}");
        let mut source = here.create_source(&name).await.unwrap();
        tokio::spawn(async move { while let Ok(Some(_)) = source.recv().await {} });
        let proxy = network.proxy(&name).unwrap();
        let (away, attempts) = (Arc::clone(&away), Arc::clone(&attempts));
        proxy.by(move |_| {
            attempts.lock().unwrap().push(Instant::now());
            if away.load(SeqCst) {
                Plan::Close
            } else {
                Plan::pass()
            }
        });
        let sink = there.create_sink(&name).await.unwrap();
        sink.send(Message::new("first")).await.unwrap();
        all.push((sink, proxy));
    }
    assert!(there.flush(AWAY).await.is_complete());
    attempts.lock().unwrap().clear();

    away.store(true, SeqCst);
    let gone = Instant::now();
    for (sink, proxy) in &all {
        proxy.sever();
        sink.send(Message::new("owed")).await.unwrap();
    }
    sleep(AWAY).await;
    let failed = std::mem::take(&mut *attempts.lock().unwrap());
    // The first attempt is spread over the first delay; none makes more than the pace of the backoff allows.
    let config = LazyConfig::default();
    let first: Vec<_> = (failed.iter().copied())
        .filter(|at| *at < gone + config.retry_delay * 8 / 10)
        .collect();
    let most = spread(&first, gone, config.retry_delay / 10)
        .into_values()
        .max()
        .unwrap();
    println!(
        "{sinks} sinks: at most {most} first attempts in 10 ms, {} in {AWAY:?}",
        failed.len()
    );
    assert!(
        most * 6 < sinks,
        "{most} first attempts of {sinks} in 10 ms"
    );
    let growing = 9;
    let slow = AWAY.as_secs() / 24 + 1;
    assert!(
        failed.len() as u64 <= sinks as u64 * (growing + slow),
        "{}",
        failed.len()
    );

    away.store(false, SeqCst);
    let back = Instant::now();
    assert!(there.flush(AWAY).await.is_complete());
    println!("all are back after {:?}", back.elapsed());
    assert!(back.elapsed() <= config.max_retry_delay + SECOND);
    let attempts = std::mem::take(&mut *attempts.lock().unwrap());
    assert_eq!(attempts.len(), sinks, "one each");
    let most = spread(&attempts, back, SECOND / 10)
        .into_values()
        .max()
        .unwrap();
    println!("at most {most} attempts in 100 ms");
    assert!(most * 20 <= sinks, "{most} of {sinks} in 100 ms");
    let report = there.close(SECOND).await;
    assert_ledger(&report);
    assert_eq!(report.delivered, 2 * sinks as u64);
}
