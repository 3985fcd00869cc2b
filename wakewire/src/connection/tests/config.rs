//! What is accepted, what is refused, and that no secret gets out.

use std::ffi::OsString;
use std::path::PathBuf;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use crate::connection::config::{ConnectionConfig, PoolConfig, RetryConfig};
use crate::connection::faults::ConfigFaults;
use crate::error::SinkError;

const CANARY: &str = "canary-7f3a";

fn to(hosts: &[&str]) -> ConnectionConfig {
    ConnectionConfig {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..ConnectionConfig::default()
    }
}

/// The keys of all faults.
fn faults(config: &ConnectionConfig) -> Vec<String> {
    config
        .validate()
        .err()
        .map_or_else(Vec::new, |error| keys(&error))
}

fn keys(error: &SinkError) -> Vec<String> {
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
    let faults = error.failure().source().unwrap();
    let faults = faults.downcast_ref::<ConfigFaults>().unwrap();
    faults
        .list()
        .iter()
        .map(|fault| fault.key.clone())
        .collect()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = ConnectionConfig::default();
    assert_eq!((config.timeout_ms, config.enable_tls), (5000, false));
    let pool = &config.pool_config;
    assert_eq!((pool.min_connections, pool.max_connections), (5, 20));
    assert_eq!(
        (
            pool.connection_timeout_ms,
            pool.idle_timeout_ms,
            pool.max_lifetime_ms
        ),
        (5000, 60_000, 1_800_000)
    );
    let retry = &config.retry_config;
    assert_eq!(
        (
            retry.max_retries,
            retry.initial_backoff_ms,
            retry.max_backoff_ms
        ),
        (3, 100, 5000)
    );
    assert_eq!(retry.backoff_multiplier, 2.0);
    assert_eq!(faults(&config), ["hosts"]);
    assert!(faults(&to(&["localhost"])).is_empty());
}

#[test]
fn hosts_in_every_form() {
    for (host, clear, encrypted) in [
        ("db1", "tcp://db1:7000", "tls://db1:7000"),
        ("db1:7001", "tcp://db1:7001", "tls://db1:7001"),
        ("10.0.0.1", "tcp://10.0.0.1:7000", "tls://10.0.0.1:7000"),
        ("::1", "tcp://[::1]:7000", "tls://[::1]:7000"),
        ("[::1]", "tcp://[::1]:7000", "tls://[::1]:7000"),
        ("[::1]:7001", "tcp://[::1]:7001", "tls://[::1]:7001"),
        ("tls://db1", "tls://db1:7000", "tls://db1:7000"),
        ("tls://[::1]", "tls://[::1]:7000", "tls://[::1]:7000"),
        ("wss://db1", "wss://db1:443/", "wss://db1:443/"),
        ("/run/db.sock", "unix:///run/db.sock", "unix:///run/db.sock"),
        (
            "unix:///run/db.sock",
            "unix:///run/db.sock",
            "unix:///run/db.sock",
        ),
    ] {
        for (enable_tls, expected) in [(false, clear), (true, encrypted)] {
            let config = ConnectionConfig {
                enable_tls,
                ..to(&[host])
            };
            assert_eq!(
                config.endpoints().unwrap()[0].to_string(),
                expected,
                "{host}"
            );
        }
    }
    for host in [
        "",
        ":7000",
        "db1:",
        "db1:0",
        "db1:70000",
        "db1:x",
        "[::1",
        "[::g]",
        "[db1]",
        "db 1",
        "db1/x",
        "db1?x",
        "db1:7000/x",
        "unix://x",
        "ftp://db1",
        "fe80::1%eth0",
        "a\nb",
        "::1:70000:x",
    ] {
        assert_eq!(faults(&to(&["ok", host])), ["hosts[1]"], "{host:?}");
    }
    assert_eq!(
        faults(&to(&["db1", "tcp://db1:7000"])),
        ["hosts[1]"],
        "twice"
    );
}

#[test]
fn with_tls_nothing_may_be_in_the_clear() {
    for host in ["tcp://db1", "udp://db1", "ws://db1"] {
        let config = ConnectionConfig {
            enable_tls: true,
            ..to(&[host])
        };
        assert_eq!(faults(&config), ["hosts[0]"], "{host}");
    }
}

