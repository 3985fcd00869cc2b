//! `wakewire demo`, as a stranger runs it.

use rustix::process::Signal;

use crate::support::{Ended, Place};

/// Fails unless everything came, once and in order, to both, and the relay died often enough.
#[track_caller]
fn adds_up(ended: &Ended, messages: u64) {
    let said = ended.json();
    let paced = &said["paced"];
    assert_eq!(said["messages"], messages, "{said}");
    assert_eq!(said["faults"], serde_json::json!([]), "{said}");
    for run in [paced, &said["fast"]] {
        assert_eq!(
            (&run["accepted"], &run["delivered"]),
            (&messages.into(), &messages.into())
        );
        for consumer in ["alpha", "beta"] {
            let consumer = &run["consumers"][consumer];
            assert_eq!(consumer["received"], messages, "{said}");
            for fault in ["lost", "duplicated", "out_of_order", "corrupt", "missed"] {
                assert_eq!(consumer[fault], 0, "{fault}: {said}");
            }
        }
    }
    let kills = paced["kills_with_unacknowledged"].as_u64();
    assert!(kills >= Some(5), "{said}");
    // On a machine that is busy a relay may be killed before the sender has found it.
    let connects = paced["connects"].as_u64();
    let lives = paced["kills"].as_u64().map(|kills| kills + 1);
    assert!(
        Some(5) < connects && connects <= lives,
        "at most one connection for each life of the relay: {said}"
    );
    assert!(paced["seconds"].as_f64() >= Some(9.9), "{said}");
}

/// The demo's own directory is in the place, to see that it is removed.
fn demo(place: &Place, arguments: &[&str]) -> crate::support::Running {
    let inside = place.path("tmp");
    std::fs::create_dir_all(&inside).unwrap();
    place.start_in(&inside, &[&["demo"], arguments].concat())
}

fn is_clean(place: &Place) {
    let left = std::fs::read_dir(place.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "the temporary directory is still there");
}

#[test]
fn numbered_messages_survive_the_relay() {
    let place = Place::unix("relay", "");
    let ended = demo(&place, &["--messages", "20000", "--json"]).end();
    adds_up(&ended.expect(0), 20_000);
    is_clean(&place);
}

#[test]
fn the_lines_of_a_file_survive_the_relay() {
    let place = Place::unix("relay", "");
    let input = place.file("input", &crate::support::arbitrary_lines(500, 30));
    let ended = demo(&place, &["--input", &input, "--json"]).end();
    adds_up(&ended.expect(0), 500);
    is_clean(&place);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let place = Place::unix("relay", "");
    let running = demo(&place, &[]);
    // A look a second may miss any one number.
    running.says_that("that the relay was killed", |said| {
        let mut numbers = said.split("killed ").skip(1);
        numbers.any(|rest| rest.starts_with(|digit| ('1'..='9').contains(&digit)))
    });
    running.signal(Signal::INT);
    running.end().expect(1).saying("interrupted");
    is_clean(&place);
}

#[test]
fn a_file_that_is_not_there_or_empty_is_refused() {
    let place = Place::unix("relay", "");
    let empty = place.file("empty", b"");
    demo(&place, &["--input", &empty])
        .end()
        .expect(2)
        .saying("no lines");
    demo(&place, &["--input", "missing"])
        .end()
        .expect(2)
        .saying("cannot read `missing`");
}
