//! What the demo ends with: a ledger that adds up, or what does not.

use std::time::Duration;

use serde_json::{Value, json};

use super::cast::{Received, Sent};
use super::screen::Kills;
use super::troupe::CONSUMERS;
use crate::send::outlook::rate;
use crate::talk::grouped;

/// The outcome of one run.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) total: u64,
    pub(super) sent: Sent,
    pub(super) received: [Received; 2],
    /// None for the run for speed.
    pub(super) kills: Option<Kills>,
}

impl Ledger {
    /// Returns everything that is not as it should be.
    pub(super) fn faults(&self) -> Vec<String> {
        let Self {
            total,
            sent,
            received,
            kills,
        } = self;
        let mut faults = Vec::new();
        if sent.accepted != *total || sent.delivered != *total || sent.waiting + sent.other > 0 {
            faults.push(format!(
                "of {total} messages {} were accepted and {} delivered",
                sent.accepted, sent.delivered
            ));
        }
        for (name, consumer) in CONSUMERS.iter().zip(received) {
            let counts = [
                (consumer.lost, "lost"),
                (consumer.duplicated, "duplicated"),
                (consumer.out_of_order, "out of order"),
                (consumer.corrupt, "not as they were sent"),
                (consumer.missed, "missed"),
            ];
            for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
                faults.push(format!("{name}: {count} {what}"));
            }
            if let Some(difference) = &consumer.difference {
                faults.push(format!("{name}: the first difference: {difference}"));
            }
            if consumer.received != *total {
                faults.push(format!("{name}: received {} of {total}", consumer.received));
            }
            if consumer.chain != sent.chain {
                faults.push(format!("{name}: what came is not what was sent"));
            }
        }
        if let Some(kills) = kills
            && kills.loaded < FEWEST_KILLS
        {
            faults.push(format!(
                "the relay was killed {} times with something unacknowledged; that should be {FEWEST_KILLS} at least",
                kills.loaded
            ));
        }
        faults
    }

    /// Draws it for people.
    pub(super) fn text(&self) -> String {
        let Sent {
            accepted,
            delivered,
            wakes,
            connects,
            seconds,
            ..
        } = &self.sent;
        let mut text = format!(
            "\n  {:<12}{:>12}{:>12}{:>8}{:>12}{:>14}{:>7}{:>10}\n",
            "", "messages", "delivered", "lost", "duplicated", "out of order", "wakes", "connects"
        );
        text += &format!(
            "  {:<12}{:>12}{:>12}{:>8}{:>12}{:>14}{:>7}{:>10}\n",
            "sender",
            grouped(*accepted),
            grouped(*delivered),
            "",
            "",
            "",
            wakes,
            connects
        );
        for (name, consumer) in CONSUMERS.iter().zip(&self.received) {
            text += &format!(
                "  {name:<12}{:>12}{:>12}{:>8}{:>12}{:>14}{:>7}{:>10}\n",
                "",
                grouped(consumer.received),
                consumer.lost,
                consumer.duplicated,
                consumer.out_of_order,
                "",
                consumer.connects,
            );
        }
        if let Some(kills) = self.kills {
            text += &format!(
                "\n  The relay was killed {} times in {seconds:.1} s, {} of them with messages certainly unacknowledged.\n",
                kills.total, kills.loaded,
            );
        }
        text
    }

    /// Returns messages a second, from the first send to the last acknowledgement.
    pub(super) fn per_second(&self) -> u64 {
        // Not negative and not endless: it is a span of the clock.
        let time = Duration::try_from_secs_f64(self.sent.seconds).unwrap_or_default();
        rate(self.sent.delivered, time)
    }

    /// Returns it for programs.
    pub(super) fn json(&self) -> Value {
        let consumers = CONSUMERS.iter().zip(&self.received);
        let consumers: serde_json::Map<_, _> = consumers
            .map(|(name, consumer)| {
                let value = json!({
                    "received": consumer.received,
                    "lost": consumer.lost,
                    "duplicated": consumer.duplicated,
                    "out_of_order": consumer.out_of_order,
                    "corrupt": consumer.corrupt,
                    "missed": consumer.missed,
                    "connects": consumer.connects,
                });
                ((*name).to_owned(), value)
            })
            .collect();
        let mut value = json!({
            "accepted": self.sent.accepted,
            "delivered": self.sent.delivered,
            "waiting": self.sent.waiting,
            "wakes": self.sent.wakes,
            "connects": self.sent.connects,
            "seconds": self.sent.seconds,
            "messages_per_second": self.per_second(),
            "consumers": consumers,
        });
        if let (Some(object), Some(kills)) = (value.as_object_mut(), self.kills) {
            object.insert("kills".to_owned(), kills.total.into());
            object.insert("kills_with_unacknowledged".to_owned(), kills.loaded.into());
        }
        value
    }
}

/// Fewer show nothing.
pub(super) const FEWEST_KILLS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Ledger {
        let received = Received {
            received: 10,
            chain: 7,
            ..Received::default()
        };
        Ledger {
            total: 10,
            sent: Sent {
                accepted: 10,
                delivered: 10,
                chain: 7,
                ..Sent::default()
            },
            received: [received.clone(), received],
            kills: Some(Kills {
                total: 6,
                loaded: 5,
            }),
        }
    }

    #[test]
    fn a_ledger_that_adds_up_has_no_faults() {
        assert_eq!(sound().faults(), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_fault_is_one() {
        let spoil: [fn(&mut Ledger); 10] = [
            |ledger| {
                ledger.kills = Some(Kills {
                    total: 6,
                    loaded: 4,
                });
            },
            |ledger| ledger.sent.delivered = 9,
            |ledger| ledger.sent.waiting = 1,
            |ledger| ledger.sent.other = 1,
            |ledger| ledger.received[0].lost = 1,
            |ledger| ledger.received[1].duplicated = 1,
            |ledger| ledger.received[0].out_of_order = 1,
            |ledger| ledger.received[1].corrupt = 1,
            |ledger| ledger.received[0].chain = 8,
            |ledger| ledger.received[1].received = 9,
        ];
        for (place, spoil) in spoil.into_iter().enumerate() {
            let mut ledger = sound();
            spoil(&mut ledger);
            assert_eq!(ledger.faults().len(), 1, "{place}: {:?}", ledger.faults());
        }
    }
}
