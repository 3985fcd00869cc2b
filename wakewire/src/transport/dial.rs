//! Where connections come from: an endpoint, or a simulation.

use std::future::Future;
#[cfg(feature = "tcp")]
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::line::Line;
#[cfg(feature = "memory")]
use super::memory;
#[cfg(feature = "turmoil")]
use super::simulated;
#[cfg(feature = "tcp")]
use super::tls::Keys;
#[cfg(feature = "udp")]
use super::udp;
#[cfg(all(feature = "unix", unix))]
use super::unix;
use super::unreached::Unreached;
#[cfg(feature = "ws")]
use super::ws;
#[cfg(feature = "tcp")]
use super::{negotiation, tcp};
use super::{not_built_in, password};
#[cfg(feature = "tcp")]
use crate::endpoint::Authority;
use crate::endpoint::{Endpoint, Scheme};
use crate::error::Phase;
#[cfg(all(feature = "unix", unix))]
use crate::security::Identity;
use crate::security::{Credentials, ListenLimits, Security, TlsMode};

/// Where connections come from.
pub(crate) trait Dial: Send + Sync {
    /// Opens one connection.
    fn dial(&self) -> Opening;
}

/// A connection being opened; owns what it needs.
pub(crate) struct Opening(Pin<Box<dyn Future<Output = Result<Line, Unreached>> + Send>>);

