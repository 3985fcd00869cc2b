//! From the bytes of a spool's files to what is still owed. No I/O, no clock.
//!
//! A process that is killed leaves its last write cut off at some byte, and nothing else: the system has every byte
//! before it. A machine that loses its power leaves of what was not synced whatever it likes, but that names come and
//! go in order, as in every file system with a journal. So a bad place is a tail, which is cut off, only if nothing
//! says that what stood there was whole; otherwise it is damage, and nothing behind it can be delivered without a
//! hole.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::format::{
    Boot, Contents, Fault, Name, OPENING, Opening, Record, marks, number_of, record,
};
use crate::wire::SessionId;
use crate::wire::run::Run;

/// One file of a spool.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// What the files say.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    /// Whose numbers these are; `None` when a new session has to go on with them: a message of the old one may have
    /// been sent that is not in the files any more, and its number must not stand for two messages.
    pub(crate) session: Option<SessionId>,
    /// The last life's.
    pub(crate) epoch: u64,
    /// Everything up to here was acknowledged.
    pub(crate) acked: u64,
    /// The number of the next message.
    pub(crate) next: u64,
    /// What is owed, `acked + 1` to `next - 1`.
    pub(crate) runs: Vec<Run>,
    /// Whose frames these are, each with the number of the frame behind it; of many sessions.
    pub(crate) names: Vec<(u64, Name)>,
    /// What is to become of each file.
    pub(crate) fates: Vec<Fate>,
    /// What was cut off.
    pub(crate) tail: Option<Tail>,
}

/// What is to become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It holds what is owed, `first..next`, in so many of its bytes.
    Keep { first: u64, next: u64, bytes: u64 },
    /// Nothing in it is owed.
    Drop,
}

/// Bytes at the end of a file that are no whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// What was whole once and is not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is damaged at byte {at}: {what}")]
pub(crate) struct Damage {
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) what: String,
}

/// Reads the files of a spool, in the order of their names.
pub(crate) fn recover(parts: &[Part], contents: Contents, boot: Boot) -> Result<Recovered, Damage> {
    let openings: Vec<_> = (parts.iter())
        .map(|part| Opening::parse(&part.bytes, contents))
        .collect();
    let Some(last) = openings
        .iter()
        .rev()
        .find_map(|opening| opening.as_ref().ok())
    else {
        return nothing(parts, &openings);
    };
    let known = openings.iter().flatten();
    let acked = known.clone().map(|opening| opening.acked).max();
    let mut walk = Walk {
        parts,
        contents,
        openings: &openings,
        rebooted: last.boot != boot || boot == Boot(0),
        unread: false,
        begun: false,
        acked: acked.unwrap_or_default(),
        expected: 0,
        runs: Vec::new(),
        named: BTreeSet::new(),
        names: Vec::new(),
        fates: vec![Fate::Drop; parts.len()],
        tail: None,
    };
    walk.acked = walk.acked.max(walk.acked_by_marks());
    if let Some(Ok(first)) = openings.first() {
        // What was in files before the first was acknowledged, or they would be there.
        walk.expected = first.first.min(walk.limit(0));
        walk.acked = walk.acked.max(walk.expected - 1);
    }
    for index in 0..parts.len() {
        if !walk.part(index)? {
            break;
        }
    }
    let next = walk.expected.max(walk.acked + 1);
    let is_sure = !walk.rebooted || (last.holds_back && openings.iter().all(Result::is_ok));
    Ok(Recovered {
        session: (is_sure && next == walk.expected).then_some(last.session),
        epoch: known.map(|opening| opening.epoch).max().unwrap_or_default(),
        acked: walk.acked,
        next,
        runs: owed(walk.runs, walk.acked),
        names: walk.names,
        fates: walk.fates,
        tail: walk.tail,
    })
}

/// No file has a whole opening: then none was ever used, or all are damaged.
fn nothing(parts: &[Part], openings: &[Result<Opening, Fault>]) -> Result<Recovered, Damage> {
    for (part, opening) in parts.iter().zip(openings) {
        if let Err(fault @ Fault::Wrong(_)) = opening
            && part.bytes.len() > OPENING
        {
            return Err(Damage {
                name: part.name.clone(),
                at: 0,
                what: fault.clone().what(),
            });
        }
    }
    Ok(Recovered {
        session: None,
        epoch: 0,
        acked: 0,
        next: 1,
        runs: Vec::new(),
        names: Vec::new(),
        fates: vec![Fate::Drop; parts.len()],
        tail: None,
    })
}

