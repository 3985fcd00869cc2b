//! A spool of many sessions: what is appended at once, and who has had what when it is read again. No I/O, no clock.

use std::collections::{BTreeMap, HashMap};

use bytes::BytesMut;

use super::format::Name;
use super::recovery::Recovered;
use crate::wire::SessionId;
use crate::wire::data::DataView;
use crate::wire::frame::encode_checksummed;
use crate::wire::run::{Run, frame_length};

/// Encodes what is appended at once. All origins in it have their names in front, so that it can be read whatever
/// becomes of what was written before.
pub(crate) fn encode<'a>(names: &[Name], runs: impl Iterator<Item = &'a Run>, out: &mut BytesMut) {
    out.clear();
    for name in names {
        name.encode(out);
    }
    for run in runs {
        let mut rest = &run.bytes[..];
        while !rest.is_empty() {
            let (frame, behind) = rest.split_at(frame_length(rest).min(rest.len()));
            encode_checksummed(frame, out);
            rest = behind;
        }
    }
}

/// What a spool has kept of many sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Those with messages first.
    pub(crate) sessions: Vec<KeptSession>,
    /// What not everybody is known to have processed, in the order in which it came.
    pub(crate) runs: Vec<KeptRun>,
}

/// One session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptSession {
    pub(crate) id: SessionId,
    /// Everybody has processed everything up to here.
    pub(crate) acked: u64,
    /// Kept, or processed, up to here.
    pub(crate) have: u64,
}

/// Consecutive frames of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptRun {
    /// Which of the sessions.
    pub(crate) of: usize,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: BytesMut,
    /// The spool's number behind it.
    pub(crate) next: u64,
}

/// Sorts out what was recovered: what was processed is left out, and what stands there twice counts once, as when it
/// comes twice (R3).
pub(crate) fn sort_out(recovered: &Recovered) -> Kept {
    let mut acked: HashMap<SessionId, u64> = HashMap::new();
    for (_, name) in &recovered.names {
        let known = acked.entry(name.session).or_default();
        *known = name.acked.max(*known);
    }
    let mut kept = Kept::default();
    let mut places: HashMap<SessionId, usize> = HashMap::new();
    let mut names = recovered.names.iter().peekable();
    let mut whose: BTreeMap<u32, SessionId> = BTreeMap::new();
    for run in &recovered.runs {
        let mut run = run.clone();
        while let Some(frame) = run.pop() {
            let number = run.first - 1;
            while let Some((_, name)) = names.next_if(|(before, _)| *before <= number) {
                whose.insert(name.origin, name.session);
            }
            let Ok(header) = DataView::at(&frame).map(|view| view.header) else {
                continue;
            };
            let Some(&id) = whose.get(&header.origin) else {
                continue;
            };
            let done = acked.get(&id).copied().unwrap_or_default();
            if header.sequence <= done {
                continue;
            }
            let of = *places.entry(id).or_insert_with(|| {
                // What came before the first that is left was processed, or it would be here.
                let before = header.sequence - 1;
                kept.sessions.push(KeptSession {
                    id,
                    acked: before,
                    have: before,
                });
                kept.sessions.len() - 1
            });
            let session = &mut kept.sessions[of];
            if header.sequence > session.have {
                let follows = header.sequence == session.have + 1;
                session.have = header.sequence;
                kept.add(of, header.sequence, follows, &frame, number + 1);
            }
        }
    }
    let rest = acked
        .into_iter()
        .filter(|(id, acked)| *acked > 0 && !places.contains_key(id));
    kept.sessions.extend(rest.map(|(id, acked)| KeptSession {
        id,
        acked,
        have: acked,
    }));
    kept
}

impl Kept {
    /// Adds a frame, to the last run where it can.
    fn add(&mut self, of: usize, sequence: u64, follows: bool, frame: &[u8], next: u64) {
        if let Some(last) = self.runs.last_mut()
            && last.of == of
            && follows
            && last.bytes.len() + frame.len() <= RUN
        {
            last.bytes.extend_from_slice(frame);
            (last.last, last.next) = (sequence, next);
            return;
        }
        self.runs.push(KeptRun {
            of,
            first: sequence,
            last: sequence,
            bytes: BytesMut::from(frame),
            next,
        });
    }
}

/// About as much as a relay reads at once.
const RUN: usize = 64 * 1024;