#[test]
fn a_password_travels_by_tls_or_a_unix_socket_only() {
    let with = |host: &str, enable_tls| ConnectionConfig {
        username: Some("me".into()),
        password: Some(CANARY.into()),
        enable_tls,
        ..to(&[host])
    };
    for (host, enable_tls) in [
        ("db1", true),
        ("tls://db1", false),
        ("/run/x", false),
        ("wss://db1", false),
    ] {
        assert!(faults(&with(host, enable_tls)).is_empty(), "{host}");
    }
    for host in ["db1", "localhost", "tcp://db1", "udp://db1", "ws://db1"] {
        assert_eq!(faults(&with(host, false)), ["enable_tls"], "{host}");
        assert_eq!(
            faults(&ConnectionConfig {
                enable_tls: true,
                ..with("db1", false)
            }),
            [""; 0]
        );
    }
    let mixed = ConnectionConfig {
        hosts: vec!["tls://a".into(), "b".into()],
        ..with("", false)
    };
    assert_eq!(faults(&mixed), ["enable_tls"]);
    assert_eq!(
        faults(&ConnectionConfig {
            username: None,
            ..with("db1", true)
        }),
        ["password"]
    );
}

#[test]
fn every_bad_value_is_listed() {
    let config = ConnectionConfig {
        hosts: vec!["x y".into()],
        username: Some(String::new()),
        password: Some("".into()),
        timeout_ms: 0,
        cert: Some(PathBuf::from("c.pem")),
        pool_config: PoolConfig {
            min_connections: 9,
            max_connections: 0,
            connection_timeout_ms: 0,
            idle_timeout_ms: 0,
            max_lifetime_ms: u64::MAX,
        },
        retry_config: RetryConfig {
            max_retries: 1001,
            initial_backoff_ms: 0,
            max_backoff_ms: 0,
            backoff_multiplier: f64::NAN,
        },
        ..ConnectionConfig::default()
    };
    let error = config.validate().unwrap_err();
    assert_eq!(
        keys(&error),
        [
            "hosts[0]",
            "username",
            "password",
            "cert",
            "timeout_ms",
            "pool.max_connections",
            "pool.min_connections",
            "pool.connection_timeout_ms",
            "pool.idle_timeout_ms",
            "pool.max_lifetime_ms",
            "retry.max_retries",
            "retry.initial_backoff_ms",
            "retry.max_backoff_ms",
            "retry.backoff_multiplier",
        ]
    );
    let text = error.to_string();
    assert!(
        text.contains("retry.backoff_multiplier: NaN is out of range; allowed: 1 to 100"),
        "{text}"
    );
    assert_eq!(keys(&config.pool_config.validate().unwrap_err()).len(), 5);
    assert_eq!(keys(&config.retry_config.validate().unwrap_err()).len(), 4);
    assert!(PoolConfig::default().validate().is_ok() && RetryConfig::default().validate().is_ok());
    for path in ["ca", "cert", "key"] {
        let pem = Some(PathBuf::from("x.pem"));
        let config = match path {
            "ca" => ConnectionConfig {
                ca: pem,
                ..to(&["db1"])
            },
            "cert" => ConnectionConfig {
                cert: pem.clone(),
                key: pem,
                ..to(&["tls://db1"])
            },
            _ => ConnectionConfig {
                key: pem,
                enable_tls: true,
                ..to(&["db1"])
            },
        };
        let expected: &[&str] = match path {
            "ca" => &["ca"],
            "cert" => &[],
            _ => &["key"],
        };
        assert_eq!(faults(&config), expected, "{path}");
    }
}

