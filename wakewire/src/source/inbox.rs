//! What was received and not yet taken by the application, and what is known of each session.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::acker::Acker;
use super::progress::Progress;
use crate::cursor::Cursor;
use crate::error::SinkError;
use crate::wire::run::Run;
use crate::wire::session::Position;
use crate::wire::session::{self, Positions, Side};
use crate::wire::{ProtocolError, SessionId};

/// The bounded queue between connections and the application.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Something has come.
    arrived: Notify,
    /// The application has taken what was there.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    positions: Positions,
    progress: BTreeMap<SessionId, Arc<Progress>>,
    /// Where progress is written.
    cursor: Option<Weak<Cursor>>,
    /// What the application should hear of: the peer refuses us.
    error: Option<SinkError>,
    closing: bool,
    connects: u64,
}

/// One thing for the application, in order.
#[derive(Debug)]
pub(super) enum Item {
    /// Messages.
    Run { progress: Arc<Progress>, run: Run },
    /// Everything up to here is past, though it never came (rule K3).
    Past {
        progress: Arc<Progress>,
        sequence: u64,
    },
    /// These were missed.
    Missed {
        session: SessionId,
        range: RangeInclusive<u64>,
    },
}

impl Inbox {
    pub(super) fn new(side: Side) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                positions: Positions::new(side),
                progress: BTreeMap::new(),
                cursor: None,
                error: None,
                closing: false,
                connects: 0,
            }),
            arrived: Notify::new(),
            taken: Notify::new(),
        }
    }

    /// Begins after these positions (rule K1), before anything has come.
    pub(super) fn restore(&self, positions: impl IntoIterator<Item = crate::cursor::Position>) {
        let mut state = self.state.lock();
        for position in positions {
            let (session, sequence) = (position.session_id(), position.sequence());
            let known = state.positions.get(session).map_or(0, |known| known.have);
            state.positions.restore(session, sequence.max(known));
        }
    }

    /// Goes on where this cursor is, and has it written.
    pub(super) fn keep(&self, cursor: &Arc<Cursor>) {
        {
            let mut state = self.state.lock();
            state.positions = Positions::new(state.positions.side());
            state.cursor = Some(Arc::downgrade(cursor));
        }
        self.restore(cursor.positions());
    }

    /// Takes everything that is here; an error only when nothing else is.
    pub(super) fn take(&self, into: &mut VecDeque<Item>) -> Option<SinkError> {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return state.error.take();
        }
        std::mem::swap(&mut state.queue, into);
        state.bytes = 0;
        drop(state);
        self.taken.notify_waiters();
        None
    }

    /// Waits until something comes; may return without.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is lost.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Waits until there is room.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is lost.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.has_room() {
                return;
            }
            taken.await;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.state.lock().bytes < LIMIT
    }

    /// A producer greets a listener (rule R1): returns what may be forgotten, what is here, and the progress
    /// to acknowledge. Progress and its acker stay the session's over all its connections.
    pub(super) fn greeted(&self, session: SessionId, first_owed: u64) -> (u64, u64, Arc<Progress>) {
        let mut state = self.state.lock();
        state.make_room(session);
        if let Some(progress) = state.progress.get(&session) {
            let processed = progress.processed();
            state.positions.processed(session, processed);
        }
        let session::Greeting {
            acked,
            have,
            missed,
        } = state.positions.hello(session, first_owed);
        if let Some(range) = missed {
            state.push(Item::Missed { session, range }, 0);
        }
        let progress = state.progress_of(session, Arc::default);
        progress.advance(acked);
        state.connects += 1;
        (acked, have, progress)
    }

    /// Rule K2: takes what is new of a run; returns whether there was any. If not, the peer has not heard how far
    /// we are.
    pub(super) fn data(
        &self,
        session: SessionId,
        progress: &Arc<Progress>,
        mut run: Run,
    ) -> Result<bool, ProtocolError> {
        let mut state = self.state.lock();
        let (first, last) = (run.first, run.last);
        let verdict = match state.positions.data_of_known(session, first, last)? {
            Some(verdict) => verdict,
            None => {
                // The connection goes on with a session that has been forgotten.
                state.make_room(session);
                state.progress.insert(session, Arc::clone(progress));
                state.positions.data(session, first, last)?
            }
        };
        if let Some(range) = verdict.missed {
            state.push(Item::Missed { session, range }, 0);
        }
        run.skip_to(verdict.drop_before);
        let is_new = run.first <= run.last;
        if is_new {
            run.compact();
            let bytes = run.bytes.len();
            let progress = Arc::clone(progress);
            state.push(Item::Run { progress, run }, bytes);
        }
        drop(state);
        self.arrived.notify_one();
        Ok(is_new)
    }

    /// Rule K3: of this session nothing up to `after` comes.
    pub(super) fn gap(
        &self,
        session: SessionId,
        after: u64,
        filtered: bool,
        acker: &Arc<Acker>,
    ) -> Arc<Progress> {
        let mut state = self.state.lock();
        state.make_room(session);
        let passed = state.positions.gap(session, after, filtered);
        let progress = state.progress_of(session, || Arc::clone(acker));
        if let Some(range) = passed.missed {
            state.push(Item::Missed { session, range }, 0);
        }
        if passed.mark {
            let past = Item::Past {
                progress: Arc::clone(&progress),
                sequence: after,
            };
            state.push(past, 0);
        } else if let Some(position) = state.positions.get(session) {
            progress.advance(position.processed);
        }
        drop(state);
        self.arrived.notify_one();
        progress
    }

    /// Rule K1: what a consumer tells a relay when it attaches.
    pub(super) fn positions(&self) -> Vec<Position> {
        let mut state = self.state.lock();
        let State {
            positions,
            progress,
            ..
        } = &mut *state;
        for (&session, progress) in progress.iter() {
            positions.processed(session, progress.processed());
        }
        positions.iter().collect()
    }

    /// The peer refuses us, which the application should know.
    pub(super) fn fail(&self, error: SinkError) {
        self.state.lock().error = Some(error);
        self.arrived.notify_one();
    }

    pub(super) fn connected(&self) {
        self.state.lock().connects += 1;
    }

    pub(super) fn connects(&self) -> u64 {
        self.state.lock().connects
    }

    /// No further messages are wanted.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        for progress in state.progress.values() {
            progress.urge();
        }
        drop(state);
        self.taken.notify_waiters();
        self.arrived.notify_one();
    }

    /// Returns whether there is anything to acknowledge in a greeting.
    pub(super) fn has_processed(&self) -> bool {
        let state = self.state.lock();
        state
            .progress
            .values()
            .any(|progress| progress.processed() > 0)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }
}

