//! What was accepted, acknowledged and processed, and whether that is what was promised. No I/O, no clock.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wakewire::Ledger;

/// Which of a producer's messages: a new process begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    pub producer: usize,
    pub life: usize,
}

/// Everything that was seen, as it was seen, and held to the promises at once.
pub struct Journal {
    /// Messages may be lost, never repeated: `at_most_once`.
    lossy: bool,
    now: Duration,
    streams: BTreeMap<Stream, Sent>,
    consumers: Vec<Received>,
    trace: DefaultHasher,
    broken: Vec<String>,
    pub counts: Counts,
    /// Prints everything.
    pub aloud: bool,
}

/// What is counted over a play.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub accepted: u64,
    pub processed: u64,
    /// Processed by a later life of a consumer that had it already.
    pub again: u64,
    /// Accepted by producers that died with them.
    pub died: u64,
}

/// One life of a producer.
#[derive(Default)]
struct Sent {
    accepted: u32,
    /// How many of them are acknowledged, so far as it is known.
    delivered: u64,
    waiting: u64,
    ended: bool,
}

#[derive(Default)]
struct Received {
    lives: usize,
    streams: BTreeMap<Stream, Place>,
}

/// How far a consumer is in one stream.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Everything below was processed in one of its lives.
    next: u32,
    /// The last one in this life.
    last: Option<u32>,
}

impl Journal {
    pub fn new(lossy: bool, consumers: usize) -> Self {
        Self {
            lossy,
            now: Duration::ZERO,
            streams: BTreeMap::new(),
            consumers: (0..consumers).map(|_| Received::default()).collect(),
            trace: DefaultHasher::new(),
            broken: Vec::new(),
            counts: Counts::default(),
            aloud: false,
        }
    }

    /// Notes the time, for what is noted next.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Returns what was promised and is not so.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Returns a number that differs when anything went otherwise, or at another time.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub fn note(&mut self, what: impl Debug + Hash) {
        self.now.hash(&mut self.trace);
        what.hash(&mut self.trace);
        if self.aloud {
            println!("{:>9.3} {what:?}", self.now.as_secs_f64());
        }
    }

    /// Says that a promise does not hold.
    pub fn is_broken(&mut self, what: String) {
        if self.broken.len() < MOST_BROKEN {
            self.broken
                .push(format!("at {:.3} s: {what}", self.now.as_secs_f64()));
        }
    }

    /// A producer's process begins; what it had in memory is gone with the one before.
    pub fn producer_begins(&mut self, producer: usize) -> Stream {
        let mut life = 0;
        for (stream, sent) in &mut self.streams {
            if stream.producer == producer {
                sent.ended = true;
                life += 1;
            }
        }
        let stream = Stream { producer, life };
        self.note(("begins", stream));
        self.streams.insert(stream, Sent::default());
        stream
    }

    /// Its sink has said `Ok` to the next message.
    pub fn accepted(&mut self, stream: Stream) {
        let Some(sent) = self.streams.get_mut(&stream) else {
            return;
        };
        let number = sent.accepted;
        sent.accepted += 1;
        self.counts.accepted += 1;
        self.note(("accepted", stream, number));
    }

    /// The sink gives account of what was accepted.
    pub fn accounts(&mut self, stream: Stream, ledger: &Ledger) {
        let Some(sent) = self.streams.get_mut(&stream) else {
            return;
        };
        let before = (sent.delivered, sent.waiting);
        (sent.delivered, sent.waiting) = (ledger.delivered, ledger.waiting);
        let accepted = sent.accepted;
        if before != (ledger.delivered, ledger.waiting) {
            self.note(("accounts", stream, ledger.delivered, ledger.waiting));
        }
        if !ledger.adds_up() || ledger.accepted != u64::from(accepted) {
            self.is_broken(format!(
                "{stream:?}: {accepted} accepted, and the ledger says {ledger}"
            ));
        }
        if ledger.delivered < before.0 {
            self.is_broken(format!(
                "{stream:?}: {} were delivered, now {ledger}",
                before.0
            ));
        }
        for consumer in 0..self.consumers.len() {
            let place = self.place(consumer, stream);
            if !self.lossy && u64::from(place.next) < ledger.delivered {
                let next = place.next;
                self.is_broken(format!(
                    "{stream:?}: acknowledged before it was processed: consumer {consumer} is at {next}, {ledger}"
                ));
            }
        }
    }

    /// The sink was closed, or dropped: what it still owed is given up.
    pub fn producer_leaves(&mut self, stream: Stream, ledger: Option<&Ledger>) {
        self.note(("leaves", stream));
        if let Some(ledger) = ledger {
            self.accounts(stream, ledger);
            if ledger.waiting > 0 {
                self.is_broken(format!("{stream:?}: closed, and owes: {ledger}"));
            }
        }
        if let Some(sent) = self.streams.get_mut(&stream) {
            sent.ended = true;
        }
    }

    /// A consumer's source was made anew, in a new process or not.
    pub fn consumer_begins(&mut self, consumer: usize) {
        let received = &mut self.consumers[consumer];
        received.lives += 1;
        for place in received.streams.values_mut() {
            place.last = None;
        }
        let life = received.lives;
        self.note(("consumes", consumer, life));
    }

    /// A consumer has processed this.
    pub fn processed(&mut self, consumer: usize, stream: Stream, number: u32) {
        self.counts.processed += 1;
        self.note(("processed", consumer, stream, number));
        let accepted = self.streams.get(&stream).map_or(0, |sent| sent.accepted);
        let place = self.place(consumer, stream);
        let what = match place.last {
            _ if number >= accepted => Some("was never accepted"),
            Some(last) if number <= last => Some("came twice, or in the wrong order"),
            _ if self.lossy && number < place.next => Some("came again, at most once"),
            Some(last) if !self.lossy && number > last + 1 => Some("came after a gap"),
            None if !self.lossy && number > place.next => {
                Some("came after a gap between two lives")
            }
            _ => None,
        };
        if let Some(what) = what {
            let (last, next) = (place.last, place.next);
            self.is_broken(format!(
                "{stream:?} message {number} {what}: consumer {consumer} had {last:?} in this life, {next} ever"
            ));
        }
        self.counts.again += u64::from(number < place.next);
        let after = Place {
            next: place.next.max(number + 1),
            last: Some(number),
        };
        self.consumers[consumer].streams.insert(stream, after);
    }

    /// Returns whether everybody has everything that is owed to them, and nobody owes anything.
    pub fn is_settled(&self) -> bool {
        self.living()
            .all(|(_, sent)| sent.waiting == 0 && sent.delivered <= u64::from(sent.accepted))
            && (self.lossy || self.owed().next().is_none())
    }

    /// Concludes: what is owed now is lost.
    pub fn conclude(&mut self) {
        let owed: Vec<_> = self.owed().collect();
        for (stream, consumer, next, accepted) in owed {
            self.is_broken(format!(
                "{stream:?}: {accepted} accepted, consumer {consumer} has {next} of them"
            ));
        }
        let still: Vec<_> = self
            .living()
            .filter(|(_, sent)| sent.waiting > 0)
            .map(|(stream, sent)| format!("{stream:?}: {} still wait", sent.waiting))
            .collect();
        for what in still {
            self.is_broken(what);
        }
        self.counts.died = self
            .streams
            .iter()
            .filter(|(_, sent)| sent.ended)
            .map(|(_, sent)| u64::from(sent.accepted).saturating_sub(sent.delivered))
            .sum();
    }

    fn place(&self, consumer: usize, stream: Stream) -> Place {
        let places = &self.consumers[consumer].streams;
        places.get(&stream).copied().unwrap_or_default()
    }

    fn living(&self) -> impl Iterator<Item = (Stream, &Sent)> {
        let streams = self.streams.iter().filter(|(_, sent)| !sent.ended);
        streams.map(|(stream, sent)| (*stream, sent))
    }

    /// What is owed to consumers: of living producers everything, of others what was acknowledged to them.
    fn owed(&self) -> impl Iterator<Item = (Stream, usize, u32, u64)> {
        self.streams
            .iter()
            .filter(|_| !self.lossy)
            .flat_map(move |(&stream, sent)| {
                let owed = if sent.ended {
                    sent.delivered
                } else {
                    u64::from(sent.accepted)
                };
                (0..self.consumers.len()).filter_map(move |consumer| {
                    let next = self.place(consumer, stream).next;
                    (u64::from(next) < owed).then_some((stream, consumer, next, owed))
                })
            })
    }
}

