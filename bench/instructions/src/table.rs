//! What came out, beside the baseline.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::baseline::{Baseline, Count, Toolchain};

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'a str,
    size: usize,
    instructions: f64,
    baseline: Option<f64>,
    /// Now by then.
    ratio: Option<f64>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Within 2 %.
    Same,
    Dearer,
    Cheaper,
    New,
}

/// What a wrapper adds to what it wraps, and how much it may.
#[derive(Debug, Serialize)]
struct Added<'a> {
    wrapped: &'a str,
    over: &'static str,
    size: usize,
    instructions: f64,
    target: f64,
    reached: bool,
}

fn rows<'a>(counts: &'a [Count], baseline: Option<&Baseline>) -> Vec<Row<'a>> {
    let row = |count: &'a Count| {
        let then = baseline.and_then(|baseline| baseline.of(count));
        let ratio = then.map(|then| count.instructions / then);
        Row {
            path: &count.path,
            size: count.size,
            instructions: count.instructions,
            baseline: then,
            ratio,
            verdict: match ratio {
                None => Verdict::New,
                Some(ratio) if ratio > 1.0 + TOLERANCE => Verdict::Dearer,
                Some(ratio) if ratio < 1.0 - TOLERANCE => Verdict::Cheaper,
                Some(_) => Verdict::Same,
            },
        }
    };
    counts.iter().map(row).collect()
}

fn added(counts: &[Count]) -> Vec<Added<'_>> {
    let lazy = |count: &'_ Count| {
        let inner = count.path.strip_suffix(", lazy")?;
        let inner = counts
            .iter()
            .find(|other| other.path == inner && other.size == count.size)?;
        Some(count.instructions - inner.instructions)
    };
    let added = counts.iter().filter_map(|count| {
        let instructions = lazy(count)?;
        Some(Added {
            wrapped: &count.path,
            over: "its inner sink",
            size: count.size,
            instructions,
            target: MOST_ADDED,
            reached: instructions <= MOST_ADDED,
        })
    });
    added.collect()
}

/// Returns how many counts are dearer.
pub(crate) fn dearer(counts: &[Count], baseline: Option<&Baseline>) -> usize {
    let rows = rows(counts, baseline);
    let dearer = rows.iter().filter(|row| row.verdict == Verdict::Dearer);
    dearer.count()
}

/// Prints the tables.
pub(crate) fn print(now: &Toolchain, counts: &[Count], baseline: Option<&Baseline>) {
    println!(
        "Instructions a message; {}, {}, {}.",
        now.rustc, now.valgrind, now.architecture
    );
    if let Some(baseline) = baseline.filter(|baseline| baseline.toolchain != *now) {
        let then = &baseline.toolchain;
        println!(
            "The baseline is of {}, {}, {}: differences may come from there.",
            then.rustc, then.valgrind, then.architecture
        );
    }
    println!("\n| path | B | now | baseline | |");
    println!("|---|---|---|---|---|");
    for row in rows(counts, baseline) {
        let then = row
            .baseline
            .map_or_else(|| "–".to_owned(), |then| format!("{then:.1}"));
        let percent = row.ratio.map(|ratio| (ratio - 1.0) * 100.0);
        let mark = match (row.verdict, percent) {
            (Verdict::Dearer, Some(percent)) => format!("**DEARER {percent:+.1} %**"),
            (Verdict::Cheaper, Some(percent)) => format!("cheaper {percent:+.1} %"),
            (Verdict::Same, Some(percent)) => format!("{percent:+.1} %"),
            _ => "new".to_owned(),
        };
        println!(
            "| {} | {} | {:.1} | {then} | {mark} |",
            row.path, row.size, row.instructions
        );
    }
    let added = added(counts);
    if !added.is_empty() {
        println!("\n| added by | B | instructions | target | |");
        println!("|---|---|---|---|---|");
    }
    for row in added {
        let reached = if row.reached {
            "reached"
        } else {
            "NOT REACHED"
        };
        println!(
            "| {} over {} | {} | {:.1} | ≤ {:.0} | {reached} |",
            row.wrapped, row.over, row.size, row.instructions, row.target
        );
    }
}

/// Writes the tables as JSON.
pub(crate) fn write(
    file: &Path,
    now: &Toolchain,
    counts: &[Count],
    baseline: Option<&Baseline>,
) -> Result<()> {
    #[derive(Serialize)]
    struct All<'a> {
        toolchain: &'a Toolchain,
        baseline_toolchain: Option<&'a Toolchain>,
        counts: Vec<Row<'a>>,
        added: Vec<Added<'a>>,
    }
    let all = All {
        toolchain: now,
        baseline_toolchain: baseline.map(|baseline| &baseline.toolchain),
        counts: rows(counts, baseline),
        added: added(counts),
    };
    let text = serde_json::to_string_pretty(&all)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// By how much a count may differ before it is marked.
const TOLERANCE: f64 = 0.02;

/// How many instructions a lazy sink may add.
const MOST_ADDED: f64 = 120.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(instructions: f64) -> Baseline {
        let toolchain = Toolchain {
            rustc: String::new(),
            valgrind: String::new(),
            architecture: String::new(),
        };
        Baseline::merged(None, toolchain, vec![Count::new("send", 64, instructions)])
    }

    #[test]
    fn more_than_two_percent_is_marked() {
        for (now, verdict) in [
            (102.0, Verdict::Same),
            (102.1, Verdict::Dearer),
            (98.0, Verdict::Same),
            (97.9, Verdict::Cheaper),
        ] {
            let counts = [Count::new("send", 64, now)];
            let baseline = baseline(100.0);
            assert_eq!(rows(&counts, Some(&baseline))[0].verdict, verdict, "{now}");
        }
        let other = [Count::new("send", 1024, 100.0)];
        assert_eq!(rows(&other, Some(&baseline(1.0)))[0].verdict, Verdict::New);
    }

    #[test]
    fn a_lazy_sink_is_compared_with_its_inner_one_of_the_same_size() {
        let counts = [
            Count::new("take", 64, 10.0),
            Count::new("take", 1024, 20.0),
            Count::new("take, lazy", 1024, 141.0),
        ];
        let added = added(&counts);
        assert_eq!(added.len(), 1);
        assert_eq!((added[0].instructions, added[0].reached), (121.0, false));
    }
}
