//! `send`, `relay` and `listen`: in every order, and with the relay killed.

use crate::support::{Place, Running, Tap, Watch, arbitrary_lines, same, with_newline};

const LINES: usize = 100_000;

/// What a pipe holds.
const PIPE: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Sender,
    Relay,
    Consumer,
}
use Part::{Consumer, Relay, Sender};

const ORDERS: [[Part; 3]; 6] = [
    [Sender, Relay, Consumer],
    [Sender, Consumer, Relay],
    [Relay, Sender, Consumer],
    [Relay, Consumer, Sender],
    [Consumer, Sender, Relay],
    [Consumer, Relay, Sender],
];

/// Starts the three in this order, each when the one before is at work; returns sender, relay, consumer.
fn start(place: &Place, input: &str, order: [Part; 3]) -> [Running; 3] {
    let (mut sender, mut relay, mut consumer) = (None, None, None);
    for part in order {
        match part {
            Sender => {
                let arguments = ["send", "ticks", "--input", input, "--progress-json"];
                let (running, stdout) = place.start_piped(&arguments);
                let watch = Watch::on(stdout);
                if consumer.is_none() || relay.is_none() {
                    watch.until("something waits", |report| report["waiting"] != 0);
                }
                sender = Some(running);
            }
            Relay => relay = Some(place.relay()),
            Consumer => {
                let running = place.start(&["-vv", "listen", "ticks"]);
                running.says("attached"); // or "not attached yet"
                consumer = Some(running);
            }
        }
    }
    [sender, relay, consumer].map(Option::unwrap)
}

fn in_all_orders(place: &Place) {
    let text = arbitrary_lines(LINES, 20);
    let input = place.file("input", &text);
    let expected = with_newline(text);
    for order in ORDERS {
        let [sender, relay, consumer] = start(place, &input, order);
        let sent = sender.end().expect(0);
        sent.saying("accepted 100000 = delivered 100000 + in doubt 0");
        let received = consumer.terminate().expect(0);
        same(&received.stdout, &expected);
        received.saying("received 100,000");
        relay.terminate().expect(0);
    }
}

#[test]
fn all_six_orders_over_unix() {
    in_all_orders(&Place::unix("relay", ""));
}

#[test]
fn all_six_orders_over_tcp() {
    in_all_orders(&Place::tcp("relay", ""));
}

/// The consumer's output is not read on while the relay is killed, so that something is unacknowledged.
pub(crate) fn killed_ten_times(place: &Place) {
    let text = arbitrary_lines(LINES, 21);
    let input = place.file("input", &text);
    let expected = with_newline(text);
    let ends: Vec<_> = memchr::memchr_iter(b'\n', &expected).collect();
    let arguments = ["send", "ticks", "--input", &input, "--progress-json"];
    let (sender, reports) = place.start_piped(&arguments);
    let watch = Watch::on(reports);
    let (consumer, stdout) = place.start_piped(&["listen", "ticks"]);
    let tap = Tap::on(stdout);
    let mut output = Vec::new();
    let mut relay = place.relay();
    for kill in 1..=10 {
        output.extend(tap.read(expected.len() / 11));
        // Nobody reads the output on: the consumer can write what a pipe holds, and what it has not written it
        // does not acknowledge.
        let writable = output.len() + PIPE;
        let before = watch.until("unacknowledged", |report| {
            let accepted = usize::try_from(report["accepted"].as_u64().unwrap()).unwrap();
            report["state"] == "connected" && ends.get(accepted - 1) > Some(&writable)
        });
        relay.kill();
        // What is acknowledged when the sender has noticed was acknowledged when the relay died.
        let after = watch.until("noticed", |report| report["state"] != "connected");
        assert!(
            after["delivered"].as_u64() < before["accepted"].as_u64(),
            "kill {kill} hit nothing: {before} {after}"
        );
        relay = place.relay();
    }
    let rest = tap.open();
    let sent = sender.end().expect(0);
    sent.saying("accepted 100000 = delivered 100000 + in doubt 0")
        .saying("11 connections");
    consumer.terminate().expect(0).saying("received 100,000");
    output.extend(rest());
    same(&output, &expected);
    relay.terminate().expect(0);
}

#[test]
fn the_relay_is_killed_ten_times_over_unix() {
    killed_ten_times(&Place::unix("relay", ""));
}

#[test]
fn the_relay_is_killed_ten_times_over_tcp() {
    killed_ten_times(&Place::tcp("relay", ""));
}

#[test]
fn two_named_consumers_get_everything_and_count_shares_nothing() {
    let place = Place::unix("relay", "consumers = ['a', 'b']");
    let text = arbitrary_lines(20_000, 22);
    let input = place.file("input", &text);
    let expected = with_newline(text);
    let relay = place.relay();
    let a = place.start(&["listen", "ticks", "--as", "a"]);
    let sender = place.start(&["send", "ticks", "--input", &input]);
    // `b` is waited for while it is away, and comes in two lives.
    let arguments = ["listen", "ticks", "--as", "b", "--count", "7000"];
    let mut b = place.run(&arguments).expect(0).stdout;
    let second = place.start(&["listen", "ticks", "--as", "b"]);
    sender.end().expect(0);
    same(&a.terminate().expect(0).stdout, &expected);
    b.extend(second.terminate().expect(0).stdout);
    same(&b, &expected);
    relay.says("consumer `a`");
    relay.terminate().expect(0).saying("consumer `b`");
}

#[test]
fn with_no_consumer_at_the_relay_sending_gives_up_and_says_so() {
    let place = Place::unix("relay", "consumers = ['a']");
    let input = place.file("input", b"a\nb\n");
    let arguments = ["send", "ticks", "--input", &input, "--deadline", "300ms"];
    place
        .run(&arguments)
        .expect(1)
        .saying("start the relay: `wakewire relay ticks`");
    let relay = place.relay();
    place
        .run(&arguments)
        .expect(1)
        .saying("start `wakewire listen ticks`, with `--as`");
    relay.terminate().expect(0);
}

#[test]
fn a_sender_that_is_killed_leaves_no_hole_and_the_next_one_is_heard() {
    let place = Place::unix("relay", "");
    let text = arbitrary_lines(LINES, 23);
    let input = place.file("input", &text);
    let expected = with_newline(text);
    let relay = place.relay();
    let (consumer, stdout) = place.start_piped(&["listen", "ticks"]);
    let tap = Tap::on(stdout);
    let first = place.start(&["send", "ticks", "--input", &input]);
    let mut output = tap.read(expected.len() / 5);
    first.kill();
    let rest = tap.open();
    let second: Vec<u8> = (0..1000)
        .flat_map(|n| format!("the second says {n}\n").into_bytes())
        .collect();
    let input = place.file("second", &second);
    place.run(&["send", "ticks", "--input", &input]).expect(0);
    consumer.terminate().expect(0);
    output.extend(rest());
    relay.terminate().expect(0);
    let (of_second, of_first): (Vec<&[u8]>, Vec<&[u8]>) = output
        .split_inclusive(|&byte| byte == b'\n')
        .partition(|line| line.starts_with(b"the second says "));
    same(&of_second.concat(), &second);
    // What was not acknowledged died with it; what came is the beginning, without a hole.
    let of_first = of_first.concat();
    assert!(of_first.len() < expected.len(), "it was killed at the end");
    same(&of_first, &expected[..of_first.len()]);
}
