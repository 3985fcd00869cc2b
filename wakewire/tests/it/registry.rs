//! `services.toml`: what is read, and every way in which it is refused.

use std::time::Duration;

use proptest::prelude::*;
use wakewire::registry::{Diagnostic, Faults, Severity};
use wakewire::{
    CompositePattern, Delivery, Domain, LazyConfig, PrecisionContext, Registry, ServiceConfig,
    ServiceRegistry, SinkError, SinkType, WhenFull, WithoutConsumers,
};

fn good(text: &str) -> ServiceRegistry {
    ServiceRegistry::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> Vec<Diagnostic> {
    let error = ServiceRegistry::from_toml(text).expect_err("should be refused");
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error:?}");
    let cause = error.failure().source().expect("a cause");
    cause
        .downcast_ref::<Faults>()
        .expect("faults")
        .diagnostics()
        .to_vec()
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// A relay with one more line, and what is wrong with that line.
fn relay_with(line: &str) -> Vec<String> {
    lines(&faults(&format!("{RELAY}{line}\n")))
}

fn relay(line: &str) -> ServiceConfig {
    good(&format!("{RELAY}{line}\n"))
        .lookup("md")
        .unwrap()
        .clone()
}

const RELAY: &str = "[services.md]\ntype = \"relay\"\nendpoint = \"tcp://localhost:7000\"\n";

#[test]
fn defaults_are_those_of_the_reference() {
    let config = relay("");
    assert_eq!(
        config,
        ServiceConfig::relay("tcp://localhost:7000".parse().unwrap())
    );
    assert_eq!(config.delivery, Delivery::AtLeastOnce);
    assert_eq!((config.buffer_size, config.buffer_bytes), (10_000, 8 << 20));
    assert_eq!(
        (config.max_message_bytes, config.log_bytes),
        (1 << 20, 64 << 20)
    );
    assert_eq!(config.idle_timeout, Some(Duration::from_secs(50)));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.unnamed_deadline(), Duration::from_secs(30));
    assert_eq!(config.named_deadline(), None);
    assert_eq!(
        config.lazy_config(LazyConfig::default()),
        LazyConfig::default()
    );
}

#[test]
fn every_key_arrives_where_it_is_meant() {
    let config = relay(
        "delivery = \"at_most_once\"\nbuffer_size = 1_000\nbuffer_bytes = 0x200000\n\
         when_full = \"drop_oldest\"\nmax_message_bytes = 4096\nidle_timeout_secs = 0\n\
         drain_timeout_secs = 0.5\ndomain = \"signals\"\nprecision_context = \"dex_token\"\n\
         consumers = [\"a b\", \"ü\"]\nwithout_consumers = \"accept\"\n\
         consumer_deadline_secs = 7\nlog_bytes = 99\nmetadata = { owner = \"me\" }",
    );
    assert_eq!(config.delivery, Delivery::AtMostOnce);
    assert_eq!((config.buffer_size, config.buffer_bytes), (1000, 0x20_0000));
    assert_eq!(config.when_full, WhenFull::DropOldest);
    assert_eq!(config.max_message_bytes, 4096);
    assert_eq!(config.idle_timeout, None);
    assert_eq!(config.drain_timeout, Duration::from_millis(500));
    assert_eq!(config.domain, Some(Domain::Signals));
    assert_eq!(config.precision_context, PrecisionContext::DexToken);
    assert_eq!(config.consumers, ["a b", "ü"]);
    assert_eq!(config.without_consumers, WithoutConsumers::Accept);
    assert_eq!(config.named_deadline(), Some(Duration::from_secs(7)));
    assert_eq!(config.unnamed_deadline(), Duration::from_secs(7));
    assert_eq!(config.log_bytes, 99);
    assert_eq!(config.metadata["owner"], "me");
}

#[test]
fn three_ways_to_write_lazy_are_one() {
    let dotted = relay("lazy.max_retries = 7\nlazy.jitter = 0");
    let inline = relay("lazy = { max_retries = 7, jitter = 0.0 }");
    let table = relay("[services.md.lazy]\nmax_retries = 7\njitter = 0");
    assert_eq!(dotted, inline);
    assert_eq!(inline, table);
    let lazy = dotted.lazy_config(LazyConfig::default());
    assert_eq!((lazy.max_retries, lazy.jitter), (7, 0.0));
}

