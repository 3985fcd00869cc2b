//! Endpoints and files: what is found where.

use wakewire::registry::Severity;
use wakewire::{ServiceRegistry, SinkError};

use super::{RELAY, faults, good, lines};

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
