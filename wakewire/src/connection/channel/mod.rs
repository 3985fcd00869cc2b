//! One connection to one peer: any number of requests in flight, messages in both directions.

mod driver;
mod inbox;
mod pending;
mod pings;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use self::driver::Driving;
pub use self::settings::ConnectionSettings;
use self::shared::Shared;
use self::ticket::after;
use super::codec::{MessageCodec, Plain};
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::{Failure, Phase, SinkError};
use crate::message::Message;
use crate::security::ListenLimits;
use crate::transport::dial::{Dial, Target};
use crate::transport::greeting::{Host, greet};
use crate::transport::outflow::Outflow;
use crate::transport::unreached::Unreached;
use crate::wire::frame::{Kind, frame_limit};
use crate::wire::hello::{Hello, Limits, Requester, VERSION};
use crate::wire::liveness::ASK_AFTER;

/// One open connection to one peer, shared by as many callers as like.
///
/// Requests do not wait for each other: each has a number, and the answers may come in any order. An answer that comes
/// too late reaches nobody. Dropping the future of a request makes the peer stop working on it.
///
/// **What failed and may be sent again**: an error with the message in it
/// ([`SinkError::into_message`]) says that the peer certainly never saw the request, or did nothing with it. Without
/// it, the peer may have done what was asked.
///
/// **Over `udp`** each request and each answer is one datagram, of at most 64,000 bytes, and nothing is sent again: a
/// request is processed at most once, and one that is lost, or whose answer is, ends with a `Timeout` without its
/// message. What does not fit is `MessageTooLarge`.
///
/// It does not heal: when it breaks, it stays so. A pool opens the next one. Cloning is cheap; when the last clone is
/// dropped, it closes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = std::env::temp_dir().join(format!("wakewire-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let url = format!("unix://{}", directory.join("connection.sock").display());
/// use std::time::Duration;
/// use wakewire::Message;
/// use wakewire::connection::{Connection, ConnectionSettings};
/// use wakewire::source::serve;
///
/// let server = serve(url.as_str(), |request| async move { Ok(request.message) }).start().await?;
///
/// let connection = Connection::open(url.as_str(), ConnectionSettings::default()).await?;
/// let (one, two) = tokio::join!(
///     connection.send_request(Message::new("one")),
///     connection.send_request(Message::new("two")),
/// );
/// assert_eq!((&one?.payload[..], &two?.payload[..]), (&b"one"[..], &b"two"[..]));
///
/// assert!(connection.disconnect(Duration::from_secs(1)).await);
/// server.close(Duration::from_secs(1)).await;
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct Connection<C: MessageCodec = Plain> {
    held: Arc<Held<C>>,
}

/// Closes the connection when nobody holds it any more.
struct Held<C> {
    shared: Arc<Shared>,
    codec: C,
}

impl Connection {
    /// Opens a connection over which [`Message`]s go as they are.
    ///
    /// # Errors
    ///
    /// `ConnectionFailed` when nobody answers in time; `Unauthorized`, `Protocol` or `Overloaded` when the peer does
    /// not take us; `InvalidConfig` for no endpoint, or a password in the clear; `NoRuntime` outside of tokio.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays open.
    pub async fn open<E: TryInto<Endpoint>>(
        endpoint: E,
        settings: ConnectionSettings,
    ) -> Result<Self, SinkError>
    where
        EndpointError: From<E::Error>,
    {
        Self::open_with(Plain, endpoint, settings).await
    }
}

impl<C: MessageCodec> Connection<C> {
    /// Opens a connection over which the items of this codec go.
    ///
    /// # Errors
    ///
    /// As [`open`](Connection::open).
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays open.
    pub async fn open_with<E: TryInto<Endpoint>>(
        codec: C,
        endpoint: E,
        settings: ConnectionSettings,
    ) -> Result<Self, SinkError>
    where
        EndpointError: From<E::Error>,
    {
        let endpoint = endpoint.try_into().map_err(|error| {
            let error = EndpointError::from(error);
            let hint = error.hint().to_owned();
            let failure = Failure::new(settings.service.as_str()).because(error);
            SinkError::InvalidConfig(failure.phase(Phase::Resolve).hint(hint))
        })?;
        let security = settings.security.clone();
        let target = Target::new(endpoint.clone(), security, ListenLimits::default())
            .sound()
            .map_err(|unreached| {
                let failure = Failure::new(settings.service.as_str());
                unreached.error(failure.endpoint(endpoint.to_string()))
            })?;
        Self::over(&target, &endpoint, codec, settings).await
    }

