//! A disk in memory that fails, tears and forgets on command.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::spool::disk::{Disk, Tape};

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The next writes take so many bytes and then fail.
    pub(crate) room: Option<usize>,
    pub(crate) cut: bool,
    pub(crate) sync: bool,
    pub(crate) create: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// What it was when it was synced last.
    pub(crate) synced: Vec<u8>,
}

/// What was done to the names since they were synced last.
#[derive(Debug)]
enum Named {
    Made(String),
    Removed(String, Content),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    names: Vec<Named>,
    faults: Faults,
    writes: usize,
    syncs: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>, Arc<(Mutex<bool>, Condvar)>);

/// Syncing waits as long as this is there.
#[derive(Debug)]
pub(crate) struct Held(Memory);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.1.0.lock() = false;
        self.0.1.1.notify_all();
    }
}

#[derive(Debug)]
struct Reel(Memory, String);

impl Memory {
    pub(crate) fn fails(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Returns how many writes there were.
    pub(crate) fn writes(&self) -> usize {
        self.0.lock().writes
    }

    /// Returns how often something was synced.
    pub(crate) fn syncs(&self) -> usize {
        self.0.lock().syncs
    }

    /// Lets no syncing end before this is dropped.
    pub(crate) fn holds_syncs(&self) -> Held {
        *self.1.0.lock() = true;
        Held(self.clone())
    }

    fn comes_to_sync(&self) {
        let mut held = self.1.0.lock();
        self.1.1.wait_while(&mut held, |held| *held);
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Content> {
        self.0.lock().files.clone()
    }

    pub(crate) fn restore(&self, files: BTreeMap<String, Content>) {
        self.0.lock().files = files;
    }

    /// Turns a bit somewhere; returns whether there was a byte.
    pub(crate) fn flip(&self, mut random: impl FnMut(usize) -> usize) -> bool {
        let mut state = self.0.lock();
        let number = random(state.files.len().max(1));
        let Some(content) = state.files.values_mut().nth(number) else {
            return false;
        };
        let at = random(content.bytes.len().max(1));
        let bit = random(8);
        content.bytes.get_mut(at).is_some_and(|byte| {
            *byte ^= 1 << bit;
            true
        })
    }

    /// The machine loses its power: of what was not synced it keeps what it likes.
    pub(crate) fn loses_power(&self, mut random: impl FnMut(usize) -> usize) {
        let mut state = self.0.lock();
        state.faults = Faults::default();
        // Names come and go in order, whatever is in the files.
        let names = std::mem::take(&mut state.names);
        let lost = random(names.len() + 1);
        for name in names.into_iter().rev().take(lost) {
            match name {
                Named::Made(name) => drop(state.files.remove(&name)),
                Named::Removed(name, content) => drop(state.files.insert(name, content)),
            }
        }
        for content in state.files.values_mut() {
            let kept = content.synced.len();
            if !content.bytes.starts_with(&content.synced) {
                // It was cut since.
                if random(2) == 0 {
                    content.bytes.clone_from(&content.synced);
                }
                continue;
            }
            let unsynced = content.bytes.len() - kept;
            content.bytes.truncate(kept + random(unsynced + 1));
            let mut at = kept;
            while at < content.bytes.len() {
                let end = (at + 1 + random(200)).min(content.bytes.len());
                if random(3) == 0 {
                    content.bytes[at..end].fill(0);
                }
                at = end;
            }
            content.synced.clone_from(&content.bytes);
        }
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        state
            .files
            .get(name)
            .map(|content| content.bytes.clone())
            .ok_or_else(broken)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Tape>> {
        let mut state = self.0.lock();
        if state.faults.create {
            return Err(full());
        }
        assert!(
            state
                .files
                .insert(name.to_owned(), Content::default())
                .is_none(),
            "it is new"
        );
        state.names.push(Named::Made(name.to_owned()));
        Ok(Arc::new(Reel(self.clone(), name.to_owned())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Tape>> {
        Ok(Arc::new(Reel(self.clone(), name.to_owned())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let content = state.files.remove(name).ok_or_else(broken)?;
        state.names.push(Named::Removed(name.to_owned(), content));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.comes_to_sync();
        let mut state = self.0.lock();
        state.syncs += 1;
        if state.faults.sync {
            return Err(broken());
        }
        state.names.clear();
        Ok(())
    }
}

impl Tape for Reel {
    fn append(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let Self(Memory(state, _), name) = self;
        let mut state = state.lock();
        state.writes += 1;
        let bytes = pieces.concat();
        let room = state.faults.room;
        let content = state.files.get_mut(name).ok_or_else(broken)?;
        match room.filter(|room| *room < bytes.len()) {
            Some(room) => {
                content.bytes.extend_from_slice(&bytes[..room]);
                state.faults.room = Some(0);
                Err(full())
            }
            None => {
                content.bytes.extend_from_slice(&bytes);
                Ok(())
            }
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let Self(Memory(state, _), name) = self;
        let mut state = state.lock();
        if state.faults.cut {
            return Err(broken());
        }
        let content = state.files.get_mut(name).ok_or_else(broken)?;
        content.bytes.truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.comes_to_sync();
        let Self(Memory(state, _), name) = self;
        let mut state = state.lock();
        state.syncs += 1;
        if state.faults.sync {
            return Err(broken());
        }
        if let Some(content) = state.files.get_mut(name) {
            content.synced.clone_from(&content.bytes);
        }
        Ok(())
    }
}
