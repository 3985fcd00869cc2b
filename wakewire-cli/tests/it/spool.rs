//! `send` with a spool, killed again and again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{PATIENCE, Place};

/// Each life sends lines of its own until it is killed.
const LIVES: usize = 24;

fn with_spool(kind: &str, further: &str) -> (tempfile::TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let place = Place::unix(kind, &format!("spool = '{}'\n{further}", path.display()));
    (directory, place)
}

/// Of all lengths, so that a write may be cut anywhere.
fn line(life: usize, number: usize) -> String {
    format!("{life}:{number}:{}", "x".repeat(number * 7 % 700))
}

/// How many messages it says that it has accepted, each time that it says something.
fn accepted(pipe: ChildStdout) -> Receiver<u64> {
    let (says, said) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let report: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if says.send(report["accepted"].as_u64().unwrap()).is_err() {
                return;
            }
        }
    });
    said
}

/// A life that is fed lines without end, and killed at some moment; returns how many it is known to have accepted.
fn killed(place: &Place, life: usize) -> u64 {
    let (reading, mut writing) = std::io::pipe().unwrap();
    let arguments = ["send", "ticks", "--progress-json"];
    let mut sender = place.start_with(&arguments, reading.into(), Some(Stdio::piped()));
    let said = accepted(sender.stdout());
    // Before it is fed: what it has found.
    let found = said.recv_timeout(PATIENCE).unwrap();
    let feeding = thread::spawn(move || {
        // Until the other end is gone.
        (0..).find(|number| writeln!(writing, "{}", line(life, *number)).is_err())
    });
    while said.recv_timeout(PATIENCE).unwrap() == found {}
    thread::sleep(Duration::from_micros(life as u64 * 7919 % 60_000));
    sender.kill();
    feeding.join().unwrap();
    said.iter().last().unwrap_or(found + 1) - found
}

/// How many lines of each life there are: those from its first on, in order, each once.
fn by_life(output: Vec<u8>) -> Vec<u64> {
    let mut lives = vec![0; LIVES];
    let mut last = 0;
    let text = String::from_utf8(output).unwrap();
    for said in text.lines() {
        let life: usize = said.split(':').next().unwrap().parse().unwrap();
        assert!(life >= last, "life {life} behind {last}");
        last = life;
        assert_eq!(said, line(life, usize::try_from(lives[life]).unwrap()));
        lives[life] += 1;
    }
    lives
}

fn nothing_is_lost_or_doubled(kind: &str, fsync: &str) {
    let (_spool, place) = with_spool(kind, &format!("fsync = '{fsync}'"));
    let _relay = (kind == "relay").then(|| place.relay());
    let listener = place.start(&["listen", "ticks"]);
    let accepted: Vec<_> = (0..LIVES).map(|life| killed(&place, life)).collect();
    // One more has nothing of its own to send: it delivers what is left.
    place
        .run(&["send", "ticks", "--input", "/dev/null"])
        .expect(0);
    let delivered = by_life(listener.terminate().expect(0).stdout);
    for (life, (delivered, accepted)) in delivered.iter().zip(&accepted).enumerate() {
        assert!(
            delivered >= accepted,
            "life {life} had accepted {accepted}, {delivered} came"
        );
    }
    assert!(accepted.iter().all(|accepted| *accepted > 0));
}

#[test]
fn a_sender_to_a_listener_is_killed_and_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled("direct", "interval");
}

#[test]
fn a_sender_to_a_relay_is_killed_and_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled("relay", "never");
}

#[test]
fn a_sender_that_waits_for_its_disk_is_killed_and_nothing_is_lost_or_doubled() {
    nothing_is_lost_or_doubled("direct", "before_accept");
}

#[test]
fn a_sender_without_a_receiver_is_killed_and_what_it_took_waits_for_one() {
    let (_spool, place) = with_spool("direct", "buffer_size = 100000\nbuffer_bytes = 100000000");
    let accepted: Vec<_> = (0..4).map(|life| killed(&place, life)).collect();
    let ended = place.run(&[
        "send",
        "ticks",
        "--input",
        "/dev/null",
        "--deadline",
        "200ms",
        "--json",
    ]);
    let said = ended.expect(1).saying("kept in").json();
    assert!(
        said["waiting"].as_u64().unwrap() >= accepted.iter().sum(),
        "{said} {accepted:?}"
    );
    assert_eq!(said["undelivered"], 0);
    let listener = place.start(&["listen", "ticks"]);
    place
        .run(&["send", "ticks", "--input", "/dev/null"])
        .expect(0);
    let delivered = by_life(listener.terminate().expect(0).stdout);
    assert!(
        delivered
            .iter()
            .zip(&accepted)
            .all(|(delivered, accepted)| delivered >= accepted)
    );
}

#[test]
fn a_second_sender_of_the_same_spool_is_told_who_has_it() {
    let (_spool, place) = with_spool("direct", "");
    let (reading, writing) = std::io::pipe().unwrap();
    let mut first = place.start_with(
        &["send", "ticks", "--progress-json"],
        reading.into(),
        Some(Stdio::piped()),
    );
    accepted(first.stdout()).recv_timeout(PATIENCE).unwrap();
    let input = place.file("input", b"a\n");
    let refused = place.run(&["send", "ticks", "--input", &input]).expect(1);
    refused
        .saying(&format!("process {} has it", first.id()))
        .saying("one process at a time");
    drop(writing);
    first.end().expect(0);
}

#[test]
fn a_damaged_spool_is_an_error_with_its_place() {
    let (spool, place) = with_spool("direct", "");
    let input = place.file("input", b"first\nsecond\nthird\n");
    let send = ["send", "ticks", "--input", &input, "--deadline", "100ms"];
    place.run(&send).expect(1);
    let files = fs::read_dir(spool.path().join("spool/ticks")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let file = files
        .iter()
        .rfind(|file| file.extension().is_some())
        .unwrap();
    let mut bytes = fs::read(file).unwrap();
    bytes[96 + 56 + 32] ^= 0x20;
    fs::write(file, bytes).unwrap();
    place
        .run(&send)
        .expect(1)
        .saying("is damaged at byte 152")
        .saying("restore it, or move");
}