    /// Opens it from anywhere, as if from this endpoint.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays open.
    async fn over(
        dial: &dyn Dial,
        endpoint: &Endpoint,
        codec: C,
        settings: ConnectionSettings,
    ) -> Result<Self, SinkError> {
        let failure = Failure::new(settings.service.as_str()).endpoint(endpoint.to_string());
        let checksummed = endpoint.is_checksummed();
        let runtime = Handle::try_current().map_err(|error| {
            let failure = failure.clone().because(error);
            SinkError::NoRuntime(failure.hint("open connections inside a tokio runtime"))
        })?;
        let hello = hello(&settings);
        let limit = hello.limits.frame;
        let within = settings.timeout;
        let reach = async {
            let line = dial.dial().await?;
            let outflow = Outflow::new(checksummed).exact(match endpoint.scheme() {
                Scheme::Unix => true,
                // Unless it became TLS.
                Scheme::Tcp => !line.is_private,
                _ => false,
            });
            Ok((greet(line, hello, &[], checksummed).await?, outflow))
        };
        let reached = timeout(within, reach).await.unwrap_or_else(|_| {
            let cause = format!("nobody answered within {within:?}");
            Err(Unreached::for_now(Phase::Dial, cause))
        });
        let (host, outflow) = reached.map_err(|unreached| unreached.error(failure.clone()))?;
        let Host {
            mut reader,
            writer,
            pulse,
            mut welcome,
            ..
        } = host;
        reader.scanner().limit = limit;
        reader.takes_once(endpoint.loses_frames());
        let largest = frame_limit(endpoint.largest_message());
        welcome.limits.frame = welcome.limits.frame.min(largest);
        let shared = Arc::new(Shared::new(failure, settings, welcome, outflow, pulse));
        runtime.spawn(driver::run(Driving(Arc::clone(&shared)), reader, writer));
        Ok(Self {
            held: Arc::new(Held { shared, codec }),
        })
    }

    /// Sends a request and waits for its answer, as long as `timeout` of the settings.
    ///
    /// # Errors
    ///
    /// With the message in it when the peer certainly never saw it or did nothing with it: `ConnectionLost`, `Closed`,
    /// `Timeout`, `MessageTooLarge`, `Overloaded`. Without it when it may have been processed: `ConnectionLost`,
    /// `Closed`, `Timeout`. `RequestFailed` when the peer says that it cannot answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the request is forgotten here, and the peer is told to stop working on it.
    pub async fn send_request(&self, item: impl Borrow<C::Item>) -> Result<C::Item, SinkError> {
        let within = self.held.shared.settings.timeout;
        self.send_request_within(item, within).await
    }

    /// The same with a time limit of its own. It travels with the request, so that the peer stops working on it then.
    ///
    /// # Errors
    ///
    /// As [`send_request`](Self::send_request).
    ///
    /// # Cancel safety
    ///
    /// As [`send_request`](Self::send_request).
    pub async fn send_request_within(
        &self,
        item: impl Borrow<C::Item>,
        within: Duration,
    ) -> Result<C::Item, SinkError> {
        let message = self.encode(item.borrow())?;
        let shared = &self.held.shared;
        let deadline = after(within);
        let answer = shared.send(Kind::Request, message, deadline).await?;
        self.decode(answer)
    }

    /// Sends a message that is not answered. `Ok` says that it was handed to the system, not that it arrived: for
    /// messages that must arrive there are sinks.
    ///
    /// # Errors
    ///
    /// As [`send_request`](Self::send_request), but for what only an answer says.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it is not sent if nothing of it was written yet.
    pub async fn send_message(&self, item: impl Borrow<C::Item>) -> Result<(), SinkError> {
        let message = self.encode(item.borrow())?;
        let shared = &self.held.shared;
        let deadline = after(shared.settings.timeout);
        shared.send(Kind::Data, message, deadline).await.map(drop)
    }

