//! Every way in which a file is refused, and with which words.

use std::time::Duration;

use wakewire::{Delivery, ServiceRegistry};

use super::{RELAY, faults, good, lines, relay, relay_with};

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let found = faults(
        "[services.md]\r\ntype = \"relay\"\r\nendpoint = \"tcp://localhost\"\r\nbufer_size = 5\r\n\
         [services.\"größe x\"]\r\ntype = \"composit\"\r\nlazy = { jitter = 2, max_retries = \"3\" }\r\n\
         [services.none]\r\n[services.all]\r\ntype = \"composite\"\r\npattern = \"fanout\"\r\n",
    );
    assert_eq!(
        lines(&found),
        [
            "3:12: services.md.endpoint: `localhost` has no port; hint: write `tcp://host:port`, such as `tcp://127.0.0.1:7000`",
            "4:1: services.md.bufer_size: there is no key `bufer_size`; hint: did you mean `buffer_size`?",
            "6:8: services.\"größe x\".type: `composit` is none of `relay`, `direct`, `composite`; hint: did you mean `composite`?",
            "7:19: services.\"größe x\".lazy.jitter: 2 is out of range; hint: write a number from 0 to 1",
            "7:36: services.\"größe x\".lazy.max_retries: expected a whole number from 0 to 1000, found a string; hint: write it without quotes",
            "8:11: services.none: `type` is missing; hint: add `type = \"relay\"`, `\"direct\"` or `\"composite\"`",
            "9:11: services.all: a composite needs `targets`; hint: add `targets = [\"NAME\", \"NAME\"]`",
        ]
    );
}

#[test]
fn a_byte_order_mark_moves_no_place() {
    let plain = faults("[services.md]\ntype = 1\n");
    let marked = faults("\u{feff}[services.md]\ntype = 1\n");
    assert_eq!(lines(&plain), lines(&marked));
    assert_eq!(plain[0].span.start + 3, marked[0].span.start);
    assert_eq!(lines(&faults("\u{feff}x = 1")), [
        "1:1: x: there is no top-level key `x`; hint: put it below a `[services.NAME]` line",
        "1:1: there is no `[services]`: the file names no service; hint: write `[services.NAME]`, and below it `type = \"relay\"` and `endpoint = \"unix:///path\"`",
    ].map(str::to_owned));
}

#[test]
fn syntax_errors_have_places_and_hide_no_other_fault() {
    let found = faults(
        "[services.md]\ntype = \nbufer = 1\n[services.a]\ntype = \"relay\"\nendpoint = 5\n[x\n",
    );
    let places: Vec<_> = found
        .iter()
        .map(|fault| (fault.line, fault.key.as_str()))
        .collect();
    assert_eq!(places[0].0, 2, "{found:?}");
    assert!(places.contains(&(3, "services.md.bufer")), "{found:?}");
    assert!(places.contains(&(6, "services.a.endpoint")), "{found:?}");
    assert!(places.contains(&(7, "")), "{found:?}");
    assert!(
        found.iter().all(|fault| !fault.message.contains("missing")),
        "{found:?}"
    );
    let twice = faults("[services.a]\ntype = \"relay\"\ntype = \"relay\"\n");
    assert_eq!(twice[0].line, 3);
    assert!(twice[0].message.contains("duplicate"), "{}", twice[0]);
}

#[test]
fn no_number_is_taken_that_makes_no_sense() {
    let huge = "123456789012345678901234567890123456789012345678901234567890";
    for key in [
        "buffer_size",
        "buffer_bytes",
        "max_message_bytes",
        "log_bytes",
        "retry_delay_ms",
    ] {
        for number in [
            "0",
            "-1",
            "9223372036854775807",
            "nan",
            "inf",
            "1e300",
            "1.5",
            huge,
            "true",
        ] {
            let found = relay_with(&format!("{key} = {number}"));
            assert_eq!(found.len(), 1, "{key} = {number}: {found:?}");
            assert!(
                found[0].starts_with(&format!("4:{}: services.md.{key}: ", key.len() + 4)),
                "{found:?}"
            );
            assert!(found[0].contains("a whole number from 1 to "), "{found:?}");
        }
    }
    for key in [
        "lazy.connect_timeout_secs",
        "lazy.max_retry_delay_secs",
        "consumer_deadline_secs",
    ] {
        for number in [
            "0",
            "-0.5",
            "-inf",
            "nan",
            "inf",
            "1e300",
            "1e-300",
            "9223372036854775807",
            huge,
        ] {
            let found = relay_with(&format!("{key} = {number}"));
            assert_eq!(found.len(), 1, "{key} = {number}: {found:?}");
            assert!(
                found[0].contains("write a number from 0.001 to "),
                "{found:?}"
            );
        }
    }
}

