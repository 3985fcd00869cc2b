//! A lazy sink: who joins a dial, loses a connection, ends it, closes.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shuttle::future::{block_on, spawn};
use tokio::task::yield_now;
use wakewire::{LazyConfig, LazyMessageSink, Message, MessageSink};

use crate::in_all_orders;
use crate::peer::{BREAK, Connection, World};

fn sink(world: &Arc<World>) -> Arc<LazyMessageSink<Connection>> {
    let world = Arc::clone(world);
    let config = LazyConfig {
        max_retries: 5,
        ..LazyConfig::default()
    };
    Arc::new(LazyMessageSink::new(
        move || Arc::clone(&world).dial(),
        config,
    ))
}

/// All of them find the connection broken; one opens another, and nobody takes that one away.
#[test]
fn what_a_lost_connection_leaves_behind_does_not_hurt_the_next_one() {
    in_all_orders(|| {
        block_on(async {
            let world = Arc::new(World::default());
            let sink = sink(&world);
            let senders: Vec<_> = (0..3)
                .map(|_| {
                    let sink = Arc::clone(&sink);
                    spawn(async move { sink.send(Message::new(BREAK)).await })
                })
                .collect();
            for sender in senders {
                sender.await.unwrap().unwrap();
            }
            assert_eq!(world.count(), 3);
            assert_eq!(
                world.dropped_well.load(SeqCst),
                0,
                "a connection that was well is gone"
            );
            assert!(
                world.made.load(SeqCst) <= 2,
                "dialled again, with a connection"
            );
            assert!(sink.is_connected());
        });
    });
}

/// Each message is taken, or comes back with the error; a later one wakes the sink again.
#[test]
fn a_disconnect_loses_nothing_and_is_no_end() {
    in_all_orders(|| {
        block_on(async {
            let world = Arc::new(World::default());
            let sink = sink(&world);
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let sink = Arc::clone(&sink);
                    spawn(async move { sink.send(Message::new("tick")).await })
                })
                .collect();
            let other = Arc::clone(&sink);
            let ends = spawn(async move { other.disconnect().await });
            let mut taken = 0;
            for sender in senders {
                match sender.await.unwrap() {
                    Ok(()) => taken += 1,
                    Err(error) => assert!(error.into_message().is_some()),
                }
            }
            ends.await.unwrap().unwrap();
            assert_eq!(world.count(), taken);
            sink.send(Message::new("tock")).await.unwrap();
            assert_eq!(world.open.load(SeqCst), 1);
        });
    });
}

/// Closed, or dropped, at any moment of the dial: no connection stays, and none is opened.
#[test]
fn after_the_end_nothing_is_dialled_and_nothing_stays_open() {
    in_all_orders(|| {
        block_on(async {
            let world = Arc::new(World::default());
            let sink = sink(&world);
            let (sends, closes) = (Arc::clone(&sink), Arc::clone(&sink));
            let sender = spawn(async move { sends.send(Message::new("tick")).await });
            let closed = Arc::clone(&world);
            let closer = spawn(async move {
                closes.close(Duration::ZERO).await.unwrap();
                closed.closed.store(true, SeqCst);
                closes.send(Message::new("late")).await.unwrap_err();
            });
            let sent = sender.await.unwrap();
            closer.await.unwrap();
            drop(sink);
            assert_eq!(world.count(), usize::from(sent.is_ok()));
            // A dial that was under way ends by itself.
            for _ in 0..20 {
                yield_now().await;
            }
            assert_eq!(
                world.dialled_late.load(SeqCst),
                0,
                "dialled after the close"
            );
            assert_eq!(world.open.load(SeqCst), 0, "open after the close");
        });
    });
}
