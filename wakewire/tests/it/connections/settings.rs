//! A configuration from a file and the environment, to a real exchange over TLS; and what no repetition mends.

use std::path::PathBuf;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use wakewire::connection::{ConnectionConfig, ConnectionManager};
use wakewire::source::ServerHandle;
use wakewire::{Password, Security, SinkError};

use super::front::{Front, Mood};
use super::{Calls, Processed, asked, counting, over};
use crate::support::{Place, soon};
use crate::tls::{Authority, free_port};

/// A server that wants TLS and a password, what stands before it, and the file of who wants to reach it.
struct Protected {
    authority: Authority,
    front: Front,
    processed: Processed,
    place: Place,
    server: ServerHandle,
}

impl Protected {
    async fn start(hosts: &[&str]) -> Self {
        crate::support::log();
        let authority = Authority::new();
        let pair = authority.sign("server", Authority::params("server", hosts));
        let security = Security {
            username: Some("desk".to_owned()),
            password: Some(Password::from("right".to_owned())),
            ..authority.security_with(&pair)
        };
        let url = format!("tls://127.0.0.1:{}", free_port());
        let processed = Processed::default();
        let server = counting(&url, &processed).with_security(security);
        let server = server.start().await.unwrap();
        Self {
            front: Front::tcp(&url).await,
            place: Place::new(),
            authority,
            processed,
            server,
        }
    }

