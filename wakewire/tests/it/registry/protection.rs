//! Who may talk to a service: what each key means, and what contradicts itself.

use wakewire::registry::Severity;
use wakewire::{
    Delivery, Endpoint, ListenLimits, Password, Security, ServiceConfig, ServiceRegistry, TlsMode,
};

use super::{faults, good, lines, relay, relay_with};

/// A service at this place with these further lines.
fn at(endpoint: &str, further: &str) -> String {
    format!("[services.a]\ntype = 'relay'\nendpoint = '{endpoint}'\n{further}\n")
}

fn refused(endpoint: &str, further: &str) -> Vec<String> {
    let mut faults = faults(&at(endpoint, further));
    // That a file does not exist is a warning beside.
    faults.retain(|fault| fault.severity == Severity::Error);
    lines(&faults)
}

fn taken(endpoint: &str, further: &str) -> ServiceConfig {
    let config = good(&at(endpoint, further)).lookup("a").unwrap().clone();
    config
        .validate("a")
        .unwrap_or_else(|error| panic!("{error}"));
    config
}

const UNIX: &str = "unix:///tmp/x.sock";
const PASSWORD: &str = "username = 'feed'\npassword_env = 'FEED'";
const PAIR: &str = "cert = '/c.pem'\nkey = '/k.pem'";

#[test]
fn every_key_arrives_where_it_is_meant() {
    let config = taken(
        "tcp://h:1",
        "tls = 'require'\nca = '/ca.pem'\ncert = '/c.pem'\nkey = '/k.pem'\nclient_ca = '/them.pem'\n\
         username = 'feed'\npassword_file = '/run/secrets/feed'\nmax_connections = 1\n\
         max_connections_per_address = 2\nmax_handshakes = 3\nmax_handshakes_per_address = 4\n\
         handshakes_per_second_per_address = 5\nmax_inbound_bytes = 6_000_000",
    );
    let security = Security {
        tls: TlsMode::Require,
        ca: Some("/ca.pem".into()),
        cert: Some("/c.pem".into()),
        key: Some("/k.pem".into()),
        client_ca: Some("/them.pem".into()),
        username: Some("feed".to_owned()),
        password: Some(Password::File("/run/secrets/feed".into())),
        allow_uids: Vec::new(),
    };
    assert_eq!(config.security, security);
    let limits = ListenLimits {
        connections: 1,
        connections_per_address: 2,
        handshakes: 3,
        handshakes_per_address: 4,
        handshakes_per_second_per_address: 5,
        inbound_bytes: 6_000_000,
    };
    assert_eq!(config.limits, limits);

    let config = taken(UNIX, &format!("allow_uids = [0, 1000]\n{PASSWORD}"));
    assert_eq!(config.security.allow_uids, [0, 1000]);
    let variable = Password::Env("FEED".to_owned());
    assert_eq!(config.security.password, Some(variable));
    assert_eq!(taken("tcp://h:1", "").security, Security::default());
    assert_eq!(taken("tcp://h:1", "tls = 'off'").security.tls, TlsMode::Off);
}

#[test]
fn a_password_goes_over_tls_and_unix_sockets_only() {
    for (endpoint, further) in [
        ("tls://h:1", ""),
        ("wss://h", ""),
        (UNIX, ""),
        ("tcp://h:1", "tls = 'require'\n"),
    ] {
        taken(endpoint, &format!("{further}{PASSWORD}"));
    }
    for (endpoint, further) in [
        ("tcp://h:1", ""),
        ("tcp://h:1", "tls = 'prefer'\n"),
        ("tcp://h:1", "tls = 'off'\n"),
        ("ws://h", ""),
        ("udp://h:1", ""),
    ] {
        let found = refused(endpoint, &format!("{further}{PASSWORD}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(
                "services.a.username: passwords go over TLS or Unix sockets only; hint: write `tls://`"
            ),
            "{found:?}"
        );
    }
}

#[test]
fn a_user_has_one_password_and_a_password_a_user() {
    for (further, said) in [
        (
            "username = 'feed'",
            "4:12: services.a.username: a user without a password; hint: add `password_env",
        ),
        (
            "password_env = 'P'",
            "4:16: services.a.password_env: a password without a user; hint: add `username",
        ),
        (
            "password_file = '/p'",
            "4:17: services.a.password_file: a password without a user",
        ),
        (
            "username = 'feed'\npassword_env = 'P'\npassword_file = '/p'",
            "6:17: services.a.password_file: it contradicts `password_env`: there is one password; hint: keep one",
        ),
    ] {
        let found = refused(UNIX, further);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(said), "{found:?}");
    }
    for name in ["password", "PASSWORD", "passwd", "secret"] {
        let found = refused(UNIX, &format!("{name} = 's3cr3t-canary'"));
        assert_eq!(
            found,
            [format!(
                "4:1: services.a.{name}: there is no key `{name}`: this file holds no password; hint: write \
                 `password_env = \"VARIABLE\"` or `password_file = \"/path/to/file\"`"
            )]
        );
    }
}

