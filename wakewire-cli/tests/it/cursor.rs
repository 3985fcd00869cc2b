//! `listen --output` with a cursor: killed at any moment and started again, it continues the file.

use std::fs;

use crate::support::{Place, arbitrary_lines, same, until, with_newline};

const LINES: usize = 300_000;
const KILLS: usize = 24;

/// Kills whoever writes the file (and a relay now and then), again and again while it grows.
fn survives(place: &Place, listen: &[&str], has_relay: bool) {
    let text = arbitrary_lines(LINES, 40);
    let input = place.file("input", &text);
    let expected = with_newline(text);
    let output = place.path("output");
    let length = || fs::metadata(&output).map_or(0, |found| usize::try_from(found.len()).unwrap());
    let mut relay = has_relay.then(|| place.relay());
    let sender = place.start(&["send", "ticks", "--input", &input]);
    let mut cut = 0;
    for kill in 1..=KILLS {
        let before = length();
        let listener = place.start(listen);
        let enough = (before + 1).max(expected.len() * kill / (KILLS + 2));
        until("the output grows", || length() >= enough);
        listener.kill();
        assert!(length() < expected.len(), "killed under way");
        if kill % 6 == 0
            && let Some(running) = relay.take()
        {
            running.kill();
            relay = Some(place.relay());
        }
        // What the killed one has left beyond its cursor goes when the next one starts.
        cut += usize::from(length() > 0);
    }
    assert_eq!(cut, KILLS);
    let listener = place.start(listen);
    sender.end().expect(0);
    listener.terminate().expect(0);
    same(&fs::read(&output).unwrap(), &expected);
}

#[test]
fn a_direct_listener_killed_again_and_again_writes_every_line_once() {
    for place in Place::both("direct", "") {
        survives(
            &place,
            &[
                "listen", "ticks", "--output", "output", "--cursor", "cursor",
            ],
            false,
        );
    }
}

#[test]
fn a_consumer_of_a_relay_killed_again_and_again_writes_every_line_once() {
    for place in Place::both("relay", "consumers = ['recorder']") {
        let listen = [
            "listen", "ticks", "--as", "recorder", "--output", "output", "--cursor", "cursor",
        ];
        survives(&place, &listen, true);
    }
}

#[test]
fn the_key_of_the_service_does_the_same() {
    let cursor = tempfile::tempdir().unwrap();
    let further = format!("cursor = '{}'", cursor.path().join("cursor").display());
    survives(
        &Place::unix("direct", &further),
        &["listen", "ticks", "--output", "output"],
        false,
    );
}

#[test]
fn a_second_one_is_refused_and_another_output_is_left_alone() {
    let place = Place::unix("direct", "");
    let input = place.file("input", b"a\nb\n");
    let listen = [
        "listen", "ticks", "--output", "output", "--cursor", "cursor", "--count", "2",
    ];
    let listener = place.start(&listen);
    until("it has the cursor", || place.path("cursor").exists());
    let second = place.run(&["listen", "ticks", "--cursor", "cursor"]);
    second
        .expect(1)
        .saying(&format!("process {} uses it", listener.id()))
        .saying("give each consumer its own file");
    place.run(&["send", "ticks", "--input", &input]).expect(0);
    listener.end().expect(0);
    assert_eq!(fs::read(place.path("output")).unwrap(), b"a\nb\n");
    // The cursor knows of four bytes; these are others, and too few.
    for foreign in [&b"x\ny\nz\n"[..], b"a\n"] {
        place.file("output", foreign);
        place.run(&listen).expect(2).saying("cannot write");
        assert_eq!(fs::read(place.path("output")).unwrap(), foreign);
    }
    // A damaged cursor: nothing is delivered.
    place.file("output", b"a\nb\n");
    place.file("cursor", b"not a cursor");
    let refused = place.run(&listen).expect(1);
    refused.saying("byte 0: it is not a cursor");
    assert_eq!(fs::read(place.path("output")).unwrap(), b"a\nb\n");
}
