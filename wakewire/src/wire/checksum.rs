//! CRC-32C (Castagnoli), as RFC 3720 has it, and that of a frame. No I/O, no clock.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

use super::frame::{HEADER, ORIGIN_AT, field};

/// A sum of what was added so far.
pub(crate) struct Crc(Digest);

impl Crc {
    /// Begins with nothing added.
    #[inline]
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds these bytes.
    #[inline]
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the sum.
    #[inline]
    pub(crate) fn value(&self) -> u32 {
        (self.0.finalize() & 0xFFFF_FFFF) as u32
    }
}

/// Returns the sum of these bytes.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// Returns the checksum of a frame, in which the checksum itself counts as zero.
///
/// It is the CRC of the frame without its origin, combined with that of the origin: so a relay can exchange the origin of
/// a frame without summing the rest again, and a damaged one does not make it another producer's.
pub(crate) fn checksum(header: &[u8; HEADER], body: &[u8]) -> u32 {
    let mut plain = *header;
    plain[ORIGIN_AT..].fill(0);
    let mut crc = Crc::new();
    crc.add(&plain);
    crc.add(body);
    crc.value() ^ share_of(field(header, ORIGIN_AT))
}

/// Returns what an origin changes in a checksum: nothing, if it is 0.
pub(super) fn share_of(origin: [u8; 4]) -> u32 {
    if origin == [0; 4] {
        return 0;
    }
    crc32c(&origin) ^ CRC_OF_ZERO
}

/// Of four bytes.
const CRC_OF_ZERO: u32 = 0x4867_4bc7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_rfc_3720() {
        // Appendix B.4, and the check value of the catalogues.
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&ascending), 0x46DD_794E);
        assert_eq!(crc32c(&descending), 0x113F_DB5C);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    /// Bit by bit, with the polynomial as it is reflected.
    fn slow(bytes: &[u8]) -> u32 {
        let mut sum = u32::MAX;
        for byte in bytes {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0x82F6_3B78 * (sum & 1));
            }
        }
        !sum
    }

    #[test]
    fn it_is_the_same_in_whatever_parts_it_is_added() {
        let bytes: Vec<u8> = (0..5000_u32)
            .map(|n| ((n * n) >> 3).to_le_bytes()[0])
            .collect();
        for length in (0..300).chain([511, 512, 1023, 1024, 1025, 4096, 5000]) {
            let bytes = &bytes[..length];
            let whole = crc32c(bytes);
            assert_eq!(whole, slow(bytes), "{length}");
            for cut in [0, 1, 7, 32, 100, 255, 256, length / 2, length] {
                let (front, back) = bytes.split_at(cut.min(length));
                let mut crc = Crc::new();
                crc.add(front);
                crc.add(back);
                assert_eq!(crc.value(), whole, "{length} at {cut}");
            }
        }
    }
}
