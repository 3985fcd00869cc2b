//! A pool: sends that come to a lane while it goes to sleep.

use std::sync::Arc;

use shuttle::future::{block_on, spawn};
use wakewire::sink::PoolConfig;
use wakewire::{LazyConnectionPool, Message, MessageSink};

use crate::in_all_orders;
use crate::peer::World;

/// Whoever comes to a lane that leaves waits until it has left, and no longer; and it opens again.
#[test]
fn a_lane_that_has_left_or_could_not_takes_messages_again() {
    in_all_orders(|| {
        block_on(async {
            let world = Arc::new(World::default());
            let dialled = Arc::clone(&world);
            let config = PoolConfig {
                max_size: 1,
                min_idle: 1,
                ..PoolConfig::default()
            };
            let pool = LazyConnectionPool::new(move || Arc::clone(&dialled).dial(), config);
            let pool = Arc::new(pool.unwrap());
            pool.connect().await.unwrap();
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let pool = Arc::clone(&pool);
                    spawn(async move { pool.send(Message::new("tick")).await })
                })
                .collect();
            let ends: Vec<_> = (0..2)
                .map(|_| {
                    let pool = Arc::clone(&pool);
                    spawn(async move { pool.disconnect().await })
                })
                .collect();
            let mut taken = 0;
            for sender in senders {
                match sender.await.unwrap() {
                    Ok(()) => taken += 1,
                    Err(error) => assert!(error.into_message().is_some()),
                }
            }
            for end in ends {
                end.await.unwrap().unwrap();
            }
            assert_eq!(world.count(), taken);
            pool.send(Message::new("tock")).await.unwrap();
            assert_eq!(pool.stats().in_flight, 0);
        });
    });
}
