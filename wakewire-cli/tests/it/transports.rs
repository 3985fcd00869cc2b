//! Every transport of streams, from services.toml alone: `relay`, `send`, `listen` and `ping`.

use crate::relay::killed_ten_times;
use crate::support::{Place, arbitrary_lines, same, with_newline};

const LINES: usize = 20_000;

/// Over a WebSocket the other side may be a foreign one, so that this is not what is meant without a word.
const AT_LEAST_ONCE: &str = "delivery = 'at_least_once'";

/// A service at a free port over this transport; with what it needs of certificates, for localhost.
fn place(kind: &str, transport: &str) -> Place {
    let (scheme, path, further) = match transport {
        "tcp, encrypted" => ("tcp", "", "tls = 'require'"),
        "tcp, encrypted if both can" => ("tcp", "", "tls = 'prefer'"),
        "ws" => ("ws", "/feed", AT_LEAST_ONCE),
        "wss" => ("wss", "/feed", AT_LEAST_ONCE),
        _ => ("tls", "", ""),
    };
    Place::secured(kind, scheme, path, further)
}

/// What `ping` says of them.
const ALL: [(&str, &str); 5] = [
    ("tcp, encrypted", "TLS 1.3, since `tls = \"require\"`"),
    ("tcp, encrypted if both can", "TLS 1.3: both sides can"),
    ("tls", "TLS 1.3, as the endpoint says"),
    ("ws", "WebSocket"),
    ("wss", "TLS 1.3, as the endpoint says"),
];

#[test]
fn lines_go_through_a_relay_and_ping_says_how() {
    let text = arbitrary_lines(LINES, 40);
    let expected = with_newline(text.clone());
    for (transport, chosen) in ALL {
        let place = place("relay", transport);
        let input = place.file("input", &text);
        let sender = place.start(&["send", "ticks", "--input", &input]);
        let consumer = place.start(&["listen", "ticks", "--count", &LINES.to_string()]);
        let relay = place.relay();
        sender
            .end()
            .expect(0)
            .saying("accepted 20000 = delivered 20000 + in doubt 0");
        same(&consumer.end().expect(0).stdout, &expected);
        let said = place.run(&["ping", "ticks", "--json"]).expect(0).json();
        let protocol = said["protocol"].as_str().unwrap();
        assert!(protocol.contains(chosen), "{transport}: {said}");
        relay.terminate().expect(0);
    }
}

#[test]
fn lines_go_to_a_listener() {
    let text = arbitrary_lines(LINES, 41);
    let expected = with_newline(text.clone());
    for (transport, _) in ALL {
        let place = place("direct", transport);
        let input = place.file("input", &text);
        let listener = place.start(&["listen", "ticks", "--count", &LINES.to_string()]);
        let sent = place.run(&["send", "ticks", "--input", &input]);
        sent.expect(0)
            .saying("accepted 20000 = delivered 20000 + in doubt 0");
        same(&listener.end().expect(0).stdout, &expected);
    }
}

#[test]
fn the_relay_is_killed_ten_times_over_tls() {
    killed_ten_times(&place("relay", "tls"));
}

#[test]
fn the_relay_is_killed_ten_times_over_encrypted_websockets() {
    killed_ten_times(&place("relay", "wss"));
}
