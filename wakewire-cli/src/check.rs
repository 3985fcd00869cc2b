//! `wakewire check`: every fault of a configuration at once, or the tree of its services.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use wakewire::registry::{Diagnostic, Faults};
use wakewire::{ServiceConfig, ServiceRegistry, SinkError, SinkType};

use crate::diagnostic;
use crate::said::{REFUSED, Said};

/// Checks a configuration; opens no connection.
pub(crate) fn run(path: &Path, json: bool, colour: bool) -> Said {
    match ServiceRegistry::from_file(path) {
        Ok(registry) if json => as_json(path, true, registry.warnings(), 0, None),
        Ok(registry) => Said {
            stdout: tree(&registry),
            stderr: diagnostic::rendered(registry.text(), registry.warnings(), colour),
            code: 0,
        },
        Err(error) => refused(path, &error, json, colour),
    }
}

/// Says why a configuration is refused.
pub(crate) fn refused(path: &Path, error: &SinkError, json: bool, colour: bool) -> Said {
    let failure = error.failure();
    let faults = failure
        .source()
        .and_then(|cause| cause.downcast_ref::<Faults>());
    match faults {
        Some(faults) if json => as_json(path, false, faults.diagnostics(), faults.left_off(), None),
        Some(faults) => {
            let mut stderr = diagnostic::rendered(faults.text(), faults.diagnostics(), colour);
            let errors = diagnostic::errors(faults.diagnostics()) + faults.left_off();
            let plural = if errors == 1 { "" } else { "s" };
            let shown = path.display();
            if faults.left_off() > 0 {
                stderr += &format!("and {} more\n\n", faults.left_off());
            }
            stderr += &format!("`{shown}` is refused for {errors} error{plural}\n");
            Said {
                stdout: String::new(),
                stderr,
                code: REFUSED,
            }
        }
        None => {
            // The file itself: there is no line to show.
            let message = failure
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            if json {
                return as_json(path, false, &[], 0, Some((&message, failure.advice())));
            }
            Said {
                stdout: String::new(),
                stderr: diagnostic::titled(&message, failure.advice(), colour),
                code: REFUSED,
            }
        }
    }
}

fn as_json(
    path: &Path,
    valid: bool,
    diagnostics: &[Diagnostic],
    left_off: usize,
    unreadable: Option<(&str, Option<&str>)>,
) -> Said {
    let mut all: Vec<_> = diagnostics.iter().map(diagnostic::json).collect();
    // The file could not be read: a diagnostic without a place.
    all.extend(
        unreadable.map(
            |(message, hint)| json!({ "severity": "error", "message": message, "hint": hint }),
        ),
    );
    let value = json!({
        "file": path.display().to_string(),
        "valid": valid,
        "diagnostics": all,
        "left_off": left_off,
    });
    Said {
        stdout: format!("{value:#}\n"),
        stderr: String::new(),
        code: if valid { 0 } else { REFUSED },
    }
}

/// Draws every service, the targets of composites below them.
fn tree(registry: &ServiceRegistry) -> String {
    let mut tree = Tree {
        registry,
        drawn: BTreeSet::new(),
        text: String::new(),
    };
    // What a composite names is drawn below it; there is no cycle, so everything has a root.
    let services = registry.config().services.values();
    let below: BTreeSet<&String> = services.flat_map(targets).collect();
    for name in registry.names() {
        if !below.contains(name) {
            tree.service(name, "", "");
        }
    }
    tree.text
}

struct Tree<'r> {
    registry: &'r ServiceRegistry,
    drawn: BTreeSet<&'r str>,
    text: String,
}

impl<'r> Tree<'r> {
    /// Draws one service. Nesting is bounded by the registry, and what was drawn is not opened again: a
    /// diamond of diamonds would not fit on any screen.
    fn service(&mut self, name: &'r str, first: &str, below: &str) {
        let Ok(config) = self.registry.lookup(name) else {
            return;
        };
        let again = !self.drawn.insert(name);
        let mark = if again { "  (shown above)" } else { "" };
        self.line(&format!(
            "{first}{}  {}{mark}",
            shown(name),
            summary(config)
        ));
        if again {
            return;
        }
        let targets = targets(config);
        let bar = if targets.is_empty() { "   " } else { "│  " };
        for (key, value) in config.settings_that_differ() {
            if !SUMMARISED.contains(&key) {
                self.line(&format!("{below}{bar}{key} = {}", without_query(&value)));
            }
        }
        for (position, target) in targets.iter().enumerate() {
            let (branch, down) = if position + 1 == targets.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.service(
                target,
                &format!("{below}{branch}"),
                &format!("{below}{down}"),
            );
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn targets(config: &ServiceConfig) -> &[String] {
    match &config.kind {
        SinkType::Composite { targets, .. } => targets,
        _ => &[],
    }
}

fn summary(config: &ServiceConfig) -> String {
    match (&config.kind, &config.endpoint) {
        (SinkType::Composite { pattern, .. }, _) => format!("{} {pattern}", config.kind),
        (kind, Some(endpoint)) => {
            let endpoint = endpoint.to_string();
            format!("{kind} {} {}", without_query(&endpoint), config.delivery)
        }
        (kind, None) => kind.to_string(),
    }
}

/// A query may hold a token.
fn without_query(endpoint: &str) -> &str {
    let is_url = endpoint.starts_with("ws");
    match endpoint.split_once('?') {
        Some((place, _)) if is_url => place,
        _ => endpoint,
    }
}

fn shown(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let plain = !c.is_control();
            let escaped = (!plain).then(|| c.escape_default());
            plain
                .then_some(c)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// What the first line of a service says already.
const SUMMARISED: &[&str] = &["type", "endpoint", "delivery", "pattern", "targets"];