/// More say nothing new.
const MOST_BROKEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        producer: 0,
        life: 0,
    };

    /// Says what is broken after five messages were accepted and one consumer has processed these; 9 is a new life.
    fn broken(lossy: bool, processed: &[u32]) -> Option<String> {
        let mut journal = Journal::new(lossy, 1);
        assert_eq!(journal.producer_begins(0), STREAM);
        (0..5).for_each(|_| journal.accepted(STREAM));
        journal.consumer_begins(0);
        for &number in processed {
            if number == 9 {
                journal.consumer_begins(0);
            } else {
                journal.processed(0, STREAM, number);
            }
        }
        journal.broken().first().cloned()
    }

    #[test]
    fn what_is_processed_is_held_to_the_promises() {
        for (lossy, processed, what) in [
            (false, &[0, 1, 1][..], "twice"),
            (false, &[0, 1, 0], "twice"),
            (false, &[0, 2], "after a gap"),
            (false, &[1], "after a gap between two lives"),
            (false, &[0, 9, 2], "after a gap between two lives"),
            (false, &[0, 1, 2, 3, 4, 5], "never accepted"),
            (true, &[0, 0], "twice"),
            (true, &[0, 1, 9, 1], "at most once"),
        ] {
            let broken = broken(lossy, processed).unwrap_or_default();
            assert!(broken.contains(what), "{processed:?}: {broken}");
        }
        for (lossy, processed) in [
            (false, &[0, 1, 2, 3, 4][..]),
            (false, &[0, 1, 9, 1, 2]),
            (true, &[0, 3, 9, 4]),
        ] {
            assert_eq!(broken(lossy, processed), None);
        }
    }

    #[test]
    fn an_acknowledgement_before_its_time_and_a_wrong_ledger_are_seen() {
        let mut journal = Journal::new(false, 1);
        let stream = journal.producer_begins(0);
        journal.accepted(stream);
        let mut ledger = Ledger::default();
        (ledger.accepted, ledger.delivered) = (1, 1);
        journal.accounts(stream, &ledger);
        assert!(journal.broken()[0].contains("before it was processed"));
        ledger.accepted = 2;
        journal.accounts(stream, &ledger);
        assert!(journal.broken()[1].contains("the ledger says"));
    }

    #[test]
    fn what_a_living_producer_is_owed_is_lost_at_the_end() {
        let mut journal = Journal::new(false, 1);
        let stream = journal.producer_begins(0);
        journal.accepted(stream);
        assert!(!journal.is_settled());
        journal.conclude();
        assert!(journal.broken()[0].contains("1 accepted, consumer 0 has 0"));
        let mut journal = Journal::new(false, 1);
        let stream = journal.producer_begins(0);
        journal.accepted(stream);
        journal.producer_begins(0);
        assert!(journal.is_settled(), "it died with what it owed");
    }
}
