//! Where a key stands, as it would be written. No I/O, no clock.

use std::fmt;

use super::diagnostic::quoted;

/// The full path of a key of a service, for messages; of the service itself, if the key is empty. It is put together when
/// something is said of it, which is seldom.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPath<'a> {
    pub(super) service: &'a str,
    /// `lazy.` for what stands in that table.
    pub(super) prefix: &'a str,
    pub(super) key: &'a str,
}

impl fmt::Display for KeyPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SERVICES}.{}", quoted(self.service))?;
        if self.key.is_empty() {
            return Ok(());
        }
        write!(f, ".{}{}", self.prefix, quoted(self.key))
    }
}

/// The table of all services.
pub(super) const SERVICES: &str = "services";
