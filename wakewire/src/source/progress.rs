//! How far the application has come, told to the connection that acknowledges it.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::acker::Acker;
use crate::cursor::{Cursor, Mark, Position};
use crate::wire::SessionId;

/// Up to where the application has processed one session.
#[derive(Debug)]
pub(super) struct Progress {
    session: SessionId,
    /// Where progress is written before it is acknowledged. It ends with the source, and progress with it.
    cursor: Option<Weak<Cursor>>,
    processed: AtomicU64,
    /// Handed out to be acknowledged explicitly.
    held: Mutex<Held>,
    acker: Arc<Acker>,
}

#[derive(Debug, Default)]
struct Held {
    /// Handed out and not acknowledged.
    pending: BTreeSet<u64>,
    /// The last number that was handed out, or is past.
    last: u64,
}

impl Progress {
    pub(super) const fn new(
        session: SessionId,
        cursor: Option<Weak<Cursor>>,
        acker: Arc<Acker>,
    ) -> Self {
        Self {
            session,
            cursor,
            processed: AtomicU64::new(0),
            held: Mutex::new(Held {
                pending: BTreeSet::new(),
                last: 0,
            }),
            acker,
        }
    }

    /// Returns what the connection that acknowledges this progress waits on.
    pub(super) fn acker(&self) -> Arc<Acker> {
        Arc::clone(&self.acker)
    }

    pub(super) fn processed(&self) -> u64 {
        self.processed.load(SeqCst)
    }

    /// Returns where this message stands.
    pub(super) const fn position(&self, sequence: u64) -> Position {
        Position::new(self.session, sequence)
    }

    /// The application is past this message, and this mark belongs to that; `Err` when it cannot be written, and then it
    /// is not so.
    #[inline]
    pub(super) fn confirm(&self, sequence: u64, mark: Option<Mark>) -> io::Result<()> {
        if let Some(cursor) = &self.cursor
            && !self.writes_down(cursor, sequence, mark)?
        {
            return Ok(());
        }
        self.processed.fetch_max(sequence, SeqCst);
        self.acker.tell();
        Ok(())
    }

    /// Writes it to the cursor, if that is news; returns whether there is somebody who keeps a cursor.
    fn writes_down(
        &self,
        cursor: &Weak<Cursor>,
        sequence: u64,
        mark: Option<Mark>,
    ) -> io::Result<bool> {
        if sequence > self.processed() || mark.is_some() {
            let Some(cursor) = cursor.upgrade() else {
                return Ok(false);
            };
            cursor.advance(self.position(sequence), mark)?;
        }
        Ok(true)
    }

    /// The same where nobody can be told of an error: the source's next call is.
    pub(super) fn advance(&self, sequence: u64) {
        if let Err(error) = self.confirm(sequence, None)
            && let Some(cursor) = self.cursor.as_ref().and_then(Weak::upgrade)
        {
            cursor.keep_fault(error);
        }
    }

    /// This message is handed out: nothing from it on is processed before it is released.
    pub(super) fn hold(&self, sequence: u64) {
        let mut held = self.held.lock();
        held.pending.insert(sequence);
        held.last = held.last.max(sequence);
    }

    /// This message was acknowledged.
    pub(super) fn release(&self, sequence: u64) {
        let mut held = self.held.lock();
        held.pending.remove(&sequence);
        let processed = held.pending.first().map_or(held.last, |first| first - 1);
        drop(held);
        self.advance(processed);
    }

    /// What comes up to here will not come, or is processed (rule K3); what is held comes first.
    pub(super) fn pass(&self, sequence: u64) {
        let mut held = self.held.lock();
        held.last = held.last.max(sequence);
        let is_free = held.pending.is_empty();
        drop(held);
        if is_free {
            self.advance(sequence);
            self.urge();
        }
    }

    /// The application waits, or has processed much: acknowledge at once.
    pub(super) fn urge(&self) {
        self.acker.urge();
    }
}

/// What the application has processed and may not have been acknowledged yet, and how long it has worked without a pause.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    touched: Vec<Arc<Progress>>,
    bytes: usize,
    /// Messages that were at hand, since the application last waited or made way.
    in_a_row: u64,
}

impl Unsaid {
    /// So many messages of this session are handed out from now on.
    pub(super) fn touch(&mut self, progress: &Arc<Progress>, count: u64) {
        self.in_a_row += count;
        progress.acker.work();
        match self
            .touched
            .iter()
            .position(|known| Arc::ptr_eq(known, progress))
        {
            Some(index) => {
                let last = self.touched.len() - 1;
                self.touched.swap(index, last);
            }
            None => self.touched.push(Arc::clone(progress)),
        }
    }

    /// So many bytes more were handed out; what came before them is acknowledged now and then.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= URGE_AFTER {
            self.urge_now_and_then();
        }
    }

    #[cold]
    fn urge_now_and_then(&mut self) {
        self.bytes = 0;
        self.touched.iter().for_each(|progress| progress.urge());
        // The last one is still in use.
        self.touched.drain(..self.touched.len().saturating_sub(1));
    }

    /// Returns whether there was so much at hand that those who read and acknowledge, perhaps in the same thread, should
    /// have a turn before there is more.
    pub(super) const fn makes_way(&mut self) -> bool {
        let is_long = self.in_a_row >= MOST_IN_A_ROW;
        if is_long {
            self.in_a_row = 0;
        }
        is_long
    }

    /// Has all of it acknowledged at once.
    pub(super) fn urge(&mut self) {
        self.bytes = 0;
        self.touched.drain(..).for_each(|progress| progress.urge());
    }

    /// The application waits for more, so all of it is acknowledged at once, if anybody waits for that or it is much.
    pub(super) fn rest(&mut self) {
        self.bytes = 0;
        self.in_a_row = 0;
        for progress in self.touched.drain(..) {
            progress.acker.rest(progress.processed());
        }
    }
}

/// At full speed a millisecond is more than a whole default buffer: acknowledge by bytes as well.
const URGE_AFTER: usize = 64 * 1024;

/// A fifth of the messages that a sender's buffer takes by default: with all of them here, to be worked on in one go,
/// the sender waits for room all that time, and this side for messages afterwards.
const MOST_IN_A_ROW: u64 = 2048;
