//! The pulse of a connection: what was heard of the peer, and when to ask whether it is there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::signs::Signs;
use crate::wire::ProtocolError;
use crate::wire::frame::{self, Header, Kind};
use crate::wire::liveness::{ASK_AFTER, LOOK_EVERY, Liveness, Pulse as Look};
use crate::wire::temper::Temper;

/// What the reading, writing and watching parts of one connection tell each other.
#[derive(Debug)]
pub(crate) struct Pulse {
    signs: Arc<Signs>,
    ping: AtomicBool,
    pong: AtomicBool,
    /// Of the last question that has a number; the answer repeats it.
    number: AtomicU64,
    /// We do not read, so silence says nothing of the peer.
    paused: AtomicBool,
    /// For what the peer says without need; made with the first of it.
    temper: Mutex<Option<Temper>>,
}

impl Pulse {
    /// Makes that of a connection with these signs.
    pub(super) fn new(signs: Arc<Signs>) -> Self {
        Self {
            signs,
            ping: AtomicBool::new(false),
            pong: AtomicBool::new(false),
            number: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            temper: Mutex::new(None),
        }
    }

    /// Reading is suspended, or goes on.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }

    /// The peer says what is of no use; it may not do so without measure.
    pub(crate) fn useless(&self, kind: Kind) -> Result<(), ProtocolError> {
        let now = Instant::now().into_std();
        let mut temper = self.temper.lock();
        temper
            .get_or_insert_with(|| Temper::new(now))
            .useless(kind, now)
    }

    /// The peer asks whether we are there, or says that it is.
    pub(crate) fn beat(&self, kind: Kind) -> Result<(), ProtocolError> {
        self.useless(kind)?;
        if kind == Kind::Ping {
            self.pong.store(true, Relaxed);
        }
        Ok(())
    }

    /// The same, with a number by which the answer is known. An answer to this one is one to all before it.
    pub(crate) fn asked_by(&self, number: u64) -> Result<(), ProtocolError> {
        self.number.store(number, Relaxed);
        self.beat(Kind::Ping)
    }

    /// Appends the question and the answer that are due.
    pub(crate) fn speak(&self, checksummed: bool, bytes: &mut BytesMut) {
        if self.ping.swap(false, Relaxed) {
            frame::encode_control(Header::control(Kind::Ping), &[], checksummed, bytes);
        }
        if self.pong.swap(false, Relaxed) {
            let header = Header {
                sequence: self.number.load(Relaxed),
                ..Header::control(Kind::Pong)
            };
            frame::encode_control(header, &[], checksummed, bytes);
        }
    }

    /// Watches until the peer is dead; returns how one knows. `tell` wakes the writing part to ask it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nobody watches.
    pub(crate) async fn watch(&self, tell: impl Fn()) -> &'static str {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut liveness = Liveness::new(Instant::now().into_std());
        let (mut heard, mut said) = (self.signs.heard(), self.signs.said());
        // When we last said something, or wanted to.
        let mut spoke = Instant::now();
        loop {
            let now = ticks.tick().await;
            let signs = (self.signs.heard(), self.signs.said());
            if signs.0 != heard || self.paused.load(Relaxed) {
                liveness.heard(now.into_std());
            }
            if signs.1 != said {
                spoke = now;
            }
            (heard, said) = signs;
            let asks = match liveness.look(now.into_std()) {
                // We have nothing to ask; but a peer that is long at one message, or that we do not read, is to know
                // that we live.
                Look::Fine => now.duration_since(spoke) >= ASK_AFTER,
                Look::Ask => true,
                Look::Dead => return "the peer has been silent for 15 s, also when asked",
            };
            if asks {
                spoke = now;
                self.ping.store(true, Relaxed);
                tell();
            }
        }
    }

    /// Writes and flushes answers to a peer, which is to read them.
    ///
    /// # Errors
    ///
    /// When it reads nothing for too long, or the connection breaks.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped early, part of a frame may be on the wire, and the connection must be closed.
    pub(crate) async fn write_in_time<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        bytes: &[u8],
    ) -> io::Result<()> {
        let writing = async {
            io.write_all(bytes).await?;
            io.flush().await
        };
        self.in_time(writing)
            .await
            .unwrap_or_else(|| Err(stalled()))
    }

    /// Waits for writing, or returns nothing when the peer reads nothing for so long that the system takes no more.
    /// One that reads slowly is alive.
    ///
    /// # Cancel safety
    ///
    /// As the writing.
    pub(super) async fn in_time<T>(&self, writing: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(writing);
        let (mut said, mut idle) = (self.signs.said(), Duration::ZERO);
        while idle < WRITE_WITHIN {
            if let Ok(written) = timeout(LOOK_EVERY, writing.as_mut()).await {
                return Some(written);
            }
            idle += LOOK_EVERY;
            let now = self.signs.said();
            if now != said {
                (said, idle) = (now, Duration::ZERO);
            }
        }
        None
    }
}

pub(super) fn stalled() -> io::Error {
    let what = format!("the peer has read nothing for {WRITE_WITHIN:?}");
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// NATS's write deadline.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::sleep;

    use super::*;
    use crate::transport::line::Line;

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_alive_and_who_reads_nothing_is_given_up() {
        let (ours, mut theirs) = duplex(1000);
        let mut line = Line::new(ours);
        let pulse = Pulse::new(line.signs);
        let bytes = vec![0; 1_000_000];
        let since = Instant::now();
        {
            // 50 kB/s.
            let slowly = async {
                let (mut part, mut read) = ([0; 1000], 0);
                while read < bytes.len() {
                    read += theirs.read(&mut part).await.unwrap();
                    sleep(Duration::from_millis(20)).await;
                }
            };
            let (written, ()) = tokio::join!(pulse.write_in_time(&mut line.stream, &bytes), slowly);
            written.unwrap();
        }
        assert!(since.elapsed() > WRITE_WITHIN);
        let since = Instant::now();
        let stalled = pulse.write_in_time(&mut line.stream, &bytes).await;
        let error = stalled.unwrap_err();
        assert!(error.to_string().contains("has read nothing"), "{error}");
        assert!(since.elapsed() < 2 * WRITE_WITHIN);
        drop(theirs);
    }
}
