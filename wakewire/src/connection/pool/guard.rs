//! What a caller holds: a place in the queue, and then a connection.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::kept::Lease;
use crate::connection::channel::Connection;
use crate::connection::clock;
use crate::connection::node::Pooled;
use crate::error::SinkError;

/// A place in the queue; dropped, it is given up.
pub(super) struct Waiting<'a, C: Pooled> {
    pub(super) shared: &'a Shared<C>,
    pub(super) ticket: u64,
    pub(super) answer: oneshot::Receiver<Result<PooledConnection<C>, SinkError>>,
}

impl<C: Pooled> Waiting<'_, C> {
    /// Waits for what comes of it.
    pub(super) async fn answer(
        mut self,
        within: Duration,
    ) -> Result<PooledConnection<C>, SinkError> {
        match timeout(within, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.closed()),
            // It may have come in the same moment.
            Err(_) => self
                .answer
                .try_recv()
                .unwrap_or_else(|_| Err(self.shared.timed_out())),
        }
    }
}

impl<C: Pooled> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        let waiter = self.shared.stock.lock().leave(self.ticket);
        drop(waiter);
    }
}

/// A connection out of a pool, for one user; it returns itself when it is dropped, in a panic and outside of a runtime
/// too.
///
/// One that is not open any more is closed instead, and so is one that the user [discards](Self::discard). It is used
/// as what it holds ([`Deref`]); a clone of the [`Connection`] that outlives it is shared with the next user.
pub struct PooledConnection<C: Pooled = Connection> {
    shared: Arc<Shared<C>>,
    connection: Arc<C>,
    id: u64,
    discarded: bool,
}

impl<C: Pooled> PooledConnection<C> {
    pub(super) fn new(shared: &Arc<Shared<C>>, lease: Lease<Arc<C>>) -> Self {
        Self {
            shared: Arc::clone(shared),
            connection: lease.connection,
            id: lease.id,
            discarded: false,
        }
    }

    /// Closes the connection rather than to return it: for one whose peer has gone silent, which nobody else should
    /// get.
    pub fn discard(mut self) {
        self.discarded = true;
    }

    /// Returns the connection itself. What is kept of it longer than the guard is shared with the next user.
    pub(in crate::connection) fn connection(&self) -> Arc<C> {
        Arc::clone(&self.connection)
    }
}

impl<C: Pooled> Deref for PooledConnection<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Pooled> Drop for PooledConnection<C> {
    fn drop(&mut self) {
        let usable = !self.discarded && self.connection.is_open();
        let mut stock = self.shared.stock.lock();
        let granted = stock.give_back(self.id, usable, clock::now());
        self.shared.put_away(stock);
        self.shared.grant(granted);
    }
}

impl<C: Pooled + fmt::Debug> fmt::Debug for PooledConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledConnection")
            .field(&self.connection)
            .finish()
    }
}
