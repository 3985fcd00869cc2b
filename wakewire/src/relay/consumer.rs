//! The consumers as the relay sees them: connection, cursor on the log, who is waited for (C1, C3–C6). No I/O, no clock.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::effects::{ConnectionId, ConsumerKey, HubConfig};
use super::sessions::Waited;

/// A consumer that is attached, or that is waited for by name.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) key: ConsumerKey,
    /// Never waited for, may be skipped ahead (C6).
    pub(super) at_most_once: bool,
    pub(super) connection: Option<ConnectionId>,
    /// The position of the next run to look at.
    pub(super) cursor: u64,
    /// The sessions of which a `Gap` is to be told, before any run.
    pub(super) gaps: VecDeque<u32>,
    /// Polled dry: it must be woken when something comes.
    pub(super) dry: bool,
    /// When a level rose last, or when it attached (C5).
    pub(super) progress: Option<Instant>,
}

impl Consumer {
    /// Makes a consumer that is not attached.
    pub(super) const fn away(key: ConsumerKey) -> Self {
        Self {
            key,
            at_most_once: false,
            connection: None,
            cursor: 0,
            gaps: VecDeque::new(),
            dry: false,
            progress: None,
        }
    }

    /// Returns whom to wake when there is something for it, once.
    pub(super) const fn stir(&mut self) -> Option<ConnectionId> {
        if !self.dry {
            return None;
        }
        self.dry = false;
        self.connection
    }
}

/// How many consumers a relay has at a time, the named ones included.
pub(super) const MOST_CONSUMERS: usize = 1024;

/// All consumers, by slot: the named ones first and for good, the others while they are attached (C4).
#[derive(Debug)]
pub(super) struct Roster {
    slots: Vec<Option<Consumer>>,
    by_key: HashMap<ConsumerKey, usize>,
    named: usize,
    at_least_once: bool,
    hold: bool,
    attached: Vec<usize>,
    /// The attached `at_least_once` consumers that are not named.
    others: Vec<usize>,
    takers: bool,
}

impl Roster {
    /// Makes the roster of a relay to which nobody is attached yet.
    pub(super) fn new(config: &HubConfig) -> Self {
        let mut roster = Self {
            slots: Vec::new(),
            by_key: HashMap::new(),
            named: 0,
            at_least_once: config.at_least_once,
            hold: config.hold,
            attached: Vec::new(),
            others: Vec::new(),
            takers: false,
        };
        for name in &config.named {
            let key = ConsumerKey::Name(name.clone());
            if !roster.by_key.contains_key(&key) {
                roster.by_key.insert(key.clone(), roster.slots.len());
                roster.slots.push(Some(Consumer::away(key)));
            }
        }
        roster.named = roster.slots.len();
        roster
    }

    /// Returns the slot of a consumer that is attached or waited for.
    pub(super) fn find(&self, key: &ConsumerKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Gives a slot to a consumer that is not waited for; nothing when all are taken.
    pub(super) fn enter(&mut self, key: ConsumerKey) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        if slot >= self.named + MOST_CONSUMERS {
            return None;
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.by_key.insert(key.clone(), slot);
        self.slots[slot] = Some(Consumer::away(key));
        Some(slot)
    }

    /// Returns whether a slot is one of those that are waited for, attached or not.
    pub(super) const fn is_named(&self, slot: usize) -> bool {
        slot < self.named
    }

    /// Returns the consumer in a slot.
    pub(super) fn get(&self, slot: usize) -> Option<&Consumer> {
        self.slots.get(slot)?.as_ref()
    }

    /// Returns the consumer in a slot, to change it.
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Consumer> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Notes that a consumer has a connection; its flags are set.
    pub(super) fn attach(&mut self, slot: usize) {
        self.unlist(slot);
        self.attached.push(slot);
        let lossy = self.get(slot).is_some_and(|consumer| consumer.at_most_once);
        if !lossy && !self.is_named(slot) {
            self.others.push(slot);
        }
        self.count_takers();
    }

    /// Notes that a consumer has no connection any more: a named one keeps its slot, another loses it (C4).
    pub(super) fn detach(&mut self, slot: usize) {
        self.unlist(slot);
        self.count_takers();
        if self.is_named(slot) {
            if let Some(consumer) = self.get_mut(slot) {
                consumer.connection = None;
                consumer.gaps.clear();
            }
        } else if let Some(consumer) = self.slots.get_mut(slot).and_then(Option::take) {
            self.by_key.remove(&consumer.key);
        }
    }

    fn unlist(&mut self, slot: usize) {
        self.attached.retain(|&other| other != slot);
        self.others.retain(|&other| other != slot);
    }

    /// In an `at_least_once` service only those who acknowledge take messages: an onlooker that may lose them
    /// must not let them go for those who may not (R5, C6).
    fn count_takers(&mut self) {
        let takes =
            |&slot: &usize| !self.at_least_once || self.get(slot).is_some_and(|c| !c.at_most_once);
        self.takers = self.attached.iter().any(takes);
    }

    /// Returns the slots of the attached consumers.
    pub(super) fn attached(&self) -> &[usize] {
        &self.attached
    }

    /// Returns whether somebody takes messages at the moment (promise 5).
    pub(super) const fn takers(&self) -> bool {
        self.takers
    }

    /// Returns who is waited for (R5).
    pub(super) fn waited(&self) -> Waited<'_> {
        Waited {
            named: self.named,
            others: &self.others,
            vouched: self.hold || self.takers,
            anybody: self.at_least_once,
        }
    }

    /// Returns the consumers with their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Consumer)> {
        let consumers = self.slots.iter().enumerate();
        consumers.filter_map(|(slot, consumer)| Some((slot, consumer.as_ref()?)))
    }
}
