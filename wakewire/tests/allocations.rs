//! What sending costs: no allocation through a lazy sink, or a pool of them, that takes the message at once. And what
//! receiving holds: not much more than it counts.
//!
//! A binary of its own, since counting replaces the allocator.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use wakewire::sink::PoolConfig;
use wakewire::testing::Network;
use wakewire::{
    LazyConfig, LazyConnectionPool, LazyMessageSink, Message, MessageSink, MessageSource, Sending,
    SinkFactory, SinkMetadata, TrySendError,
};

/// Takes everything at once, or lets everything wait.
#[derive(Debug)]
struct Counting {
    taken: AtomicU64,
    at_once: bool,
}

impl MessageSink for Counting {
    fn send(&self, _: Message) -> Sending<'_> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Sending::ready(Ok(()))
    }

    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        if !self.at_once {
            return Err(TrySendError::WouldWait(message));
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("counting", "test")
    }
}

async fn counting(at_once: bool) -> Result<Counting, wakewire::SinkError> {
    Ok(Counting {
        taken: AtomicU64::new(0),
        at_once,
    })
}

/// Sends so many messages through a lazy sink.
fn allocations(at_once: bool, messages: u64) -> AllocationInfo {
    let sink = LazyMessageSink::new(move || counting(at_once), LazyConfig::default());
    of_sending(&sink, messages)
}

/// Sends so many messages through a pool, with a key or without.
fn of_a_pool(ordered: bool, messages: u64) -> AllocationInfo {
    let pool = LazyConnectionPool::new(|| counting(true), PoolConfig::default());
    let pool = pool.expect("a sound configuration");
    let pool = if ordered {
        pool.ordered_by_target()
    } else {
        pool
    };
    of_sending(&pool, messages)
}

/// Sends so many messages over a live connection, on this thread, and counts the allocations.
fn of_sending(sink: &dyn MessageSink, messages: u64) -> AllocationInfo {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime of one thread");
    let message = Message::new("tick").with_target("desk");
    let first = runtime.block_on(sink.send(message.clone()));
    assert!(first.is_ok());
    let mut cx = Context::from_waker(Waker::noop());
    measure(|| {
        for _ in 0..messages {
            let sending = pin!(sink.send(message.clone()));
            assert!(matches!(sending.poll(&mut cx), Poll::Ready(Ok(()))));
        }
    })
}

#[test]
fn a_message_taken_at_once_allocates_nothing() {
    // The first of a thread sets up what arc-swap and the like keep for it.
    allocations(true, 1);
    assert_eq!(allocations(true, 1_000).count_total, 0);
}

#[test]
fn a_message_taken_at_once_by_a_member_of_a_pool_allocates_nothing() {
    for ordered in [false, true] {
        of_a_pool(ordered, 1);
        assert_eq!(of_a_pool(ordered, 1_000).count_total, 0);
    }
}

#[test]
fn a_message_that_waits_allocates_once() {
    allocations(false, 1);
    assert_eq!(allocations(false, 1_000).count_total, 1_000);
}

#[test]
fn a_sink_with_a_buffer_allocates_by_the_segment_and_not_by_the_message() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    let factory = SinkFactory::from_config_str(
        "[services.x]\ntype = 'direct'\nendpoint = 'unix:///tmp/wakewire-nobody.sock'",
    )
    .expect("a sound configuration");
    let message = Message::new(vec![7; 64]);
    let sink = runtime.block_on(async {
        let sink = factory.create_sink("x").await.expect("known");
        // The first one wakes the link, which does not run while this thread does not wait.
        sink.send(message.clone()).await.expect("accepted");
        sink
    });
    let mut context = Context::from_waker(Waker::noop());
    let counted = measure(|| {
        for _ in 0..5_000 {
            let sent = pin!(sink.send(message.clone())).poll(&mut context);
            assert!(matches!(sent, Poll::Ready(Ok(()))));
        }
    });
    // 480,000 bytes in segments of 4 KiB, doubling to 128 KiB.
    assert!(counted.count_total < 50, "{counted:?}");
}

