//! placeholder until the rules land
use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::{ProtocolError, SessionId};

#[derive(Debug, Default)]
pub(crate) struct Positions {
    known: HashMap<SessionId, (u64, u64)>,
}

pub(crate) struct Verdict {
    pub(crate) drop_before: u64,
    pub(crate) missed: Option<RangeInclusive<u64>>,
}

impl Positions {
    pub(crate) fn hello(&mut self, session: SessionId, first_owed: u64) -> (u64, u64) {
        let entry = self
            .known
            .entry(session)
            .or_insert((first_owed - 1, first_owed - 1));
        entry.0 = entry.0.max(first_owed - 1);
        entry.1 = entry.1.max(first_owed - 1);
        (entry.1, entry.0)
    }
    pub(crate) fn data(
        &mut self,
        session: SessionId,
        first: u64,
        last: u64,
    ) -> Result<Verdict, ProtocolError> {
        let (have, _) = self.known.entry(session).or_insert((first - 1, first - 1));
        let missed = (first > *have + 1).then(|| *have + 1..=first - 1);
        let drop_before = *have + 1;
        *have = (*have).max(last);
        Ok(Verdict {
            drop_before,
            missed,
        })
    }
    pub(crate) fn gap(
        &mut self,
        session: SessionId,
        after: u64,
        filtered: bool,
    ) -> (Option<RangeInclusive<u64>>, bool) {
        match self.known.get_mut(&session) {
            None => {
                self.known.insert(session, (after, 0));
                (None, true)
            }
            Some((have, _)) if after > *have => {
                let missed = *have + 1..=after;
                *have = after;
                ((!filtered).then_some(missed), true)
            }
            Some(_) => (None, false),
        }
    }
    pub(crate) fn processed(&mut self, session: SessionId, seq: u64) {
        if let Some((_, p)) = self.known.get_mut(&session) {
            *p = (*p).max(seq);
        }
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, u64, u64)> + '_ {
        self.known.iter().map(|(s, (h, p))| (*s, *p, *h))
    }
}
