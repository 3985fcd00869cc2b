//! A connection opened by the first message, and opened again when it is lost.
//!
//! The wrapper knows nothing of the sink inside but its errors, and they decide: an error that returns
//! the message means that it was not sent, so it is sent again over a fresh connection; one that does
//! not leaves the message in doubt, and it is the caller who knows whether sending it twice does harm.
//! Guessing for him (sending again whatever failed) was the alternative; it doubles messages.
//!
//! Connecting is a task of the sink, not of a caller: a lock around "connect if need be" makes one
//! caller dial for all, and when that one goes away, by a timeout or a `select!`, everybody starts again.

mod gate;
mod live;
mod metrics;
mod patience;
mod series;
mod tally;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::metrics::LazyMetrics;

use self::gate::Stage;
use self::live::{Ask, Core, Opening};
use self::patience::Patience;
use self::series::ended;
use super::{
    ConnectionState, Flushing, MessageSink, Receipt, Report, Sending, SinkMetadata, SinkReport,
};
use crate::backoff::LazyConfig;
use crate::error::{SinkError, TrySendError};
use crate::message::Message;
use crate::outbox::Ledger;

/// Any sink that can be opened, opened by the first message and again after every loss.
///
/// Nothing happens before the first [`send`](MessageSink::send). However many tasks send at once, there
/// is one attempt at a time, and all of them get its result. `Ok` means that the inner sink said `Ok`:
/// nothing is buffered here. When the connection is lost, a message that the inner sink gave back is
/// sent over a fresh connection, in the caller's order, neither lost nor doubled; a message that it did
/// not give back is *in doubt*: it comes as an error to the caller, is counted in
/// [`LazyMetrics::in_doubt`], and the next send opens a fresh connection.
///
/// A target that does not answer is dialled [`max_retries`](LazyConfig::max_retries) + 1 times; then
/// every caller that waits gets the same `ConnectionFailed`, each with its own message. A later send
/// tries again, after the pause that the failures before it earned: neither a dead target nor one that
/// accepts and hangs up is dialled in a hot loop. A message's `Ok` is what proves a connection good, and
/// so does a life of five seconds. After a permanent error (see [`SinkError::is_permanent`]) sends fail
/// at once for a minute; [`connect`](MessageSink::connect) asks again before that.
///
/// The tokio runtime is the one in which the sink was made, else the one of its first use.
///
/// A sink that connects again by itself, or owes messages, needs no such wrapper.
///
/// ```
/// use wakewire::{LazyConfig, LazyMessageSink, Message, MessageSink, Sending, SinkMetadata};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// impl MessageSink for Printer {
///     fn send(&self, message: Message) -> Sending<'_> {
///         println!("{:?}", message.payload);
///         Sending::ready(Ok(()))
///     }
///     fn is_connected(&self) -> bool {
///         true
///     }
///     fn metadata(&self) -> SinkMetadata {
///         SinkMetadata::new("printer", "stdout")
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let sink = LazyMessageSink::new(|| async { Ok(Printer) }, LazyConfig::default());
/// assert!(!sink.is_connected());
/// sink.send(Message::new("tick")).await.unwrap();
/// assert!(sink.is_connected());
/// assert_eq!(sink.metrics().successful_connects, 1);
/// # });
/// ```
pub struct LazyMessageSink<S> {
    core: Arc<Core<S>>,
}