#[test]
fn lazy_is_over_the_short_keys_over_the_default_of_the_factory() {
    let config = relay(
        "max_retries = 7\nreconnect_delay_ms = 5\nconnect_timeout_secs = 0.25\nlazy.max_retries = 8",
    );
    let factory = LazyConfig {
        jitter: 0.5,
        max_retries: 1,
        ..LazyConfig::default()
    };
    let lazy = config.lazy_config(factory);
    assert_eq!((lazy.max_retries, lazy.jitter), (8, 0.5));
    assert_eq!(lazy.retry_delay, Duration::from_millis(5));
    assert_eq!(lazy.connect_timeout, Duration::from_millis(250));
}

#[test]
fn a_composites_lazy_is_for_targets_that_have_none() {
    let registry = good(
        "[services.all]\ntype = \"composite\"\npattern = \"failover\"\ntargets = [\"inner\", \"b\"]\n\
         lazy = { max_retries = 9, jitter = 0 }\n\
         [services.inner]\ntype = \"composite\"\npattern = \"round_robin\"\ntargets = [\"a\"]\n\
         [services.a]\ntype = \"direct\"\nendpoint = \"tcp://a:1\"\n\
         [services.b]\ntype = \"direct\"\nendpoint = \"tcp://b:1\"\nlazy.max_retries = 2\n",
    );
    let lazy = |name| {
        let lazy = registry
            .lookup(name)
            .unwrap()
            .lazy_config(LazyConfig::default());
        (lazy.max_retries, lazy.jitter)
    };
    assert_eq!(lazy("a"), (9, 0.0));
    assert_eq!(lazy("b"), (2, 0.2));
    assert_eq!(registry.names(), ["all", "inner", "a", "b"]);
    let SinkType::Composite { pattern, targets } = &registry.lookup("all").unwrap().kind else {
        panic!("not a composite")
    };
    assert_eq!((*pattern, targets.len()), (CompositePattern::Failover, 2));
}