/// Sends so many lots of 300 messages of 1000 bytes, each more than one piece of memory, and takes each before the next.
async fn lots(sink: &dyn MessageSink, source: &mut MessageSource, lots: u64) {
    let message = Message::new(vec![7; 1000]);
    for _ in 0..lots {
        for _ in 0..300 {
            sink.send(message.clone()).await.expect("accepted");
        }
        let mut taken = 0;
        while taken < 300 {
            let batch = timeout(PATIENCE, source.recv_batch()).await.expect("soon");
            taken += batch.expect("bound").expect("open").iter().count();
        }
    }
}

/// New memory is faulted in page by page, which costs more than the messages that come to lie in it.
#[test]
fn steady_traffic_lies_in_memory_that_was_used_before() {
    let (_place, _path, factory) = service("direct");
    let runtime = runtime();
    let (sink, mut source) = runtime.block_on(async {
        let source = factory.create_source("x").await.expect("known");
        (factory.create_sink("x").await.expect("known"), source)
    });
    runtime.block_on(lots(&*sink, &mut source, 10));
    let counted = measure(|| runtime.block_on(lots(&*sink, &mut source, 100)));
    let sent = 100 * 300 * 1000;
    assert!(counted.bytes_total < sent / 5, "{counted:?}");
}

/// Longer than a link keeps memory for more traffic, and than it takes to see that there is none; virtual.
const CALM: Duration = Duration::from_secs(3);

#[test]
fn a_second_after_traffic_a_sender_gives_back_what_it_used_for_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let text = "[services.x]\ntype = 'direct'\nendpoint = 'unix:///x'";
    let factory = Network::new().factory(text).expect("sound");
    let (sink, mut source) = runtime.block_on(async {
        let source = factory.create_source("x").await.expect("known");
        (factory.create_sink("x").await.expect("known"), source)
    });
    runtime.block_on(async {
        lots(&*sink, &mut source, 10).await;
        // The last batch counts as processed when the next is asked for.
        assert!(
            timeout(Duration::from_millis(100), source.recv())
                .await
                .is_err()
        );
    });
    let calm = measure(|| {
        runtime.block_on(async {
            sleep(CALM).await;
        });
    });
    assert!(calm.bytes_current <= -(128 << 10), "{calm:?}");
    assert!(sink.is_connected());
}

/// What a connection reads into, what a relay or source is, whatever it holds.
const ROOM: u64 = 2 << 20;

/// New messages of one byte, each before 250 KiB that were there before.
const NEWS: u64 = 20;

/// What one of them counts for: a header, a byte, and what is counted for each run.
const COUNTED: u64 = 32 + 1 + 96;

fn frame(kind: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 32];
    frame[..4].copy_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
    frame[4] = kind;
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame.extend(body);
    frame
}

/// Plays a producer that says everything again between its messages, on a thread of its own, whose memory is not
/// counted; tells when the other side has read it all.
fn repeat_everything(path: PathBuf) -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        // As in docs/wire-protocol.md: versions 1 to 1, any service, a session of ones that owes from 1 on.
        let mut hello = vec![0xa5, 0x00, 0x01, 0x01, 0x01, 0x02, 0x60];
        hello.extend([
            0x03, 0xa3, 0x00, 0x1a, 0, 0x10, 0, 0, 0x01, 0x00, 0x02, 0x00,
        ]);
        hello.extend([0x04, 0xa3, 0x00, 0x50]);
        hello.extend([1; 16]);
        hello.extend([0x01, 0x01, 0x02, 0xf4]);
        stream.write_all(&frame(1, 0, &hello)).expect("a peer");
        let old = vec![0; 250 * 1024];
        for sequence in 1..=NEWS {
            stream.write_all(&frame(4, sequence, b"x")).expect("taken");
            stream.write_all(&frame(4, 1, &old)).expect("borne");
        }
        stream.write_all(&frame(10, 0, &[])).expect("a peer");
        let mut head = [0; 32];
        loop {
            stream.read_exact(&mut head).expect("an answer");
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let mut body = vec![0; length as usize];
            stream.read_exact(&mut body).expect("an answer");
            if head[4] == 11 {
                break;
            }
        }
        tell.send(()).ok();
        // It stays until the other side is gone: what a connection holds is to be counted.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    told
}

fn service(kind: &str) -> (tempfile::TempDir, PathBuf, SinkFactory) {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("x.sock");
    let text = format!(
        "[services.x]\ntype = '{kind}'\nendpoint = 'unix://{}'",
        path.display()
    );
    let factory = SinkFactory::from_config_str(&text).expect("a sound configuration");
    (place, path, factory)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread")
}

