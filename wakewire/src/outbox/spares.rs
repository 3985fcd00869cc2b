//! Memory of frames that have left the log, for those to come. No I/O, no clock.

use bytes::{Bytes, BytesMut};

/// Pieces of memory to write into again, the last that came back first: that one is still in the processor's cache. What
/// goes back to the system instead is faulted in page by page the next time, which cost more than all else.
#[derive(Debug, Default)]
pub(super) struct Spares {
    pieces: Vec<BytesMut>,
    bytes: usize,
}

impl Spares {
    /// Keeps the memory that these bytes are the last part of, if it is as large as `least`, and all that is kept is
    /// no more than `most`.
    pub(super) fn give(&mut self, bytes: Bytes, least: usize, most: usize) {
        // Who writes it to a connection may still have a part of it.
        let Ok(mut piece) = bytes.try_into_mut() else {
            return;
        };
        piece.clear();
        if piece.try_reclaim(least) && self.bytes + piece.capacity() <= most {
            self.bytes += piece.capacity();
            self.pieces.push(piece);
        }
    }

    /// Returns empty memory with room for so many bytes.
    pub(super) fn take(&mut self, room: usize) -> Option<BytesMut> {
        let index = self.pieces.iter().rposition(|p| p.capacity() >= room)?;
        let piece = self.pieces.remove(index);
        self.bytes -= piece.capacity();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of 100 bytes, in parts of ten.
    fn parts(count: usize) -> Vec<Bytes> {
        let mut memory = BytesMut::with_capacity(100);
        let part = |_| {
            memory.extend_from_slice(&[7; 10]);
            memory.split().freeze()
        };
        (0..count).map(part).collect()
    }

    #[test]
    fn memory_comes_back_whole_with_the_last_part_of_it() {
        let mut spares = Spares::default();
        let mut parts = parts(10);
        let (last, kept) = (parts.split_off(9), parts[3].as_ptr());
        for part in parts.into_iter().chain(last) {
            assert!(spares.take(1).is_none());
            spares.give(part, 100, 1000);
        }
        let piece = spares.take(100).unwrap();
        assert_eq!((piece.len(), piece.capacity()), (0, 100));
        assert_eq!(piece.as_ptr().wrapping_add(30), kept, "it is the same");
        assert!(spares.take(1).is_none());
    }

    #[test]
    fn what_somebody_has_a_part_of_is_not_written_into_again() {
        let mut spares = Spares::default();
        let part = parts(1).remove(0);
        let written = part.clone();
        spares.give(part, 1, 1000);
        assert!(spares.take(1).is_none());
        assert_eq!(written, [7; 10][..]);
    }

    /// A piece of memory of this size, all of it one part, and where it is.
    fn whole(size: usize) -> (Bytes, *const u8) {
        let mut memory = BytesMut::with_capacity(size);
        memory.extend_from_slice(&[7]);
        let bytes = memory.split().freeze();
        let at = bytes.as_ptr();
        (bytes, at)
    }

    #[test]
    fn the_last_that_fits_is_taken_and_no_more_is_kept_than_may_be() {
        let mut spares = Spares::default();
        let give = |spares: &mut Spares, size| {
            let (bytes, at) = whole(size);
            spares.give(bytes, 50, 300);
            at
        };
        let at = [100, 50, 100, 100, 20].map(|size| give(&mut spares, size));
        let taken = |spares: &mut Spares, room| spares.take(room).map(|piece| piece.as_ptr());
        assert_eq!(taken(&mut spares, 101), None);
        assert_eq!(
            taken(&mut spares, 60),
            Some(at[2]),
            "250 are kept, and another 100 are too many"
        );
        assert_eq!(taken(&mut spares, 1), Some(at[1]));
        // 100 are kept: there is room for two more, and for no third.
        let at = [100, 100, 50].map(|size| give(&mut spares, size));
        assert_eq!(taken(&mut spares, 1), Some(at[1]));
        assert_eq!(taken(&mut spares, 1), Some(at[0]));
        assert!(taken(&mut spares, 1).is_some());
        assert_eq!(taken(&mut spares, 1), None, "20 is too small to be kept");
    }
}
