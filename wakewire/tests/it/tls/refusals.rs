//! Who is not let in, who is not believed, and what they are told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use wakewire::{Security, SinkError, TlsMode};

use super::{Authority, Listening, direct, factory, free_port, once, with_mode};
use crate::support::{numbered, soon};

/// Dials once and returns what it is told.
async fn told(listens: Security, dials: Security, host: &str) -> SinkError {
    let endpoint = format!("tls://{host}:{}", free_port());
    let listening = Listening::start(direct(&endpoint, listens)).await;
    let sender = factory(once(direct(&endpoint, dials)));
    let sink = sender.create_sink("ticks").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(listening.stop().await.0.is_empty());
    error
}

#[tokio::test]
async fn who_cannot_prove_who_it_is_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let here = authority.here("server");
    let server = authority.security_with(&here);
    let elsewhere = authority.sign(
        "elsewhere",
        Authority::params("elsewhere", &["example.com"]),
    );
    let demanding = Security {
        client_ca: Some(authority.ca()),
        ..server.clone()
    };
    let expired = authority.security_with(&authority.expired());
    let cases = [
        (server.clone(), other.security(), "ca = \"…\""),
        (server.clone(), Security::default(), ""),
        (
            authority.security_with(&elsewhere),
            authority.security(),
            "for others than `localhost`",
        ),
        (
            expired.clone(),
            authority.security(),
            "renew the peer's certificate",
        ),
        (
            demanding.clone(),
            authority.security(),
            "set `cert` and `key`",
        ),
        (
            demanding.clone(),
            Security {
                ca: Some(authority.ca()),
                ..other.security_with(&other.here("intruder"))
            },
            "`client_ca` vouches for",
        ),
        (demanding, expired, "`client_ca` vouches for"),
    ];
    for (listens, dials, advice) in cases {
        let error = told(listens, dials, "localhost").await;
        // Without a `ca` a machine without any authorities has nothing to believe in.
        let refused = matches!(error, SinkError::Unauthorized(_));
        assert!(
            refused || (advice.is_empty() && error.is_permanent()),
            "{error}"
        );
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so_by_its_silence_about_it() {
    let authority = Authority::new();
    let port = free_port();
    // Plain, without a certificate.
    let plain = direct(&format!("tcp://127.0.0.1:{port}"), Security::default());
    let listening = Listening::start(plain).await;
    let dials = once(direct(
        &format!("tls://127.0.0.1:{port}"),
        authority.security(),
    ));
    let sender = factory(dials);
    let sink = sender.create_sink("ticks").await.unwrap();
    let error = soon(sink.connect()).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(
        error
            .to_string()
            .contains("set `cert` and `key` where the service listens"),
        "{error}"
    );
    listening.stop().await;
}

#[tokio::test]
async fn nobody_listens_without_a_certificate_or_with_a_key_that_others_can_read() {
    let authority = Authority::new();
    let pair = authority.here("server");
    let open = authority.here("open");
    fs::set_permissions(&open.key, fs::Permissions::from_mode(0o640)).unwrap();
    let other = authority.here("other");
    let mixed = super::Pair {
        cert: pair.cert.clone(),
        key: other.key,
    };
    let none = authority.directory.path().join("none.pem");
    let empty = authority.directory.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let cases = [
        (authority.security(), "`cert` and `key` are needed"),
        (
            authority.security_with(&open),
            "may be read by others than its owner (mode 640)",
        ),
        (
            authority.security_with(&mixed),
            "are `cert` and `key` of each other",
        ),
        (
            authority.security_with(&super::Pair {
                cert: none,
                key: pair.key.clone(),
            }),
            "none.pem",
        ),
        (
            authority.security_with(&super::Pair {
                cert: empty,
                key: pair.key.clone(),
            }),
            "holds no certificate",
        ),
        (
            authority.security_with(&super::Pair {
                cert: pair.cert.clone(),
                key: pair.cert,
            }),
            "",
        ),
    ];
    for (security, what) in cases {
        for (scheme, mode) in [("tls", TlsMode::Prefer), ("tcp", TlsMode::Require)] {
            let endpoint = format!("{scheme}://127.0.0.1:{}", free_port());
            let service = direct(&endpoint, with_mode(security.clone(), mode));
            let receiver = factory(service);
            let mut source = receiver.create_source("ticks").await.unwrap();
            let error = soon(source.recv()).await.unwrap_err();
            assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_is_not_shown_to_a_peer_either() {
    let authority = Authority::new();
    let server = authority.security_with(&authority.here("server"));
    let open = authority.here("open");
    fs::set_permissions(&open.key, fs::Permissions::from_mode(0o604)).unwrap();
    let error = told(server, authority.security_with(&open), "localhost").await;
    assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