impl<S: MessageSink + 'static> LazyMessageSink<S> {
    /// Makes a sink that calls `factory` whenever it needs a connection; opens nothing yet.
    ///
    /// Works outside a tokio runtime too, if the first use is inside one.
    pub fn new<F, Fut>(factory: F, config: LazyConfig) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, SinkError>> + Send + 'static,
    {
        let open = Box::new(move || -> Opening<S> { Box::pin(factory()) });
        Self {
            core: Arc::new(Core::new(open, config)),
        }
    }

    /// Gives the sink a name, for its errors, events and metadata. Without one it is called `lazy` in
    /// its metadata and nothing in its errors.
    ///
    /// ```
    /// use wakewire::{LazyConfig, LazyMessageSink, MessageSink, SinkError};
    /// # use wakewire::{Failure, Message, Sending, SinkMetadata};
    /// # #[derive(Debug)]
    /// # struct Nobody;
    /// # impl MessageSink for Nobody {
    /// #     fn send(&self, _: Message) -> Sending<'_> { Sending::ready(Ok(())) }
    /// #     fn is_connected(&self) -> bool { true }
    /// #     fn metadata(&self) -> SinkMetadata { SinkMetadata::new("nobody", "none") }
    /// # }
    /// let refuse = || async { Err::<Nobody, _>(SinkError::ConnectionFailed(Failure::new(""))) };
    /// let sink = LazyMessageSink::new(refuse, LazyConfig::default()).with_name("market_data");
    /// assert_eq!(sink.metadata().name, "market_data");
    /// ```
    #[must_use]
    pub fn with_name(self, name: impl Into<Arc<str>>) -> Self {
        self.core.gate.lock().name = name.into();
        self
    }

    /// Returns what was counted since the sink was made; never blocks.
    pub fn metrics(&self) -> LazyMetrics {
        self.core.counters.snapshot(self.core.last_error())
    }

    /// Returns the settings it was made with.
    pub fn config(&self) -> &LazyConfig {
        &self.core.config
    }

    /// Sends a message that has to wait: for a connection, for a fresh one, or for the inner sink.
    async fn deliver<T: Unpin>(
        &self,
        mut message: Message,
        hand: impl for<'s> Fn(&'s S, Message) -> Sending<'s, T>,
    ) -> Result<T, SinkError> {
        let core = &self.core;
        let mut patience = Patience::new(&core.counters, core.config.max_retries);
        core.counters.waits.add_one();
        loop {
            let Some(live) = core.connection() else {
                // Dropped while it waits, the message was not given to anybody; the series goes on.
                if let Err(error) = self.connected(Ask::Send).await {
                    return Err(core.refuse(error, Some(message)));
                }
                if core.connection().is_none() && !patience.lasts(&core.counters) {
                    let error = core.gate.lock().peer_closed();
                    return Err(core.refuse(error, Some(message)));
                }
                continue;
            };
            // Dropped while it waits, the inner sink's own promise holds: what is pending is not accepted.
            let error = match hand(&live.sink, message).await {
                Ok(taken) => {
                    core.took(&live);
                    return Ok(taken);
                }
                Err(error) => error,
            };
            let (back, error) = core.judge(&live, error)?;
            if !patience.lasts(&core.counters) {
                return Err(core.refuse(error, Some(back)));
            }
            message = back;
        }
    }

    /// Waits until there is a connection: joins the series that runs, or starts one.
    async fn connected(&self, ask: Ask) -> Result<(), SinkError> {
        let Some(mut outcome) = self.core.join(ask)? else {
            return Ok(());
        };
        ended(&mut outcome).await
    }

    /// What this sink can report itself, about an inner sink that reports nothing.
    fn report(&self) -> Report {
        let metrics = self.metrics();
        // A message in doubt was answered with an error; in the report it is nevertheless, since it is
        // the one thing that may not have arrived.
        let ledger = Ledger {
            accepted: metrics.messages_sent + metrics.in_doubt,
            delivered: metrics.messages_sent,
            in_doubt: metrics.in_doubt,
            ..Ledger::default()
        };
        Report::over([SinkReport::new(self.name(), ledger, metrics.last_error)])
    }

    fn or_own(&self, inner: Report) -> Report {
        if inner.per_sink.is_empty() {
            self.report()
        } else {
            inner
        }
    }

    fn name(&self) -> String {
        match &*self.core.gate.lock().name {
            "" => "lazy".to_owned(),
            name => name.to_owned(),
        }
    }

    /// Ends the running series, if there is one, and waits until it has ended.
    async fn stop_dialing(&self) {
        let dismissed = self.core.gate.lock().dismiss();
        if let Some((abort, mut outcome)) = dismissed {
            if let Some(abort) = abort {
                abort.abort();
            }
            // Whatever it came to: that it ended is what counts.
            drop(ended(&mut outcome).await);
        }
    }
}

