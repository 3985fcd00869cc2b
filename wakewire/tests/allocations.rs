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
