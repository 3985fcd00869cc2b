//! The demo as it happens: a few lines that are drawn again, or a line a second where nobody looks.

use std::time::{Duration, Instant};

use super::cast::{Received, Sent};
use super::troupe::CONSUMERS;
use crate::send::outlook::rate;
use crate::talk::{self, grouped};

/// Everything that is known at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    pub(super) total: u64,
    pub(super) sent: Sent,
    pub(super) received: [Received; 2],
    pub(super) relay_is_up: bool,
    pub(super) kills: Kills,
}

/// How often the relay was killed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    pub(super) total: u64,
    /// Of these, with something certainly unacknowledged.
    pub(super) loaded: u64,
}

/// Where the scene is shown.
#[derive(Debug)]
pub(super) struct Screen {
    start: Instant,
    shown: Option<Instant>,
    /// Accepted, and received by each, when it was shown last.
    before: [u64; 3],
    live: bool,
    colour: bool,
    /// Lines that stand on the terminal.
    lines: usize,
}

impl Screen {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            shown: None,
            before: [0; 3],
            live: talk::is_seen(),
            colour: talk::is_colourful(),
            lines: 0,
        }
    }

    /// Shows the scene, if it is time to.
    pub(super) fn show(&mut self, scene: &Scene, now: Instant) {
        let every = if self.live { REDRAW } else { SAY };
        let since = self.shown.map(|shown| now - shown);
        if since.is_some_and(|since| since < every) {
            return;
        }
        let counts = [
            scene.sent.accepted,
            scene.received[0].received,
            scene.received[1].received,
        ];
        let rates: [u64; 3] = std::array::from_fn(|place| {
            let more = counts[place].saturating_sub(self.before[place]);
            since.map_or(0, |since| rate(more, since))
        });
        self.shown = Some(now);
        self.before = counts;
        let seconds = (now - self.start).as_secs_f64();
        if self.live {
            let text = self.drawn(scene, rates, seconds);
            let up = match self.lines {
                0 => String::new(),
                lines => format!("\x1b[{lines}A\r"),
            };
            self.lines = text.lines().count();
            talk::put(&format!("{up}\x1b[J{text}"));
        } else {
            talk::say(line(scene, rates, seconds));
        }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) {
        // What was drawn last stays above it.
        self.lines = 0;
        talk::say(text);
    }

    fn drawn(&self, scene: &Scene, rates: [u64; 3], seconds: f64) -> String {
        let Scene {
            total,
            sent,
            received,
            relay_is_up,
            kills,
        } = scene;
        let state = if sent.connected { GREEN } else { YELLOW };
        let (relay, colour) = if *relay_is_up {
            ("up", GREEN)
        } else {
            ("down", RED)
        };
        let mut text = format!(
            "  sender  {} {:>12} sent      {:>12}/s  {}\n",
            bar(sent.accepted, *total),
            grouped(sent.accepted),
            grouped(rates[0]),
            self.coloured(state, &sent.state),
        );
        text += &format!(
            "  outbox  {} {:>12} waiting\n",
            bar(sent.waiting, OUTBOX),
            grouped(sent.waiting)
        );
        text += &format!(
            "  relay   {} killed {} times, {seconds:.1} s\n",
            self.coloured(colour, &format!("{relay:<BAR$}")),
            kills.total,
        );
        for (place, name) in CONSUMERS.iter().enumerate() {
            let Received {
                received,
                duplicated,
                out_of_order,
                ..
            } = &received[place];
            let faults = duplicated + out_of_order;
            let (verdict, colour) = match faults {
                0 => ("in order".to_owned(), GREEN),
                faults => (format!("{faults} twice or out of order"), RED),
            };
            text += &format!(
                "  {name:<7} {} {:>12} received  {:>12}/s  {}\n",
                bar(*received, *total),
                grouped(*received),
                grouped(rates[place + 1]),
                self.coloured(colour, &verdict),
            );
        }
        text
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The scene in one line.
fn line(scene: &Scene, rates: [u64; 3], seconds: f64) -> String {
    let relay = if scene.relay_is_up { "up" } else { "down" };
    let mut line = format!(
        "{seconds:>5.1} s  relay {relay:<4} killed {}  sent {} ({}/s), {} waiting, {}",
        scene.kills.total,
        grouped(scene.sent.accepted),
        grouped(rates[0]),
        grouped(scene.sent.waiting),
        scene.sent.state,
    );
    for (place, name) in CONSUMERS.iter().enumerate() {
        line += &format!("  {name} {}", grouped(scene.received[place].received));
    }
    line
}

/// Draws a part of a whole.
fn bar(part: u64, whole: u64) -> String {
    let width = BAR as u64 * 8;
    let eighths = u128::from(part) * u128::from(width) / u128::from(whole.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).min(BAR * 8);
    let mut bar = "█".repeat(eighths / 8);
    if let Some(piece) = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'].get(eighths % 8)
        && eighths < BAR * 8
    {
        bar.push(*piece);
    }
    bar + &" ".repeat(BAR - (eighths / 8 + usize::from(eighths < BAR * 8)))
}

const BAR: usize = 20;
/// The default `buffer_size`.
const OUTBOX: u64 = 10_000;
const REDRAW: Duration = Duration::from_millis(100);
const SAY: Duration = Duration::from_secs(1);
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_whatever_it_shows() {
        for (part, whole) in [(0, 0), (0, 9), (1, 1000), (5, 9), (9, 9), (u64::MAX, 9)] {
            assert_eq!(bar(part, whole).chars().count(), BAR, "{part} of {whole}");
        }
        assert_eq!(bar(1, 2), format!("{}{}", "█".repeat(10), " ".repeat(10)));
    }
}