#[test]
fn what_would_protect_nothing_is_refused() {
    for (endpoint, further, said) in [
        ("tls://h:1", "tls = 'off'", "`off` contradicts `tls://`"),
        ("wss://h", "tls = 'off'", "`off` contradicts `wss://`"),
        (
            "tls://h:1",
            "tls = 'require'",
            "`tls` has no effect on `tls://`",
        ),
        (
            "wss://h",
            "tls = 'prefer'",
            "`tls` has no effect on `wss://`",
        ),
        (
            "ws://h",
            "tls = 'require'",
            "never encrypted; hint: remove it, and write `wss://`",
        ),
        (
            UNIX,
            "tls = 'require'",
            "`tls` has no effect on a Unix socket",
        ),
        (
            "udp://h:1",
            "tls = 'off'",
            "`tls` has no effect on `udp://`",
        ),
        (UNIX, "ca = '/ca'", "`ca` has no effect on a Unix socket"),
        ("udp://h:1", "ca = '/ca'", "`ca` has no effect on `udp://`"),
        (
            "ws://h",
            "client_ca = '/ca'",
            "`client_ca` has no effect on `ws://`",
        ),
        (
            "tcp://h:1",
            "tls = 'off'\nca = '/ca'",
            "`ca` has no effect on `tcp://` with `tls = \"off\"`",
        ),
        (
            "tls://h:1",
            "cert = '/c'",
            "`cert` is of no use without `key`",
        ),
        (
            "tcp://h:1",
            "key = '/k'",
            "`key` is of no use without `cert`",
        ),
        ("tls://h:1", "client_ca = '/ca'", "there is no `cert`"),
        (
            "tcp://h:1",
            "client_ca = '/ca'\ncert = '/c'\nkey = '/k'",
            "would get in without a certificate",
        ),
        (
            "tcp://h:1",
            "allow_uids = [1]",
            "`allow_uids` has no effect on `tcp://`",
        ),
        (
            "tls://h:1",
            "allow_uids = [1]",
            "`allow_uids` has no effect on `tls://`",
        ),
    ] {
        let found = refused(endpoint, further);
        assert_eq!(found.len(), 1, "{endpoint} {further}: {found:?}");
        assert!(
            found[0].contains(said) && found[0].contains("hint: "),
            "{found:?}"
        );
    }
}

#[test]
fn certificates_belong_together_and_to_tls() {
    let found = refused(UNIX, PAIR);
    assert_eq!(found.len(), 2, "{found:?}");
    for (endpoint, further) in [
        ("tls://h:1", "client_ca = '/ca'\n"),
        ("wss://h", "client_ca = '/ca'\n"),
        ("tcp://h:1", "tls = 'require'\nclient_ca = '/ca'\n"),
        ("tcp://h:1", "ca = '/ca'\n"),
    ] {
        taken(endpoint, &format!("{further}{PAIR}"));
    }
    let composite = "[services.c]\ntype = 'composite'\npattern = 'fanout'\ntargets = ['a']\n";
    for line in ["tls = 'require'", "username = 'x'", "max_connections = 5"] {
        let found = lines(&faults(&format!("{}{composite}{line}\n", at(UNIX, ""))));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("has no effect on a composite"),
            "{found:?}"
        );
    }
}

#[test]
fn values_are_what_they_are_called() {
    for (line, said) in [
        (
            "ca = 'ca.pem'",
            "the path is not absolute; hint: write the whole path",
        ),
        ("ca = ''", "the path is not absolute"),
        ("ca = \"/a\\u0000b\"", "this is no path"),
        ("key = 5", "expected an absolute path, found a whole number"),
        (
            "tls = true",
            "expected `off`, `prefer`, `require`, found `true` or `false`",
        ),
        ("tls = 'required'", "hint: did you mean `require`?"),
        ("username = ''", "the name is empty"),
        ("allow_uids = 5", "hint: write it in brackets, `[1000]`"),
        (
            "allow_uids = ['root']",
            "expected a whole number from 0 to 4294967294, found a string",
        ),
        ("allow_uids = [-1]", "-1 is out of range"),
        ("allow_uids = [4294967295]", "4294967295 is out of range"),
        (
            "max_connections = 0",
            "0 is out of range; hint: write a whole number from 1 to ",
        ),
        ("max_handshakes = 1048577", "1048577 is out of range"),
        ("max_inbound_bytes = 1048575", "1048575 is out of range"),
    ] {
        let found = relay_with(line);
        assert!(
            found.iter().any(|fault| fault.contains(said)),
            "{line}: {found:?}"
        );
    }
    for word in ["s3cr3t-canary", "", "1A", "A=B", "ü"] {
        let found = relay_with(&format!("password_env = '{word}'"));
        let said = "services.md.password_env: this is not the name of an environment variable; hint: write letters";
        assert!(found[0].contains(said), "{found:?}");
        assert!(!found[0].contains("s3cr3t"), "{found:?}");
    }
}

