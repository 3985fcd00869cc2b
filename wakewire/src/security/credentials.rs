//! A user and a password, which nothing prints. No I/O, no clock.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Where a password comes from. It is read anew for each connection, so that it may change.
///
/// ```
/// use wakewire::Password;
///
/// let password = Password::from("hunter2".to_owned());
/// assert!(!format!("{password:?}").contains("hunter2"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Password {
    /// The environment variable of this name.
    Env(String),
    /// The first line of this file.
    File(PathBuf),
    /// This one.
    Given(SecretString),
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Self::Given(password.into())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Env(one), Self::Env(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Given(one), Self::Given(other)) => same(one, other),
            _ => false,
        }
    }
}

impl Eq for Password {}

/// What one side shows and the other demands.
#[derive(Clone)]
pub struct Credentials {
    /// Who it is.
    pub(crate) username: String,
    /// What only that user knows.
    pub(crate) password: SecretString,
}

impl Credentials {
    /// Makes credentials of a user.
    pub fn new(username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
        }
    }

    /// Returns whether the other ones are the same. It takes as long for a wrong user as for a wrong password,
    /// wherever they differ.
    pub(crate) fn admit(&self, shown: &Self) -> bool {
        let user = digest(&self.username).ct_eq(&digest(&shown.username));
        let password =
            digest(self.password.expose_secret()).ct_eq(&digest(shown.password.expose_secret()));
        (user & password).into()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.admit(other)
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    let (one, other) = (one.expose_secret(), other.expose_secret());
    digest(one).ct_eq(&digest(other)).into()
}

/// Of one length, whatever the text's is.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_user_with_the_same_password_is_admitted() {
        let ours = Credentials::new("feed", "s3cret");
        assert!(ours.admit(&Credentials::new("feed", "s3cret")));
        for (user, password) in [
            ("feed", "s3creT"),
            ("feed", "s3cret2"),
            ("feed", ""),
            ("", "s3cret"),
            ("feeds", "3cret"),
        ] {
            assert!(!ours.admit(&Credentials::new(user, password)));
        }
    }

    #[test]
    fn nothing_prints_a_password() {
        let canary = "s3cr3t-canary";
        let shown = format!(
            "{:?} {:?}",
            Credentials::new("feed", canary),
            Password::from(canary.to_owned())
        );
        assert!(shown.contains("feed") && !shown.contains(canary), "{shown}");
    }
}
