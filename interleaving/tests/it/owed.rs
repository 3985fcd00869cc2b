//! The outbox's wake-up, as a model: the link itself looks at its peer's pulse every half second, and shuttle has no time,
//! so that a driver that sleeps for ever would not be seen to. What is modelled is who looks at what under which lock
//! (`link/mod.rs` `try_accept` and `wake`, `link/lane.rs` `sleeps`, `link/pump.rs` `write`), line by line.

use std::sync::Arc;

use parking_lot::Mutex;
use shuttle::future::{block_on, spawn};
use tokio::sync::Notify;

use crate::in_all_orders;

#[derive(Default)]
struct Lane {
    owed: u32,
    written: u32,
    running: bool,
    parked: bool,
    /// Connections that the driver ended because it was idle.
    rests: u32,
}

#[derive(Default)]
struct Link {
    lane: Mutex<Lane>,
    owed: Notify,
    changed: Notify,
}

impl Link {
    fn accept(self: &Arc<Self>) {
        let mut lane = self.lane.lock();
        lane.owed += 1;
        if lane.running && !lane.parked {
            return; // It looks again before it waits.
        }
        if lane.running {
            lane.parked = false;
            drop(lane);
            self.owed.notify_one();
            return;
        }
        lane.running = true;
        drop(lane);
        drop(spawn(Arc::clone(self).drive()));
    }

    async fn drive(self: Arc<Self>) {
        loop {
            {
                let mut lane = self.lane.lock();
                if lane.owed == 0 {
                    lane.running = false;
                    lane.parked = false;
                    return;
                }
            }
            self.pump().await;
            self.lane.lock().parked = false;
        }
    }

    /// Writes what is owed; when there is nothing it waits once, and then rests as after an idle time.
    async fn pump(&self) {
        let mut idle = false;
        loop {
            let taken = {
                let mut lane = self.lane.lock();
                if idle && lane.owed == 0 {
                    lane.rests += 1;
                    return;
                }
                lane.parked = lane.owed == 0;
                std::mem::take(&mut lane.owed)
            };
            if taken == 0 {
                self.owed.notified().await;
                continue;
            }
            tokio::task::yield_now().await;
            self.lane.lock().written += taken;
            self.changed.notify_waiters();
            idle = self.lane.lock().written.is_multiple_of(2);
        }
    }

    async fn all_written(&self, count: u32) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lane.lock().written == count {
                return;
            }
            changed.await;
        }
    }
}

#[test]
fn what_is_accepted_is_written_whatever_the_driver_is_about_to_do() {
    in_all_orders(|| {
        block_on(async {
            let link = Arc::new(Link::default());
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let link = Arc::clone(&link);
                    spawn(async move {
                        link.accept();
                        tokio::task::yield_now().await;
                        link.accept();
                    })
                })
                .collect();
            for sender in senders {
                sender.await.unwrap();
            }
            link.all_written(4).await;
        });
    });
}