#[test]
fn two_composites_that_disagree_about_a_target_are_refused() {
    let found = faults(
        "[services.p]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"a\"]\nlazy.jitter = 0\n\
         [services.q]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"a\"]\nlazy.jitter = 1\n\
         [services.a]\ntype = \"direct\"\nendpoint = \"tcp://a:1\"\n",
    );
    assert_eq!(
        lines(&found),
        [
            "11:11: services.a.lazy: it is a target of `p`, `q`, whose `lazy` differ; \
          hint: give it a `lazy` of its own"
        ]
    );
}

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
fn what_is_not_built_yet_is_said_and_never_ignored() {
    for key in [
        "tls",
        "ca",
        "cert",
        "key",
        "username",
        "password_env",
        "password_file",
        "spool",
        "fsync",
        "cursor",
    ] {
        let found = relay_with(&format!("{key} = \"hunter2\""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("not built into this version yet"),
            "{found:?}"
        );
        assert!(!found[0].contains("hunter2"), "{found:?}");
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
fn every_scheme_is_checked_and_a_bare_path_is_for_relays() {
    for endpoint in [
        "tcp://h:1",
        "tls://h:1",
        "udp://h:1",
        "ws://h",
        "wss://h/x",
        "unix:///tmp/x.sock",
    ] {
        good(&format!(
            "[services.a]\ntype = \"direct\"\nendpoint = \"{endpoint}\"\n"
        ));
    }
    let path = "endpoint = \"/tmp/x.sock\"\n";
    good(&format!("[services.a]\ntype = \"relay\"\n{path}"));
    let found = lines(&faults(&format!("[services.a]\ntype = \"direct\"\n{path}")));
    assert!(
        found[0].contains("hint: write `unix:///tmp/x.sock`"),
        "{found:?}"
    );
    for endpoint in ["tcp://h", "tcp://h:0", "ws://", "http://h", "unix://x", ""] {
        let found = faults(&format!(
            "[services.a]\ntype = \"relay\"\nendpoint = \"{endpoint}\"\n"
        ));
        assert_eq!(
            (found.len(), found[0].line, found[0].column),
            (1, 3, 12),
            "{endpoint}: {found:?}"
        );
    }
    let long = format!(
        "[services.a]\ntype = \"relay\"\nendpoint = \"tcp://{}:1\"\n",
        "h".repeat(1 << 20)
    );
    assert!(lines(&faults(&long))[0].len() < 300);
}

#[cfg(unix)]
#[test]
fn a_path_that_can_be_no_socket_is_refused_without_opening_anything() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let load = |path: &str| {
        ServiceRegistry::from_toml(&format!(
            "[services.a]\ntype = \"relay\"\nendpoint = \"{path}\"\n"
        ))
    };
    std::fs::write(at("file"), "").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    assert!(
        load(&at("file"))
            .unwrap_err()
            .to_string()
            .contains("is not a socket")
    );
    assert!(
        load(&format!("{}/.", folder.path().display()))
            .unwrap_err()
            .to_string()
            .contains("directory")
    );
    assert!(load(&at("socket")).unwrap().warnings().is_empty());
    assert!(load(&at("new")).unwrap().warnings().is_empty());
    let warned = load(&at("missing/new")).unwrap();
    assert_eq!(warned.warnings()[0].severity, Severity::Warning);
    assert!(
        warned.warnings()[0]
            .to_string()
            .contains("its directory does not exist")
    );
    assert!(socket.accept().is_err(), "somebody connected");
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

#[test]
fn names_may_be_anything_that_can_be_read() {
    let registry = good(
        "[services.\"md.eu west\"]\ntype = \"relay\"\nendpoint = \"tcp://h:1\"\n\
         [services.'kurs ü']\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"md.eu west\"]\n",
    );
    assert!(registry.lookup("md.eu west").is_ok());
    assert!(registry.lookup("kurs ü").is_ok());
    let nested = lines(&faults("[services.md.eu]\ntype = \"relay\"\n"));
    assert!(
        nested
            .iter()
            .any(|line| line.contains("services.md.eu: there is no key `eu`")),
        "{nested:?}"
    );
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_nearest() {
    let mut text = String::new();
    for number in 0..30 {
        text += &format!(
            "[services.feed{number:02}]\ntype = \"relay\"\nendpoint = \"tcp://h:{}\"\n",
            number + 1
        );
    }
    let registry = good(&text);
    let error = registry.lookup("fed07").unwrap_err();
    assert!(matches!(error, SinkError::UnknownService(_)));
    assert!(error.is_permanent());
    let said = error.to_string();
    assert!(
        said.contains("there is no service `fed07`; there are `feed07`, "),
        "{said}"
    );
    assert!(
        said.contains("and 20 more") && said.ends_with("hint: did you mean `feed07`?"),
        "{said}"
    );
    let registry: Box<dyn Registry> = Box::new(registry);
    assert_eq!(registry.lookup("feed07").await.unwrap().buffer_size, 10_000);
    assert!(matches!(
        registry.lookup("x").await,
        Err(SinkError::UnknownService(_))
    ));
}

fn composites(edges: &[(&str, &[&str])]) -> String {
    let mut text = String::from("[services.leaf]\ntype = \"direct\"\nendpoint = \"tcp://h:1\"\n");
    for (name, targets) in edges {
        text += &format!(
            "[services.\"{name}\"]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = {targets:?}\n"
        );
    }
    text
}

#[test]
fn a_cycle_is_drawn_once_wherever_one_comes_from() {
    for (edges, cycles) in [
        (&[("a", ["a"].as_slice())][..], &["a → a"][..]),
        (
            &[("p", &["b"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])],
            &["a → b → c → a"],
        ),
        (
            &[("a", &["b", "c"]), ("b", &["a"]), ("c", &["a"])],
            &["a → b → a", "a → c → a"],
        ),
        (
            &[
                ("p", &["x", "y"]),
                ("x", &["y", "leaf"]),
                ("y", &["x"]),
                ("q", &["p"]),
            ],
            &["x → y → x"],
        ),
    ] {
        let found = lines(&faults(&composites(edges)));
        let drawn: Vec<_> = found
            .iter()
            .map(|line| {
                line.split("go round: ")
                    .nth(1)
                    .unwrap()
                    .split(';')
                    .next()
                    .unwrap()
            })
            .collect();
        assert_eq!(drawn, cycles, "{found:?}");
    }
}

#[test]
fn targets_must_exist_once_and_be_some() {
    let found = lines(&faults(&composites(&[
        ("a", &["laef", "leaf", "leaf"]),
        ("b", &[]),
    ])));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found[0],
        "7:12: services.a.targets: there is no service `laef`; there are `leaf`, `b`; hint: did you mean `leaf`?"
    );
    assert!(
        found[1].contains("7:28: services.a.targets: `leaf` is named twice"),
        "{found:?}"
    );
    assert!(
        found[2].contains("11:11: services.b.targets: a composite without targets"),
        "{found:?}"
    );
    let twice = composites(&[("a", &["leaf", "leaf"])]).replace("fanout", "round_robin");
    assert_eq!(good(&twice).warnings().len(), 1);
}

#[test]
fn nesting_has_a_limit_and_never_overflows_the_stack() {
    let chain = |length: usize| {
        let names: Vec<_> = (0..length).map(|at| format!("c{at:05}")).collect();
        let mut text = composites(&[]);
        for (at, name) in names.iter().enumerate() {
            let target = names.get(at + 1).map_or("leaf", String::as_str);
            text += &format!(
                "[services.{name}]\ntype = \"composite\"\npattern = \"failover\"\ntargets = [\"{target}\"]\n"
            );
        }
        text
    };
    good(&chain(64));
    for length in [65, 500, 20_000] {
        let found = lines(&faults(&chain(length)));
        assert_eq!(found.len(), 1, "{length}: {found:?}");
        assert!(
            found[0].contains("65 deep; at most 64 are taken"),
            "{found:?}"
        );
    }
    let round = chain(20_000).replace("\"leaf\"", "\"c00000\"");
    let found = lines(&faults(&round));
    assert_eq!(found.len(), 1);
    assert!(found[0].len() < 2000, "{}", found[0].len());
    let inline = format!(
        "[services.a]\nlazy = {}1{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(!faults(&inline).is_empty());
}

#[test]
fn diamonds_of_diamonds_are_refused_before_they_multiply() {
    let mut text = composites(&[]);
    for level in 0..60 {
        let below = |side| {
            if level == 0 {
                "leaf".to_owned()
            } else {
                format!("{side}{:02}", level - 1)
            }
        };
        for side in ["l", "r"] {
            let targets = if level == 0 {
                "\"leaf\"".to_owned()
            } else {
                format!("{:?}, {:?}", below("l"), below("r"))
            };
            text += &format!(
                "[services.{side}{level:02}]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [{targets}]\n"
            );
        }
    }
    let found = lines(&faults(&text));
    assert!(
        found[0].contains("sent on more than 4096 times"),
        "{found:?}"
    );
}

#[test]
fn one_endpoint_under_two_names_is_a_warning() {
    let registry = good(&format!(
        "{RELAY}[services.other]\ntype = \"direct\"\nendpoint = \"tcp://localhost:7000\"\n"
    ));
    assert_eq!(
        lines(registry.warnings()),
        [
            "6:12: warning: services.other.endpoint: `md` has the same endpoint; \
          hint: give each service its own, or use one name for both"
        ]
    );
}

#[test]
fn a_file_is_read_with_its_name_in_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("services.toml"), "[services.md]\ntype = 3\n").unwrap();
    let error = ServiceRegistry::from_file(at("services.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("services.toml:2:8: services.md.type: expected `relay`"),
        "{error}"
    );

    let missing = ServiceRegistry::from_file(at("none.toml")).unwrap_err();
    assert!(matches!(missing, SinkError::InvalidConfig(_)));
    assert!(
        missing.to_string().contains("none.toml")
            && missing.to_string().contains("hint: create it")
    );
    assert!(ServiceRegistry::from_file(folder.path()).is_err());

    std::fs::write(at("latin.toml"), b"[services.md]\ntype = \"\xfc\"\n").unwrap();
    let latin = ServiceRegistry::from_file(at("latin.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        latin.contains("latin.toml:2:9: this is not UTF-8"),
        "{latin}"
    );

    let large = std::fs::File::create(at("large.toml")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    let large = ServiceRegistry::from_file(at("large.toml"))
        .unwrap_err()
        .to_string();
    assert!(large.contains("larger than 64 MiB"), "{large}");
}

#[test]
fn a_relay_made_in_code_is_the_same_as_one_that_was_read() {
    let endpoint = "tcp://localhost:7000".parse().unwrap();
    let made = ServiceConfig {
        buffer_size: 5,
        ..ServiceConfig::relay(endpoint)
    };
    assert_eq!(made, relay("buffer_size = 5"));
    assert_eq!(
        made.settings_that_differ(),
        [("buffer_size", "5".to_owned())]
    );
    let all = ServiceConfig::composite(CompositePattern::Fanout, ["a", "b"]);
    assert_eq!(all.kind.name(), "composite");
    assert_eq!(all.endpoint, None);
}

const SAMPLE: &str = "\u{feff}[services.md]\r\ntype = \"relay\"\r\nendpoint = \"/run/x.sock\"\r\nbuffer_size = 5\r\n\
    lazy = { jitter = 0.5, max_retries = 3 }\n[services.\"ü x\"]\ntype = \"composite\"\npattern = \"fanout\"\n\
    targets = [\"md\", \"b\"]\nmetadata = { password = \"p\" }\n[services.b.lazy]\njitter = nan\n";

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        let _ = ServiceRegistry::from_toml(&text);
    }

    #[test]
    fn no_words_of_toml_make_it_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40)
    ) {
        check_faults(&words.concat());
    }

    #[test]
    fn no_slip_of_the_hand_makes_it_panic(
        slips in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<char>()), 1..8)
    ) {
        let mut text: Vec<char> = SAMPLE.chars().collect();
        for (at, what, with) in slips {
            let at = at.index(text.len().max(1));
            if text.is_empty() {
                text.push(with);
            }
            match what {
                0 => { text.remove(at); }
                1 => text.insert(at, with),
                2 => text[at] = with,
                _ => text.truncate(at.max(1)),
            }
        }
        check_faults(&text.into_iter().collect::<String>());
    }
}

