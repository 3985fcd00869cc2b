//! The command as it is run: what is planted is found, and nobody is left behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panicking, and bound their waits by the clock"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn chaos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wakewire-chaos"));
    command.args(arguments);
    command
}

/// Runs a few kills; returns the exit code and the figures.
fn killed(arguments: &[&str]) -> (i32, Value) {
    let usual = ["kill", "--json", "--kills", "3", "--cycles", "3"];
    let Output {
        status,
        stdout,
        stderr,
    } = chaos(&[&usual, arguments].concat()).output().unwrap();
    let said = serde_json::from_slice(&stdout);
    let figures = said.unwrap_or_else(|error| panic!("{error}: {stderr:?}"));
    (status.code().unwrap(), figures)
}

#[test]
fn nothing_is_wrong_when_everybody_is_killed_stopped_and_cut() {
    for scenario in ["all", "listener", "stop", "cut"] {
        let (code, figures) = killed(&["--scenario", scenario, "--over", "unix,tcp"]);
        assert_eq!((code, &figures["faults"]), (0, &Value::Array(vec![])));
        assert!(figures["received"].as_u64() > Some(1000), "{figures:#}");
        let faults = ["kills", "stops", "cuts"].map(|kind| figures[kind].as_u64().unwrap());
        assert!(faults.iter().sum::<u64>() >= 3, "{figures:#}");
    }
}

#[test]
fn what_is_planted_is_found_and_nothing_else() {
    let kinds = [
        ("lost", "lost"),
        ("twice", "duplicated"),
        ("swapped", "reordered"),
        ("damaged", "corrupted"),
    ];
    for (planted, found) in kinds {
        // Receivers live on, so that nobody repairs it.
        let arguments = ["--scenario", "relay", "--over", "unix", "--plant", planted];
        let (code, figures) = killed(&arguments);
        assert_eq!(code, 1, "{planted}: {figures:#}");
        for (_, count) in kinds {
            let expected = u64::from(count == found);
            assert_eq!(figures[count], expected, "{planted}: {figures:#}");
        }
    }
}

#[test]
fn logs_that_are_kept_are_checked_again() {
    let place = tempfile::tempdir().unwrap();
    let keep = place.path().to_str().unwrap();
    let arguments = [
        "--scenario",
        "all",
        "--over",
        "unix",
        "--seed",
        "7",
        "--keep",
        keep,
    ];
    let (code, figures) = killed(&arguments);
    assert_eq!(code, 0, "{figures:#}");
    let run = place.path().join("all-unix-7");
    let check = || {
        let output = chaos(&["check", run.to_str().unwrap()]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, again) = check();
    assert_eq!((code, &again["accepted"]), (0, &figures["accepted"]));
    assert_eq!(again["receivers"], figures["runs"][0]["receivers"]);
    // A log that lacks what was in it.
    let log = run.join("receiver-0.000001.log");
    let all = fs::read(&log).unwrap();
    assert!(all.len() > 64);
    fs::write(&log, &all[32..]).unwrap();
    let (code, again) = check();
    assert_eq!(code, 1, "{again:#}");
    assert!(again["receivers"]["receiver-0"]["lost"].as_u64() > Some(0));
}

/// Every process that was started with something in this directory.
fn of(place: &Path) -> Vec<u32> {
    let place = place.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        line.windows(place.len())
            .any(|part| part == place)
            .then_some(id)
    });
    processes.filter(|id| *id != std::process::id()).collect()
}

fn soon(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

/// Starts a long run; returns it once all its processes are there.
fn started(place: &Path) -> Child {
    let keep = place.to_str().unwrap();
    let child = chaos(&[
        "kill",
        "--scenario",
        "stop",
        "--over",
        "unix",
        "--cycles",
        "100000",
    ])
    .args(["--longest-stop", "100000", "--keep", keep])
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    // Itself, a relay, a sender, three receivers.
    soon("not everybody was started", || of(place).len() == 6);
    child
}

#[test]
fn nobody_is_left_when_it_is_interrupted_or_killed() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::INT, Signal::KILL] {
        let place = tempfile::tempdir().unwrap();
        let mut child = started(place.path());
        let id = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (signal == Signal::INT).then_some(2));
        soon("somebody is left", || of(place.path()).is_empty());
    }
}
