//! What sending costs: no allocation through a lazy sink whose connection takes the message at once.
//!
//! A binary of its own, since counting replaces the allocator.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use wakewire::{
    LazyConfig, LazyMessageSink, Message, MessageSink, Sending, SinkMetadata, TrySendError,
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

/// Sends so many messages over a live connection, on this thread, and counts the allocations.
fn allocations(at_once: bool, messages: u64) -> AllocationInfo {
    let open = move || async move {
        Ok(Counting {
            taken: AtomicU64::new(0),
            at_once,
        })
    };
    let sink = LazyMessageSink::new(open, LazyConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime of one thread");
    let first = runtime.block_on(sink.send(Message::new("first")));
    assert!(first.is_ok());
    let sink: &dyn MessageSink = &sink;
    let message = Message::new("tick").with_target("desk");
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
