//! A sink whose disk is full, broken or slow.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::SinkFactory;
use crate::delivery::Fsync;
use crate::error::SinkError;
use crate::message::Message;
use crate::sink::MessageSink;
use crate::sink::direct::DirectSink;
use crate::source::MessageSource;
use crate::spool::Spool;
use crate::spool::bad::{Faults, Memory};

const MINUTE: Duration = Duration::from_secs(60);

/// A sink on this disk, and a source that hears it.
async fn on(
    disk: &Memory,
    name: &str,
    fsync: Fsync,
) -> (Arc<DirectSink>, MessageSource, SinkFactory) {
    let text = format!("[services.x]\ntype = 'direct'\nendpoint = 'memory://bad-disk-{name}'");
    let factory = SinkFactory::from_config_str(&text).unwrap();
    let config = factory.look_up("x").await.unwrap();
    let opened = Spool::on(
        Arc::new(disk.clone()),
        PathBuf::from("/nowhere"),
        fsync,
        1 << 20,
    )
    .unwrap();
    let link = factory.link("x", &config, Some(opened)).unwrap();
    let source = factory.create_source("x").await.unwrap();
    (Arc::new(DirectSink::from_link(link)), source, factory)
}

async fn receives(source: &mut MessageSource, expected: &str) {
    let message = timeout(MINUTE, source.recv()).await.expect("in a minute");
    assert_eq!(message.unwrap().unwrap().payload, expected);
}

/// Waits until so many are in the outbox.
async fn accepts(sink: &DirectSink, count: u64) {
    let all = async {
        while sink.ledger().accepted < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(MINUTE, all).await.expect("in a minute");
}

/// Refused with this, the message comes back.
fn comes_back(sent: Result<(), SinkError>, expected: &str) -> SinkError {
    let mut error = sent.unwrap_err();
    assert_eq!(error.take_message().unwrap().payload, expected);
    error
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_what_is_new_and_keeps_what_it_has() {
    for cuts in [true, false] {
        let disk = Memory::default();
        let (sink, mut source, _factory) =
            on(&disk, &format!("full-{cuts}"), Fsync::Interval).await;
        sink.send(Message::new("first")).await.unwrap();
        // Half of it fits.
        disk.fails(Faults {
            room: Some(20),
            cut: !cuts,
            create: !cuts,
            ..Faults::default()
        });
        for _ in 0..3 {
            let error = comes_back(sink.send(Message::new("refused")).await, "refused");
            assert!(matches!(error, SinkError::BufferFull(_)), "{error}");
            let said = error.to_string();
            assert!(
                said.contains("`/nowhere` does not take it") && said.contains("make room"),
                "{said}"
            );
        }
        let batch = sink
            .send_batch(vec![Message::new("a"), Message::new("b")])
            .await;
        assert_eq!(batch.unwrap_err().into_messages().len(), 2);
        // What was accepted goes on meanwhile.
        receives(&mut source, "first").await;
        disk.fails(Faults::default());
        sink.send(Message::new("second")).await.unwrap();
        receives(&mut source, "second").await;
        assert!(source.close(MINUTE).await);
        assert!(sink.flush(MINUTE).await.unwrap().is_complete());
        let ledger = sink.ledger();
        assert!(ledger.adds_up() && ledger.accepted == 2, "{ledger}");
        assert_eq!(sink.metadata().messages_failed, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_synced_is_not_accepted_and_not_sent() {
    let disk = Memory::default();
    let (sink, mut source, _factory) = on(&disk, "broken", Fsync::BeforeAccept).await;
    sink.send(Message::new("first")).await.unwrap();
    disk.fails(Faults {
        sync: true,
        ..Faults::default()
    });
    let held = disk.holds_syncs();
    let there = Arc::clone(&sink);
    let sending = tokio::spawn(async move { there.send(Message::new("refused")).await });
    accepts(&sink, 2).await;
    // It is written, and there is a connection; but whether it is synced is open.
    receives(&mut source, "first").await;
    let early = timeout(Duration::from_millis(100), source.recv()).await;
    assert!(early.is_err(), "{early:?}");
    drop(held);
    comes_back(sending.await.unwrap(), "refused");
    for _ in 0..3 {
        let error = comes_back(sink.send(Message::new("refused")).await, "refused");
        assert!(matches!(error, SinkError::Io(_)), "{error}");
        assert!(
            error.to_string().contains("look after that disk"),
            "{error}"
        );
    }
    disk.fails(Faults::default());
    sink.send(Message::new("second")).await.unwrap();
    receives(&mut source, "second").await;
    let ledger = sink.ledger();
    assert!(ledger.adds_up() && ledger.accepted == 2, "{ledger}");
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_and_cannot_be_synced_later_is_owed_all_the_same() {
    let disk = Memory::default();
    let (sink, mut source, _factory) = on(&disk, "later", Fsync::Interval).await;
    disk.fails(Faults {
        sync: true,
        ..Faults::default()
    });
    for text in ["first", "second", "third"] {
        sink.send(Message::new(text)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    for text in ["first", "second", "third"] {
        receives(&mut source, text).await;
    }
    assert_eq!(sink.ledger().accepted, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_synced_within_two_seconds_and_then_nothing_is() {
    let disk = Memory::default();
    let (sink, _source, _factory) = on(&disk, "interval", Fsync::Interval).await;
    let opened = disk.syncs();
    sink.send(Message::new("first")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(disk.syncs() > opened);
    let files = disk.files();
    assert!(
        files.values().all(|file| file.bytes == file.synced),
        "all of it"
    );
    let synced = disk.syncs();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(disk.syncs(), synced, "nothing was written");
}

/// Those who wait while the disk is busy share the next syncing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_for_the_disk_share_it() {
    let disk = Memory::default();
    let (sink, mut source, _factory) = on(&disk, "shared", Fsync::BeforeAccept).await;
    let before = disk.syncs();
    let held = disk.holds_syncs();
    let sending: Vec<_> = (0..100)
        .map(|_| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move { sink.send(Message::new("x")).await })
        })
        .collect();
    // All are written, and none is accepted: the first syncing has not ended.
    accepts(&sink, 100).await;
    assert!(sending.iter().all(|send| !send.is_finished()));
    drop(held);
    for send in sending {
        send.await.unwrap().unwrap();
    }
    // Each syncing is of one file, and of the names when there is a new one.
    assert!(disk.syncs() - before <= 6, "{}", disk.syncs() - before);
    for _ in 0..100 {
        receives(&mut source, "x").await;
    }
}
