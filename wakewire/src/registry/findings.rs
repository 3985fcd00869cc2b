//! What is found while a configuration is read, and where that is in the text. No I/O, no clock.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use super::diagnostic::{Diagnostic, Faults, Severity};
use super::limits;

/// What was found so far, before lines and columns are counted.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    left_off: usize,
    refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    span: Range<usize>,
    key: String,
    message: String,
    hint: Option<String>,
    kind: Kind,
}

/// What a finding is made of: when the text is no TOML, what follows from that is not said again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Syntax,
    Absent,
    Wrong,
}

/// What is wrong and what to write instead.
pub(super) type Said = (String, Option<String>);

impl Findings {
    /// Adds a place where the text is no TOML.
    pub(super) fn syntax(&mut self, span: Range<usize>, message: String) {
        self.push(Severity::Error, span, "", Kind::Syntax, || (message, None));
    }

    /// Adds a value or key that is wrong. The words are only made when there is room for them.
    pub(super) fn wrong(
        &mut self,
        span: Range<usize>,
        key: impl Display,
        say: impl FnOnce() -> Said,
    ) {
        self.push(Severity::Error, span, key, Kind::Wrong, say);
    }

    /// Adds something that is not there and must be.
    pub(super) fn absent(
        &mut self,
        span: Range<usize>,
        key: impl Display,
        say: impl FnOnce() -> Said,
    ) {
        self.push(Severity::Error, span, key, Kind::Absent, say);
    }

    /// Adds something that is probably not meant.
    pub(super) fn odd(
        &mut self,
        span: Range<usize>,
        key: impl Display,
        say: impl FnOnce() -> Said,
    ) {
        self.push(Severity::Warning, span, key, Kind::Wrong, say);
    }

    /// Returns whether there is anything for which the configuration is refused.
    pub(super) const fn refused(&self) -> bool {
        self.refused
    }

    /// Moves every finding by what stood before the text they were found in.
    pub(super) fn shift(&mut self, by: usize) {
        for finding in &mut self.found {
            finding.span = finding.span.start + by..finding.span.end + by;
        }
    }

    fn push(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        key: impl Display,
        kind: Kind,
        say: impl FnOnce() -> Said,
    ) {
        self.refused |= severity == Severity::Error;
        if self.found.len() >= limits::FAULTS {
            self.left_off += 1;
            return;
        }
        let (message, hint) = say();
        self.found.push(Finding {
            severity,
            span,
            key: key.to_string(),
            message,
            hint,
            kind,
        });
    }

    /// Gives every finding its line and column, in the order of their places.
    pub(super) fn placed(mut self, text: &str, file: Option<&str>) -> (Vec<Diagnostic>, usize) {
        self.found.sort_by_key(|finding| finding.span.start);
        self.found.dedup();
        let mut place = Place::new(text);
        let places: Vec<_> = self
            .found
            .iter()
            .map(|finding| place.advance(finding.span.start))
            .collect();
        let unreadable: BTreeSet<usize> = self
            .found
            .iter()
            .zip(&places)
            .filter(|(finding, _)| finding.kind == Kind::Syntax)
            .map(|(_, (line, _))| *line)
            .collect();
        // Where a line could not be read, its key is not also missing, nor its value also wrong.
        let is_consequence = |kind: Kind, line: usize| match kind {
            Kind::Syntax => false,
            Kind::Absent => !unreadable.is_empty(),
            Kind::Wrong => unreadable.contains(&line),
        };
        let diagnostics = self
            .found
            .into_iter()
            .zip(places)
            .filter(|(finding, (line, _))| !is_consequence(finding.kind, *line))
            .map(|(finding, (line, column))| Diagnostic {
                severity: finding.severity,
                file: file.map(ToOwned::to_owned),
                line,
                column,
                span: finding.span,
                key: finding.key,
                message: finding.message,
                hint: finding.hint,
            })
            .collect();
        (diagnostics, self.left_off)
    }

    /// Makes the error of a configuration that is refused.
    pub(super) fn into_faults(self, text: &str, masked: String, file: Option<&str>) -> Faults {
        let (diagnostics, left_off) = self.placed(text, file);
        Faults::new(diagnostics, left_off, masked)
    }
}

/// Counts lines and columns in one pass over the text.
struct Place<'t> {
    bytes: &'t [u8],
    seen: usize,
    line: usize,
    column: usize,
}

impl<'t> Place<'t> {
    fn new(text: &'t str) -> Self {
        let mark = text.starts_with(BYTE_ORDER_MARK);
        Self {
            bytes: text.as_bytes(),
            seen: if mark { BYTE_ORDER_MARK.len_utf8() } else { 0 },
            line: 1,
            column: 1,
        }
    }

    /// Returns line and column of a byte that is not before the last one asked for.
    fn advance(&mut self, at: usize) -> (usize, usize) {
        let at = at.clamp(self.seen, self.bytes.len().max(self.seen));
        for &byte in &self.bytes[self.seen..at] {
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & CONTINUATION_MASK != CONTINUATION {
                self.column += 1;
            }
        }
        self.seen = at;
        (self.line, self.column)
    }
}

/// What some editors write before the first character.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// What the second and further bytes of a character have in common.
const CONTINUATION_MASK: u8 = 0b1100_0000;
const CONTINUATION: u8 = 0b1000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_the_mark_is_none() {
        let mut place = Place::new("\u{feff}größe = 1\r\nb = 2\n");
        assert_eq!(place.advance(3), (1, 1));
        assert_eq!(place.advance("\u{feff}größe = ".len()), (1, 9));
        assert_eq!(place.advance("\u{feff}größe = 1\r\nb".len()), (2, 2));
        assert_eq!(place.advance(9999), (3, 1));
    }

    #[test]
    fn what_follows_from_bad_syntax_is_not_said_again() {
        let text = "a = \nb = 2\n";
        let mut findings = Findings::default();
        findings.syntax(4..4, "no value".to_owned());
        findings.wrong(0..1, "a", || ("unknown".to_owned(), None));
        findings.wrong(5..6, "b", || ("unknown".to_owned(), None));
        findings.absent(0..1, "c", || ("missing".to_owned(), None));
        let (diagnostics, _) = findings.placed(text, Some("x.toml"));
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["x.toml:1:5: no value", "x.toml:2:1: b: unknown"]);
    }

    #[test]
    fn a_million_faults_are_counted_but_not_kept() {
        let mut findings = Findings::default();
        for _ in 0..1_000_000 {
            findings.wrong(0..0, "", || ("no".to_owned(), None));
        }
        assert_eq!(findings.left_off, 1_000_000 - limits::FAULTS);
    }
}
