//! What is known of a sink while it works: its ledger, its state, and whether it gets on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wakewire::{ConnectionState, Ledger, MessageSink, SinkReport};

use crate::talk::{self, grouped};

/// A sink at one moment.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// Over all targets, where there are several.
    pub(crate) ledger: Ledger,
    pub(crate) connects: u64,
    pub(crate) wakes: u64,
    pub(crate) state: ConnectionState,
    pub(crate) sink_type: String,
    pub(crate) endpoint: Option<String>,
    /// Of the sink, or of the target that has one.
    pub(crate) last_error: Option<String>,
    /// Each sink of which it consists.
    pub(crate) parts: Vec<SinkReport>,
}

impl Outlook {
    /// Looks at a sink; waits for nothing.
    pub(crate) async fn of(sink: &Arc<dyn MessageSink>) -> Self {
        let report = sink.flush(Duration::ZERO).await.unwrap_or_default();
        let metadata = sink.metadata();
        let mut ledger = Ledger::default();
        let mut last_error = metadata.last_error;
        for part in &report.per_sink {
            ledger += part.ledger;
            last_error = last_error.or_else(|| part.last_error.clone());
        }
        Self {
            ledger,
            connects: report.per_sink.iter().map(|part| part.connects).sum(),
            wakes: report.per_sink.iter().map(|part| part.wakes).sum(),
            state: metadata.state,
            sink_type: metadata.sink_type.into_owned(),
            endpoint: metadata.endpoint,
            last_error,
            parts: report.per_sink,
        }
    }

    /// Returns how many messages are no longer waited for; it only grows.
    pub(crate) const fn settled(&self) -> u64 {
        self.ledger.accepted - self.ledger.waiting
    }

    /// Says what to do about messages that are not delivered.
    pub(crate) fn hint(&self, service: &str) -> String {
        match (self.state, self.sink_type.as_str()) {
            (ConnectionState::Connected, "relay") => format!(
                "the relay is there, but a consumer that it waits for is not: start `wakewire listen {service}`, \
                 with `--as` for each of its `consumers`"
            ),
            (ConnectionState::Connected, _) => {
                "the receiver is there, but it does not process them".to_owned()
            }
            (_, "relay") => {
                format!("start the relay: `wakewire relay {service}`; or wait longer: `--deadline`")
            }
            (_, "direct") => {
                format!(
                    "start the receiver: `wakewire listen {service}`; or wait longer: `--deadline`"
                )
            }
            _ => "start what it sends to; or wait longer: `--deadline`".to_owned(),
        }
    }

    /// Returns it as JSON.
    pub(crate) fn json(&self, service: &str, seconds: f64) -> Value {
        let Ledger {
            accepted,
            delivered,
            in_doubt,
            undelivered,
            waiting,
            ..
        } = self.ledger;
        json!({
            "service": service,
            "accepted": accepted,
            "delivered": delivered,
            "in_doubt": in_doubt,
            "dropped": self.ledger.dropped.total(),
            "undelivered": undelivered,
            "waiting": waiting,
            "wakes": self.wakes,
            "connects": self.connects,
            "state": shown(self.state),
            "seconds": seconds,
            "last_error": self.last_error,
        })
    }
}

/// Returns the word for a state.
pub(crate) const fn shown(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Disconnected => "asleep",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Failed => "failing",
        ConnectionState::Closed => "closed",
        _ => "unknown",
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// A line of the terminal, drawn again and again.
    Line,
    /// A JSON object a line, on stdout, for a program that watches.
    Json,
}

/// Shows how a sink gets on, as often as it is told to.
#[derive(Debug)]
pub(super) struct Display {
    shown: Shown,
    start: Instant,
    before: (Instant, u64),
}

impl Display {
    pub(super) const fn new(shown: Shown, now: Instant) -> Self {
        Self {
            shown,
            start: now,
            before: (now, 0),
        }
    }

    /// Returns for how long the command has run.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        (now - self.start).as_secs_f64()
    }

    pub(super) fn is_json(&self) -> bool {
        self.shown == Shown::Json
    }

    pub(super) fn show(&mut self, service: &str, outlook: &Outlook, now: Instant) {
        let accepted = outlook.ledger.accepted;
        match self.shown {
            Shown::Nothing => {}
            Shown::Json => {
                let line = outlook.json(service, self.seconds(now));
                // Whoever watched may have gone: the messages are delivered all the same.
                drop(std::io::Write::write_all(
                    &mut std::io::stdout(),
                    format!("{line}\n").as_bytes(),
                ));
            }
            Shown::Line => {
                let (then, known) = self.before;
                let rate = rate(accepted - known, now - then);
                self.before = (now, accepted);
                talk::draw(&format!(
                    "{} messages, {}/s, {} waiting, {}",
                    grouped(accepted),
                    grouped(rate),
                    grouped(outlook.ledger.waiting),
                    shown(outlook.state),
                ));
            }
        }
    }
}

/// Returns so many in this time as so many a second.
pub(crate) fn rate(count: u64, time: Duration) -> u64 {
    let microseconds = time.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / microseconds).unwrap_or(u64::MAX)
}

/// How long one waits for a sink that does not get on.
#[derive(Debug)]
pub(super) struct Patience {
    deadline: Duration,
    settled: u64,
    since: Instant,
}

impl Patience {
    pub(super) const fn new(deadline: Duration, settled: u64, now: Instant) -> Self {
        Self {
            deadline,
            settled,
            since: now,
        }
    }

    /// Hears how far the sink is; returns whether to wait on.
    pub(super) fn lasts(&mut self, settled: u64, now: Instant) -> bool {
        if settled > self.settled {
            self.settled = settled;
            self.since = now;
        }
        now - self.since < self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_a_deadline_after_the_last_progress() {
        let start = crate::send::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(Duration::from_secs(3), 5, start);
        assert!(patience.lasts(5, at(2)));
        assert!(patience.lasts(6, at(4)), "it got on");
        assert!(patience.lasts(6, at(6)));
        assert!(!patience.lasts(6, at(7)));
    }

    #[test]
    fn rates_do_not_divide_by_nothing() {
        assert_eq!(rate(10, Duration::from_millis(100)), 100);
        assert_eq!(rate(0, Duration::ZERO), 0);
        assert_eq!(rate(u64::MAX, Duration::ZERO), u64::MAX);
    }
}
