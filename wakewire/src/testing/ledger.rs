//! Says whether every accepted message is accounted for. No I/O, no clock.

use crate::outbox::Ledger;
use crate::sink::{Report, SinkReport};

/// What has ledgers: a [`Ledger`], a [`SinkReport`], a [`Report`] with one for each sink.
pub trait Ledgers {
    /// Returns each ledger with the name of its sink.
    fn ledgers(&self) -> Vec<(&str, Ledger)>;

    /// Returns what is said of all sinks together: delivered, in doubt, undelivered and waiting. Only a [`Report`] says
    /// that apart from its ledgers.
    fn totals(&self) -> Option<[u64; 4]> {
        None
    }
}

impl Ledgers for Ledger {
    fn ledgers(&self) -> Vec<(&str, Ledger)> {
        vec![("the sink", *self)]
    }
}

impl Ledgers for SinkReport {
    fn ledgers(&self) -> Vec<(&str, Ledger)> {
        vec![(&self.name, self.ledger)]
    }
}

impl Ledgers for Report {
    fn ledgers(&self) -> Vec<(&str, Ledger)> {
        self.per_sink.iter().flat_map(SinkReport::ledgers).collect()
    }

    fn totals(&self) -> Option<[u64; 4]> {
        Some([
            self.delivered,
            self.in_doubt,
            self.undelivered,
            self.waiting,
        ])
    }
}

/// Fails unless every accepted message is accounted for: accepted = delivered + in doubt + dropped + undelivered +
/// waiting, for each sink, and a report's totals are the sums.
///
/// ```
/// use wakewire::Ledger;
/// use wakewire::testing::assert_ledger;
///
/// let mut ledger = Ledger::default();
/// (ledger.accepted, ledger.delivered, ledger.waiting) = (3, 2, 1);
/// assert_ledger(&ledger);
/// ```
///
/// ```should_panic
/// # use wakewire::Ledger;
/// # use wakewire::testing::assert_ledger;
/// # let mut ledger = Ledger::default();
/// (ledger.accepted, ledger.delivered) = (3, 2);
/// // the sink: 1 of 3 accepted messages unaccounted for:
/// // accepted 3 = delivered 2 + in doubt 0 + dropped 0 + undelivered 0 + waiting 0
/// assert_ledger(&ledger);
/// ```
///
/// # Panics
///
/// If they are not, with the numbers.
#[track_caller]
pub fn assert_ledger(of: &(impl Ledgers + ?Sized)) {
    let ledgers = of.ledgers();
    for (name, ledger) in &ledgers {
        let known = ledger.accepted.abs_diff(known(ledger));
        let what = if ledger.accepted > self::known(ledger) {
            "unaccounted for"
        } else {
            "accounted for more than once"
        };
        assert!(
            ledger.adds_up(),
            "{name}: {known} of {} accepted messages {what}: {ledger}",
            ledger.accepted
        );
    }
    if let Some(totals) = of.totals() {
        let mut sums = [0; 4];
        for (_, ledger) in &ledgers {
            let parts = [
                ledger.delivered,
                ledger.in_doubt,
                ledger.undelivered,
                ledger.waiting,
            ];
            sums.iter_mut()
                .zip(parts)
                .for_each(|(sum, part)| *sum += part);
        }
        assert_eq!(
            totals, sums,
            "delivered, in doubt, undelivered and waiting of a report are not the sums of {ledgers:?}"
        );
    }
}

/// What is said of a ledger's messages, one by one.
const fn known(ledger: &Ledger) -> u64 {
    ledger.delivered
        + ledger.in_doubt
        + ledger.dropped.total()
        + ledger.undelivered
        + ledger.waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(of: &(impl Ledgers + std::panic::RefUnwindSafe)) -> String {
        let panic = std::panic::catch_unwind(|| assert_ledger(of)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn what_is_missing_is_said_with_the_numbers() {
        let mut ledger = Ledger {
            accepted: 9,
            delivered: 4,
            waiting: 3,
            ..Ledger::default()
        };
        let said = says(&ledger);
        assert!(
            said.contains("the sink: 2 of 9 accepted messages unaccounted for"),
            "{said}"
        );
        assert!(
            said.contains(
                "accepted 9 = delivered 4 + in doubt 0 + dropped 0 + undelivered 0 + waiting 3"
            ),
            "{said}"
        );
        ledger.delivered = 7;
        assert!(says(&ledger).contains("more than once"));
        ledger.delivered = 6;
        assert_ledger(&ledger);
        let mut report = Report::over([SinkReport::new("orders", ledger, None)]);
        assert_ledger(&report);
        report.delivered += 1;
        assert!(says(&report).contains("not the sums"));
    }
}
