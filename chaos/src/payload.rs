//! What is sent: each message says whose it is and its number, and can be checked by itself. No I/O, no clock.

use std::hash::{DefaultHasher, Hasher};

/// Makes a message: origin, number, hash, and content of which length and bytes follow from them.
pub(crate) fn message(origin: u64, number: u64, largest: usize) -> Vec<u8> {
    let seed = hash(origin, number, &[]);
    let length = if number.is_multiple_of(LARGE_EVERY) {
        largest
    } else {
        usize::from(seed.to_le_bytes()[0])
    };
    let mut payload = Vec::with_capacity(HEAD + length);
    payload.extend_from_slice(&origin.to_le_bytes());
    payload.extend_from_slice(&number.to_le_bytes());
    payload.extend_from_slice(&[0; 8]);
    let content = seed.to_le_bytes();
    payload.extend(content.iter().cycle().take(length));
    let sum = payload.get(HEAD..).map(|rest| hash(origin, number, rest));
    if let (Some(place), Some(sum)) = (payload.get_mut(HEAD - 8..HEAD), sum) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    payload
}

/// Takes a message apart: origin and number, if it is as it was made.
pub(crate) fn checked(payload: &[u8]) -> Option<(u64, u64)> {
    let (origin, rest) = payload.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (sum, content) = rest.split_first_chunk()?;
    let (origin, number) = (u64::from_le_bytes(*origin), u64::from_le_bytes(*number));
    (hash(origin, number, content) == u64::from_le_bytes(*sum)).then_some((origin, number))
}

/// Not the checksum that frames have: what one of them lets through the other shall not.
fn hash(origin: u64, number: u64, content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(origin);
    hasher.write_u64(number);
    hasher.write(content);
    hasher.finish()
}

/// Origin, number and hash.
const HEAD: usize = 24;
/// Most messages are short; every so many there is one of the largest size.
const LARGE_EVERY: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_checked_and_no_bit_flips_unnoticed() {
        for number in [1, 2, 999, 1000] {
            let made = message(7, number, 900);
            assert_eq!(checked(&made), Some((7, number)));
            for bit in 0..made.len() * 8 {
                let mut broken = made.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(checked(&broken), None, "bit {bit} of {number}");
            }
            assert_eq!(checked(&made[..made.len() - 1]), None);
        }
        assert_eq!(message(7, 1000, 900).len(), HEAD + 900);
        assert_eq!(checked(&[]), None);
    }
}