    /// Waits for the next message that the peer sends of its own accord; `None` when the connection is over. At most
    /// 1024 messages and 8 MiB wait to be asked for: beyond that the oldest is dropped, see [`missed`](Self::missed).
    ///
    /// # Errors
    ///
    /// When the codec refuses the message; the next call goes on behind it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no message is lost.
    pub async fn receive_message(&self) -> Result<Option<C::Item>, SinkError> {
        let message = self.held.shared.inbox.next().await;
        message.map(|message| self.decode(message)).transpose()
    }

    /// Returns how many messages were dropped because nobody asked for them.
    pub fn missed(&self) -> u64 {
        self.held.shared.inbox.missed()
    }

    /// Asks the peer for a sign of life; returns how long it took to come. More than ten a second, for long, a peer
    /// does not bear.
    ///
    /// # Errors
    ///
    /// `Timeout` when none comes in time, whatever else the peer says; the reason when the connection is over.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the answer is ignored.
    pub async fn ping(&self, within: Duration) -> Result<Duration, SinkError> {
        let since = Instant::now();
        self.held.shared.ping(within).await?;
        Ok(since.elapsed())
    }

    /// Returns which process answers: a random number, new with each of its lives.
    pub fn node_id(&self) -> u128 {
        self.held.shared.welcome.node.0
    }

    /// Returns whether requests can be sent, as far as is known without asking the peer.
    pub fn is_open(&self) -> bool {
        self.held.shared.is_open()
    }

    /// Returns after how long without use the peer closes it, if it said so. Whoever keeps it for later retires it
    /// before that.
    pub fn announced_idle(&self) -> Option<Duration> {
        let idle_ms = self.held.shared.welcome.limits.idle_ms;
        (idle_ms > 0).then(|| Duration::from_millis(u64::from(idle_ms)))
    }

    /// Returns how many requests and messages are under way. Those that wait for their turn are not among them.
    pub fn in_flight(&self) -> usize {
        self.held.shared.in_flight()
    }

    /// Leaves gracefully, for all clones: takes no further requests, waits as long as this for what is under way, then
    /// [closes](Self::close). Returns whether everything was settled by then.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, it goes on leaving, and waits for what is under way without a limit of its own.
    pub async fn disconnect(&self, within: Duration) -> bool {
        let shared = &self.held.shared;
        shared.leave();
        let settled = timeout(within, shared.ended()).await.is_ok();
        if !settled {
            shared.close();
            shared.ended().await;
        }
        settled
    }

    /// Starts closing it, for all clones, and returns at once; works outside of a runtime. What is under way fails.
    pub fn close(&self) {
        self.held.shared.close();
    }

    /// Waits until nothing is left of it, no task and no socket, whoever ended it. After [`close`](Self::close) that
    /// takes 2 s at most: a peer that does not hear the goodbye is not waited for.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub async fn closed(&self) {
        self.held.shared.ended().await;
    }

    fn encode(&self, item: &C::Item) -> Result<Message, SinkError> {
        self.held.codec.encode(item).map_err(|error| {
            let failure = self.held.shared.failure.clone().phase(Phase::Accept);
            SinkError::SendFailed(failure.because(error).hint("the codec refuses the item"))
        })
    }

    fn decode(&self, message: Message) -> Result<C::Item, SinkError> {
        self.held.codec.decode(message).map_err(|error| {
            let failure = self.held.shared.failure.clone().phase(Phase::Read);
            SinkError::RequestFailed(failure.because(error).hint("the codec refuses what came"))
        })
    }
}

fn hello(settings: &ConnectionSettings) -> Hello {
    Hello {
        oldest: VERSION,
        newest: VERSION,
        service: settings.service.clone(),
        limits: Limits {
            frame: frame_limit(settings.max_message_bytes),
            idle_ms: 0,
            ping_ms: u32::try_from(ASK_AFTER.as_millis()).unwrap_or(u32::MAX),
        },
        producer: None,
        consumer: None,
        requester: Some(Requester {
            in_flight: settings.in_flight,
        }),
        probe: None,
        credentials: None,
        offer: None,
    }
}

impl<C: MessageCodec> Clone for Connection<C> {
    fn clone(&self) -> Self {
        Self {
            held: Arc::clone(&self.held),
        }
    }
}

impl<C> Drop for Held<C> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<C: MessageCodec> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.held.shared.failure.endpoint_name())
            .field("is_open", &self.is_open())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