#[test]
fn ends_of_ranges_are_taken_and_one_further_is_not() {
    for line in [
        "lazy.jitter = 1.01",
        "lazy.jitter = -0.01",
        "lazy.backoff_multiplier = 0.99",
        "lazy.backoff_multiplier = 101",
        "max_retries = 1001",
        "lazy.max_retries = 1001",
        "idle_timeout_secs = 1e-9",
        "drain_timeout_secs = -1",
        "lazy.wait_timeout_secs = nan",
        "max_message_bytes = 1_073_741_825",
    ] {
        let found = relay_with(line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(
            found[0].contains("is out of range; hint: write "),
            "{found:?}"
        );
    }
    for line in [
        "lazy.jitter = 1",
        "lazy.backoff_multiplier = 100",
        "max_retries = 0",
        "lazy.wait_timeout_secs = 0",
        "lazy.connect_timeout_secs = 0.001",
        "max_message_bytes = 1_073_741_824",
    ] {
        relay(line);
    }
}

#[test]
fn a_key_without_effect_is_refused() {
    let direct = "[services.d]\ntype = \"direct\"\nendpoint = \"tcp://h:1\"\n";
    for line in [
        "consumers = []",
        "without_consumers = \"hold\"",
        "log_bytes = 1",
        "pattern = \"fanout\"",
    ] {
        let found = lines(&faults(&format!("{direct}{line}\n")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("4:1: ") && found[0].contains("has no effect on a direct"),
            "{found:?}"
        );
    }
    let composite = format!(
        "{direct}[services.c]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"d\"]\n"
    );
    good(&format!("{composite}lazy.jitter = 0\nmetadata.a = \"b\"\n"));
    for line in [
        "endpoint = \"tcp://h:1\"",
        "buffer_size = 5",
        "max_retries = 1",
        "delivery = \"at_most_once\"",
    ] {
        let found = lines(&faults(&format!("{composite}{line}\n")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("has no effect on a composite"),
            "{found:?}"
        );
    }
}

#[test]
fn no_secret_is_echoed() {
    for line in [
        "password = \"hunter2\"",
        "password = [\"hunter2\"]",
        "lazy = { secret = \"hunter2\" }",
        "token = \"hunter2",
    ] {
        let error = ServiceRegistry::from_toml(&format!("{RELAY}{line}\n")).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
    for endpoint in [
        "tcp://me:hunter2@h:1",
        "me:hunter2@h:1",
        "unix:me:hunter2@h",
        "ws://me:hunter2@h",
    ] {
        let text = format!("[services.a]\ntype = \"direct\"\nendpoint = \"{endpoint}\"\n");
        let error = ServiceRegistry::from_toml(&text).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[test]
fn contradictions_are_refused() {
    let same = relay("retry_delay_ms = 5\nreconnect_delay_ms = 5");
    assert_eq!(same.lazy.retry_delay, Some(Duration::from_millis(5)));
    assert_eq!(
        relay_with("retry_delay_ms = 5\nreconnect_delay_ms = 6"),
        [
            "5:22: services.md.reconnect_delay_ms: 6 contradicts `retry_delay_ms = 5`, which is the same \
          setting; hint: keep one of the two"
        ]
    );
    for rule in ["drop_newest", "drop_oldest"] {
        let found = relay_with(&format!("when_full = \"{rule}\""));
        assert!(
            found[0].contains("at_least_once does not allow"),
            "{found:?}"
        );
        relay(&format!(
            "when_full = \"{rule}\"\ndelivery = \"at_most_once\""
        ));
    }
    let udp = "[services.u]\ntype = \"direct\"\nendpoint = \"udp://h:1\"\n";
    assert_eq!(
        good(udp).lookup("u").unwrap().delivery,
        Delivery::AtMostOnce
    );
    let found = lines(&faults(&format!("{udp}delivery = \"at_least_once\"\n")));
    assert!(
        found[0].starts_with("4:12: ") && found[0].contains("over udp"),
        "{found:?}"
    );
    let names = relay_with("consumers = [\"a\", \"\", \"a\"]");
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        names[0].contains("4:19: services.md.consumers: the name is empty"),
        "{names:?}"
    );
    assert!(
        names[1].contains("4:23: services.md.consumers: `a` is named twice"),
        "{names:?}"
    );
}

#[test]
fn a_file_without_services_says_what_to_write() {
    for (text, message) in [
        ("", "there is no `[services]`"),
        ("# nothing\n", "there is no `[services]`"),
        ("[services]\n", "`services` is empty"),
        (
            "services = 5\n",
            "expected a table of services, found a whole number",
        ),
        (
            "[[services]]\n",
            "expected a table of services, found a list",
        ),
        (
            "[services]\nmd = \"unix:///x\"\n",
            "expected a table, found a string",
        ),
        (
            "[service.md]\ntype = \"relay\"\n",
            "there is no top-level key `service`; hint: did you mean `services`?",
        ),
        ("[market]\ntype = \"relay\"\n", "write `[services.market]`"),
        (
            "[services.\"\"]\ntype = \"relay\"\nendpoint = \"tcp://h:1\"\n",
            "the name is empty",
        ),
    ] {
        let found = lines(&faults(text));
        assert!(
            found.iter().any(|line| line.contains(message)),
            "{text:?}: {found:?}"
        );
    }
}