#[test]
fn what_a_relay_counts_bounds_what_it_holds() {
    let (_place, path, factory) = service("relay");
    let runtime = runtime();
    let mut relay = runtime.block_on(factory.create_relay("x")).expect("known");
    let held = measure(|| {
        runtime.block_on(async {
            let told = repeat_everything(path);
            tokio::select! {
                read = timeout(PATIENCE, told) => read.expect("soon").expect("read"),
                stopped = relay.run() => panic!("{stopped:?}"),
            }
        });
    });
    let counted = relay.status().log_bytes as u64;
    assert_eq!(counted, NEWS * COUNTED);
    let held = u64::try_from(held.bytes_current).unwrap_or(0);
    assert!(held < 4 * counted + ROOM, "{held} bytes for {counted}");
    drop(relay);
}

#[test]
fn what_a_listener_counts_bounds_what_it_holds() {
    let (_place, path, factory) = service("direct");
    let runtime = runtime();
    let mut source = runtime.block_on(factory.create_source("x")).expect("known");
    let held = measure(|| {
        runtime.block_on(async {
            let told = repeat_everything(path);
            // The first one, so that it listens; the others wait in it.
            let first = timeout(PATIENCE, source.recv()).await.expect("soon");
            assert!(first.expect("bound").is_some());
            timeout(PATIENCE, told).await.expect("soon").expect("read");
        });
    });
    let held = u64::try_from(held.bytes_current).unwrap_or(0);
    assert!(held < 4 * NEWS * COUNTED + ROOM, "{held} bytes");
    drop(source);
}

/// F15: a consumer takes one message and no more, and its sender goes on as fast as it can.
#[test]
fn a_stopped_consumer_costs_what_the_buffers_may_hold() {
    for (kind, delivery) in [
        ("direct", "at_least_once"),
        ("relay", "at_least_once"),
        ("direct", "at_most_once"),
        ("relay", "at_most_once"),
    ] {
        let held = measure(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime of one thread");
            runtime.block_on(send_to_a_stopped_one(kind, delivery));
        });
        let held = held.bytes_max;
        println!("{kind}, {delivery}: {held} bytes at most");
        assert!(
            held < BUFFERS + 2 * ROOM,
            "{kind}, {delivery}: {held} bytes"
        );
    }
}

/// What a sender's buffer, a relay's log and a source's inbox may hold together.
const BUFFERS: u64 = 3 << 20;

async fn send_to_a_stopped_one(kind: &str, delivery: &str) {
    let text = format!(
        "[services.x]\ntype = '{kind}'\nendpoint = 'unix:///x'\ndelivery = '{delivery}'\nbuffer_size = 1_000_000\n\
         buffer_bytes = 1_048_576\nlazy.wait_timeout_secs = 1\n{}",
        if kind == "relay" {
            "log_bytes = 1_048_576"
        } else {
            ""
        }
    );
    let factory = Network::new().factory(&text).expect("sound");
    let mut source = factory.create_source("x").await.expect("known");
    let mut relay = None;
    if kind == "relay" {
        let mut serving = factory.create_relay("x").await.expect("known");
        serving.bind().await.expect("free");
        relay = Some(tokio::runtime::Handle::current().spawn(async move { serving.run().await }));
    }
    let sink = factory.create_sink("x").await.expect("known");
    sink.send(Message::new("first")).await.expect("accepted");
    assert!(source.recv().await.expect("bound").is_some());
    let mut refused = 0;
    for _ in 0..60_000 {
        // 60 MB, each waited for if there is no room.
        let sent = sink.send(Message::new(vec![7; 1000])).await;
        refused += u32::from(sent.is_err());
        if refused == 60 {
            break;
        }
        if !matches!(
            sink.try_send(Message::new(vec![7; 1000])),
            Err(TrySendError::Refused(_))
        ) {
            tokio::task::yield_now().await;
        }
    }
    // Only a relay may skip who may lose messages.
    assert!(refused == 60 || (kind, delivery) == ("relay", "at_most_once"));
    drop(source);
    factory.close(Duration::from_secs(1)).await;
    if let Some(relay) = relay {
        relay.abort();
    }
}

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
