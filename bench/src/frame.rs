//! A frame as long as wakewire's, so that `raw-batch` puts the same number of bytes on the wire.

/// Bytes of the header: length of the payload, 4 bytes that stay zero, sequence, 16 bytes that stay zero.
pub const HEADER: usize = 32;

/// Writes header, sequence and when it was due of a frame whose payload is already there, or stays zero.
pub fn stamp(frame: &mut [u8], sequence: u64, due: u64) {
    let length = (frame.len() - HEADER) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame[HEADER..HEADER + 8].copy_from_slice(&sequence.to_le_bytes());
    frame[HEADER + 8..HEADER + 16].copy_from_slice(&due.to_le_bytes());
}

/// Returns the payload of the first whole frame and what follows it; none if there is no whole frame yet.
pub fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(HEADER..)?.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_what_it_stamped() {
        let mut frames = vec![0; 2 * (HEADER + 64)];
        for (frame, sequence) in frames.chunks_exact_mut(HEADER + 64).zip(5..) {
            stamp(frame, sequence, 0);
        }
        let (first, rest) = split_first(&frames).unwrap();
        assert_eq!((first.len(), first[0]), (64, 5));
        let (second, rest) = split_first(rest).unwrap();
        assert_eq!((second[0], rest.len()), (6, 0));
        assert!(split_first(&frames[..HEADER + 63]).is_none());
        assert!(split_first(&frames[..3]).is_none());
    }
}
