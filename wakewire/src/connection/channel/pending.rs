//! What is under way on one connection, by its number. No I/O, no clock.

use std::collections::BTreeMap;

/// What is under way, and how far it is. A number that is settled or forgotten is unknown from then on, so that what
/// comes late for it reaches nobody.
#[derive(Debug)]
pub(super) struct Pending<T> {
    open: BTreeMap<u64, Open<T>>,
    most: usize,
}

#[derive(Debug)]
struct Open<T> {
    what: T,
    /// The system has it to its last byte, or may have.
    handed: bool,
}

impl<T> Pending<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            most,
        }
    }

    /// Adds what is about to be sent under a number of its own; gives it back where there is no room for it.
    pub(super) fn open(&mut self, number: u64, what: T) -> Result<(), T> {
        if self.open.len() >= self.most || self.open.contains_key(&number) {
            return Err(what);
        }
        let handed = false;
        self.open.insert(number, Open { what, handed });
        Ok(())
    }

    /// Notes that the system has it; returns what it is.
    pub(super) fn handed(&mut self, number: u64) -> Option<&T> {
        let open = self.open.get_mut(&number)?;
        open.handed = true;
        Some(&open.what)
    }

    /// Takes out what is settled, or not wanted any more.
    pub(super) fn take(&mut self, number: u64) -> Option<T> {
        self.open.remove(&number).map(|open| open.what)
    }

    /// Takes out everything; says of each whether the peer may have it.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (T, bool)> {
        std::mem::take(&mut self.open)
            .into_values()
            .map(|open| (open.what, open.handed))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 4;

    #[derive(Clone, Debug)]
    enum Step {
        Open,
        Handed(u64),
        Answer(u64),
        Forget(u64),
        Break,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Open),
            2 => (1..20u64).prop_map(Step::Handed),
            2 => (1..20u64).prop_map(Step::Answer),
            1 => (1..20u64).prop_map(Step::Forget),
            1 => Just(Step::Break),
        ]
    }

    proptest! {
        /// Against the simplest model: what was sent under a number is settled once, by that number, and says
        /// truly whether it was handed over.
        #[test]
        fn each_is_settled_once_and_by_its_own_number(steps in prop::collection::vec(step(), 0..100)) {
            let mut pending = Pending::new(MOST);
            let mut model: BTreeMap<u64, bool> = BTreeMap::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Open => {
                        let number = next;
                        next += 1;
                        let opened = pending.open(number, number).is_ok();
                        prop_assert_eq!(opened, model.len() < MOST);
                        if opened {
                            model.insert(number, false);
                        }
                    }
                    Step::Handed(number) => {
                        prop_assert_eq!(
                            pending.handed(number).copied(),
                            model.contains_key(&number).then_some(number)
                        );
                        model.entry(number).and_modify(|handed| *handed = true);
                    }
                    Step::Answer(number) | Step::Forget(number) => {
                        let is_open = model.remove(&number).is_some();
                        prop_assert_eq!(pending.take(number), is_open.then_some(number));
                        prop_assert_eq!(pending.take(number), None);
                    }
                    Step::Break => {
                        let all: Vec<(u64, bool)> = pending.take_all().collect();
                        prop_assert_eq!(all, std::mem::take(&mut model).into_iter().collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(pending.len(), model.len());
            }
        }
    }

    #[test]
    fn a_number_that_is_open_is_not_taken_by_another() {
        let mut pending = Pending::new(2);
        assert_eq!(pending.open(1, "one"), Ok(()));
        assert_eq!(pending.open(1, "other"), Err("other"));
        assert_eq!(pending.take(1), Some("one"));
    }
}
