//! What pools and managers need of a connection.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::channel::Connection;
use super::codec::MessageCodec;
use crate::error::SinkError;

/// What a [`ConnectionPool`](super::ConnectionPool) keeps: something that is open until one side closes it.
///
/// Dropping it must end it too: a connection that is dropped while it is being opened is not closed otherwise.
pub trait Pooled: Send + Sync + 'static {
    /// Returns whether it can be used, as far as is known without asking the peer.
    fn is_open(&self) -> bool;

    /// Returns after how long without use the peer closes it, if it said so.
    fn announced_idle(&self) -> Option<Duration>;

    /// Starts closing it and returns at once; works outside of a runtime. What is under way on it fails.
    fn close(&self);

    /// Waits until nothing is left of it after [`close`](Self::close): no task, no socket.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it goes on closing.
    fn closed(&self) -> impl Future<Output = ()> + Send;
}

/// What a [`ConnectionManager`](super::ConnectionManager) keeps: a connection whose peer can be asked whether it is
/// well.
pub trait NodeConnection: Pooled {
    /// Asks the peer and waits for its answer, at most this long.
    ///
    /// # Errors
    ///
    /// Whatever shows that the peer did not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, a late answer is ignored.
    fn ping(&self, within: Duration) -> impl Future<Output = Result<(), SinkError>> + Send;
}

impl<C: MessageCodec> Pooled for Connection<C> {
    fn is_open(&self) -> bool {
        self.is_open()
    }

    fn announced_idle(&self) -> Option<Duration> {
        self.announced_idle()
    }

    fn close(&self) {
        self.close();
    }

    async fn closed(&self) {
        self.closed().await;
    }
}

impl<C: MessageCodec> NodeConnection for Connection<C> {
    async fn ping(&self, within: Duration) -> Result<(), SinkError> {
        self.ping(within).await.map(drop)
    }
}

/// A connection that is being opened.
pub type Opening<C> = Pin<Box<dyn Future<Output = Result<C, SinkError>> + Send>>;

/// Opens connections to one node.
pub(super) type Open<C> = Box<dyn Fn() -> Opening<C> + Send + Sync>;
