//! What README.md shows of the command is what the command says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The fenced block of this language that contains this text.
fn block<'a>(text: &'a str, language: &str, containing: &str) -> &'a str {
    let opening = format!("\n```{language}\n");
    text.split(&opening)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains(containing))
        .unwrap()
}

fn check(config: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wakewire"))
        .args(["check", "--config", config])
        .current_dir(ROOT)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

#[test]
fn the_faults_of_the_wrong_file_are_those_in_the_readme() {
    let readme = readme();
    let shown = block(&readme, "console", "docs/wrong.toml");
    let (_, shown) = shown.split_once('\n').unwrap();
    let checked = check("docs/wrong.toml");
    assert_eq!(String::from_utf8(checked.stderr).unwrap(), shown);
    assert!(checked.stdout.is_empty());
    assert_eq!(checked.status.code(), Some(2));
}

#[test]
fn the_services_in_the_readme_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services.toml");
    std::fs::write(&file, block(&readme(), "toml", "[services.market_data]")).unwrap();
    let checked = check(file.to_str().unwrap());
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/connections.md",
        "docs/guarantees.md",
        "docs/stage-2.md",
    ] {
        let path = Path::new(ROOT).join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.starts_with("http") {
                let linked = path.parent().unwrap().join(target);
                assert!(linked.exists(), "{document} links to {target}");
            }
        }
    }
}
