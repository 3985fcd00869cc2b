//! What is told: progress on stderr, figures on stdout.

use std::io::{self, Write};

use crate::run::Outcome;

/// Writes to stderr; when even that cannot be written to, there is nobody to tell.
pub(crate) fn put(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Writes the answer.
pub(crate) fn answer(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}

/// Returns a number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Outcome {
    /// Draws it for people, a few lines.
    pub(crate) fn text(&self) -> String {
        let Self {
            scenario,
            over,
            kills,
            stops,
            cuts,
            holds,
            starvations,
            accepted,
            seconds,
            seed,
            ..
        } = self;
        let mut faults = format!("{kills} kills");
        for (number, what) in [
            (stops, "stops"),
            (cuts, "cuts"),
            (holds, "silences"),
            (starvations, "starvations"),
        ] {
            if *number > 0 {
                faults += &format!(", {number} {what}");
            }
        }
        let sum = |count: fn(&crate::checker::Count) -> u64| {
            grouped(self.receivers.values().map(count).sum::<u64>())
        };
        let mut text = format!(
            "{scenario:<10}{:<6}{faults}, {} under load; {} accepted, {} received; lost {}, duplicated {}, \
             out of order {}, corrupted {}; redelivered {}, forfeited {}; {seconds:.1} s, seed {seed}\n",
            over.name(),
            self.kills_under_load,
            grouped(*accepted),
            sum(|count| count.received),
            sum(|count| count.lost),
            sum(|count| count.duplicated),
            sum(|count| count.reordered),
            sum(|count| count.corrupted),
            sum(|count| count.redelivered),
            sum(|count| count.forfeited),
        );
        for fault in &self.faults {
            text += &format!("    WRONG: {fault}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let all = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}
