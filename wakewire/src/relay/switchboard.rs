//! The hub under its lock, and the bells by which connections are called.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::effects::{ConnectionId, Refused, Wake};
use super::hub::Hub;
use super::owners::Owners;
use crate::security::Identity;
use crate::wire::hello::Code;

/// What all connections of a relay share.
#[derive(Debug)]
pub(super) struct Switchboard {
    state: Mutex<State>,
    next: AtomicU64,
    owners: Mutex<Owners>,
    /// Calls whoever writes to the disk.
    pub(super) store: Notify,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    wake: Wake,
    bells: BTreeMap<ConnectionId, Arc<Bell>>,
}

/// What calls one connection.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// There is something to send.
    pub(super) poll: Notify,
    /// There is room in the log.
    pub(super) room: Notify,
    closing: Notify,
    code: OnceLock<Code>,
}

impl Bell {
    /// Tells the connection to end.
    pub(super) fn close(&self, code: Code) {
        self.code.get_or_init(|| code);
        self.closing.notify_one();
    }

    /// Returns why the connection is to end, if it is.
    pub(super) fn code(&self) -> Option<Code> {
        self.code.get().copied()
    }

    /// Waits until the connection is to end; returns why.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the next call returns at once if it was told meanwhile.
    pub(super) async fn closed(&self) -> Code {
        loop {
            if let Some(code) = self.code() {
                return code;
            }
            self.closing.notified().await;
        }
    }
}

impl Switchboard {
    pub(super) fn new(hub: Hub) -> Self {
        let state = State {
            hub,
            wake: Wake::default(),
            bells: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            next: AtomicU64::new(1),
            owners: Mutex::default(),
            store: Notify::new(),
        }
    }

    /// Notes that a consumer of this name is of this identity; refuses one that is not.
    pub(super) fn claim(&self, name: &str, identity: &Identity) -> Result<(), Refused> {
        self.owners.lock().claim(name, identity)
    }

    /// Enters a connection: from now on it is called.
    pub(super) fn enter(&self) -> (ConnectionId, Arc<Bell>) {
        let id = ConnectionId(self.next.fetch_add(1, Relaxed));
        let bell = Arc::new(Bell::default());
        self.state.lock().bells.insert(id, Arc::clone(&bell));
        (id, bell)
    }

    /// A connection has ended, however it ended.
    pub(super) fn leave(&self, id: ConnectionId) {
        self.with(|hub, wake| hub.lost(id, wake));
        self.state.lock().bells.remove(&id);
    }

    /// Does something with the hub, and calls those for whom that has consequences.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Hub, &mut Wake) -> T) -> T {
        let mut state = self.state.lock();
        let State { hub, wake, bells } = &mut *state;
        let result = work(hub, wake);
        if std::mem::take(&mut wake.store) && hub.has_to_store() {
            self.store.notify_one();
        }
        for id in wake.poll.drain(..) {
            if let Some(bell) = bells.get(&id) {
                bell.poll.notify_one();
            }
        }
        for id in wake.room.drain(..) {
            if let Some(bell) = bells.get(&id) {
                bell.room.notify_one();
            }
        }
        for id in wake.close.drain(..) {
            if let Some(bell) = bells.get(&id) {
                bell.close(Code::Replaced);
            }
        }
        result
    }

    /// Tells these connections to end.
    pub(super) fn close(&self, connections: &[ConnectionId], code: Code) {
        let state = self.state.lock();
        for bell in connections.iter().filter_map(|id| state.bells.get(id)) {
            bell.close(code);
        }
    }

    /// Tells all connections to end.
    pub(super) fn close_all(&self, code: Code) {
        self.state
            .lock()
            .bells
            .values()
            .for_each(|bell| bell.close(code));
    }
}
