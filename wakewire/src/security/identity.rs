//! Who a peer has proved to be, and the sessions that are its own. No I/O, no clock.

use std::fmt;

use sha2::{Digest, Sha256};

/// Who a peer has proved to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(all(feature = "unix", unix, feature = "tls")),
    allow(dead_code, reason = "what proves it may not be built in")
)]
pub(crate) enum Identity {
    /// Nobody asked, or there was no way to prove it.
    #[default]
    Anonymous,
    /// The user of a process on this machine, as the kernel says.
    #[cfg_attr(
        not(all(feature = "unix", unix)),
        allow(dead_code, reason = "only a Unix socket says")
    )]
    Uid(u32),
    /// Whoever knows this user's password.
    User(String),
    /// Whoever has the key of a certificate with this subject; a renewed certificate is the same identity.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "only TLS says"))]
    Certificate(String),
}

impl Identity {
    /// Returns the number under which a session, or a consumer's life, is known here.
    ///
    /// A peer says a number, but it names its own session only: nobody can resume, acknowledge or end that of
    /// another identity, whatever number they say. And it is one-way: what a relay tells its consumers about
    /// a session is not what one must say to be its producer.
    pub(crate) fn own(&self, session: u128) -> u128 {
        let mut hash = Sha256::new();
        hash.update(session.to_be_bytes());
        let (tag, text) = match self {
            Self::Anonymous => (0, String::new()),
            Self::Uid(uid) => (1, uid.to_string()),
            Self::User(name) => (2, name.clone()),
            Self::Certificate(subject) => (3, subject.clone()),
        };
        hash.update([tag]);
        hash.update(text);
        let digest: [u8; 32] = hash.finalize().into();
        digest
            .first_chunk()
            .map_or(session, |front| u128::from_be_bytes(*front))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody in particular"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::User(name) => write!(f, "user {name:?}"),
            Self::Certificate(subject) => write!(f, "certificate {subject:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_number_means_another_session_from_another_identity() {
        let identities = [
            Identity::Anonymous,
            Identity::Uid(0),
            Identity::Uid(1000),
            Identity::User("0".to_owned()),
            Identity::User("feed".to_owned()),
            Identity::Certificate("feed".to_owned()),
        ];
        for one in &identities {
            assert_eq!(one.own(7), one.own(7));
            assert_ne!(one.own(7), 7);
            assert_ne!(one.own(7), one.own(8));
            for other in identities.iter().filter(|other| *other != one) {
                assert_ne!(one.own(7), other.own(7));
            }
        }
    }
}