#[test]
fn from_toml_with_lines_and_without_secrets() {
    let config = ConnectionConfig::from_toml(&format!(
        "hosts = ['db1', '::1']\nusername = 'me'\npassword = '{CANARY}'\nenable_tls = true\ntimeout_ms = 7\nca = 'a.pem'\n\
         [pool]\nmax_connections = 9\n[retry]\nbackoff_multiplier = 1.0\n"
    ))
    .unwrap();
    assert_eq!(config.password.as_ref().unwrap().expose_secret(), CANARY);
    assert_eq!(
        (config.timeout_ms, config.pool_config.max_connections),
        (7, 9)
    );
    assert_eq!(config.pool_config.min_connections, 5);
    assert!(!format!("{config:?}").contains(CANARY));
    assert!(format!("{config:?}").contains("REDACTED"));
    // The fields' own names do as well.
    assert!(
        ConnectionConfig::from_toml("hosts = ['a']\n[pool_config]\nmax_connections = 9\n").is_ok()
    );
    for (text, line, phrase) in [
        ("hosts = ['a']\nhots = 1\n", "line 2", "`hots`"),
        ("hosts = ['a']\n[retry]\n\ntries = 1\n", "line 4", "`tries`"),
        (
            "hosts = ['a']\ntimeout_ms = 'soon'\n",
            "line 2",
            "expected u64",
        ),
        ("hosts = ['a']\ntimeout_ms = -1\n", "line 2", "expected u64"),
        ("hosts = ['a'\n", "line ", ""),
        (
            "hosts = 'me:canary-7f3a@a'\n",
            "line 1",
            "expected a list of strings",
        ),
        (
            "hosts = ['a']\npassword = ['canary-7f3a']\n",
            "line 2",
            "expected a string",
        ),
        ("hosts = ['a']\npassword = 'canary-7f3a\n", "line 2", ""),
        (
            "hosts = ['me:canary-7f3a@a']\n",
            "hosts[0]",
            "takes no user or password",
        ),
        (
            "hosts = ['tcp://me:canary-7f3a@a']\n",
            "hosts[0]",
            "takes no user or password",
        ),
        (
            "hosts = ['ws://me:canary-7f3a@a/x']\n",
            "hosts[0]",
            "takes no user or password",
        ),
        (
            "hosts = ['a']\nusername = 'me'\npassword = 'canary-7f3a'\n",
            "enable_tls",
            "in the clear",
        ),
    ] {
        let error = ConnectionConfig::from_toml(text).unwrap_err();
        let shown = format!("{error}");
        assert!(
            shown.contains(line) && shown.contains(phrase),
            "{text}: {shown}"
        );
        assert!(
            !shown.contains("canary") && !format!("{error:?}").contains("canary"),
            "{shown}"
        );
    }
    let unchecked = to(&["me:canary-7f3a@a"]);
    assert!(!format!("{unchecked:?}").contains("canary"));
}

