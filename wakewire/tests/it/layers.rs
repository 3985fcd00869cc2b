//! The layers of the library, read from its sources: who may import whom, what stays free of I/O and clocks, how
//! long a file may be and what it may be called.
//!
//! Every file is walked token by token, so that paths in expressions, types and bodies of macros are seen as well as
//! those in `use`. Code under `#[cfg(test)] mod …` is exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::buffer::Cursor;
use syn::parse::{ParseStream, Parser};

/// The table: a module imports only from rows above its own in this list. `lib.rs` imports everything.
///
/// `domain` stands below the row that it shared with `message` in the first sketch, because a domain is checked
/// against a message.
const ROWS: &[&[&str]] = &[
    &[
        "message",
        "endpoint",
        "backoff",
        "randomness",
        "atomic",
        "lock_file",
        "brief_lock",
    ],
    &["domain", "delivery", "security", "part"],
    &["error"],
    &["wire"],
    &["outbox", "spool", "cursor"],
    &["transport"],
    &["dialer"],
    &["link"],
    &["source", "connection"],
    &["relay", "sink"],
    &["registry"],
    &["factory"],
    // Only in builds for tests and fuzz targets.
    &["fuzzing"],
    &["testing"],
];

/// Files and directories (with a `/`) that have neither I/O nor clock nor tokio. Every other file that says so in
/// its first line is held to it as well, so that a new neighbour of these need not be listed.
const PURE: &[&str] = &[
    "message.rs",
    "domain.rs",
    "endpoint/",
    "backoff.rs",
    "delivery.rs",
    "security/",
    "error/",
    "wire/",
    "outbox/",
    "dialer/machine.rs",
    "link/lane.rs",
    "relay/hub.rs",
    "relay/log.rs",
    "relay/consumer.rs",
    "relay/sessions.rs",
    "registry/",
    "sink/composite/standing.rs",
    "connection/balance.rs",
    "connection/budget.rs",
    "connection/config.rs",
    "connection/faults.rs",
    "connection/health.rs",
    "connection/pool/kept.rs",
    "connection/pool/stock.rs",
    "connection/pool/warmth.rs",
];

/// What lies in a pure directory and touches the world: it reads the file, it looks at the socket.
const NOT_PURE: &[&str] = &[
    "registry/file.rs",
    "registry/material.rs",
    "registry/socket.rs",
    "registry/spool.rs",
];

const PURE_WORDS: &str = "No I/O, no clock.";

/// Crates that are I/O.
const IMPURE_CRATES: &[&str] = &["tokio", "socket2", "rustix"];

/// Parts of `std` that are I/O or wait.
const IMPURE_STD: &[&str] = &["net", "fs", "process", "thread"];

const MOST_LINES: usize = 400;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "inner", "manager2", "helper", "helpers",
];

/// The sources by their path below `src`.
type Sources = BTreeMap<String, String>;

