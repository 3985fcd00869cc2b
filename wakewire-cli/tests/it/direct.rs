//! `send` and `listen` with nothing in between.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::process::ChildStdout;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Place, Tap, Watch, arbitrary_lines, same, until, with_newline};

const LINES: usize = 100_000;

/// Returns whether the pipe takes nothing more. How many bytes that is depends on how they were written, and
/// on how many pipes this user has.
fn is_full(pipe: &ChildStdout) -> bool {
    let its_other_end = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let writer = OpenOptions::new().write(true).open(its_other_end).unwrap();
    let mut events = [PollFd::new(&writer, PollFlags::OUT)];
    poll(&mut events, Some(&Timespec::default())).unwrap() == 0
}

#[test]
fn a_file_arrives_byte_for_byte_whoever_starts_first() {
    let text = arbitrary_lines(LINES, 1);
    let expected = with_newline(text.clone());
    for place in Place::both("direct", "") {
        let input = place.file("input", &text);
        for sender_first in [true, false] {
            let send = || {
                let sender = ["send", "ticks", "--input", &input, "--progress-json"];
                let (sender, stdout) = place.start_piped(&sender);
                (sender, Watch::on(stdout))
            };
            let listen = || place.start(&["-v", "listen", "ticks"]);
            let ((sender, _), listener) = if sender_first {
                let (sender, watch) = send();
                watch.until("something waits", |report| report["waiting"] != 0);
                ((sender, watch), listen())
            } else {
                let listener = listen();
                listener.says("listening");
                (send(), listener)
            };
            let sent = sender.end().expect(0);
            sent.saying("accepted 100000 = delivered 100000 + in doubt 0");
            let listened = listener.terminate().expect(0);
            same(&listened.stdout, &expected);
            listened.saying("received 100,000");
        }
    }
}

#[test]
fn stdin_is_sent_as_it_comes() {
    let place = Place::unix("direct", "");
    let listener = place.start(&["listen", "ticks", "--count", "2"]);
    let (mut reading, mut writing) = std::io::pipe().unwrap();
    let sender = place.start_with(&["send", "ticks"], reading.into(), None);
    std::io::Write::write_all(&mut writing, b"first\nbegun").unwrap();
    // The end of the input has not come, and the first line has.
    until("the first line", || listener.written() == 6);
    std::io::Write::write_all(&mut writing, b" and ended\n").unwrap();
    drop(writing);
    sender.end().expect(0);
    assert_eq!(listener.end().expect(0).stdout, b"first\nbegun and ended\n");
    // Nothing at all is no message.
    (reading, _) = std::io::pipe().unwrap();
    let ended = place.start_with(&["send", "ticks", "--json"], reading.into(), None);
    assert_eq!(ended.end().expect(0).json()["accepted"], 0);
}

#[test]
fn a_listener_that_is_killed_under_way_loses_nothing() {
    let text = arbitrary_lines(LINES, 2);
    let expected = with_newline(text.clone());
    for place in Place::both("direct", "") {
        let input = place.file("input", &text);
        let sender = place.start(&["send", "ticks", "--input", &input]);
        let (listener, stdout) = place.start_piped(&["listen", "ticks"]);
        let tap = Tap::on(stdout);
        let mut first = tap.read(expected.len() / 3);
        listener.kill();
        first.extend(tap.open()());
        // The write that it died in may have been cut.
        let whole = first.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        first.truncate(whole);
        let second = place.start(&["listen", "ticks"]);
        sender.end().expect(0);
        let second = second.terminate().expect(0).stdout;
        same(&first, &expected[..first.len()]);
        let from = expected.len() - second.len();
        same(&second, &expected[from..]);
        assert!(from <= first.len(), "{} bytes are lost", from - first.len());
        assert!(first.len() < expected.len(), "it was killed at the end");
    }
}

#[test]
fn with_count_the_rest_goes_to_the_next_listener() {
    let text = arbitrary_lines(10_000, 3);
    for place in Place::both("direct", "") {
        let input = place.file("input", &text);
        let sender = place.start(&["send", "ticks", "--input", &input]);
        let mut output = Vec::new();
        for count in ["1", "2", "997", "5000", "4000"] {
            let listened = place.run(&["listen", "ticks", "--count", count]).expect(0);
            let lines = listened
                .stdout
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            assert_eq!(lines.to_string(), count);
            output.extend(listened.stdout);
        }
        sender.end().expect(0);
        same(&output, &with_newline(text.clone()));
    }
}

