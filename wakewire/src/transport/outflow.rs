//! Writes to one peer, from any number of tasks; a peer that does not read is given up.

use std::io;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::pulse::{Pulse, stalled};
use super::write_some;
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Code, Reject};
use crate::wire::outlet::{Batch, Outlet};

/// The frames that wait for one connection, and those who wait for room among them.
#[derive(Debug)]
pub(crate) struct Outflow {
    checksummed: bool,
    /// A write that fails has taken nothing: true of sockets, not of what encrypts or wraps.
    exact: bool,
    queue: Mutex<Queue>,
    /// There is something to write.
    owed: Notify,
    /// There may be room.
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    outlet: Outlet,
    /// Written after everything else; nothing is taken any more.
    farewell: Option<Bytes>,
    closed: bool,
}

/// The connection takes nothing any more; what was to be written is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Outflow {
    pub(crate) fn new(checksummed: bool) -> Self {
        Self {
            checksummed,
            exact: false,
            queue: Mutex::default(),
            owed: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Says that it goes to a socket as it is, so that a write that fails has taken nothing.
    pub(crate) const fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    pub(crate) const fn is_checksummed(&self) -> bool {
        self.checksummed
    }

    /// Adds a frame, waiting for room. `number` is by what [`withdraw`](Self::withdraw) and the one who is told of
    /// writing know it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the frame was not added.
    pub(crate) async fn push(&self, number: u64, frame: Bytes) -> Result<(), Gone> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut queue = self.queue.lock();
                if queue.closed {
                    return Err(Gone);
                }
                if queue.outlet.push(number, frame.clone()) {
                    break;
                }
            }
            room.await;
        }
        self.owed.notify_one();
        Ok(())
    }

    /// Waits until there is room; returns also when nothing is taken any more.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let queue = self.queue.lock();
                if queue.closed || queue.outlet.has_room() {
                    return;
                }
            }
            room.await;
        }
    }

    /// Adds a small control frame before the others; best effort.
    pub(crate) fn hurry(&self, frame: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.outlet.hurry(frame);
        drop(queue);
        self.owed.notify_one();
    }

    /// Takes a frame back; returns whether none of it was offered to the system yet.
    pub(crate) fn withdraw(&self, number: u64) -> bool {
        let withdrawn = self.queue.lock().outlet.withdraw(number);
        if withdrawn {
            self.room.notify_waiters();
        }
        withdrawn
    }

    /// Wakes the writing part, to look at the pulse.
    pub(crate) fn wake(&self) {
        self.owed.notify_one();
    }

    /// Takes nothing any more, writes what waits, then says this goodbye and ends.
    pub(crate) fn finish(&self, farewell: Option<Bytes>) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.farewell = farewell;
        }
        queue.closed = true;
        drop(queue);
        self.owed.notify_one();
        self.room.notify_waiters();
    }

    /// The same, but what waits is not written.
    pub(crate) fn cut(&self, farewell: Option<Bytes>) {
        self.queue.lock().outlet.clear();
        self.finish(farewell);
    }

    /// Encodes a goodbye.
    pub(crate) fn goodbye(&self, code: Code, text: &str) -> Bytes {
        let goodbye = Reject {
            code,
            text: text.to_owned(),
            retry_after_ms: 0,
        };
        let mut bytes = BytesMut::new();
        hello::encode(Kind::Close, &goodbye, self.checksummed, &mut bytes);
        bytes.freeze()
    }

    /// Writes until it is finished or the connection breaks. `handed` is told of each frame that the system has to
    /// its last byte, or may have.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped early, part of a frame may be on the wire, and the connection must be closed.
    pub(crate) async fn run<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        pulse: &Pulse,
        mut handed: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut batch = Batch::default();
        let mut control = BytesMut::new();
        loop {
            pulse.speak(self.checksummed, &mut control);
            let last = {
                let mut queue = self.queue.lock();
                queue.outlet.hurry(&control);
                queue.outlet.take(WRITE_LIMIT, &mut batch);
                let last = queue.closed && queue.outlet.is_empty();
                if last && let Some(farewell) = queue.farewell.take() {
                    batch.append(None, farewell);
                }
                last
            };
            control.clear();
            if batch.pieces.is_empty() && !last {
                self.owed.notified().await;
                continue;
            }
            self.room.notify_waiters();
            self.write(writer, pulse, &mut batch, &mut handed).await?;
            batch.clear();
            if last {
                let ended = pulse.in_time(writer.shutdown()).await;
                return ended.unwrap_or_else(|| Err(stalled()));
            }
        }
    }

    async fn write<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        pulse: &Pulse,
        batch: &mut Batch,
        handed: &mut impl FnMut(u64),
    ) -> io::Result<()> {
        while !batch.is_written() {
            let write = write_some(writer, &mut batch.pieces, &mut batch.first);
            match pulse.in_time(write).await {
                Some(Ok(bytes)) => batch.advance(bytes, &mut *handed),
                Some(Err(error)) => {
                    if !self.exact {
                        batch.doubt(&mut *handed);
                    }
                    return Err(error);
                }
                // A write that waits has taken nothing.
                None => return Err(stalled()),
            }
        }
        let flushed = pulse.in_time(writer.flush()).await;
        flushed.unwrap_or_else(|| Err(stalled()))
    }
}

/// What is offered to the system at once.
const WRITE_LIMIT: usize = 256 * 1024;
