//! The recorder as a process: killed at any moment, and started again, it continues its file.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, as it should; its relay and its sender end with it"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy_primitives::U256;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use wakewire::{Message, MessageSink, SinkFactory};
use wakewire_polygon::codec::{Change, Place, Pool, PoolEvent};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Scene {
    directory: TempDir,
    services: String,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let services = format!(
            "[services.market_data_relay]\ntype = 'relay'\nendpoint = 'unix://{}/relay.sock'\n\
             domain = 'market_data'\nprecision_context = 'dex_token'\nconsumers = ['recorder']\n\
             lazy = {{ retry_delay_ms = 20, max_retry_delay_secs = 0.2 }}\n",
            directory.path().display()
        );
        fs::write(directory.path().join("services.toml"), &services).unwrap();
        Self {
            directory,
            services,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn factory(&self) -> SinkFactory {
        SinkFactory::from_config_str(&self.services).unwrap()
    }

    /// A relay that lives until it is aborted.
    fn relay(&self) -> JoinHandle<()> {
        let factory = self.factory();
        tokio::task::spawn(async move {
            let mut relay = factory.create_relay("market_data_relay").await.unwrap();
            relay.run().await.unwrap();
        })
    }

    fn recorder(&self) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_recorder"))
            .args(["--output", "events.jsonl", "--json"])
            .current_dir(self.directory.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }
}

/// A process; killed when it is dropped.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Returns how it ended, and what it printed.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut printed = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        (self.0.wait().unwrap().code(), printed)
    }

    /// SIGTERM; it must end well, and report.
    fn terminated(&mut self) -> Value {
        let id = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        let (code, printed) = self.ended();
        assert_eq!(code, Some(0));
        serde_json::from_str(&printed).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn event(number: u64) -> Message {
    let event = PoolEvent {
        place: Place {
            log_index: number,
            ..Place::default()
        },
        pool: Pool::default(),
        change: Change::Sync {
            reserve0: U256::MAX - U256::from(number),
            reserve1: U256::from(number),
        },
    };
    event.to_message()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited too long: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

const EVENTS: u64 = 30_000;
const KILLS: u64 = 8;
/// No line is shorter than 350 bytes.
const LEAST: u64 = EVENTS * 350;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_written_once_whatever_is_killed() {
    let scene = Scene::new();
    let output = scene.path("events.jsonl");
    let factory = scene.factory();
    let sink = factory.create_sink("market_data_relay").await.unwrap();
    // One that is not an event, in the midst of them.
    let broken = Message::new(&b"\x01\x09"[..]).with_type(3);
    let sending = tokio::task::spawn(async move {
        for number in 0..EVENTS {
            sink.send(event(number)).await.unwrap();
            if number == EVENTS / 2 {
                sink.send(broken.clone()).await.unwrap();
            }
        }
    });
    let mut relay = scene.relay();
    for kill in 1..=KILLS {
        let mut recorder = scene.recorder();
        let enough = (length(&output) + 1).max(LEAST * kill / (KILLS + 2));
        until("the output grows", || length(&output) >= enough).await;
        recorder.kill();
        assert!(length(&output) < LEAST, "killed under way");
        // As if it had died between the file and the cursor, and within a line.
        let mut file = File::options().append(true).open(&output).unwrap();
        file.write_all(b"{\"kind\":\"Sync\",\"log_index\":4}\n{\"kin")
            .unwrap();
        if kill % 3 == 0 {
            relay.abort();
            drop(relay.await);
            relay = scene.relay();
        }
    }
    let mut recorder = scene.recorder();
    let is_whole =
        || fs::read_to_string(&output).is_ok_and(|text| text.lines().count() as u64 > EVENTS);
    until("everything is written", is_whole).await;
    let report = recorder.terminated();
    assert_eq!(
        (&report["missed"], &report["acknowledged"]),
        (&0.into(), &true.into())
    );
    sending.await.unwrap();
    let report = factory.close(PATIENCE).await;
    assert_eq!((report.waiting, report.undelivered), (0, 0));

    let text = fs::read_to_string(&output).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (broken, events): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["kind"] == "Unreadable");
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0]["payload"], "0109");
    assert_eq!(events.len() as u64, EVENTS);
    for (number, line) in (0..EVENTS).zip(events) {
        assert_eq!(line["log_index"], number);
        let reserve = U256::MAX - U256::from(number);
        assert_eq!(line["reserve0"], reserve.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_cursor_is_not_of_is_left_alone() {
    let scene = Scene::new();
    let output = scene.path("events.jsonl");
    let relay = scene.relay();
    let factory = scene.factory();
    let sink = factory.create_sink("market_data_relay").await.unwrap();
    sink.send(event(1)).await.unwrap();
    let mut recorder = scene.recorder();
    until("it is written", || length(&output) > 0).await;
    recorder.terminated();
    let foreign = "something else, and longer than what was there before\n".repeat(99);
    fs::write(&output, &foreign).unwrap();
    assert_eq!(scene.recorder().ended(), (Some(2), String::new()));
    assert_eq!(fs::read_to_string(&output).unwrap(), foreign);
    relay.abort();
}