fn library() -> Sources {
    sources_below(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn sources_below(root: &str) -> Sources {
    fn read(directory: &Path, root: &Path, sources: &mut Sources) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, root, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.insert(name.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = PathBuf::from(root);
    let mut sources = Sources::new();
    read(&root, &root, &mut sources);
    sources
}

#[test]
fn the_library_keeps_its_layers() {
    let faults = faults(&library());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// They have no layers; but what says that it is pure is, and no file is long.
#[test]
fn the_programs_around_it_keep_their_word() {
    let mut faults = Vec::new();
    for program in ["adapters/polygon", "examples/strategy", "examples/recorder"] {
        let root = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../{}/src"), program);
        let sources = sources_below(&root);
        let walked: Vec<_> = sources
            .iter()
            .map(|(name, text)| (name, text, Walk::over(name, text)))
            .collect();
        let tests: Vec<&String> = walked.iter().flat_map(|(.., walk)| &walk.tests).collect();
        for (name, text, walk) in &walked {
            if tests.iter().any(|tests| is_in(name, tests)) {
                continue;
            }
            if walk.lines > MOST_LINES {
                faults.push(format!("{program}/{name}: {} lines", walk.lines));
            }
            if says_that_it_is_pure(text) {
                let impure = walk.impurities().into_iter();
                faults.extend(impure.map(|what| format!("{program}/{name}: `{what}`")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn says_that_it_is_pure(text: &str) -> bool {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.ends_with(PURE_WORDS))
}

/// Everything that is wrong, one line each.
fn faults(sources: &Sources) -> Vec<String> {
    let walked: BTreeMap<&str, Walk> = sources
        .iter()
        .map(|(name, text)| (name.as_str(), Walk::over(name, text)))
        .collect();
    let exempt: BTreeSet<String> = walked
        .values()
        .flat_map(|walk| walk.tests.iter().cloned())
        .collect();
    // `crate::Message` means the module that it is exported from.
    let exports = walked.get("lib.rs").map(|root| root.exports());
    let exports = exports.unwrap_or_default();
    let mut faults = Vec::new();
    for (&name, walk) in &walked {
        let mut fault = |what: String| faults.push(format!("{name}: {what}"));
        let stem = name.rsplit('/').next().unwrap().trim_end_matches(".rs");
        for part in name.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) {
                fault(format!("`{part}` says nothing of what is inside"));
            }
        }
        if exempt.iter().any(|tests| is_in(name, tests)) {
            continue;
        }
        if walk.lines > MOST_LINES {
            fault(format!("{} lines, at most {MOST_LINES}", walk.lines));
        }
        let text = &sources[name];
        let says_so = says_that_it_is_pure(text);
        let listed = PURE.iter().any(|pure| is_listed(name, pure));
        if (listed && !NOT_PURE.contains(&name)) || says_so {
            for what in walk.impurities() {
                fault(format!("`{what}` in a file without I/O and clock"));
            }
        }
        if stem == "lib" {
            continue;
        }
        let own = walk.module[0].as_str();
        let Some(own_row) = row(own) else {
            fault(format!("module `{own}` stands in no row"));
            continue;
        };
        for target in walk.imports() {
            let Some(target) = target else {
                fault("imports the crate's root as a whole".to_owned());
                continue;
            };
            let module = exports.get(target).map_or(target, String::as_str);
            match row(module) {
                _ if module == own => {}
                Some(other) if other < own_row => {}
                Some(_) => fault(format!("imports `{module}`, which is not below `{own}`")),
                None => fault(format!("imports `{module}`, which stands in no row")),
            }
        }
    }
    faults
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn is_listed(name: &str, listed: &str) -> bool {
    name == listed || (listed.ends_with('/') && name.starts_with(listed))
}

/// Returns whether the file is the test module `tests` (a path without `.rs`) or inside it.
fn is_in(name: &str, tests: &str) -> bool {
    name.strip_prefix(tests)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// What a walk over the tokens of one file finds.
#[derive(Default)]
struct Walk {
    /// Where the file stands: `["outbox", "segment"]`.
    module: Vec<String>,
    /// Every path, with groups of `use` unfolded and `super` and `self` resolved to `crate`.
    paths: Vec<Vec<String>>,
    /// Method calls.
    methods: Vec<String>,
    /// Files that are test modules of this one, without `.rs`.
    tests: Vec<String>,
    /// Lines above the tests at the end.
    lines: usize,
}

impl Walk {
    fn over(name: &str, text: &str) -> Self {
        let mut module: Vec<String> = name
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_owned)
            .collect();
        if matches!(module.last().unwrap().as_str(), "mod" | "lib") {
            module.pop();
        }
        let mut walk = Self {
            module: module.clone(),
            lines: lines_above_tests(text),
            ..Self::default()
        };
        syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (|input: ParseStream<'_>| {
            input.step(|cursor| {
                walk.tokens(*cursor, &mut module);
                let mut end = *cursor;
                while let Some(next) = skip(end) {
                    end = next;
                }
                Ok(((), end))
            })
        })
        .parse_str(text)
        .unwrap();
        walk
    }

    /// Walks over one group's tokens.
    fn tokens(&mut self, mut cursor: Cursor<'_>, module: &mut Vec<String>) {
        let mut after_dot = false;
        while !cursor.eof() {
            if let Some(next) = self.test_module(cursor, module) {
                cursor = next;
            } else if let Some((name, body, next)) = inline_module(cursor) {
                module.push(name);
                self.tokens(body, module);
                module.pop();
                cursor = next;
            } else if let Some((ident, next)) = cursor.ident() {
                if after_dot {
                    self.methods.push(ident.to_string());
                    cursor = next;
                } else {
                    cursor = self.path(cursor, &[], module);
                }
                after_dot = false;
                continue;
            } else if let Some((inside, _, _, next)) = cursor.any_group() {
                self.tokens(inside, module);
                cursor = next;
            } else if let Some((punct, next)) = cursor.punct() {
                after_dot = punct.as_char() == '.';
                cursor = colons(cursor).unwrap_or(next);
                continue;
            } else if let Some(next) = skip(cursor) {
                cursor = next;
            }
            after_dot = false;
        }
    }

    /// Skips `#[cfg(test)] mod name { … }` and notes `#[cfg(test)] mod name;`.
    fn test_module<'c>(&mut self, cursor: Cursor<'c>, module: &[String]) -> Option<Cursor<'c>> {
        let (is_test, mut rest) = attribute(cursor)?;
        let mut is_test = is_test;
        while let Some((also, next)) = attribute(rest) {
            is_test |= also;
            rest = next;
        }
        if !is_test {
            return None;
        }
        let (keyword, next) = rest.ident()?;
        let (name, next) = next.ident()?;
        if keyword != "mod" {
            return None;
        }
        if let Some((_, _, _, next)) = next.any_group() {
            return Some(next);
        }
        let mut file = module.to_vec();
        file.push(name.to_string());
        self.tests.push(file.join("/"));
        Some(next)
    }

    /// Reads a path and the groups that it ends in; returns what follows.
    fn path<'c>(
        &mut self,
        mut cursor: Cursor<'c>,
        prefix: &[String],
        module: &[String],
    ) -> Cursor<'c> {
        let mut path = prefix.to_vec();
        loop {
            if let Some((ident, next)) = cursor.ident() {
                path.push(ident.to_string());
                cursor = next;
            } else if let Some((punct, next)) = cursor.punct()
                && punct.as_char() == '*'
                && !path.is_empty()
            {
                path.push("*".to_owned());
                cursor = next;
            } else if let Some((mut inside, _, _, next)) = cursor.any_group()
                && !path.is_empty()
            {
                while !inside.eof() {
                    let is_separator = inside.punct().is_some_and(|(p, _)| p.as_char() == ',');
                    inside = if is_separator {
                        inside.punct().map(|(_, next)| next).unwrap()
                    } else {
                        let after = self.path(inside, &path, module);
                        if after == inside {
                            skip(inside).unwrap()
                        } else {
                            after
                        }
                    };
                }
                return next;
            } else {
                break;
            }
            match colons(cursor) {
                Some(next) => cursor = next,
                None => break,
            }
        }
        if let Some((word, next)) = cursor.ident()
            && word == "as"
        {
            // A root that gets a name is imported; alone it is a visibility.
            if path.len() == 1 && matches!(path[0].as_str(), "crate" | "super") {
                path.push("self".to_owned());
            }
            cursor = next.ident().map_or(next, |(_, next)| next);
        }
        if !path.is_empty() {
            self.paths.push(resolve(path, module));
        }
        cursor
    }

    /// The first segment below the crate's root of each path that starts there; none for the root itself.
    fn imports(&self) -> BTreeSet<Option<&str>> {
        self.paths
            .iter()
            // `crate` alone is a visibility.
            .filter(|path| path[0] == "crate" && path.len() > 1)
            .map(|path| match path.get(1).map(String::as_str) {
                Some("*" | "self") => None,
                first => first,
            })
            .collect()
    }

    /// What `lib.rs` exports by name, and from which module.
    fn exports(&self) -> BTreeMap<&str, String> {
        self.paths
            .iter()
            .filter(|path| path.len() > 1 && row(&path[0]).is_some())
            .map(|path| (path.last().unwrap().as_str(), path[0].clone()))
            .collect()
    }

    fn impurities(&self) -> Vec<String> {
        let impure = |path: &&Vec<String>| {
            let first = path[0].as_str();
            let second = path.get(1).map(String::as_str);
            IMPURE_CRATES.contains(&first)
                || (first == "std" && second.is_some_and(|part| IMPURE_STD.contains(&part)))
                || path.iter().any(|part| part == "SystemTime")
                // Whatever the clock was renamed to.
                || (path.len() > 1 && path.last().is_some_and(|last| last == "now"))
        };
        let paths = self.paths.iter().filter(impure);
        let methods = self.methods.iter().filter(|method| *method == "elapsed");
        paths
            .map(|path| path.join("::"))
            .chain(methods.map(|method| format!(".{method}()")))
            .collect()
    }
}

/// Counts the lines above `#[cfg(test)] mod … {`.
fn lines_above_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let starts_tests = |at: &usize| {
        let after = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*at] == "#[cfg(test)]"
            && after.is_some_and(|line| line.starts_with("mod ") && line.contains('{'))
    };
    (0..lines.len()).find(starts_tests).unwrap_or(lines.len())
}

/// Turns `self`, `super` and `$crate` at the start of a path into `crate::…`.
fn resolve(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut place = module.to_vec();
    let mut rest = path.as_slice();
    let mut relative = false;
    while let Some((first, further)) = rest.split_first() {
        match first.as_str() {
            "self" | "super" if further.is_empty() && !relative => return path,
            "self" => {}
            "super" => {
                place.pop();
            }
            _ => break,
        }
        relative = true;
        rest = further;
    }
    if !relative {
        return path;
    }
    let mut resolved = vec!["crate".to_owned()];
    resolved.extend(place);
    resolved.extend_from_slice(rest);
    if resolved.len() == 1 {
        // `super` alone, one below the root: the root itself.
        resolved.push("self".to_owned());
    }
    resolved
}

/// Returns whether an attribute is `#[cfg(test)]`, and what follows it.
fn attribute(cursor: Cursor<'_>) -> Option<(bool, Cursor<'_>)> {
    let (punct, next) = cursor.punct()?;
    let (inside, _, _, next) = next.any_group().filter(|_| punct.as_char() == '#')?;
    let is_test = inside.ident().is_some_and(|(name, rest)| {
        name == "cfg"
            && rest.any_group().is_some_and(|(condition, ..)| {
                condition
                    .ident()
                    .is_some_and(|(word, rest)| word == "test" && rest.eof())
            })
    });
    Some((is_test, next))
}

/// Reads `mod name { … }`: its name, what is inside, what follows.
fn inline_module(cursor: Cursor<'_>) -> Option<(String, Cursor<'_>, Cursor<'_>)> {
    let (keyword, next) = cursor.ident().filter(|(word, _)| word == "mod")?;
    let (name, next) = next.ident()?;
    let (inside, _, _, next) = next.any_group()?;
    let _ = keyword;
    Some((name.to_string(), inside, next))
}

/// Skips `::`.
fn colons(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, next) = cursor.punct()?;
    let (second, next) = next.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(next)
}

