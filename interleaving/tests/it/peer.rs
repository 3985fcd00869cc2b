//! A world to connect to, which knows what is open and what it got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use tokio::task::yield_now;
use wakewire::{Failure, Message, MessageSink, Sending, SinkError, SinkMetadata};

/// Everything that connections share. Its own counters are no places to change task at: what is under test is not here.
#[derive(Debug, Default)]
pub struct World {
    /// Connections made, ever.
    pub made: AtomicU32,
    /// Connections that exist.
    pub open: AtomicUsize,
    /// What was taken, by any connection.
    pub taken: std::sync::Mutex<Vec<Message>>,
    /// Connections that were dropped and had neither failed nor been asked to end.
    pub dropped_well: AtomicU32,
    /// The sink was closed: nothing may be dialled.
    pub closed: AtomicBool,
    /// Dialled after that.
    pub dialled_late: AtomicU32,
}

impl World {
    /// Opens a connection, which takes a while.
    pub async fn dial(self: Arc<Self>) -> Result<Connection, SinkError> {
        if self.closed.load(SeqCst) {
            self.dialled_late.fetch_add(1, SeqCst);
        }
        yield_now().await;
        self.made.fetch_add(1, SeqCst);
        self.open.fetch_add(1, SeqCst);
        Ok(Connection {
            is_up: Mutex::new(true),
            was_ended: AtomicBool::new(false),
            world: self,
        })
    }

    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

/// A connection that takes messages until it is ended.
#[derive(Debug)]
pub struct Connection {
    is_up: Mutex<bool>,
    /// It failed, or was asked to end.
    was_ended: AtomicBool,
    world: Arc<World>,
}

impl Connection {
    fn end(&self) {
        *self.is_up.lock() = false;
        self.was_ended.store(true, SeqCst);
    }
}

impl MessageSink for Connection {
    /// Takes it, or, with a message that says so, breaks before.
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::new(async move {
            yield_now().await;
            let mut is_up = self.is_up.lock();
            if &message.payload[..] == BREAK && self.world.made.load(SeqCst) == 1 {
                self.was_ended.store(true, SeqCst);
                *is_up = false;
            }
            if !*is_up {
                let failure = Failure::new("world").because("the connection is broken");
                return Err(SinkError::ConnectionLost(failure).returning(message));
            }
            self.world.taken.lock().unwrap().push(message);
            Ok(())
        })
    }

    fn is_connected(&self) -> bool {
        *self.is_up.lock()
    }

    fn metadata(&self) -> SinkMetadata {
        SinkMetadata::new("world", "test")
    }

    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            self.end();
            yield_now().await;
            Ok(())
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.world.open.fetch_sub(1, SeqCst);
        if !self.was_ended.load(SeqCst) {
            self.world.dropped_well.fetch_add(1, SeqCst);
        }
    }
}

/// Breaks the first connection.
pub const BREAK: &[u8] = b"break";
