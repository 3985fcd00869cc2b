//! Faults for people, with the line underlined, and for programs.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};
use wakewire::registry::{Diagnostic, Severity};

/// Draws every fault with its line, what is wrong underlined, and what to write instead.
pub(crate) fn rendered(text: &str, diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = renderer(colour);
    let mut all = String::new();
    for diagnostic in diagnostics {
        let message = if diagnostic.key.is_empty() {
            diagnostic.message.clone()
        } else {
            format!("{}: {}", diagnostic.key, diagnostic.message)
        };
        let level = match diagnostic.severity {
            Severity::Warning => Level::WARNING,
            _ => Level::ERROR,
        };
        let mut group = level.primary_title(message).elements([] as [Origin<'_>; 0]);
        if let Some(line) = line_of(text, diagnostic.span.start) {
            let source = text.get(line.clone()).unwrap_or_default();
            let span = within(source, &line, &diagnostic.span);
            let snippet = Snippet::source(source)
                .line_start(diagnostic.line)
                .path(diagnostic.file.as_deref());
            group = group.element(snippet.annotation(AnnotationKind::Primary.span(span)));
        } else {
            let file = diagnostic.file.as_deref().unwrap_or_default();
            let place = Origin::path(file).line(diagnostic.line);
            group = group.element(place.char_column(diagnostic.column));
        }
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(hint));
        }
        all += &renderer.render(&[group]);
        all += "\n\n";
    }
    all
}

/// Draws a fault that has no line.
pub(crate) fn titled(message: &str, hint: Option<&str>, colour: bool) -> String {
    let mut group = annotate_snippets::Group::with_title(Level::ERROR.primary_title(message));
    if let Some(hint) = hint {
        group = group.element(Level::HELP.message(hint));
    }
    renderer(colour).render(&[group]) + "\n"
}

/// Returns a fault as JSON.
pub(crate) fn json(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": diagnostic.severity.name(),
        "line": diagnostic.line,
        "column": diagnostic.column,
        "start": diagnostic.span.start,
        "end": diagnostic.span.end,
        "key": diagnostic.key,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
    })
}

/// Counts those for which a configuration is refused.
pub(crate) fn errors(diagnostics: &[Diagnostic]) -> usize {
    let is_error = |one: &&Diagnostic| one.severity == Severity::Error;
    diagnostics.iter().filter(is_error).count()
}

fn renderer(colour: bool) -> Renderer {
    if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
}

/// Returns the bytes of the line that holds a place, without its end and without a byte order mark; `None`
/// when it is too long to be drawn. Looks no further than that, however long the file.
fn line_of(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let least = at.saturating_sub(SHOWN_LINE);
    let most = bytes.len().min(at + SHOWN_LINE);
    let newline = bytes[least..at].iter().rposition(|&byte| byte == b'\n');
    let start = match newline {
        Some(newline) => least + newline + 1,
        None if least > 0 => return None,
        None if text.starts_with(BYTE_ORDER_MARK) => BYTE_ORDER_MARK.len_utf8(),
        None => 0,
    };
    let end = bytes[at..most]
        .iter()
        .position(|&byte| byte == b'\n' || byte == b'\r');
    match end {
        Some(end) => Some(start..start.max(at + end)),
        None if most < bytes.len() => None,
        None => Some(start..bytes.len()),
    }
}

/// Cuts a span to its line and to whole characters.
fn within(source: &str, line: &Range<usize>, span: &Range<usize>) -> Range<usize> {
    let mut start = span.start.saturating_sub(line.start).min(source.len());
    let mut end = span
        .end
        .saturating_sub(line.start)
        .clamp(start, source.len());
    while !source.is_char_boundary(start) {
        start -= 1;
    }
    while !source.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// The longest line that is drawn; of a longer one the place alone helps more.
const SHOWN_LINE: usize = 4096;

const BYTE_ORDER_MARK: char = '\u{feff}';
