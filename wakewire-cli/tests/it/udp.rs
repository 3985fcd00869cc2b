//! `udp://` in `services.toml` is all that `send`, `relay`, `listen` and `ping` need.

use serde_json::json;

use crate::support::Place;

/// A few lines, which loopback does not lose.
const LINES: &[u8] = b"first\nsecond\n\nfourth\n";

/// What was written is in doubt, since nobody confirms it.
fn sends(place: &Place) {
    let input = place.file("input", LINES);
    let sent = place.run(&["send", "ticks", "--input", &input, "--json"]);
    let ledger = sent.expect(0).json();
    assert_eq!(ledger["accepted"], json!(4), "{ledger}");
    assert_eq!(ledger["delivered"], json!(0), "{ledger}");
    assert_eq!(ledger["in_doubt"], json!(4), "{ledger}");
}

#[test]
fn lines_go_from_a_sender_to_a_listener() {
    let place = Place::udp("direct", "");
    let listener = place.start(&["-v", "listen", "ticks", "--count", "4"]);
    listener.says("listening");
    sends(&place);
    assert_eq!(listener.end().expect(0).stdout, LINES);
}

#[test]
fn lines_go_through_a_relay() {
    let place = Place::udp("relay", "");
    let relay = place.relay();
    let consumer = place.start(&["-vv", "listen", "ticks", "--count", "4"]);
    consumer.says_that("attached", |said| {
        said.contains("attached") && !said.contains("not attached")
    });
    place.run(&["ping", "ticks"]).expect(0);
    sends(&place);
    assert_eq!(consumer.end().expect(0).stdout, LINES);
    relay.terminate().expect(0);
}

#[test]
fn what_udp_cannot_promise_is_refused_by_every_command() {
    let place = Place::udp("relay", "delivery = 'at_least_once'");
    for command in ["send", "listen", "relay"] {
        let refused = place.run(&[command, "ticks"]).expect(2);
        let refused = refused.saying("over udp");
        refused.saying("services.toml:5:");
    }
}

#[test]
fn a_line_that_fits_into_no_datagram_is_refused_with_the_limit() {
    let place = Place::udp("direct", "");
    let input = place.file("input", &[b'x'; 1201]);
    let ended = place.run(&["send", "ticks", "--input", &input]);
    ended.expect(1).saying("longer than 1200 bytes");
}