    fn file(&self, further: &str) -> PathBuf {
        let path = self.place.path().join("cluster.toml");
        let text = format!(
            "hosts = ['127.0.0.1:{}']\nenable_tls = true\nca = '{}'\nusername = 'desk'\n{further}\n\
             [pool]\nmin_connections = 0\n[retry]\nmax_retries = 3\ninitial_backoff_ms = 1\nmax_backoff_ms = 10\n",
            self.front.port(),
            self.authority.ca().display(),
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_and_the_environment_lead_to_an_exchange_over_tls() {
    let node = Protected::start(&["127.0.0.1"]).await;
    let from_file = ConnectionConfig::from_file(node.file("password = 'right'")).unwrap();
    let password = [("WAKEWIRE_PASSWORD", "right")];
    let overridden = ConnectionConfig::from_file(node.file("password = 'old'")).unwrap();
    let overridden = overridden.overridden_by(password).unwrap();
    let host = format!("localhost,127.0.0.1:{}", node.front.port());
    let ca = node.authority.ca().display().to_string();
    let from_env = ConnectionConfig::default().overridden_by([
        // The first is down, and passed over.
        ("WAKEWIRE_HOSTS", &*host),
        ("WAKEWIRE_ENABLE_TLS", "true"),
        ("WAKEWIRE_CA", &*ca),
        ("WAKEWIRE_USERNAME", "desk"),
        ("WAKEWIRE_PASSWORD", "right"),
        ("WAKEWIRE_POOL_MIN_CONNECTIONS", "0"),
    ]);
    for (number, config) in [from_file, overridden, from_env.unwrap()]
        .iter()
        .enumerate()
    {
        let manager = ConnectionManager::new(config).unwrap();
        asked(&manager, "x").await.unwrap();
        assert_eq!(node.processed.times("x"), number + 1);
        assert!(!format!("{config:?}").contains("right"), "{config:?}");
        assert!(manager.disconnect(super::LONG).await.finished);
    }
    node.server.close(super::LONG).await;
}

/// Asks once and returns the error and how many dials it took.
async fn refused(config: &ConnectionConfig, dials: impl Fn() -> usize) -> (SinkError, usize) {
    let manager = ConnectionManager::new(config).unwrap();
    let before = dials();
    let error = asked(&manager, "x").await.unwrap_err();
    let text = format!("{error} {error:?} {config:?} {manager:?}");
    assert!(!text.contains("wrong"), "{text}");
    (error, dials() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_a_wrong_name_and_a_stranger_are_not_tried_again() {
    let node = Protected::start(&["127.0.0.1"]).await;
    let wrong = ConnectionConfig::from_file(node.file("password = 'wrong'")).unwrap();
    let (error, dials) = refused(&wrong, || node.front.dials()).await;
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    assert_eq!(dials, 1, "one handshake");
    let right = ConnectionConfig::from_file(node.file("password = 'right'")).unwrap();
    let other = Authority::new();
    let stranger = ConnectionConfig {
        ca: Some(other.ca()),
        ..right
    };
    let (error, dials) = refused(&stranger, || node.front.dials()).await;
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    assert_eq!(dials, 1);
    assert_eq!(node.processed.total(), 0);

    let elsewhere = Protected::start(&["elsewhere.example"]).await;
    let config = ConnectionConfig::from_file(elsewhere.file("password = 'right'")).unwrap();
    let (error, dials) = refused(&config, || elsewhere.front.dials()).await;
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    assert_eq!((dials, elsewhere.processed.total()), (1, 0));

    // One that is not there is tried again, to compare.
    node.front.becomes(Mood::Closes).await;
    let config = ConnectionConfig::from_file(node.file("password = 'right'")).unwrap();
    let (error, dials) = refused(&config, || node.front.dials()).await;
    assert!(matches!(error, SinkError::ConnectionFailed(_)), "{error}");
    assert_eq!(dials, 4);
}

/// A peer that is played by hand and speaks no version of ours.
#[tokio::test]
async fn another_version_is_not_tried_again() {
    let place = Place::new();
    let path = place.path().join("old");
    let listener = UnixListener::bind(&path).unwrap();
    let dials = Calls::default();
    let counted = dials.clone();
    let peer = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.one_more();
            // Reject: code 16, a text, no time.
            let body = [&[0xa3, 0, 16, 1, 0x63][..], b"old", &[2, 0]].concat();
            let mut frame = vec![0; 32];
            frame[0] = u8::try_from(body.len()).unwrap();
            frame[4] = 3;
            frame.extend_from_slice(&body);
            stream.write_all(&frame).await.unwrap();
            // Until the dialer has gone.
            let mut rest = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)
                .await
                .ok();
        }
    });
    let url = format!("unix://{}", path.display());
    let (error, _) = soon(refused(&over([&*url]), || dials.count())).await;
    assert!(matches!(error, SinkError::Protocol(_)), "{error}");
    assert!(error.to_string().contains("old"), "{error}");
    assert_eq!(dials.count(), 1);
    peer.abort();
}

/// In a process of its own, since it has an environment of its own.
#[test]
fn a_file_and_the_environment_are_read_as_one() {
    let place = Place::new();
    let path = place.path().join("cluster.toml");
    let read = |file: &str, hosts: &str| {
        std::fs::write(&path, file).unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "connections::settings::as_one", "--nocapture"])
            .env("WAKEWIRE_TEST_CLUSTER", &path)
            .env("WAKEWIRE_HOSTS", hosts)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = read("username = 'desk'\ntimeout_ms = 7\n", "db1, db2");
    assert!(said.contains("read [\"db1\", \"db2\"] desk 7"), "{said}");
    let said = read("hosts = ['db3']\ntimeout_ms = 7\n", "db1");
    assert!(said.contains("read [\"db1\"]  7"), "{said}");
    let said = read("timeout_ms = 0\n", "db1");
    assert!(
        said.contains("refused") && said.contains("timeout_ms"),
        "{said}"
    );
    let said = read("timout_ms = 7\n", "db1");
    assert!(
        said.contains("refused") && said.contains("line 1"),
        "{said}"
    );
}

#[test]
fn as_one() {
    // Only as the process above.
    let Some(path) = std::env::var_os("WAKEWIRE_TEST_CLUSTER") else {
        return;
    };
    match ConnectionConfig::from_file_and_env(path) {
        Ok(config) => println!(
            "read {:?} {} {}",
            config.hosts,
            config.username.unwrap_or_default(),
            config.timeout_ms
        ),
        Err(error) => println!("refused: {error}"),
    }
}
