//! A sink that keeps what it accepts on a disk: what its next life finds, who may have it, what it leaves behind.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wakewire::{Message, MessageSink, SinkError, SinkFactory, TrySendError};

use crate::support::{Place, eventually, expect, factory, numbered, soon};

const SOON: Duration = Duration::from_secs(10);
const EACH: [&str; 3] = ["never", "interval", "before_accept"];

fn with_spool(place: &Place, kind: &str, further: &str) -> String {
    let spool = place.path().join("spool");
    let spool = format!("spool = '{}'\n{further}", spool.display());
    place.unix("s", kind, &spool)
}

fn segments(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path().join("spool/s")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

/// A life that ends without a word.
async fn life(text: &str, numbers: std::ops::Range<u64>) {
    let factory = factory(text);
    let sink = factory.create_sink("s").await.unwrap();
    for n in numbers {
        sink.send(numbered(n)).await.unwrap();
    }
}

#[tokio::test]
async fn what_one_life_accepted_the_next_delivers() {
    for fsync in EACH {
        let place = Place::new();
        let text = with_spool(&place, "direct", &format!("fsync = '{fsync}'"));
        life(&text, 0..100).await;
        life(&text, 100..150).await;
        let sender = factory(&text);
        let sink = sender.create_sink("s").await.unwrap();
        // Without a send: it is owed.
        let receiver = factory(&text);
        let mut source = receiver.create_source("s").await.unwrap();
        expect(&mut source, 0..150).await;
        sink.send(numbered(150)).await.unwrap();
        expect(&mut source, 150..151).await;
        assert!(source.close(SOON).await);
        let report = sender.close(SOON).await;
        let ledger = report.per_sink[0].ledger;
        assert_eq!(
            (ledger.accepted, ledger.delivered),
            (151, 151),
            "what was found counts as accepted"
        );
        assert!(ledger.adds_up() && report.is_complete());
        // And a last one finds nothing.
        let last = factory(&text);
        let sink = last.create_sink("s").await.unwrap();
        assert_eq!(
            sink.flush(SOON).await.unwrap().per_sink[0].ledger.accepted,
            0,
            "{fsync}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_lives_gets_nothing_twice() {
    for kind in ["direct", "relay"] {
        let place = Place::new();
        let text = with_spool(&place, kind, "");
        let receiver = factory(&text);
        let relaying = (kind == "relay").then(|| {
            let text = text.clone();
            tokio::spawn(async move {
                let factory = factory(&text);
                factory.create_relay("s").await.unwrap().run().await
            })
        });
        let mut source = receiver.create_source("s").await.unwrap();
        let mut next = 0;
        for life in 0..5 {
            let sender = factory(&text);
            let sink = sender.create_sink("s").await.unwrap();
            for n in life * 100..life * 100 + 100 {
                sink.send(numbered(n)).await.unwrap();
            }
            // It ends when some are processed, some received and some not even sent.
            expect(&mut source, next..next + 60).await;
            next += 60;
        }
        let sender = factory(&text);
        let sink = sender.create_sink("s").await.unwrap();
        expect(&mut source, next..500).await;
        assert!(source.close(SOON).await);
        let report = soon(sink.flush(SOON)).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        if let Some(relaying) = relaying {
            relaying.abort();
        }
    }
}

#[tokio::test]
async fn a_batch_is_kept_like_its_messages() {
    for fsync in EACH {
        let place = Place::new();
        let text = with_spool(&place, "direct", &format!("fsync = '{fsync}'"));
        {
            let factory = factory(&text);
            let sink = factory.create_sink("s").await.unwrap();
            sink.send_batch((0..5000).map(numbered).collect())
                .await
                .unwrap();
            sink.send_batch(Vec::new()).await.unwrap();
            let large = vec![
                numbered(5000),
                Message::new(vec![0; 2 << 20]),
                numbered(5001),
            ];
            let refused = sink.send_batch(large).await.unwrap_err();
            assert!(matches!(refused, SinkError::MessageTooLarge(_)));
            assert_eq!(
                refused.into_messages().len(),
                2,
                "what is refused, and what is behind it"
            );
        }
        let sender = factory(&text);
        let _sink = sender.create_sink("s").await.unwrap();
        let receiver = factory(&text);
        let mut source = receiver.create_source("s").await.unwrap();
        expect(&mut source, 0..5001).await;
    }
}

#[tokio::test]
async fn what_is_synced_before_it_is_accepted_needs_waiting() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "fsync = 'before_accept'");
    let factory = factory(&text);
    let sink = factory.create_sink("s").await.unwrap();
    assert!(matches!(
        sink.try_send(numbered(0)),
        Err(TrySendError::WouldWait(_))
    ));
    let all = (0..200).map(|n| {
        let sink = std::sync::Arc::clone(&sink);
        tokio::spawn(async move { sink.send(numbered(n)).await })
    });
    for sent in all.collect::<Vec<_>>() {
        soon(sent).await.unwrap().unwrap();
    }
    assert_eq!(factory.close(Duration::from_millis(100)).await.waiting, 200);
}

#[tokio::test]
async fn a_sink_that_is_closed_says_what_its_spool_keeps() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "");
    let sender = factory(&text);
    let sink = sender.create_sink("s").await.unwrap();
    for n in 0..3 {
        sink.send(numbered(n)).await.unwrap();
    }
    let report = sender.close(Duration::from_millis(50)).await;
    assert_eq!(
        (report.waiting, report.undelivered),
        (3, 0),
        "kept, not lost"
    );
    assert!(report.per_sink[0].ledger.adds_up());
    assert_eq!(
        report.per_sink[0].kept_in,
        Some(place.path().join("spool/s"))
    );
    assert!(matches!(
        sink.send(numbered(3)).await,
        Err(SinkError::Closed(_))
    ));
    // Although the closed one is still there.
    let next = factory(&text);
    let sink = next.create_sink("s").await.unwrap();
    assert_eq!(sink.flush(Duration::ZERO).await.unwrap().waiting, 3);
}

