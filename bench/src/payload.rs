//! Payloads: made by the sender, checked one by one by the receiver. The first 8 bytes are a sequence.

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};

use crate::contestant::Course;

/// Makes the payloads of a run. Every one is written in full, as an application would; allocations are
/// shared by several, so that the allocator is not what is measured.
pub struct Payloads {
    chunk: BytesMut,
    filler: Box<[u8]>,
    chunk_size: usize,
}

impl Payloads {
    /// Bytes allocated at once, where several payloads fit.
    const CHUNK: usize = 64 * 1024;

    pub fn new(course: &Course) -> Self {
        Self {
            chunk: BytesMut::new(),
            filler: vec![b'.'; course.size - 8].into(),
            chunk_size: Self::CHUNK.max(course.size),
        }
    }

    /// Makes the payload with this sequence.
    pub fn make(&mut self, sequence: u64) -> Bytes {
        let size = 8 + self.filler.len();
        if self.chunk.capacity() < size {
            self.chunk = BytesMut::with_capacity(self.chunk_size);
        }
        self.chunk.extend_from_slice(&sequence.to_le_bytes());
        self.chunk.extend_from_slice(&self.filler);
        self.chunk.split().freeze()
    }
}

/// Counts payloads and refuses one that is out of order, missing, doubled or of another size.
pub struct Checker {
    seen: u64,
    count: u64,
    size: usize,
}

impl Checker {
    pub const fn new(course: &Course) -> Self {
        Self {
            seen: 0,
            count: course.count,
            size: course.size,
        }
    }

    /// Takes the next payload.
    pub fn check(&mut self, payload: &[u8]) -> Result<()> {
        let sequence = payload
            .first_chunk()
            .map(|&bytes| u64::from_le_bytes(bytes));
        if payload.len() != self.size || sequence != Some(self.seen) || self.is_done() {
            bail!(
                "payload {sequence:?} of {} bytes where {} of {} with {} bytes was due",
                payload.len(),
                self.seen,
                self.count,
                self.size
            );
        }
        self.seen += 1;
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
}

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
        }
    }

    #[test]
    fn what_is_made_passes() {
        for size in [8, 64, 100_000] {
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
