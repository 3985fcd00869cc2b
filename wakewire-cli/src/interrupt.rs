//! Being told to end: ctrl-c and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::said::{LOST, Said};

/// Hears of ctrl-c and of SIGTERM; while it exists, neither ends the process.
#[derive(Debug)]
pub(crate) struct Interrupt {
    by_keyboard: Signal,
    by_process: Signal,
}

impl Interrupt {
    /// Begins to listen.
    pub(crate) fn new() -> Result<Self, Said> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Said::fault(format!("cannot listen for signals: {error}"), None, LOST)
            })
        };
        Ok(Self {
            by_keyboard: listen(SignalKind::interrupt())?,
            by_process: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for one.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, none is lost.
    pub(crate) async fn came(&mut self) {
        tokio::select! {
            _ = self.by_keyboard.recv() => {}
            _ = self.by_process.recv() => {}
        }
    }
}