#[tokio::test]
async fn two_cannot_send_from_one_spool() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "");
    let (first, second) = (factory(&text), factory(&text));
    let sink = first.create_sink("s").await.unwrap();
    let refused = second.create_sink("s").await.unwrap_err();
    assert!(!refused.is_permanent());
    let said = refused.to_string();
    assert!(
        said.contains("this process has it") && said.contains("one process at a time"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(place.path().join("spool/s/lock")).unwrap(),
        std::process::id().to_string()
    );
    drop((first, sink));
    second.create_sink("s").await.unwrap();
    // Of one factory all get the same.
    let third = factory(&text.replace("[services.s]", "[services.other]"));
    let asked = (0..10).map(|_| third.create_sink("other"));
    for made in futures_util::future::join_all(asked).await {
        made.unwrap();
    }
}

async fn refusal(text: &str) -> String {
    let refused = factory(text).create_sink("s").await.unwrap_err();
    assert!(matches!(refused, SinkError::Io(_)), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn a_spool_is_for_its_user_alone() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "");
    life(&text, 0..1).await;
    let spool = place.path().join("spool");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&spool), mode(&spool.join("s"))), (0o700, 0o700));
    for file in fs::read_dir(spool.join("s")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(&spool.join("s"));
    assert!(
        refusal(&text)
            .await
            .contains("can be written to by other users")
    );
    fs::rename(spool.join("s"), spool.join("t")).unwrap();
    symlink("t", spool.join("s")).unwrap();
    assert!(refusal(&text).await.contains("is a link"));
    fs::remove_file(spool.join("s")).unwrap();
    fs::write(spool.join("s"), "").unwrap();
    assert!(refusal(&text).await.contains("is not a directory"));
    open(&spool);
    assert!(
        refusal(&text)
            .await
            .contains("can be written to by other users")
    );
    let nowhere = text.replace("/spool'", "/none/spool'");
    assert!(refusal(&nowhere).await.contains("cannot be made"));
}

