//! A fault in a configuration, with its place, and all faults of one file together. No I/O, no clock.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One thing that is wrong, or looks wrong, in a configuration: where, what, and what to write instead.
///
/// Its text is one line: `services.toml:12:15: services.md.buffer_size: …; hint: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// The file, as it was named; `None` for a text that was in no file.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The same place as a range of bytes, for tools that underline it.
    pub span: Range<usize>,
    /// The key concerned with its whole path; empty where there is none.
    pub key: String,
    /// What is wrong. Values of keys that may hold secrets are never in it.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}: ", self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The configuration works, but probably not as meant.
    Warning,
    /// The configuration is refused.
    Error,
}

impl Severity {
    /// Returns `warning` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every fault of one configuration: the cause in the `InvalidConfig` of a bad file.
///
/// ```
/// use wakewire::registry::Faults;
/// use wakewire::ServiceRegistry;
///
/// let error = ServiceRegistry::from_toml("[services.md]\ntype = \"relai\"\n").unwrap_err();
/// let faults = error.failure().source().unwrap().downcast_ref::<Faults>().unwrap();
/// assert_eq!((faults.diagnostics()[0].line, faults.diagnostics()[0].column), (2, 8));
/// assert_eq!(faults.diagnostics()[0].hint.as_deref(), Some("did you mean `relay`?"));
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    diagnostics: Vec<Diagnostic>,
    left_off: usize,
    text: Arc<str>,
}

impl Faults {
    pub(super) fn new(diagnostics: Vec<Diagnostic>, left_off: usize, text: String) -> Self {
        Self {
            diagnostics,
            left_off,
            text: text.into(),
        }
    }

    /// Returns the faults and warnings in the order of their places; at most the first thousand.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns how many more there are.
    pub const fn left_off(&self) -> usize {
        self.left_off
    }

    /// Returns the text in which the spans point, with what may be secret overwritten by `*`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.diagnostics.as_slice() {
            [] => f.write_str("no fault"),
            [one] if self.left_off == 0 => one.fmt(f),
            all => {
                write!(f, "{} faults", all.len() + self.left_off)?;
                for diagnostic in all {
                    write!(f, "\n  {diagnostic}")?;
                }
                if self.left_off > 0 {
                    write!(f, "\n  and {} more", self.left_off)?;
                }
                Ok(())
            }
        }
    }
}

impl Error for Faults {}

/// Returns a key as it must be written in TOML.
pub(super) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", shown(key))
    }
}

/// Returns a text from the file fit for one line of a message: no control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| {
            let escape = c.is_control()
                || matches!(c, '"' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let escaped: Box<dyn Iterator<Item = char>> = if escape {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            };
            escaped
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns names for a message: `` `a`, `b` and 3 more ``.
pub(super) fn enumerated(names: &[&str], all: usize) -> String {
    let shown: Vec<_> = names
        .iter()
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    let more = all - names.len().min(all);
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many characters of a text are shown: enough to recognise it.
const SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_stays_on_its_line() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{202e}"), "a\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(shown(&"x".repeat(200)).chars().count(), SHOWN + 1);
    }
}