impl<S: MessageSink + 'static> MessageSink for LazyMessageSink<S> {
    /// Sends over the live connection, or opens one first; no allocation when the inner sink takes the
    /// message at once.
    ///
    /// # Errors
    ///
    /// `ConnectionFailed` after `max_retries` + 1 failed attempts; `ConnectionLost` when as many fresh
    /// connections in a row broke before anybody's message got through, and, with `auto_reconnect =
    /// false`, after any loss until [`connect`](Self::connect); `NoRuntime` outside tokio; `Closed`; and
    /// whatever the inner sink says that is not about its connection. The message is in the error unless
    /// it is in doubt.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the message was not accepted by this sink, nor by an inner sink that keeps
    /// the promise of [`MessageSink::send`]. The dial series goes on, and the next send finds its result.
    fn send(&self, message: Message) -> Sending<'_> {
        // As `offer` does, but in place: each function that a message goes through moves its 80 bytes.
        let live = self.core.live.load();
        let Some(live) = self.core.usable(&live) else {
            return Sending::new(self.deliver(message, S::send));
        };
        let Err(error) = live.sink.try_send(message) else {
            self.core.took(live);
            return Sending::ready(Ok(()));
        };
        match self.core.untaken(live, error) {
            TrySendError::Refused(error) => Sending::ready(Err(error)),
            TrySendError::WouldWait(message) => Sending::new(self.deliver(message, S::send)),
        }
    }

    fn send_with_receipt(&self, message: Message) -> Sending<'_, Receipt> {
        Sending::new(self.deliver(message, S::send_with_receipt))
    }

    fn is_connected(&self) -> bool {
        self.core.is_connected()
    }

    fn metadata(&self) -> SinkMetadata {
        let state = self.state();
        let counters = &self.core.counters;
        let name = self.name();
        let gate = self.core.gate.lock();
        SinkMetadata {
            name,
            sink_type: "lazy".into(),
            endpoint: gate.endpoint.as_deref().map(str::to_owned),
            state,
            messages_sent: counters.messages_sent.read(),
            messages_failed: counters.messages_failed.read(),
            last_error: gate.last_error.as_deref().map(str::to_owned),
        }
    }

    /// Takes the message if there is a connection and the inner sink takes it at once; opens nothing.
    fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self.core.offer(message) {
            Err(TrySendError::WouldWait(message)) => {
                let gate = self.core.gate.lock();
                let error = match (gate.stage(), &gate.lost) {
                    (Stage::Closed, _) => gate.closed(),
                    (Stage::Asleep | Stage::Failed(_), Some(lost)) => lost.clone(),
                    _ => return Err(TrySendError::WouldWait(message)),
                };
                drop(gate);
                let error = self.core.refuse(error, Some(message));
                Err(TrySendError::Refused(error))
            }
            taken_or_refused => taken_or_refused,
        }
    }

    /// Opens the connection now; nothing happens if there is one.
    ///
    /// # Errors
    ///
    /// `ConnectionFailed` after `max_retries` + 1 failed attempts; `NoRuntime`; `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the dial series goes on.
    fn connect(&self) -> Sending<'_> {
        Sending::new(async move {
            if self.core.connection().is_some() {
                return Ok(());
            }
            self.connected(Ask::Connect).await
        })
    }

    /// Ends what is being dialled, disconnects the inner sink and sleeps; a later send wakes it again.
    /// Sends that wait for a connection at that moment get `ConnectionFailed` with their message.
    ///
    /// # Errors
    ///
    /// What the inner sink says. After its `Timeout` the connection is kept, for it still owes something.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, the dial series has ended; the connection may be half closed, which the next
    /// send finds out.
    fn disconnect(&self) -> Sending<'_> {
        Sending::new(async move {
            self.stop_dialing().await;
            let live = self.core.live.load_full();
            let Some(live) = live else {
                self.core.gate.lock().lost = None;
                return Ok(());
            };
            let result = live.sink.disconnect().await;
            if !matches!(result, Err(SinkError::Timeout(_))) {
                self.core.release(&live);
                self.core.gate.lock().lost = None;
            }
            result
        })
    }

    /// Flushes the inner sink and gives its report; if that is empty, or nothing is connected, one of
    /// this sink's own counts.
    ///
    /// # Cancel safety
    ///
    /// Dropped while pending, nothing is lost but the report.
    fn flush(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            match self.core.live.load_full() {
                Some(live) => Ok(self.or_own(live.sink.flush(within).await?)),
                None => Ok(self.report()),
            }
        })
    }

    fn state(&self) -> ConnectionState {
        self.core.state()
    }

    /// Closes the sink for good: every later send gets `Closed`, and so do those that wait for a
    /// connection. A dial that is under way ends first. The inner sink is closed within this time.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the sink is closed; dropped later, the inner sink is dropped as it stands.
    fn close(&self, within: Duration) -> Flushing<'_> {
        Sending::new(async move {
            let (live, dialing) = self.core.shut();
            if let Some(mut outcome) = dialing {
                // Ended at once, or in the moment of its birth: then nothing is dialled after the close.
                drop(ended(&mut outcome).await);
            }
            match live {
                Some(live) => Ok(self.or_own(live.sink.close(within).await?)),
                None => Ok(self.report()),
            }
        })
    }
}

impl<S> Drop for LazyMessageSink<S> {
    fn drop(&mut self) {
        drop(self.core.shut());
    }
}

impl<S> fmt::Debug for LazyMessageSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate = self.core.gate.lock();
        let (name, state) = (Arc::clone(&gate.name), gate.state());
        drop(gate);
        f.debug_struct("LazyMessageSink")
            .field("name", &name)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
