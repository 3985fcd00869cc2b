//! What sending costs: no allocation through a lazy sink, or a pool of them, that takes the message at once.
//!
//! A binary of its own, since counting replaces the allocator.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use wakewire::sink::PoolConfig;
use wakewire::{
    LazyConfig, LazyConnectionPool, LazyMessageSink, Message, MessageSink, Sending, SinkMetadata,
    TrySendError,
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
    let factory = wakewire::SinkFactory::from_config_str(
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