/// Whatever was read: places lie in the text, and what is shown is as long as what was written.
fn check_faults(text: &str) {
    let Err(error) = ServiceRegistry::from_toml(text) else {
        return;
    };
    let faults = error
        .failure()
        .source()
        .unwrap()
        .downcast_ref::<Faults>()
        .unwrap();
    assert_eq!(faults.text().len(), text.len());
    assert!(!faults.diagnostics().is_empty());
    for fault in faults.diagnostics() {
        assert!(
            fault.span.start <= text.len() && fault.span.start <= fault.span.end,
            "{fault:?}"
        );
        assert!(fault.line <= text.split('\n').count(), "{fault:?}");
        assert!(!fault.to_string().contains('\n'), "{fault:?}");
    }
}

const WORDS: &[&str] = &[
    "[services]",
    "[services.",
    "[[services]]",
    "services",
    "a",
    "b",
    "ü",
    "]",
    "\n",
    "\r\n",
    " = ",
    ".",
    "type",
    "\"relay\"",
    "\"direct\"",
    "\"composite\"",
    "endpoint",
    "\"tcp://h:1\"",
    "\"unix:///x\"",
    "targets",
    "[\"a\", \"b\"]",
    "pattern",
    "\"fanout\"",
    "lazy",
    "{",
    "}",
    ",",
    "jitter",
    "max_retries",
    "1e300",
    "nan",
    "-1",
    "9223372036854775807",
    "'",
    "\"",
    "\"\"\"",
    "#",
    "metadata",
    "password",
    "?",
    "@",
    "consumers",
    "[",
    "buffer_size",
    "=",
    "1979-05-27",
    "true",
    "\u{0}",
    "\u{feff}",
];