#[test]
fn udp_takes_one_datagram_and_promises_little() {
    let config = taken("udp://h:1", "");
    assert_eq!(
        (config.delivery, config.max_message_bytes),
        (Delivery::AtMostOnce, 1200)
    );
    assert_eq!(config.settings_that_differ(), []);
    taken("udp://h:1", "max_message_bytes = 64_000");
    let found = refused("udp://h:1", "max_message_bytes = 64_001");
    assert_eq!(
        found,
        [
            "4:21: services.a.max_message_bytes: over udp a message is one datagram, of at most 64000 bytes; \
          hint: write 64000 or less, or an endpoint with `tcp://`"
        ]
    );
    let found = refused("udp://h:1", "delivery = 'at_least_once'");
    assert!(
        found[0].starts_with("4:12: ") && found[0].contains("over udp"),
        "{found:?}"
    );
}

#[test]
fn what_code_says_is_held_to_the_same_rules() {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    let given = Security {
        username: Some("feed".to_owned()),
        password: Some("s3cr3t-canary".to_owned().into()),
        ..Security::default()
    };
    let at = |text: &str, security: &Security| ServiceConfig {
        security: security.clone(),
        ..ServiceConfig::direct(endpoint(text))
    };
    // It has no text form, and is neither lost for the rules nor written out.
    at(UNIX, &given).validate("a").unwrap();
    at("tls://h:1", &given).validate("a").unwrap();
    let settings = at(UNIX, &given).settings();
    assert!(settings.contains(&("username", Some("\"feed\"".to_owned()))));
    assert!(
        settings.contains(&("password_env", None)) && settings.contains(&("password_file", None))
    );

    let nobody = Security {
        username: None,
        ..given.clone()
    };
    let uids = Security {
        allow_uids: vec![u32::MAX],
        ..Security::default()
    };
    let relative = Security {
        ca: Some("ca.pem".into()),
        ..Security::default()
    };
    let off = Security {
        tls: TlsMode::Off,
        ..Security::default()
    };
    for (config, said) in [
        (
            at("tcp://h:1", &given),
            "passwords go over TLS or Unix sockets only",
        ),
        (at(UNIX, &nobody), "a password without a user"),
        (at("tcp://h:1", &uids), "out of range"),
        (at("tcp://h:1", &relative), "not absolute"),
        (at("tls://h:1", &off), "contradicts `tls://`"),
        (at("ws://h", &off), "no effect on `ws://`"),
        (
            ServiceConfig {
                limits: ListenLimits {
                    connections: 0,
                    ..ListenLimits::default()
                },
                ..ServiceConfig::direct(endpoint("tcp://h:1"))
            },
            "max_connections",
        ),
    ] {
        let error = config.validate("a").unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn less_room_than_a_message_needs_is_a_warning() {
    let limit = "max_inbound_bytes = 1_048_576\nmax_message_bytes = 1_048_577";
    let registry = good(&at("tcp://h:1", limit));
    let warnings = lines(registry.warnings());
    assert!(
        warnings[0]
            .contains("warning: services.a.max_inbound_bytes: all unfinished messages together"),
        "{warnings:?}"
    );
    assert!(
        good(&at("tcp://h:1", "max_inbound_bytes = 1_048_576"))
            .warnings()
            .is_empty()
    );
    assert_eq!(relay("").limits, ListenLimits::default());
}

#[cfg(unix)]
#[test]
fn files_of_keys_are_looked_at_and_never_needed() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let file = |name: &str, mode| {
        std::fs::write(path(name), "s3cr3t-canary").unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        path(name)
    };
    let (cert, key, ca) = (file("cert", 0o644), file("key", 0o640), path("none"));
    let further = format!("cert = '{cert}'\nkey = '{key}'\nca = '{ca}'");
    let registry = good(&at("tls://h:1", &further));
    let warnings = lines(registry.warnings());
    assert_eq!(
        warnings,
        [
            "5:7: warning: services.a.key: other users may read it; hint: let only its owner: `chmod 600`",
            "6:6: warning: services.a.ca: there is no such file; hint: create it before the service is used, \
             or correct the path",
        ]
    );
    file("key", 0o600);
    file("none", 0o644);
    assert!(good(&at("tls://h:1", &further)).warnings().is_empty());
}

#[cfg(unix)]
#[test]
fn a_file_that_everybody_may_write_names_no_passwords() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("services.toml");
    let load = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        ServiceRegistry::from_file(&path)
    };
    let (plain, secret) = (at(UNIX, ""), at(UNIX, PASSWORD));
    assert!(load(&plain, 0o644).unwrap().warnings().is_empty());
    assert!(load(&secret, 0o600).unwrap().warnings().is_empty());
    let warned = load(&plain, 0o666).unwrap();
    let warned = warned.warnings()[0].to_string();
    assert!(
        warned.contains("1:1: warning: everybody may write to this file; hint: `chmod o-w` it"),
        "{warned}"
    );
    let error = load(&secret, 0o606).unwrap_err().to_string();
    assert!(
        error.contains("everybody may write to this file, which says where passwords"),
        "{error}"
    );
}
