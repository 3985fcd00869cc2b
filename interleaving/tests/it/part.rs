//! The parts of a task: whoever calls one, in whatever moment, it has a turn.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use shuttle::future::{block_on, spawn};
use tokio::sync::Notify;
use wakewire::part;

use crate::in_all_orders;

#[test]
fn each_part_has_a_turn_after_it_was_called() {
    in_all_orders(|| {
        let calls: Arc<[Notify; 4]> = Arc::default();
        for [first, second] in [[0, 3], [2, 1]] {
            let calls = Arc::clone(&calls);
            drop(spawn(async move {
                calls[first].notify_one();
                calls[second].notify_one();
            }));
        }
        block_on(async {
            let hears = |first: usize, second: usize| {
                let calls = &calls;
                part(Box::pin(async move {
                    calls[first].notified().await;
                    calls[second].notified().await;
                }))
            };
            tokio::join!(hears(0, 1), hears(2, 3));
        });
    });
}

#[test]
fn a_part_that_goes_to_another_task_wakes_that_one() {
    in_all_orders(|| {
        let call = Arc::new(Notify::new());
        let waits = Arc::clone(&call);
        let mut waiting = part(Box::pin(async move { waits.notified().await }));
        let calling = spawn(async move { call.notify_one() });
        block_on(async move {
            let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut waiting).poll(cx))).await;
            if first.is_pending() {
                spawn(waiting).await.expect("it ends");
            }
            calling.await.expect("it ends");
        });
    });
}