#[test]
fn a_listener_ends_after_so_long_without_a_message() {
    let place = Place::unix("direct", "");
    let listened = place.run(&["listen", "ticks", "--idle", "50ms", "--json"]);
    let listened = listened.expect(0);
    let ledger: serde_json::Value = serde_json::from_str(&listened.stderr).unwrap();
    assert_eq!(
        (&ledger["received"], &ledger["missed"], &ledger["connects"]),
        (&json!(0), &json!(0), &json!(0))
    );
    let input = place.file("input", b"a\nb\n");
    let listener = place.start(&["listen", "ticks", "--idle", "1s", "--json"]);
    place.run(&["send", "ticks", "--input", &input]).expect(0);
    let listened = listener.end().expect(0);
    assert_eq!(listened.stdout, b"a\nb\n");
    let ledger: serde_json::Value = serde_json::from_str(&listened.stderr).unwrap();
    assert_eq!(
        (&ledger["received"], &ledger["connects"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn output_is_appended_to_a_file() {
    let place = Place::unix("direct", "");
    let output = place.file("output", b"before\n");
    let input = place.file("input", b"a\nb\n");
    let listener = ["listen", "ticks", "--output", &output, "--count", "2"];
    let listener = place.start(&listener);
    place.run(&["send", "ticks", "--input", &input]).expect(0);
    listener.end().expect(0);
    assert_eq!(std::fs::read(&output).unwrap(), b"before\na\nb\n");
    let nowhere = ["listen", "ticks", "--output", "/nowhere/at/all"];
    place.run(&nowhere).expect(2).saying("cannot write");
}

#[test]
fn what_cannot_be_written_is_not_acknowledged() {
    let place = Place::unix("direct", "");
    let input = place.file("input", b"a\nb\n");
    let sender = place.start(&["send", "ticks", "--input", &input]);
    let full = ["listen", "ticks", "--output", "/dev/full"];
    place.run(&full).expect(1).saying("No space left");
    let listened = place.run(&["listen", "ticks", "--count", "2"]).expect(0);
    assert_eq!(listened.stdout, b"a\nb\n");
    sender.end().expect(0);
}

#[test]
fn a_reader_that_goes_ends_the_listener_quietly() {
    let place = Place::unix("direct", "");
    let text = arbitrary_lines(LINES, 4);
    let input = place.file("input", &text);
    let sender = place.start(&["send", "ticks", "--input", &input]);
    let (listener, stdout) = place.start_piped(&["listen", "ticks"]);
    let tap = Tap::on(stdout);
    let first = tap.read(1000);
    drop(tap); // as `head` does
    let listened = listener.end().expect(0);
    assert!(!listened.stderr.contains("panic"), "{}", listened.stderr);
    let rest = place.start(&["listen", "ticks"]);
    sender.end().expect(0);
    let rest = rest.terminate().expect(0).stdout;
    let expected = with_newline(text);
    same(&first, &expected[..1000]);
    same(&rest, &expected[expected.len() - rest.len()..]);
}

#[test]
fn a_listener_whose_output_is_stuck_can_be_ended() {
    let place = Place::unix("direct", "");
    let input = place.file("input", &arbitrary_lines(LINES, 5));
    let (sender, reports) =
        place.start_piped(&["send", "ticks", "--input", &input, "--progress-json"]);
    let watch = Watch::on(reports);
    let (listener, stdout) = place.start_piped(&["listen", "ticks"]);
    watch.until("connected, and the outbox full", |report| {
        report["state"] == "connected" && report["waiting"] == 10_000
    });
    until("the pipe is full", || is_full(&stdout));
    let before = watch.until("a report", |_| true);
    watch.until("nothing more gets through", |report| {
        report["waiting"] == 10_000 && report["delivered"] == before["delivered"]
    });
    listener.terminate().expect(1).saying("takes nothing");
    drop((stdout, sender));
}

#[test]
fn with_nobody_listening_sending_gives_up_and_says_what_to_do() {
    for place in Place::both("direct", "") {
        let input = place.file("input", &arbitrary_lines(100, 6));
        let sender = ["send", "ticks", "--input", &input, "--deadline", "300ms"];
        let sent = place.run(&sender).expect(1);
        sent.saying("100 messages are not delivered")
            .saying("wakewire listen ticks")
            .saying(
                "accepted 100 = delivered 0 + in doubt 0 + dropped 0 + undelivered 100 + waiting 0",
            );
        // More than there is room for: what did not fit was not accepted.
        let input = place.file("input", &arbitrary_lines(10_100, 7));
        let sender = [
            "send",
            "ticks",
            "--input",
            &input,
            "--deadline",
            "300ms",
            "--json",
        ];
        let ledger = place.run(&sender).expect(1).json();
        assert_eq!(
            ledger["accepted"].as_u64(),
            ["delivered", "in_doubt", "dropped", "undelivered", "waiting"]
                .iter()
                .map(|part| ledger[part].as_u64())
                .sum::<Option<u64>>(),
            "{ledger}"
        );
        assert_eq!(
            (&ledger["service"], &ledger["connects"]),
            (&json!("ticks"), &json!(0))
        );
        assert_eq!(ledger["undelivered"], 10_000);
        assert!(ledger["last_error"].is_string() && ledger["seconds"].is_f64());
    }
}

#[test]
fn a_service_that_rejects_when_full_is_waited_for_all_the_same() {
    let place = Place::unix("direct", "when_full = 'reject'\nbuffer_size = 10");
    let text = arbitrary_lines(2000, 8);
    let input = place.file("input", &text);
    let sender = place.start(&["send", "ticks", "--input", &input]);
    let listened = place.run(&["listen", "ticks", "--count", "2000"]).expect(0);
    same(&listened.stdout, &with_newline(text));
    sender.end().expect(0);
}

#[test]
fn a_fan_out_of_which_one_is_late_gets_each_message_once() {
    let place = Place::unix("direct", "");
    let other = place.path("other.sock");
    let config = format!(
        "[services.one]\ntype = 'direct'\nendpoint = '{0}1'\nbuffer_size = 10\nwhen_full = 'reject'\n\
         [services.two]\ntype = 'direct'\nendpoint = '{0}2'\nbuffer_size = 10\nwhen_full = 'reject'\n\
         [services.ticks]\ntype = 'composite'\npattern = 'fanout'\ntargets = ['one', 'two']\n",
        format!("unix://{}", other.display())
    );
    std::fs::write(place.path("services.toml"), config).unwrap();
    let text = arbitrary_lines(500, 9);
    let input = place.file("input", &text);
    let one = place.start(&["listen", "one", "--count", "500"]);
    let sender = place.start(&["send", "ticks", "--input", &input]);
    until("one gets on", || one.written() > 0);
    let two = place.run(&["listen", "two", "--count", "500"]).expect(0);
    let expected = with_newline(text);
    same(&two.stdout, &expected);
    same(&one.end().expect(0).stdout, &expected);
    sender
        .end()
        .expect(0)
        .saying("accepted 1000 = delivered 1000");
}

#[test]
fn a_line_that_is_too_long_is_named_and_what_came_before_is_delivered() {
    let place = Place::unix("direct", "max_message_bytes = 100");
    for length in [101, 100_000] {
        let mut text = b"a\nb\n".to_vec();
        text.extend(vec![b'x'; length]);
        text.extend_from_slice(b"\nbehind\n");
        let input = place.file("input", &text);
        let listener = place.start(&["listen", "ticks", "--count", "2"]);
        let sent = place.run(&["send", "ticks", "--input", &input]).expect(1);
        sent.saying("line 3").saying("accepted 2 = delivered 2");
        assert_eq!(listener.end().expect(0).stdout, b"a\nb\n");
    }
}

#[test]
fn an_interrupted_sender_says_what_is_not_delivered() {
    let place = Place::unix("direct", "");
    for signal in [Signal::INT, Signal::TERM] {
        let input = place.file("input", &arbitrary_lines(20_000, 10));
        let (sender, stdout) =
            place.start_piped(&["send", "ticks", "--input", &input, "--progress-json"]);
        Watch::on(stdout).until("full", |report| report["waiting"] == 10_000);
        sender.signal(signal);
        sender
            .end()
            .expect(1)
            .saying("interrupted with 10000 messages undelivered")
            .saying("undelivered 10000 + waiting 0");
    }
}

#[test]
fn what_is_called_wrongly_is_said_and_ends_with_2() {
    let place = Place::unix("direct", "");
    for command in ["send", "listen", "relay"] {
        let ended = place.run(&[command, "tick"]).expect(2);
        ended.saying("did you mean `ticks`?");
        let elsewhere = [command, "ticks", "--config", "/nowhere.toml"];
        place.run(&elsewhere).expect(2).saying("/nowhere.toml");
    }
    let relay = place.run(&["relay", "ticks"]).expect(2);
    relay.saying("not `relay`");
    let missing = ["send", "ticks", "--input", "missing"];
    place
        .run(&missing)
        .expect(2)
        .saying("cannot read `missing`");
    for wrong in ["soon", "5d", "-1s"] {
        let deadline = format!("--deadline={wrong}");
        place.run(&["send", "ticks", &deadline]).expect(2);
    }
    place.run(&["listen", "ticks", "--count", "0"]).expect(2);
    place.file("services.toml", b"[services.ticks]\ntype = 'relai'\n");
    let ended = place.run(&["send", "ticks"]).expect(2);
    ended.saying("services.toml:2").saying("is refused for");
}

#[test]
fn two_listeners_of_a_direct_service_are_one_too_many() {
    let place = Place::unix("direct", "");
    let first = place.start(&["-v", "listen", "ticks"]);
    first.says("listening");
    place
        .run(&["listen", "ticks"])
        .expect(1)
        .saying("one process at a time listens");
    first.terminate().expect(0);
}