impl Opening {
    pub(crate) fn new(
        future: impl Future<Output = Result<Line, Unreached>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Opening {
    type Output = Result<Line, Unreached>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// An endpoint, how it is protected, and what who listens there takes.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<Place>);

#[derive(Debug)]
struct Place {
    endpoint: Endpoint,
    security: Arc<Security>,
    /// None for the usual ones, as for whoever only dials: there may be very many of those.
    limits: Option<Box<ListenLimits>>,
    #[cfg(feature = "tcp")]
    keys: Keys,
}

impl Target {
    /// Names an endpoint, to dial or to listen at; opens nothing.
    pub(crate) fn new(endpoint: Endpoint, security: Security, limits: ListenLimits) -> Self {
        let security = security.shared();
        Self(Arc::new(Place {
            #[cfg(feature = "tcp")]
            keys: Keys::new(&endpoint, &security),
            endpoint,
            security,
            limits: (limits != ListenLimits::default()).then(|| Box::new(limits)),
        }))
    }

    /// Returns what is taken from those who connect.
    pub(crate) fn limits(&self) -> ListenLimits {
        self.0.limits.as_deref().copied().unwrap_or_default()
    }

    /// Finds out whether this build can open it as privately as it must be: encrypted where that is
    /// demanded, and with a password only where every connection is private.
    ///
    /// # Errors
    ///
    /// Our own configuration asks for what is not there.
    pub(crate) fn sound(self) -> Result<Self, Unreached> {
        let scheme = self.endpoint().scheme();
        let wanted = match scheme {
            Scheme::Tcp if self.security().tls == TlsMode::Require => Scheme::Tls,
            scheme => scheme,
        };
        if !scheme.is_built_in() || !wanted.is_built_in() {
            let cause = not_built_in(wanted);
            return Err(Unreached::misconfigured(Phase::Resolve, cause).hint(Scheme::advice()));
        }
        if self.security().password.is_some() && !self.security().is_private_over(scheme) {
            return Err(in_the_clear());
        }
        let private = match scheme {
            Scheme::Ws => Scheme::Wss,
            Scheme::Udp => Scheme::Tls,
            Scheme::Unix | Scheme::Tcp | Scheme::Tls | Scheme::Wss | Scheme::Memory => {
                return Ok(self);
            }
        };
        if self.security().tls == TlsMode::Require {
            let cause = format!(
                "`tls = \"require\"` is set, and `{}://` is never encrypted",
                scheme.name()
            );
            let hint = format!("write `{}://`", private.name());
            return Err(Unreached::misconfigured(Phase::Tls, cause).hint(hint));
        }
        Ok(self)
    }

    /// Returns how it is protected.
    pub(crate) fn security(&self) -> &Security {
        &self.0.security
    }

    /// Returns its certificates and keys.
    #[cfg(feature = "tcp")]
    pub(super) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Returns where it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }
}

impl Dial for Target {
    fn dial(&self) -> Opening {
        let place = Arc::clone(&self.0);
        Opening::new(async move {
            let mut line = place.open().await?;
            line.credentials = place.credentials(&line)?;
            Ok(line)
        })
    }
}

impl Place {
    async fn open(&self) -> Result<Line, Unreached> {
        match &self.endpoint {
            #[cfg(all(feature = "unix", unix))]
            Endpoint::Unix(path) => Ok(unix::dial(path).await?),
            #[cfg(feature = "tcp")]
            Endpoint::Tcp(authority) => {
                let line = dial_tcp(authority).await?;
                negotiation::dial(line, &authority.host, self.security.tls, &self.keys).await
            }
            #[cfg(feature = "udp")]
            Endpoint::Udp(authority) => Ok(udp::dial(authority).await?),
            #[cfg(feature = "tls")]
            Endpoint::Tls(authority) => {
                let mut line = dial_tcp(authority).await?;
                "TLS 1.3, as the endpoint says".clone_into(&mut line.course.chosen);
                self.keys.connect(line, &authority.host).await
            }
            #[cfg(feature = "ws")]
            Endpoint::WebSocket {
                secure, authority, ..
            } => {
                let mut line = dial_tcp(authority).await?;
                if *secure {
                    "TLS 1.3, as the endpoint says".clone_into(&mut line.course.chosen);
                    line = self.keys.connect(line, &authority.host).await?;
                }
                ws::dial(line, &self.endpoint).await
            }
            #[cfg(feature = "memory")]
            Endpoint::Memory(name) => Ok(memory::dial(name).await?),
            #[allow(unreachable_patterns, reason = "with every transport nothing is left")]
            other => Err(not_built_in(other.scheme()).into()),
        }
    }

    /// Reads what is to be shown to the peer, if nobody else can see it.
    fn credentials(&self, line: &Line) -> Result<Option<Credentials>, Unreached> {
        let credentials = password::credentials(&self.security).map_err(|cause| {
            Unreached::misconfigured(Phase::Handshake, cause)
                .hint("correct `username`, `password_env` or `password_file`")
        })?;
        if credentials.is_some() && !line.is_private {
            return Err(in_the_clear());
        }
        // Whoever can put a socket there would be told the password otherwise.
        #[cfg(all(feature = "unix", unix))]
        if credentials.is_some()
            && let Identity::Uid(uid) = line.identity
            && !unix::may_see(uid, &self.security.allow_uids)
        {
            let cause = format!("user {uid} listens there, who may not see the password");
            return Err(Unreached::misconfigured(Phase::Handshake, cause)
                .hint("find out who listens there; if it is right, add the user to `allow_uids`"));
        }
        Ok(credentials)
    }
}

/// Opens a TCP connection: a simulated one in a simulation.
#[cfg(feature = "tcp")]
async fn dial_tcp(authority: &Authority) -> io::Result<Line> {
    #[cfg(feature = "turmoil")]
    if simulated::is_running() {
        return simulated::dial(authority).await;
    }
    tcp::dial(authority).await
}

fn in_the_clear() -> Unreached {
    let cause = "a password is never sent in the clear, and this connection would not be encrypted";
    Unreached::misconfigured(Phase::Handshake, cause)
        .hint("set `tls = \"require\"`, or use `tls://`, `wss://` or a Unix socket")
}

#[cfg(all(test, feature = "unix", unix))]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_only_to_users_who_may_see_it() {
        let ours = rustix::process::geteuid().as_raw();
        let strange = ours + 4711;
        let shown = |uid, allowed: &[u32]| {
            let security = Security {
                username: Some("feed".to_owned()),
                password: Some("s3cr3t-canary".to_owned().into()),
                allow_uids: allowed.to_vec(),
                ..Security::default()
            };
            let endpoint = "/tmp/x.sock".parse().unwrap();
            let Target(place) = Target::new(endpoint, security, ListenLimits::default());
            let line = Line {
                is_private: true,
                identity: Identity::Uid(uid),
                ..Line::new(tokio::io::duplex(1).0)
            };
            place.credentials(&line)
        };
        for (uid, allowed) in [
            (ours, &[][..]),
            (0, &[]),
            (ours, &[strange]),
            (strange, &[strange]),
        ] {
            assert!(
                shown(uid, allowed).unwrap().is_some(),
                "{uid} of {allowed:?}"
            );
        }
        for allowed in [&[][..], &[ours], &[strange + 1]] {
            let unreached = shown(strange, allowed).unwrap_err();
            let error = unreached.error(crate::error::Failure::new("x"));
            assert!(error.is_permanent(), "{error}");
            assert!(error.to_string().contains(&strange.to_string()), "{error}");
        }
    }
}
