//! An open connection to a peer, and what is known of it before anything is said over it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "tcp")]
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::Instant;
#[cfg(feature = "tcp")]
use tokio::time::timeout;

use super::signs::{Signed, Signs};
use crate::error::Phase;
use crate::security::{Credentials, Identity};
use crate::wire::negotiation::ProtocolNegotiation;

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub(crate) struct Line {
    pub(crate) stream: Box<dyn Duplex>,
    /// What passes over it, whatever is put around it later.
    pub(crate) signs: Arc<Signs>,
    /// Where the peer is; none on this machine's own sockets.
    pub(crate) address: Option<IpAddr>,
    /// Whom the transport knows the peer to be: by the kernel, or by a certificate.
    pub(crate) identity: Identity,
    /// Nobody on the way can listen: TLS, or a Unix socket.
    pub(crate) is_private: bool,
    /// What was offered in the clear before.
    pub(crate) offers: Option<Offers>,
    /// What we show the peer, which is never in the clear.
    pub(crate) credentials: Option<Credentials>,
    /// How it came about.
    pub(crate) course: Course,
}

impl Line {
    /// Makes one of which nothing is known yet.
    #[cfg_attr(
        not(any(feature = "unix", feature = "tcp", feature = "memory")),
        allow(dead_code, reason = "without a transport there is none")
    )]
    pub(crate) fn new(stream: impl Duplex + 'static) -> Self {
        Self::with(stream, true)
    }

    /// The same over datagrams, which the system takes whether anybody is there or not.
    #[cfg(feature = "udp")]
    pub(super) fn of_datagrams(stream: impl Duplex + 'static) -> Self {
        Self::with(stream, false)
    }

    #[cfg_attr(
        not(any(feature = "unix", feature = "tcp", feature = "memory")),
        allow(dead_code, reason = "without a transport there is none")
    )]
    fn with(stream: impl Duplex + 'static, is_held: bool) -> Self {
        let signs = Arc::default();
        Self {
            stream: Box::new(Signed::new(stream, Arc::clone(&signs), is_held)),
            signs,
            address: None,
            identity: Identity::Anonymous,
            is_private: false,
            offers: None,
            credentials: None,
            course: Course::default(),
        }
    }
}

/// Closes a stream over which a last word was written. What still comes is read for a moment: a socket that is
/// closed with something unread in it is reset, and the last word may be lost with it.
#[cfg(feature = "tcp")]
pub(crate) async fn part(mut stream: impl Duplex) {
    let parting = async {
        stream.shutdown().await?;
        copy(&mut stream.take(PARTING_BYTES), &mut sink()).await
    };
    match timeout(PARTING, parting).await {
        Ok(_) | Err(_) => {}
    }
}

/// How long, and for how many bytes, a peer that is refused may take to hear it.
#[cfg(feature = "tcp")]
const PARTING: Duration = Duration::from_secs(1);
#[cfg(feature = "tcp")]
const PARTING_BYTES: u64 = 64 * 1024;

/// What both sides offered in the clear, to be repeated inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offers {
    pub(crate) ours: ProtocolNegotiation,
    pub(crate) theirs: ProtocolNegotiation,
}

/// How a connection came about, step by step, for whoever wants to know where the time goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    pub(crate) steps: Vec<(Phase, Duration)>,
    /// Which protocol was chosen, and why.
    pub(crate) chosen: String,
}

impl Course {
    /// Notes that a step ended now which began then; returns when the next one begins.
    pub(crate) fn step(&mut self, phase: Phase, since: Instant) -> Instant {
        let now = Instant::now();
        self.steps.push((phase, now.duration_since(since)));
        now
    }
}
