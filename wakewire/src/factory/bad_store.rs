//! A relay whose disk is full or broken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::SinkFactory;
use crate::delivery::Fsync;
use crate::message::Message;
use crate::relay::Relay;
use crate::relay::store::Store;
use crate::source::MessageSource;
use crate::spool::bad::{Faults, Memory};
use crate::spool::format::Boot;

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A relay on this disk.
async fn on(disk: &Memory, fsync: Fsync, factory: &SinkFactory) -> Relay {
    let path = PathBuf::from("/nowhere");
    let opened = Store::on(Arc::new(disk.clone()), path, fsync, Boot(1), 100_000).unwrap();
    let config = factory.look_up("x").await.unwrap();
    Relay::new(
        SinkFactory::relay_config("x", config).unwrap(),
        Some(opened),
    )
}

async fn receives(source: &mut MessageSource, expected: &str) {
    let message = timeout(MINUTE, source.recv()).await.expect("in a minute");
    assert_eq!(message.unwrap().unwrap().payload, expected);
}

fn factory(name: &str) -> SinkFactory {
    let text = format!("[services.x]\ntype = 'relay'\nendpoint = 'memory://{name}'");
    SinkFactory::from_config_str(&text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_disk_does_not_take_is_not_acknowledged_until_it_does() {
    let kinds = [
        (
            "room",
            Faults {
                room: Some(20),
                ..Faults::default()
            },
        ),
        (
            "cut",
            Faults {
                room: Some(20),
                cut: true,
                create: true,
                ..Faults::default()
            },
        ),
        (
            "sync",
            Faults {
                sync: true,
                ..Faults::default()
            },
        ),
    ];
    for (name, faults) in kinds {
        let (disk, factory) = (Memory::default(), factory(&format!("bad-store-{name}")));
        let mut relay = on(&disk, Fsync::BeforeAccept, &factory).await;
        let sink = factory.create_sink("x").await.unwrap();
        sink.send(Message::new("first")).await.unwrap();
        let stored = async {
            let report = sink.flush(MINUTE).await.unwrap();
            assert!(report.is_complete(), "{name}");
            disk.fails(faults);
            sink.send(Message::new("second")).await.unwrap();
            let report = sink.flush(SHORT).await.unwrap();
            assert_eq!(report.waiting, 1, "{name}: it is nowhere else");
        };
        tokio::select! {
            () = stored => {}
            ended = relay.run() => panic!("{ended:?}"),
        }
        let fault = relay.status().store.unwrap().fault;
        assert!(fault.is_some(), "{name}");
        // A consumer has it all the same, and then it may be forgotten.
        let mut source = factory.create_source("x").await.unwrap();
        let consumed = async {
            for expected in ["first", "second"] {
                receives(&mut source, expected).await;
            }
            assert!(source.close(MINUTE).await);
            assert!(sink.flush(MINUTE).await.unwrap().is_complete());
            sink.send(Message::new("third")).await.unwrap();
            assert_eq!(sink.flush(SHORT).await.unwrap().waiting, 1);
            disk.fails(Faults::default());
            let report = sink.flush(MINUTE).await.unwrap();
            assert!(report.is_complete(), "{name}: it goes on by itself");
        };
        tokio::select! {
            () = consumed => {}
            ended = relay.run() => panic!("{ended:?}"),
        }
        assert_eq!(relay.status().store.unwrap().fault, None);
        assert!(relay.close(MINUTE).await);
        drop(relay);
        // The next life has what nobody has processed, and only that.
        let mut relay = on(&disk, Fsync::BeforeAccept, &factory).await;
        let mut source = factory.create_source("x").await.unwrap();
        let last = async {
            receives(&mut source, "third").await;
        };
        tokio::select! {
            () = last => {}
            ended = relay.run() => panic!("{ended:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn senders_that_wait_for_the_same_disk_share_its_syncing() {
    let (disk, factory) = (Memory::default(), factory("shared-store"));
    let mut relay = on(&disk, Fsync::BeforeAccept, &factory).await;
    let sink = factory.create_sink("x").await.unwrap();
    let before = disk.syncs();
    let work = async {
        for number in 0..1000 {
            sink.send(Message::new(format!("{number}"))).await.unwrap();
        }
        assert!(sink.flush(MINUTE).await.unwrap().is_complete());
    };
    tokio::select! {
        () = work => {}
        ended = relay.run() => panic!("{ended:?}"),
    }
    let syncs = disk.syncs() - before;
    assert!(syncs < 200, "{syncs} for 1000 messages");
}
