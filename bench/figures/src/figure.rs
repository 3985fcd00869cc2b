//! A figure beside its target: a table for people, JSON for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// None where the figure is only said.
    target: Option<Target>,
    reached: Option<bool>,
    /// How it came about: spread, parts, counts.
    how: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) -> Self {
        let reached = match target {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        };
        Self {
            what: what.into(),
            value,
            unit,
            target: Some(target),
            reached: Some(reached),
            how: String::new(),
        }
    }

    /// A figure without a target.
    pub(crate) fn said(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            target: None,
            reached: None,
            how: String::new(),
        }
    }

    /// Says how it came about.
    pub(crate) fn how(mut self, how: impl Into<String>) -> Self {
        self.how = how.into();
        self
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figure]) {
    println!("| | figure | target | | |");
    println!("|---|---|---|---|---|");
    for figure in figures {
        let target = match figure.target {
            Some(Target::AtMost(most)) => format!("≤ {}", short(most)),
            Some(Target::AtLeast(least)) => format!("≥ {}", short(least)),
            None => "–".to_owned(),
        };
        let reached = match figure.reached {
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
            None => "",
        };
        let value = short(figure.value);
        println!(
            "| {} | {value} {} | {target} | {reached} | {} |",
            figure.what, figure.unit, figure.how
        );
    }
}

/// Writes the figures as JSON.
pub(crate) fn write(file: &Path, figures: &[Figure]) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Writes a number with three or four digits.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_reached_from_one_side() {
        let reached = |value, target| Figure::new("", value, "", target).reached;
        assert_eq!(reached(1.0, Target::AtMost(1.0)), Some(true));
        assert_eq!(reached(1.1, Target::AtMost(1.0)), Some(false));
        assert_eq!(reached(0.99, Target::AtLeast(0.99)), Some(true));
        assert_eq!(reached(0.98, Target::AtLeast(0.99)), Some(false));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.991, "0.991"),
            (4.0, "4"),
            (16.25, "16.2"),
            (1024.4, "1024"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
