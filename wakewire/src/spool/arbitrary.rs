//! Recovery of any bytes at all, and what must hold of it: for tests and for fuzzing. No I/O, no clock.

use bytes::Bytes;

use super::format::{Boot, Contents};
use super::recovery::{Part, Recovered, recover};
use super::shared::sort_out;
use crate::wire::data::DataView;
use crate::wire::run::Run;

/// Recovers files of one session that are cut out of these bytes.
///
/// # Panics
///
/// When what is recovered has a hole, or is not what is owed.
pub(crate) fn files(input: &[u8]) {
    let Some(recovered) = recovered(input, Contents::OneSession) else {
        return;
    };
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

/// Recovers files of many sessions that are cut out of these bytes.
///
/// # Panics
///
/// When what is recovered is out of order, twice, or not what it says.
pub(crate) fn files_of_many(input: &[u8]) {
    let Some(recovered) = recovered(input, Contents::ManySessions) else {
        return;
    };
    let kept = sort_out(&recovered);
    let mut levels: Vec<_> = kept.sessions.iter().map(|session| session.acked).collect();
    let mut number = recovered.acked + 1;
    for run in &kept.runs {
        assert!(number < run.next && run.next <= recovered.next);
        number = run.next;
        assert!(levels[run.of] < run.first, "in order, and once");
        let mut rest = Run::new(run.first, run.last, run.bytes.clone().freeze());
        for expected in run.first..=run.last {
            let frame = rest.pop().expect("as many as it says");
            let found = DataView::at(&frame).map(|view| view.header.sequence);
            assert_eq!(found, Ok(expected));
        }
        assert!(rest.bytes.is_empty());
        levels[run.of] = run.last;
    }
    for (session, level) in kept.sessions.iter().zip(levels) {
        assert_eq!(session.have, level);
    }
}

/// Cuts files out of these bytes: the first is the run of the machine, then each file has two bytes that say how long
/// it is.
fn recovered(input: &[u8], contents: Contents) -> Option<Recovered> {
    let (boot, mut rest) = input.split_first()?;
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
    match recover(&parts, contents, Boot(u128::from(*boot))) {
        Ok(recovered) => {
            assert_eq!(recovered.fates.len(), parts.len());
            Some(recovered)
        }
        Err(damage) => {
            let part = parts.iter().find(|part| part.name == damage.name);
            assert!(part.is_some_and(|part| damage.at <= part.bytes.len() as u64));
            None
        }
    }
}
