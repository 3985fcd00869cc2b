//! A relay that stores what it takes, over sockets: who may go before whom, and what is there afterwards.

use std::fs;
use std::time::Duration;

use tokio::task::JoinHandle;
use wakewire::{MessageSink, SinkError, SinkFactory};

use crate::support::{Place, expect, factory, free_port, number, numbered, soon};

const SOON: Duration = Duration::from_secs(20);

/// A relay that runs until it is killed; killed, its task is dropped with everything it holds.
struct Running(JoinHandle<()>);

impl Running {
    async fn start(factory: &SinkFactory) -> Self {
        // What a killed one was writing may take a moment longer, and so long the directory is its own.
        let mut relay = loop {
            match factory.create_relay("s").await {
                Err(error @ SinkError::Io(_)) if error.to_string().contains("has it") => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                relay => break relay.unwrap(),
            }
        };
        soon(relay.bind()).await.unwrap();
        Self(tokio::spawn(async move { relay.run().await.unwrap() }))
    }

    async fn kill(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

fn storing(place: &Place, further: &str) -> String {
    let store = place.path().join("store");
    let store = format!("store_and_forward = '{}'\n{further}", store.display());
    place.unix("s", "relay", &store)
}

/// A sender that ends when everything is acknowledged.
async fn sends(text: &str, numbers: std::ops::Range<u64>) {
    let sender = factory(text);
    let sink = sender.create_sink("s").await.unwrap();
    for n in numbers {
        sink.send(numbered(n)).await.unwrap();
    }
    let report = soon(sender.close(SOON)).await;
    assert!(report.is_complete(), "{report:?}");
}

async fn stores_over(text: &str) {
    let relays = factory(text);
    for life in 0..3 {
        let relay = Running::start(&relays).await;
        sends(text, life * 100..life * 100 + 100).await;
        relay.kill().await;
    }
    let relay = Running::start(&relays).await;
    let receiver = factory(text);
    let mut source = receiver.create_source("s").await.unwrap();
    expect(&mut source, 0..300).await;
    assert!(source.close(SOON).await);
    relay.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_go_and_relays_die_before_a_consumer_comes() {
    let place = Place::new();
    stores_over(&storing(&place, "")).await;
}

/// Over WebSocket frames have no checksums; in files they need them.
#[cfg(feature = "ws")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_over_websocket_is_stored_as_well() {
    let place = Place::new();
    let unix = storing(&place, "");
    let endpoint = format!("endpoint = 'ws://127.0.0.1:{}/s'", free_port());
    let mut lines: Vec<_> = unix.lines().collect();
    let place = lines.iter().position(|line| line.starts_with("endpoint"));
    lines[place.unwrap()] = &endpoint;
    lines.push("delivery = 'at_least_once'");
    stores_over(&lines.join("\n")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_senders_is_kept_in_order() {
    const EACH: u64 = 200;
    let place = Place::new();
    let text = storing(&place, "fsync = 'never'");
    let relays = factory(&text);
    let relay = Running::start(&relays).await;
    let senders = (0..20).map(|sender| {
        let text = text.clone();
        tokio::spawn(async move { sends(&text, sender * EACH..(sender + 1) * EACH).await })
    });
    for sender in senders.collect::<Vec<_>>() {
        soon(sender).await.unwrap();
    }
    relay.kill().await;
    let relay = Running::start(&relays).await;
    let receiver = factory(&text);
    let mut source = receiver.create_source("s").await.unwrap();
    let mut next = [0; 20];
    for _ in 0..20 * EACH {
        let message = soon(source.recv()).await.unwrap().unwrap();
        let (sender, number) = (number(&message) / EACH, number(&message) % EACH);
        let next = &mut next[usize::try_from(sender).unwrap()];
        assert_eq!(number, *next, "of {sender}");
        *next += 1;
    }
    assert!(source.close(SOON).await);
    relay.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_full_holds_its_senders_and_nothing_is_lost() {
    let place = Place::new();
    let text = storing(&place, "log_bytes = 20000\nbuffer_size = 100");
    let relays = factory(&text);
    let relay = Running::start(&relays).await;
    let sending = {
        let text = text.clone();
        tokio::spawn(async move { sends(&text, 0..5000).await })
    };
    // Long enough that the log is full; what is true does not depend on it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "it does not fit");
    relay.kill().await;
    let relay = Running::start(&relays).await;
    let receiver = factory(&text);
    let mut source = receiver.create_source("s").await.unwrap();
    expect(&mut source, 0..5000).await;
    soon(sending).await.unwrap();
    assert!(source.close(SOON).await);
    relay.kill().await;
    let files = fs::read_dir(place.path().join("store/s")).unwrap();
    let kept: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(kept < 500_000, "{kept} bytes");
}

#[tokio::test]
async fn a_relay_says_where_it_stores_and_who_has_that() {
    let place = Place::new();
    let text = storing(&place, "");
    let relays = factory(&text);
    let mut relay = relays.create_relay("s").await.unwrap();
    let store = relay.status().store.unwrap();
    assert_eq!(store.directory, place.path().join("store/s"));
    assert_eq!(store.fault, None);
    let refused = relays.create_relay("s").await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("this process has it"), "{said}");
    assert!(relay.close(SOON).await);
    drop(relay);
    relays.create_relay("s").await.unwrap();
    // Without the key there is none.
    let plain = factory(&place.unix("s", "relay", ""));
    let relay = plain.create_relay("s").await.unwrap();
    assert!(relay.status().store.is_none());
}
