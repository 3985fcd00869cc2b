//! Documents that name the test behind each sentence: every test that they name exists.

use std::collections::BTreeSet;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Everything in backquotes of the shape `module::name`, with a lower case first letter in each part.
fn named(text: &str) -> BTreeSet<Vec<&str>> {
    let is_name = |part: &str| {
        let first = part.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        first && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(|quoted| quoted.split("::").collect::<Vec<_>>())
        .filter(|parts| parts.len() > 1 && parts.iter().all(|part| is_name(part)))
        .collect()
}

/// All functions in the sources below a directory, each with the parts of its file's path before it.
fn functions(folder: &Path, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap().path();
        let stem = entry.file_stem().unwrap().to_string_lossy().into_owned();
        path.push(stem);
        if entry.is_dir() {
            functions(&entry, path, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&entry).unwrap();
            for rest in source.split("fn ").skip(1) {
                let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = name.take(1).map(str::to_owned);
                into.push(path.iter().cloned().chain(name).collect());
            }
        }
        path.pop();
    }
}

/// The parts occur in this order, the last one as the last.
fn is_at(function: &[String], wanted: &[&str]) -> bool {
    let mut parts = function.iter();
    function.last().map(String::as_str) == wanted.last().copied()
        && wanted.iter().all(|part| parts.any(|known| known == part))
}

fn missing(text: &str) -> Vec<String> {
    let mut known = Vec::new();
    let folders = [
        "wakewire/src",
        "wakewire/tests",
        "wakewire-cli/tests",
        "chaos/src",
        "chaos/tests",
    ];
    for folder in folders {
        functions(&Path::new(ROOT).join(folder), &mut Vec::new(), &mut known);
    }
    named(text)
        .iter()
        .filter(|wanted| !known.iter().any(|function| is_at(function, wanted)))
        .map(|wanted| wanted.join("::"))
        .collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let least = [
        ("connections", 20),
        ("guarantees", 100),
        ("reliability", 15),
        ("security", 20),
    ];
    for (document, least) in least {
        let text = std::fs::read_to_string(format!("{ROOT}/docs/{document}.md")).unwrap();
        assert!(named(&text).len() > least, "{document}: {:?}", named(&text));
        assert_eq!(missing(&text), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    let text = "`relay::nobody_wrote_this` `direct::relay` `SinkError::Closed` `lazy`";
    assert_eq!(missing(text), ["direct::relay", "relay::nobody_wrote_this"]);
    assert!(missing("`guarantees::every_test_that_is_named_exists`").is_empty());
}
