//! Recovery of any bytes at all, and what must hold of it: for tests and for fuzzing. No I/O, no clock.

use bytes::Bytes;

use super::format::{Boot, Contents};
use super::recovery::{Part, recover};
use crate::wire::frame::DataView;

/// Recovers files that are cut out of these bytes: the first is the run of the machine, then each file has two bytes
/// that say how long it is.
///
/// # Panics
///
/// When what is recovered has a hole, or is not what is owed.
pub(crate) fn files(input: &[u8]) {
    let Some((boot, mut rest)) = input.split_first() else {
        return;
    };
    let mut parts = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (bytes, behind) = behind.split_at(length);
        parts.push(Part {
            name: format!("{:016x}.seg", parts.len() + 1),
            bytes: Bytes::copy_from_slice(bytes),
        });
        rest = behind;
    }
    match recover(&parts, Contents::OneSession, Boot(u128::from(*boot))) {
        Ok(recovered) => {
            assert_eq!(recovered.fates.len(), parts.len());
            let mut expected = recovered.acked + 1;
            for mut run in recovered.runs {
                assert_eq!(run.first, expected);
                while let Some(frame) = run.pop() {
                    let found = DataView::at(&frame).map(|view| view.header.sequence);
                    assert_eq!(found, Ok(expected));
                    expected += 1;
                }
                assert!(run.bytes.is_empty());
            }
            assert_eq!(expected, recovered.next);
        }
        Err(damage) => {
            let part = parts.iter().find(|part| part.name == damage.name);
            assert!(part.is_some_and(|part| damage.at <= part.bytes.len() as u64));
        }
    }
}