impl State {
    /// Queues an item that holds so many bytes.
    fn push(&mut self, item: Item, bytes: usize) {
        self.bytes += bytes + OVERHEAD;
        self.queue.push_back(item);
    }

    /// Sees to it that there is a place for this session, if it is not known.
    fn make_room(&mut self, session: SessionId) {
        if self.positions.get(session).is_some() {
            return;
        }
        let Self {
            positions,
            progress,
            ..
        } = self;
        // Only a greeting tells the positions how far the application is, and a connection may last.
        let processed = |known| progress.get(&known).map_or(0, |known| known.processed());
        for forgotten in positions.make_room(processed) {
            progress.remove(&forgotten);
        }
    }

    /// Returns the progress of a session that is known.
    fn progress_of(
        &mut self,
        session: SessionId,
        acker: impl FnOnce() -> Arc<Acker>,
    ) -> Arc<Progress> {
        let cursor = &self.cursor;
        let progress = self.progress.entry(session);
        Arc::clone(progress.or_insert_with(|| {
            let progress = Progress::new(session, cursor.clone(), acker());
            Arc::new(progress)
        }))
    }
}

/// What is held for an application that is slower than its wire; beyond it, reading stops, and with it the
/// sender. Large enough to hide a scheduling delay at full speed.
const LIMIT: usize = 1024 * 1024;

/// What an item costs beside its bytes, so that many small ones cannot outgrow the bound.
const OVERHEAD: usize = 96;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::message::Message;
    use crate::wire::frame::encode_message;

    fn remembering(side: Side, most: usize) -> Inbox {
        let inbox = Inbox::new(side);
        inbox.state.lock().positions = Positions::bounded(side, most);
        inbox
    }

    fn message(sequence: u64) -> Run {
        let mut frame = BytesMut::new();
        encode_message(&Message::new("x"), sequence, false, &mut frame);
        Run::new(sequence, sequence, frame.freeze())
    }

    fn known(inbox: &Inbox) -> (usize, usize) {
        let state = inbox.state.lock();
        (state.positions.iter().count(), state.progress.len())
    }

    /// Senders come and go, on a connection to a relay that lasts, or each on its own.
    #[test]
    fn a_session_is_forgotten_though_nobody_said_hello_since_it_was_processed() {
        let acker = Arc::new(Acker::default());
        for side in [Side::Consumer, Side::Listener] {
            let inbox = remembering(side, 8);
            for session in (1..100).map(SessionId) {
                let progress = match side {
                    Side::Consumer => inbox.gap(session, 0, false, &acker),
                    _ => inbox.greeted(session, 1).2,
                };
                assert!(inbox.data(session, &progress, message(1)).unwrap());
                progress.confirm(1, None).unwrap();
            }
            assert_eq!(known(&inbox), (8, 8), "{side:?}");
            assert_eq!(inbox.positions().len(), 8);
        }
    }

    #[test]
    fn of_a_session_that_was_forgotten_on_its_connection_nothing_is_confirmed_in_vain() {
        let acker = Arc::new(Acker::default());
        let inbox = remembering(Side::Consumer, 1);
        let (session, other) = (SessionId(1), SessionId(2));
        let progress = inbox.gap(session, 4, false, &acker);
        inbox.gap(other, 7, false, &acker);
        assert_eq!(known(&inbox), (1, 1));
        // the connection goes on with what it knows of it
        assert!(inbox.data(session, &progress, message(5)).unwrap());
        progress.confirm(5, None).unwrap();
        let position = Position {
            session,
            processed: 5,
            have: 5,
        };
        assert_eq!(inbox.positions(), [position]);
        // once more, and this time a new connection hears of it
        inbox.gap(other, 7, false, &acker);
        let again = inbox.gap(session, 3, false, &acker);
        assert_eq!(again.processed(), 3, "what was sent before may come again");
    }

    #[test]
    fn what_was_missed_takes_room_as_well() {
        let inbox = Inbox::new(Side::Consumer);
        let acker = Arc::new(Acker::default());
        let mut after = 0;
        while inbox.has_room() {
            after += 2;
            assert!(after <= 2 * LIMIT as u64 / OVERHEAD as u64 + 4, "no end");
            inbox.gap(SessionId(1), after, false, &acker);
        }
        let mut taken = VecDeque::new();
        assert!(inbox.take(&mut taken).is_none());
        assert_eq!(taken.len(), LIMIT.div_ceil(OVERHEAD));
        assert!(inbox.has_room());
    }
}
