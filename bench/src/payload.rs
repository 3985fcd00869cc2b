//! Payloads: made by the sender, checked one by one by the receiver. The first 8 bytes are a sequence, with the sender in
//! its highest 16 bits; the next 8 are when it was due.

use std::hint::spin_loop;

use anyhow::{Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use tokio::task::yield_now;

use crate::contestant::Course;
use crate::measure::{Latency, now};

/// Makes the payloads of a run. Every one is written in full, as an application would; allocations are
/// shared by several, so that the allocator is not what is measured.
pub struct Payloads {
    chunk: BytesMut,
    filler: Box<[u8]>,
    chunk_size: usize,
    sender: u64,
    /// Between two messages, in nanoseconds, and when the first is due.
    pace: Option<(u64, u64)>,
}

impl Payloads {
    /// Bytes allocated at once, where several payloads fit.
    const CHUNK: usize = 64 * 1024;

    pub fn new(course: &Course) -> Self {
        Self::of(course, 0)
    }

    /// Makes those of one of several senders.
    pub fn of(course: &Course, sender: u32) -> Self {
        let pace = (course.rate > 0).then(|| (1_000_000_000 / u64::from(course.rate), now()));
        Self {
            chunk: BytesMut::new(),
            filler: vec![b'.'; course.size - STAMP].into(),
            chunk_size: Self::CHUNK.max(course.size),
            sender: u64::from(sender) << SENDER,
            pace,
        }
    }

    /// Begins to count time here.
    pub fn begin(&mut self) {
        if let Some((_, begun)) = &mut self.pace {
            *begun = now();
        }
    }

    /// Waits until this message is due. Between messages it spins, since no timer of the system is exact enough.
    pub fn wait(&self, sequence: u64) {
        while !self.is_due(sequence) {
            spin_loop();
        }
    }

    /// The same for a task: others run while it waits.
    pub async fn yielding(&self, sequence: u64) {
        while !self.is_due(sequence) {
            yield_now().await;
        }
    }

    /// Returns whether it is time to send this message.
    pub fn is_due(&self, sequence: u64) -> bool {
        self.pace.is_none() || now() >= self.due(sequence)
    }

    /// Returns when this message is due; 0 if it is as soon as it can be.
    pub fn due(&self, sequence: u64) -> u64 {
        self.pace
            .map_or(0, |(apart, begun)| begun + apart * sequence)
    }

    /// Makes the payload with this sequence.
    pub fn make(&mut self, sequence: u64) -> Bytes {
        let size = STAMP + self.filler.len();
        if self.chunk.capacity() < size {
            self.chunk = BytesMut::with_capacity(self.chunk_size);
        }
        let stamp = self.sender | sequence;
        self.chunk.extend_from_slice(&stamp.to_le_bytes());
        self.chunk
            .extend_from_slice(&self.due(sequence).to_le_bytes());
        self.chunk.extend_from_slice(&self.filler);
        self.chunk.split().freeze()
    }
}

/// Writes payloads, in full, into one buffer: for those who take a slice.
pub struct Slate {
    payloads: Payloads,
    buffer: Vec<u8>,
}

impl Slate {
    #[cfg(feature = "peers")]
    pub fn new(course: &Course) -> Self {
        Self::of(course, 0)
    }

    /// Makes that of one of several senders.
    pub fn of(course: &Course, sender: u32) -> Self {
        Self {
            payloads: Payloads::of(course, sender),
            buffer: vec![b'.'; course.size],
        }
    }

    /// Returns who knows when a message is due.
    pub const fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// Writes the payload with this sequence.
    pub fn write(&mut self, sequence: u64) -> &[u8] {
        let (stamp, rest) = self.buffer.split_at_mut(STAMP);
        stamp[..8].copy_from_slice(&(self.payloads.sender | sequence).to_le_bytes());
        stamp[8..].copy_from_slice(&self.payloads.due(sequence).to_le_bytes());
        rest.copy_from_slice(&self.payloads.filler);
        &self.buffer
    }
}

/// Counts payloads and refuses one that is out of its sender's order, missing, doubled or of another size.
pub struct Checker {
    /// By sender.
    next: Vec<u64>,
    seen: u64,
    count: u64,
    size: usize,
    latencies: Option<Histogram<u64>>,
}

impl Checker {
    pub fn new(course: &Course) -> Self {
        // Three digits up to a minute.
        let latencies = (course.rate > 0)
            .then(|| Histogram::new_with_bounds(1, 60_000_000_000, 3).ok())
            .flatten();
        Self {
            next: vec![0; course.senders as usize],
            seen: 0,
            count: course.count,
            size: course.size,
            latencies,
        }
    }

    /// Takes the next payload.
    #[inline]
    pub fn check(&mut self, payload: &[u8]) -> Result<()> {
        let stamp = payload
            .first_chunk()
            .map_or(u64::MAX, |&bytes| u64::from_le_bytes(bytes));
        let (sender, sequence) = (stamp >> SENDER, stamp & ((1 << SENDER) - 1));
        let next = self.next.get_mut(sender as usize);
        match next {
            Some(next) if *next == sequence && payload.len() == self.size => *next += 1,
            next => bail!(
                "payload {sequence} of {sender} with {} bytes where {next:?} with {} bytes was due",
                payload.len(),
                self.size
            ),
        }
        ensure!(!self.is_done(), "more than {} came", self.count);
        self.seen += 1;
        if let Some(latencies) = &mut self.latencies
            && let Some(&due) = payload[8..].first_chunk()
        {
            latencies.saturating_record(now().saturating_sub(u64::from_le_bytes(due)));
        }
        Ok(())
    }

    /// Returns how many came.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns whether all of the run came.
    pub const fn is_done(&self) -> bool {
        self.seen == self.count
    }

    /// Returns how long they took, if they were sent at a rate.
    pub fn latency(&self) -> Option<Latency> {
        self.latencies.as_ref().map(Latency::of)
    }
}

/// Bytes at the beginning of each payload.
const STAMP: usize = 16;

/// Where in a sequence the sender begins.
const SENDER: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn course(size: usize, count: u64) -> Course {
        let address = Address::Unix("/nowhere".into());
        Course {
            address,
            size,
            count,
            rate: 0,
            senders: 1,
            consumers: 1,
        }
    }

    #[test]
    fn what_is_made_passes() {
        for size in [16, 64, 100_000] {
            let course = course(size, 2000);
            let (mut payloads, mut checker) = (Payloads::new(&course), Checker::new(&course));
            for sequence in 0..course.count {
                checker.check(&payloads.make(sequence)).unwrap();
            }
            assert!(checker.is_done());
        }
    }

    #[test]
    fn gaps_doubles_and_surplus_do_not() {
        let course = course(64, 2);
        let (mut payloads, mut checker) = (Payloads::new(&course), Checker::new(&course));
        assert!(checker.check(&payloads.make(1)).is_err());
        checker.check(&payloads.make(0)).unwrap();
        assert!(checker.check(&payloads.make(0)).is_err());
        assert!(checker.check(&payloads.make(1)[..63]).is_err());
        checker.check(&payloads.make(1)).unwrap();
        assert!(checker.check(&payloads.make(2)).is_err());
    }
}