struct Walk<'a> {
    parts: &'a [Part],
    contents: Contents,
    openings: &'a [Result<Opening, Fault>],
    /// The machine was started anew since the last life.
    rebooted: bool,
    /// There was a file without an opening.
    unread: bool,
    /// There was a frame.
    begun: bool,
    acked: u64,
    /// The number of the next frame.
    expected: u64,
    runs: Vec<Run>,
    /// The origins of which this file has said whose they are.
    named: BTreeSet<u32>,
    names: Vec<(u64, Name)>,
    fates: Vec<Fate>,
    tail: Option<Tail>,
}

impl Walk<'_> {
    /// Reads one file; returns whether those behind it count.
    fn part(&mut self, index: usize) -> Result<bool, Damage> {
        let opening = match &self.openings[index] {
            Ok(opening) => *opening,
            Err(_) if self.parts[index].bytes.len() <= OPENING => {
                // Whatever was appended came after its opening.
                self.unread = true;
                return Ok(true);
            }
            // Nobody needs it, or a later life has read it and gone on without.
            Err(_) if self.limit(index) <= self.expected.max(self.acked + 1) => return Ok(true),
            Err(fault) => return self.bad(index, 0, fault.clone()),
        };
        let limit = self.limit(index);
        let first = opening.first.min(limit);
        if first > self.expected {
            // Files go in order, and only when all in them is acknowledged; but one that is there may have lost its
            // frames with the power.
            let may_be_lost = self.unread || self.follows(index);
            let is_gone = !(self.begun || (self.rebooted && may_be_lost));
            if is_gone {
                self.acked = self.acked.max(first - 1);
            }
            if first > self.acked + 1 {
                let what = format!("messages before {first} are missing");
                return self.bad(index, 0, Fault::Wrong(what));
            }
            self.skip_to(first);
        }
        if first == limit {
            return Ok(true);
        }
        let bytes = &self.parts[index].bytes;
        let mut at = OPENING;
        // Where the frames that stand back to back begin.
        let mut from = (self.expected, at);
        self.named.clear();
        while self.expected < limit {
            let found = record(&bytes[at..], self.contents, opening.session);
            match found.and_then(|found| self.in_its_place(found)) {
                Ok(None) => break,
                Ok(Some((Record::Frame { .. }, length))) => {
                    self.begun = true;
                    self.expected += 1;
                    at += length;
                }
                Ok(Some((between @ (Record::Mark { .. } | Record::Name(_)), length))) => {
                    if let Record::Name(name) = between {
                        self.named.insert(name.origin);
                        self.names.push((self.expected, name));
                    }
                    self.take(from, bytes.slice(from.1..at));
                    at += length;
                    from = (self.expected, at);
                }
                Err(_) if limit <= self.acked + 1 => {
                    // Nobody needs it.
                    self.skip_to(limit);
                    return Ok(true);
                }
                Err(fault) => {
                    self.take(from, bytes.slice(from.1..at));
                    self.keep(index, &opening, at);
                    return self.bad(index, at, fault);
                }
            }
        }
        self.take(from, bytes.slice(from.1..at));
        self.keep(index, &opening, at);
        Ok(true)
    }

    /// A frame has the number that is expected, or an origin that has a name.
    fn in_its_place(
        &self,
        found: Option<(Record, usize)>,
    ) -> Result<Option<(Record, usize)>, Fault> {
        let Some((Record::Frame { origin, sequence }, _)) = found else {
            return Ok(found);
        };
        let what = match self.contents {
            Contents::OneSession if sequence != self.expected => {
                format!("message {sequence} stands where {} should", self.expected)
            }
            Contents::ManySessions if !self.named.contains(&origin) => {
                format!("nothing says whose message {sequence} of origin {origin} is")
            }
            Contents::OneSession | Contents::ManySessions => return Ok(found),
        };
        Err(Fault::Wrong(what))
    }

    /// Adds the frames from this number up to the one expected now.
    fn take(&mut self, (first, _): (u64, usize), frames: Bytes) {
        if !frames.is_empty() {
            self.runs.push(Run::new(first, self.expected - 1, frames));
        }
    }

    fn keep(&mut self, index: usize, opening: &Opening, bytes: usize) {
        if self.expected > self.acked + 1 && self.expected > opening.first {
            self.fates[index] = Fate::Keep {
                first: opening.first,
                next: self.expected,
                bytes: bytes as u64,
            };
        }
    }

    /// What lies before this number is acknowledged, or void.
    fn skip_to(&mut self, sequence: u64) {
        self.runs.clear();
        self.expected = sequence;
    }

    /// Returns whether the file before this one is there.
    fn follows(&self, index: usize) -> bool {
        let number = |index: usize| number_of(&self.parts.get(index)?.name);
        let before = index.checked_sub(1).and_then(number);
        before.is_some_and(|before| number(index) == Some(before + 1))
    }

    /// Returns where what a file holds ends to count: a later one says where it goes on.
    fn limit(&self, index: usize) -> u64 {
        let later = index + 1..self.parts.len();
        let firsts = later.filter_map(|later| match &self.openings[later] {
            Ok(opening) => Some(opening.first),
            Err(_) => self.begins(later),
        });
        firsts.min().unwrap_or(u64::MAX)
    }

    /// Returns where a file begins whose opening cannot be read: the mark behind that says so, or the next file of the
    /// same life does. A later life has gone on without it, and names the one before as the one before.
    fn begins(&self, index: usize) -> Option<u64> {
        let before = self.openings[..index].iter().rev().flatten().next()?;
        let bytes = self.parts[index].bytes.get(OPENING..)?;
        if let Ok(Some((Record::Mark { next, .. }, _))) =
            record(bytes, self.contents, before.session)
        {
            return Some(next);
        }
        let behind = self.openings.get(index + 1)?.as_ref().ok()?;
        // One that has no frames may never have got its opening: then it is not what the next calls the one before.
        let is_before = behind.before > before.first || !bytes.is_empty();
        (is_before && behind.epoch == before.epoch).then_some(behind.before)
    }

    /// Cuts the log off here, if that may be.
    fn bad(&mut self, index: usize, at: usize, fault: Fault) -> Result<bool, Damage> {
        let part = &self.parts[index];
        let needed = self.expected.max(self.acked + 1);
        let needed = match (&self.openings[index], self.openings.get(index + 1)) {
            (Err(_), Some(Ok(next))) => needed.max(next.before),
            (Err(_), _) => self
                .begins(index)
                .map_or(u64::MAX, |first| needed.max(first)),
            // What was before the file that may have lost its frames is gone, as what is acknowledged goes.
            (Ok(opening), _) if !self.begun => needed.max(opening.before),
            (Ok(_), _) => needed,
        };
        let was_whole = if self.rebooted {
            self.is_vouched(index, at, |_, synced| synced >= needed)
        } else {
            fault != Fault::Short || self.is_vouched(index, at, |next, _| next > needed)
        };
        if was_whole {
            return Err(Damage {
                name: part.name.clone(),
                at: at as u64,
                what: fault.what(),
            });
        }
        self.tail = Some(Tail {
            name: part.name.clone(),
            at: at as u64,
            bytes: (part.bytes.len() - at) as u64,
        });
        Ok(false)
    }

    /// Returns whether an opening or mark behind this place says something (`next`, `synced`) of it.
    fn is_vouched(&self, index: usize, at: usize, says: impl Fn(u64, u64) -> bool) -> bool {
        (index..self.parts.len()).any(|behind| {
            let here = behind == index;
            let opening = self.openings[behind].as_ref().ok();
            let opens = opening.is_some_and(|opening| says(opening.first, opening.synced));
            let mut marks = self.marks(behind, if here { at } else { 0 });
            (opens && (!here || at == 0)) || marks.any(|(_, synced, next)| says(next, synced))
        })
    }

    /// What was acknowledged once is so for good, wherever that stands.
    fn acked_by_marks(&self) -> u64 {
        let all = (0..self.parts.len()).flat_map(|index| self.marks(index, 0));
        all.map(|(acked, ..)| acked).max().unwrap_or_default()
    }

    /// Returns what the marks of a file say behind this place: `acked`, `synced`, `next`. A file that does not say itself
    /// whose it is counts as that before it.
    fn marks(&self, index: usize, at: usize) -> impl Iterator<Item = (u64, u64, u64)> {
        let session = self.openings[..=index].iter().rev().flatten().next();
        let bytes = self.parts[index].bytes.get(at.max(OPENING)..);
        let marks = session.map(|opening| marks(bytes.unwrap_or_default(), opening.session));
        marks.into_iter().flatten().filter_map(|mark| match mark {
            Record::Mark {
                acked,
                synced,
                next,
            } => Some((acked, synced, next)),
            Record::Frame { .. } | Record::Name(_) => None,
        })
    }
}

/// Leaves out what was acknowledged.
fn owed(runs: Vec<Run>, acked: u64) -> Vec<Run> {
    let mut owed: Vec<_> = runs.into_iter().filter(|run| run.last > acked).collect();
    if let Some(run) = owed.first_mut() {
        run.skip_to(acked + 1);
    }
    owed
}