/// Skips one token or group, whatever it is.
fn skip(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    cursor
        .ident()
        .map(|(_, next)| next)
        .or_else(|| cursor.any_group().map(|(_, _, _, next)| next))
        .or_else(|| cursor.lifetime().map(|(_, next)| next))
        .or_else(|| cursor.literal().map(|(_, next)| next))
        .or_else(|| cursor.punct().map(|(_, next)| next))
}

/// The faults of one file beside a root that exports two names.
fn check(name: &str, text: &str) -> Vec<String> {
    let root =
        "mod message; mod sink; pub use message::Message; pub use sink::{MessageSink, lazy::Lazy};";
    let sources = [("lib.rs", root), (name, text)];
    faults(
        &sources
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one fixture a rule")]
fn what_breaks_a_rule_is_rejected() {
    let long = "fn f() {}\n".repeat(MOST_LINES + 1);
    let long_above_tests = format!("{long}#[cfg(test)]\nmod tests {{}}\n");
    for (rule, name, text) in [
        ("upward", "wire/frame.rs", "use crate::outbox::Outbox;"),
        (
            "in a group",
            "wire/mod.rs",
            "use crate::{message::{Message}, link::{Link, X}};",
        ),
        ("renamed", "wire/mod.rs", "use crate::outbox as o;"),
        (
            "in an expression",
            "wire/mod.rs",
            "fn f() { crate::link::start(); }",
        ),
        (
            "in a type",
            "wire/mod.rs",
            "struct S { a: Vec<crate::outbox::Outbox> }",
        ),
        (
            "in a turbofish",
            "wire/mod.rs",
            "fn f() { g::<crate::outbox::Outbox>() }",
        ),
        (
            "in a macro's call",
            "wire/mod.rs",
            "fn f() { m!(a, [crate::sink::X]); }",
        ),
        (
            "in a macro's body",
            "wire/mod.rs",
            "macro_rules! m { () => { $crate::link::go() } }",
        ),
        (
            "in an attribute",
            "wire/mod.rs",
            "#[with(crate::link::go)] struct S;",
        ),
        (
            "in an inner module",
            "wire/mod.rs",
            "mod a { fn f() { crate::link::go() } }",
        ),
        (
            "in a visibility",
            "wire/mod.rs",
            "pub(in crate::link) struct S;",
        ),
        ("by super", "wire.rs", "use super::link::Link;"),
        (
            "by super twice",
            "wire/frame.rs",
            "use super::super::{link, message};",
        ),
        (
            "by super of an inner module",
            "wire/mod.rs",
            "mod a { use super::super::link::Link; }",
        ),
        (
            "by self and super",
            "wire/mod.rs",
            "use self::super::link::Link;",
        ),
        ("by an export", "wire/mod.rs", "use crate::MessageSink;"),
        ("by a nested export", "wire/mod.rs", "use crate::Lazy;"),
        (
            "a neighbour",
            "message.rs",
            "use crate::endpoint::Endpoint;",
        ),
        (
            "a neighbour above",
            "relay/mod.rs",
            "use crate::sink::Sink;",
        ),
        (
            "the registry by a sink",
            "sink/mod.rs",
            "use crate::registry::Registry;",
        ),
        (
            "a sink by a link",
            "link/mod.rs",
            "use crate::sink::MessageSink;",
        ),
        ("the root", "wire/mod.rs", "use crate::*;"),
        (
            "the root renamed",
            "wire/mod.rs",
            "use crate::{self as root};",
        ),
        (
            "the root alone renamed",
            "wire/mod.rs",
            "use crate as root;",
        ),
        (
            "the root by super renamed",
            "wire/mod.rs",
            "use super as root;",
        ),
        ("the root by super", "wire/mod.rs", "use super::*;"),
        ("no such module", "wire/mod.rs", "use crate::nothing::X;"),
        ("a module in no row", "stuff/mod.rs", ""),
        ("a module in no row, a file", "stuff.rs", ""),
        (
            "not only in tests",
            "wire/mod.rs",
            "#[cfg(test)] use crate::link::Link;",
        ),
        ("tokio", "outbox/mod.rs", "use tokio::sync::Notify;"),
        (
            "tokio in a path",
            "wire/mod.rs",
            "async fn f() { tokio::task::yield_now().await }",
        ),
        ("tokio renamed", "wire/mod.rs", "use tokio as t;"),
        (
            "a macro of tokio",
            "wire/mod.rs",
            "fn f() { tokio::select! {} }",
        ),
        (
            "the clock",
            "backoff.rs",
            "fn f() { let a = Instant::now(); }",
        ),
        (
            "the clock in full",
            "wire/mod.rs",
            "fn f() { std::time::Instant::now(); }",
        ),
        (
            "the clock in a macro",
            "wire/mod.rs",
            "fn f() { log!(at = Instant::now()); }",
        ),
        (
            "the clock renamed",
            "wire/mod.rs",
            "use std::time::Instant as I; fn f() { I::now(); }",
        ),
        (
            "the clock as a value",
            "wire/mod.rs",
            "fn f() { x.unwrap_or_else(Instant::now) }",
        ),
        (
            "the clock by a method",
            "wire/mod.rs",
            "fn f(a: Instant) { a.elapsed(); }",
        ),
        (
            "the other clock",
            "error/mod.rs",
            "use std::time::{Duration, SystemTime};",
        ),
        ("a socket", "message.rs", "use std::net::TcpStream;"),
        (
            "a socket in a group",
            "endpoint/",
            "use std::{fmt, net::TcpStream};",
        ),
        ("a file", "registry/raw.rs", "fn f() { std::fs::read(p); }"),
        (
            "pure by its own word",
            "relay/new.rs",
            "//! A thing. No I/O, no clock.\nuse tokio::net::X;",
        ),
        ("long", "sink/mod.rs", &long),
        ("long above its tests", "sink/mod.rs", &long_above_tests),
        ("a name", "sink/util.rs", ""),
        ("a name of a directory", "sink/common/mod.rs", ""),
        ("another name", "link/inner.rs", ""),
        ("the second manager", "connection/manager2.rs", ""),
        ("a helper", "factory/helper.rs", ""),
    ] {
        let faults = check(name, text);
        assert_eq!(faults.len(), 1, "{rule}: {faults:?}");
    }
}

#[test]
fn what_keeps_the_rules_is_accepted() {
    let long_tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(500)
    );
    for (rule, name, text) in [
        (
            "downward",
            "sink/mod.rs",
            "use crate::{error::{self, SinkError}, link::Link};",
        ),
        ("an export from below", "sink/mod.rs", "use crate::Message;"),
        (
            "its own kind",
            "wire/frame.rs",
            "use super::{ProtocolError, scan::Scanner};",
        ),
        (
            "its own kind in full",
            "wire/frame.rs",
            "use crate::wire::scan::Scanner;",
        ),
        (
            "itself",
            "wire/mod.rs",
            "pub use self::frame::{self, Frame}; fn f(&self) { self.x() }",
        ),
        ("all of its own", "wire/mod.rs", "mod a { use super::*; }"),
        (
            "visibilities",
            "wire/mod.rs",
            "pub(crate) struct S; pub(super) fn f() {}",
        ),
        (
            "text",
            "wire/mod.rs",
            "/// See [`x`](crate::link::Link).\nfn f() { g(\"crate::link\") }",
        ),
        (
            "another crate's",
            "wire/mod.rs",
            "use bytes::link::X; fn f() { a::link::b() }",
        ),
        (
            "tests",
            "wire/mod.rs",
            "#[cfg(test)]\nmod tests { use crate::link::Link; use tokio::x; }",
        ),
        (
            "tests with more attributes",
            "wire/mod.rs",
            "#[cfg(test)]\n#[allow(unused)]\nmod tests { use crate::link::Link; }",
        ),
        (
            "the type of an instant",
            "wire/mod.rs",
            "use std::time::{Duration, Instant};",
        ),
        (
            "a field of that name",
            "wire/mod.rs",
            "fn f(now: Instant) { g(now, self.now) }",
        ),
        (
            "tokio where it belongs",
            "link/mod.rs",
            "use tokio::time::Instant; fn f() { Instant::now() }",
        ),
        (
            "the file that reads files",
            "registry/file.rs",
            "use std::fs;",
        ),
        ("long tests", "sink/mod.rs", &long_tests),
    ] {
        let faults = check(name, text);
        assert!(faults.is_empty(), "{rule}: {faults:?}");
    }
}

#[test]
fn files_of_tests_are_exempt() {
    let long = format!("use crate::link::Link;\n{}", "fn f() {}\n".repeat(500));
    let mut sources: Sources = [
        ("lib.rs", "mod wire;"),
        ("wire/mod.rs", "#[cfg(test)]\nmod tests;"),
        ("wire/tests.rs", &long),
        ("wire/tests/more.rs", &long),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect();
    assert!(faults(&sources).is_empty());
    sources.insert("wire/mod.rs".to_owned(), "mod tests;".to_owned());
    assert_eq!(faults(&sources).len(), 4, "too long and upward, twice");
}
