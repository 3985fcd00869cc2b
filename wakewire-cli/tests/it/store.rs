//! `relay` with `store_and_forward`: senders go before a listener comes, and the relay is killed again and again.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Place, Running, same, until};

fn storing(further: &str) -> (TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = format!("store_and_forward = '{}'\n{further}", path.display());
    (directory, Place::unix("relay", &store))
}

/// The files of the relay's disk.
fn files(directory: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.path().join("store/ticks")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some());
    files.sort();
    files
}

/// Lines of all lengths, so that a write may be cut anywhere.
fn lines(life: usize, count: usize) -> Vec<u8> {
    let line = |n: usize| format!("{life}:{n}:{}\n", "x".repeat(n * 7 % 700));
    (0..count).flat_map(|n| line(n).into_bytes()).collect()
}

/// Waits until so much was written.
fn has_written(listener: &Running, bytes: usize) {
    let what = format!("{bytes} bytes, not {}", listener.written());
    until(&what, || listener.written() >= bytes as u64);
}

#[test]
fn what_a_relay_has_stored_outlives_its_sender_and_itself() {
    for fsync in ["never", "interval", "before_accept"] {
        let (_directory, place) = storing(&format!("fsync = '{fsync}'"));
        let mut sent = Vec::new();
        for life in 0..4 {
            let relay = place.relay();
            let input = place.file("input", &lines(life, 300));
            // It ends when everything is acknowledged, and nobody listens.
            place.run(&["send", "ticks", "--input", &input]).expect(0);
            sent.extend(lines(life, 300));
            relay.kill();
        }
        let _relay = place.relay();
        let listener = place.start(&["listen", "ticks"]);
        has_written(&listener, sent.len());
        same(&listener.terminate().expect(0).stdout, &sent);
    }
}

#[test]
fn a_storing_relay_is_killed_under_load_and_nothing_is_lost_or_doubled() {
    let (_directory, place) = storing("buffer_size = 200\nlog_bytes = 200000");
    let mut relay = place.relay();
    let listener = place.start(&["listen", "ticks"]);
    let (reading, mut writing) = std::io::pipe().unwrap();
    let sender = place.start_with(&["send", "ticks"], reading.into(), None);
    let feeding = thread::spawn(move || {
        let mut sent = Vec::new();
        for life in 0..12 {
            let some = lines(life, 2000);
            writing.write_all(&some).unwrap();
            sent.extend(some);
        }
        sent
    });
    let mut under_load = 0;
    for life in 0..24_u64 {
        thread::sleep(Duration::from_micros(life * 7919 % 60_000));
        under_load += u32::from(!feeding.is_finished());
        relay.kill();
        relay = place.relay();
    }
    let sent = feeding.join().unwrap();
    assert!(under_load >= 5, "{under_load} of 24 kills");
    sender.end().expect(0);
    has_written(&listener, sent.len());
    same(&listener.terminate().expect(0).stdout, &sent);
}

#[test]
fn a_listener_with_a_cursor_and_the_relay_are_killed_and_nothing_is_lost_or_doubled() {
    let (_directory, place) = storing("log_bytes = 2000000");
    let cursor = format!("{}", place.path("cursor").display());
    let output = format!("{}", place.path("output").display());
    let listen = ["listen", "ticks", "--cursor", &cursor, "--output", &output];
    let mut relay = place.relay();
    let mut sent = Vec::new();
    for life in 0..10 {
        let listener = place.start(&listen);
        let input = place.file("input", &lines(life, 500));
        place.run(&["send", "ticks", "--input", &input]).expect(0);
        sent.extend(lines(life, 500));
        thread::sleep(Duration::from_micros(life as u64 * 7919 % 30_000));
        if life % 2 == 0 {
            relay.kill();
            listener.kill();
        } else {
            listener.kill();
            relay.kill();
        }
        relay = place.relay();
    }
    let listener = place.start(&listen);
    until("everything has come", || {
        fs::metadata(&output).is_ok_and(|found| found.len() >= sent.len() as u64)
    });
    // It may not have got as far as to hear it.
    listener.terminate();
    same(&fs::read(&output).unwrap(), &sent);
}

#[test]
fn a_second_relay_of_the_same_directory_is_told_who_has_it() {
    let (_directory, place) = storing("");
    let relay = place.relay();
    let who = format!("process {} has it", relay.id());
    let refused = place.run(&["relay", "ticks"]).expect(1);
    refused.saying(&who).saying("one relay at a time");
    relay.terminate().expect(0);
    // It leaves, and the next one has it.
    place.relay().terminate().expect(0);
}

#[test]
fn a_damaged_file_of_a_relay_is_an_error_with_its_place() {
    let (directory, place) = storing("");
    let relay = place.relay();
    let input = place.file("input", &lines(0, 3));
    place.run(&["send", "ticks", "--input", &input]).expect(0);
    relay.kill();
    let file = files(&directory).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 0x20;
    fs::write(&file, bytes).unwrap();
    place
        .run(&["relay", "ticks"])
        .expect(1)
        .saying("is damaged at byte")
        .saying("restore it, or move");
}

#[test]
fn what_everybody_has_processed_leaves_the_disk() {
    let (directory, place) = storing("log_bytes = 400000");
    let relay = place.relay();
    let listener = place.start(&["listen", "ticks"]);
    let mut sent = 0;
    for life in 0..8 {
        let some = lines(life, 1000);
        sent += some.len();
        let input = place.file("input", &some);
        place.run(&["send", "ticks", "--input", &input]).expect(0);
    }
    has_written(&listener, sent);
    relay.terminate().expect(0);
    let kept: u64 = files(&directory)
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(kept < 500_000, "{kept} of {sent} bytes are left");
    // The next life has nothing for a new listener.
    let relay = place.relay();
    relay.says("messages=0");
    drop(listener);
}
