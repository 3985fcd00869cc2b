//! How a factory closes the sources that it has handed out.

use std::sync::Weak;

use super::acker::Acker;
use super::inbox::Inbox;

/// Closes a source that belongs to somebody else.
#[derive(Debug)]
pub(crate) struct Closer {
    pub(super) inbox: Weak<Inbox>,
    pub(super) acker: Weak<Acker>,
}

impl Closer {
    /// Returns whether the source still exists.
    pub(crate) fn is_needed(&self) -> bool {
        self.inbox.strong_count() > 0
    }

    /// Acknowledges what was processed and closes; the source's owner gets `None`.
    pub(crate) fn close(self) {
        if let (Some(inbox), Some(acker)) = (self.inbox.upgrade(), self.acker.upgrade()) {
            inbox.close();
            acker.urge();
        }
    }
}
