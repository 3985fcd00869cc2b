//! What is said on the way, on stderr; data goes to stdout.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Has the library's events written, from this level on unless the environment says otherwise.
pub(crate) fn trace(verbose: u8, usual: LevelFilter) {
    let level = match verbose {
        0 => usual,
        1 => usual.max(LevelFilter::INFO),
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into());
    let filter = if verbose == 0 {
        filter.from_env_lossy()
    } else {
        filter.parse_lossy("")
    };
    let writer = || {
        erase();
        io::stderr()
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_colourful())
        .with_target(false)
        .with_writer(writer)
        .init();
}

/// Says a line.
pub(crate) fn say(line: impl Display) {
    erase();
    put(&format!("{line}\n"));
}

/// Draws a line that the next one replaces; for a terminal.
pub(crate) fn draw(line: &str) {
    DRAWN.store(true, Relaxed);
    put(&format!("\r\x1b[2K{line}"));
}

/// Erases the line that was drawn.
pub(crate) fn erase() {
    if DRAWN.swap(false, Relaxed) {
        put("\r\x1b[2K");
    }
}

/// Writes to stderr. When even that cannot be written to, there is nobody to tell.
pub(crate) fn put(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Returns whether people look at stderr.
pub(crate) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// Returns whether stderr may be coloured.
pub(crate) fn is_colourful() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_seen() && !forbidden
}

/// Writes a number so that it can be read: `1,000,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A line stands on the terminal that is to be replaced.
static DRAWN: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 7, 999, 1000, 123_456, 1_000_000].map(grouped);
        assert_eq!(
            shown,
            ["0", "7", "999", "1,000", "123,456", "1,000,000"].map(str::to_owned)
        );
    }
}