#[tokio::test]
async fn damage_is_told_with_its_place_and_nothing_is_delivered() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "");
    life(&text, 0..10).await;
    let file = segments(&place).pop().unwrap();
    let sound = fs::read(&file).unwrap();
    // In the payload of the third of ten frames of 40 bytes, behind an opening of 96 and a mark of 56.
    let mut damaged = sound.clone();
    damaged[96 + 56 + 2 * 40 + 35] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let said = refusal(&text).await;
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(
        said.contains(&format!(
            "`{name}` is damaged at byte 232: the checksum does not match"
        )),
        "{said}"
    );
    assert!(said.contains("restore it, or move"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), damaged, "it is left as it is");
    // Cut off at the end, as by a kill, it is a write that was never accepted.
    fs::write(&file, &sound[..sound.len() - 3]).unwrap();
    let sender = factory(&text);
    let _sink = sender.create_sink("s").await.unwrap();
    let receiver = factory(&text);
    let mut source = receiver.create_source("s").await.unwrap();
    expect(&mut source, 0..9).await;
}

#[tokio::test]
async fn the_files_are_bounded_by_what_is_owed() {
    let place = Place::new();
    let text = with_spool(
        &place,
        "direct",
        "buffer_bytes = 400000\nmax_message_bytes = 10000",
    );
    let sender = factory(&text);
    let sink = sender.create_sink("s").await.unwrap();
    let receiver = factory(&text);
    let mut source = receiver.create_source("s").await.unwrap();
    let receiving = tokio::spawn(async move {
        for _ in 0..10_000 {
            soon(source.recv()).await.unwrap().unwrap();
        }
        source.close(SOON).await
    });
    let mut most = 0;
    for n in 0..10_000 {
        sink.send(Message::new(vec![0; 1000])).await.unwrap();
        if n % 100 == 0 {
            let sizes = segments(&place)
                .into_iter()
                .filter_map(|file| fs::metadata(file).ok());
            most = most.max(sizes.map(|size| size.len()).sum());
        }
    }
    assert!(receiving.await.unwrap());
    assert!(soon(sink.flush(SOON)).await.unwrap().is_complete());
    // What is owed, a little more for marks, one file that is partly acknowledged and one that is being filled.
    assert!(most < 400_000 + 3 * 110_000, "{most} bytes");
    eventually("what is acknowledged goes", || segments(&place).len() <= 2).await;
    assert!(most > 110_000, "there were several");
}

/// A program that is not on a runtime cannot make one.
#[test]
fn without_a_runtime_it_is_refused() {
    let place = Place::new();
    let text = with_spool(&place, "direct", "");
    let factory = SinkFactory::from_config_str(&text).unwrap();
    let made = futures_util::FutureExt::now_or_never(factory.create_sink("s")).unwrap();
    assert!(matches!(made, Err(SinkError::NoRuntime(_))));
}

#[tokio::test]
async fn receipts_are_given_and_one_that_is_kept_says_so() {
    for fsync in EACH {
        let place = Place::new();
        let text = with_spool(&place, "direct", &format!("fsync = '{fsync}'"));
        let sender = factory(&text);
        let sink = sender.create_sink("s").await.unwrap();
        let receipt = soon(sink.send_with_receipt(numbered(0))).await.unwrap();
        sender.close(Duration::ZERO).await;
        let error = soon(receipt).await.unwrap_err();
        assert!(matches!(error, SinkError::Closed(_)), "{error}");
        assert!(error.to_string().contains("spool"), "{error}");
        // In the next life it is delivered, and so is what that one sends.
        drop((sink, sender));
        let sender = factory(&text);
        let sink = sender.create_sink("s").await.unwrap();
        let receiver = factory(&text);
        let mut source = receiver.create_source("s").await.unwrap();
        let (confirmed, ()) = tokio::join!(soon(sink.send_confirmed(numbered(1))), async {
            expect(&mut source, 0..2).await;
            assert!(source.close(SOON).await);
        });
        confirmed.unwrap();
    }
}