#[test]
fn from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.toml");
    std::fs::write(&path, "hosts = ['db1']\n").unwrap();
    assert_eq!(ConnectionConfig::from_file(&path).unwrap().hosts, ["db1"]);
    std::fs::write(&path, "hosts = ['db1']\nhots = 1\n").unwrap();
    let error = ConnectionConfig::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("cluster.toml, line 2"), "{error}");
    std::fs::write(&path, format!("hosts = ['db1'] #{}\n", " ".repeat(1 << 20))).unwrap();
    let error = ConnectionConfig::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
    let error = ConnectionConfig::from_file(directory.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn from_the_environment() {
    let variables = [
        ("WAKEWIRE_HOSTS", "db1, [::1]:7001"),
        ("WAKEWIRE_USERNAME", "me"),
        ("WAKEWIRE_PASSWORD", CANARY),
        ("WAKEWIRE_ENABLE_TLS", "true"),
        ("WAKEWIRE_TIMEOUT_MS", "11"),
        ("WAKEWIRE_CA", "/a"),
        ("WAKEWIRE_CERT", "/b"),
        ("WAKEWIRE_KEY", "/c"),
        ("WAKEWIRE_POOL_MIN_CONNECTIONS", "1"),
        ("WAKEWIRE_POOL_MAX_CONNECTIONS", "2"),
        ("WAKEWIRE_POOL_CONNECTION_TIMEOUT_MS", "3"),
        ("WAKEWIRE_POOL_IDLE_TIMEOUT_MS", "4"),
        ("WAKEWIRE_POOL_MAX_LIFETIME_MS", "5"),
        ("WAKEWIRE_RETRY_MAX_RETRIES", "6"),
        ("WAKEWIRE_RETRY_INITIAL_BACKOFF_MS", "7"),
        ("WAKEWIRE_RETRY_MAX_BACKOFF_MS", "8"),
        ("WAKEWIRE_RETRY_BACKOFF_MULTIPLIER", "1.5"),
        ("WAKEWIRE_LOG", "of others"),
        ("PATH", "/bin"),
    ];
    let config = ConnectionConfig::default()
        .overridden_by(variables)
        .unwrap();
    assert_eq!(config.hosts, ["db1", "[::1]:7001"]);
    assert_eq!(
        (config.username.as_deref(), config.timeout_ms),
        (Some("me"), 11)
    );
    assert_eq!(config.password.as_ref().unwrap().expose_secret(), CANARY);
    assert_eq!(config.ca, Some("/a".into()));
    assert_eq!(
        (config.cert, config.key),
        (Some("/b".into()), Some("/c".into()))
    );
    let pool = PoolConfig {
        min_connections: 1,
        max_connections: 2,
        connection_timeout_ms: 3,
        idle_timeout_ms: 4,
        max_lifetime_ms: 5,
    };
    assert_eq!(config.pool_config, pool);
    let retry = RetryConfig {
        max_retries: 6,
        initial_backoff_ms: 7,
        max_backoff_ms: 8,
        backoff_multiplier: 1.5,
    };
    assert_eq!(config.retry_config, retry);
    // On top of a file only what is set changes.
    let file = ConnectionConfig::from_toml("hosts = ['a']\ntimeout_ms = 9\n").unwrap();
    let config = file.overridden_by([("WAKEWIRE_HOSTS", "b")]).unwrap();
    assert_eq!((config.hosts, config.timeout_ms), (vec!["b".to_owned()], 9));
}

#[test]
fn the_environment_is_refused_by_name_and_never_by_value() {
    for (name, value) in [
        ("WAKEWIRE_POOL_MIN", "1"),
        ("WAKEWIRE_RETRY_TRIES", "1"),
        ("WAKEWIRE_TIMEOUT_MS", "canary-7f3a"),
        ("WAKEWIRE_POOL_MAX_CONNECTIONS", "-1"),
        ("WAKEWIRE_ENABLE_TLS", "canary-7f3a"),
        ("WAKEWIRE_RETRY_BACKOFF_MULTIPLIER", ""),
    ] {
        let error = to(&["a"]).overridden_by([(name, value)]).unwrap_err();
        assert_eq!(keys(&error), [name]);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let all = to(&["a"]).overridden_by([("WAKEWIRE_TIMEOUT_MS", "x"), ("WAKEWIRE_POOL_X", "1")]);
    assert_eq!(keys(&all.unwrap_err()).len(), 2, "all at once");
    assert_eq!(
        keys(
            &to(&["a"])
                .overridden_by([("WAKEWIRE_HOSTS", "")])
                .unwrap_err()
        ),
        ["hosts[0]"]
    );
}

#[cfg(unix)]
#[test]
fn what_is_not_text_is_refused_and_a_path_need_not_be() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let error = to(&["a"])
        .overridden_by([("WAKEWIRE_PASSWORD", bytes())])
        .unwrap_err();
    assert_eq!(keys(&error), ["WAKEWIRE_PASSWORD"]);
    let config = ConnectionConfig {
        enable_tls: true,
        ..to(&["a"])
    };
    assert!(config.overridden_by([("WAKEWIRE_CA", bytes())]).is_ok());
}

proptest! {
    /// Whatever is written as a host: no panic, and never a password in the error.
    #[test]
    fn any_host_is_read_or_refused(host in "\\PC{0,30}", slash in "/{0,1}") {
        drop(to(&[&host]).validate());
        let secret = to(&[&format!("me:canary-7f3a@{host}")]);
        let error = secret.validate().unwrap_err();
        prop_assert!(!error.to_string().contains("canary"), "{error}");
        for scheme in ["tcp", "tls", "udp", "ws", "wss", "ftp"] {
            let secret = to(&[&format!("{scheme}://me:canary-7f3a{}@{host}", &slash)]);
            let shown = secret.validate().err().map(|error| error.to_string());
            prop_assert!(!shown.is_some_and(|shown| shown.contains("canary")), "{scheme}");
        }
    }
}
