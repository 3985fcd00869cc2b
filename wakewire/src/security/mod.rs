//! Who may talk to a service, and how private it must be, as configured. No I/O, no clock.

mod credentials;
mod identity;
mod limits;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

pub use self::credentials::{Credentials, Password};
pub(crate) use self::identity::Identity;
pub use self::limits::ListenLimits;
use crate::endpoint::Scheme;

/// How a service is protected: encryption, certificates, a password, users of a Unix socket.
///
/// The same settings serve both sides: who dials checks the peer against `ca` and shows `cert` when asked, who
/// listens shows `cert` and checks the peer against `client_ca`; `username` and `password` are shown by the one
/// and demanded by the other. `docs/security.md` says what is protected against whom.
///
/// ```
/// use wakewire::{Security, ServiceConfig, TlsMode};
///
/// let orders = ServiceConfig {
///     security: Security {
///         tls: TlsMode::Require,
///         ca: Some("/etc/wakewire/ca.pem".into()),
///         ..Security::default()
///     },
///     ..ServiceConfig::direct("tcp://orders.example:7000".parse().unwrap())
/// };
/// assert!(orders.validate("orders").is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "users write it as a literal over a default"
)]
pub struct Security {
    /// Whether a `tcp` endpoint is encrypted. Default [`TlsMode::Prefer`]. Other schemes say it
    /// themselves: `ws` refuses [`TlsMode::Require`], on the rest it has no effect.
    pub tls: TlsMode,
    /// Certificates (PEM) that vouch for the peer that is dialled; the system's where none is given.
    pub ca: Option<PathBuf>,
    /// Our certificate chain (PEM): shown by who listens, and by who dials when it is asked for.
    pub cert: Option<PathBuf>,
    /// The private key (PEM) of `cert`; only its owner may read it.
    pub key: Option<PathBuf>,
    /// Certificates (PEM) that vouch for those who dial us; when given, nobody gets in without one.
    pub client_ca: Option<PathBuf>,
    /// The user that is shown to, or demanded by, the other side.
    pub username: Option<String>,
    /// Its password; only over TLS and Unix sockets.
    pub password: Option<Password>,
    /// The users (numbers) who may connect to a Unix socket; when empty, our own and root.
    pub allow_uids: Vec<u32>,
}

impl Security {
    /// Keeps it where many may have it; who says nothing has the same as everybody else who does.
    pub(crate) fn shared(self) -> Arc<Self> {
        static USUAL: LazyLock<Arc<Security>> = LazyLock::new(Arc::default);
        if self == **USUAL {
            Arc::clone(&USUAL)
        } else {
            Arc::new(self)
        }
    }

    /// Whether nobody else can read any connection over this scheme.
    pub(crate) fn is_private_over(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Unix | Scheme::Tls | Scheme::Wss | Scheme::Memory => true,
            Scheme::Tcp => self.tls == TlsMode::Require,
            Scheme::Udp | Scheme::Ws => false,
        }
    }
}

/// Whether a `tcp` endpoint is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "never, if both can, or always: there is no fourth"
)]
pub enum TlsMode {
    /// Never.
    Off,
    /// If both sides can; the peers say first what they can do. The default. Somebody on the path can prevent
    /// it, so it protects against listening, not against an attacker: see [`Require`](Self::Require).
    #[default]
    Prefer,
    /// From the first byte, or not at all: nothing is ever sent in the clear.
    Require,
}

impl TlsMode {
    /// All, from the weakest to the strongest.
    pub const ALL: [Self; 3] = [Self::Off, Self::Prefer, Self::Require];

    /// Returns the name as written in `services.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
