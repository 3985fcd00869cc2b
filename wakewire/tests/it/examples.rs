//! Each example as it is run: it ends by itself, well, and says what its comments say.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::support::soon;

/// Cargo puts examples beside the directory of the tests, and builds them with `cargo test`.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        example.exists(),
        "{} is not built; `cargo test -p wakewire` without `--test` builds it",
        example.display()
    );
    example
}

async fn output(name: &str) -> String {
    let mut command = Command::new(built(name));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = soon(command.output()).await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{name}: {said}");
    String::from_utf8(ended.stdout).unwrap()
}

const REST: &str = "in doubt 0 + dropped 0 + undelivered 0 + waiting 0";

#[tokio::test]
async fn hello() {
    let expected = format!(
        "sent, connected: false\nreceived WETH/USDC 3412.07\n\
         ticks: accepted 1 = delivered 1 + {REST}\n"
    );
    assert_eq!(output("hello").await, expected);
}

#[tokio::test]
async fn relay() {
    let output = output("relay").await;
    let mut lines: Vec<_> = output.lines().collect();
    lines[1..3].sort_unstable(); // whichever consumer was done first
    let ledger = format!("accepted 2000 = delivered 2000 + {REST}");
    assert_eq!(
        lines,
        [
            "the relay is gone; another takes its place",
            "book has 2000 messages, in order, none twice",
            "recorder has 2000 messages, in order, none twice",
            &ledger
        ]
    );
}

#[tokio::test]
async fn two_registries() {
    assert_eq!(
        output("two_registries").await,
        "services.toml: WETH/USDC 3412.07\ncontrol plane: WETH/USDC 3412.07\n"
    );
}

#[tokio::test]
async fn own_sink() {
    assert_eq!(
        output("own_sink").await,
        "connected before the first line: false\n5 lines over 3 connections\n"
    );
}

#[tokio::test]
async fn composites() {
    let output = output("composites").await;
    let (received, ledgers) = output.split_at(output.find("primary: accepted").unwrap());
    assert_eq!(
        received,
        "book: tick\nrecorder: tick\nrecorder: order 2\nrecorder: order 3\nprimary: order 1\n"
    );
    for (sink, count) in [("book", 1), ("recorder", 3), ("primary", 1)] {
        let line = format!("{sink}: accepted {count} = delivered {count} + {REST}\n");
        assert!(ledgers.contains(&line), "{ledgers}");
    }
}

#[tokio::test]
async fn requests() {
    let output = output("requests").await;
    let lines: Vec<_> = output.lines().collect();
    let [first, one, two, last] = lines[..] else {
        panic!("{output}");
    };
    assert!(first.starts_with("400 questions, 0 lost: "), "{output}");
    assert!(one.ends_with("/one.sock is out"), "{output}");
    assert!(two.ends_with("/two.sock is well"), "{output}");
    assert_eq!(last, "everything is closed: true, given up: 0");
}

#[tokio::test]
async fn exactly_once() {
    let output = output("exactly_once").await;
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 6, "{output}");
    assert!(
        lines[..5]
            .iter()
            .all(|line| line.starts_with("died with a total of ")),
        "{output}"
    );
    assert_eq!(lines[5], "1 + 2 + … + 1000 = 500500");
}

#[test]
fn every_example_is_run_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut examples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    examples.sort_unstable();
    assert_eq!(
        examples,
        [
            "composites",
            "exactly_once",
            "hello",
            "own_sink",
            "relay",
            "requests",
            "two_registries"
        ]
    );
}
