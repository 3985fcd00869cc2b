//! What is spoken over `tcp` endpoints, for every pair of modes, as whoever listens on the way sees it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wakewire::{Message, Security, TlsMode};

use super::{Authority, Listening, direct, factory, free_port, once, with_mode};
use crate::support::{PATIENCE, soon};

/// Hands on what comes, both ways, and keeps it.
pub(crate) struct Tap {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

/// What somebody on the way does to the first frame in one direction.
pub(super) type Change = fn(Vec<u8>) -> Vec<u8>;

impl Tap {
    /// Listens only.
    pub(crate) async fn start(to: u16) -> Self {
        Self::changing(to, None, None).await
    }

    /// Changes the first frame of the dialer, and of the listener.
    pub(super) async fn changing(to: u16, up: Option<Change>, down: Option<Change>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            loop {
                let (dialer, _) = listener.accept().await.unwrap();
                let target = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (dialer_read, dialer_write) = dialer.into_split();
                let (target_read, target_write) = target.into_split();
                tokio::spawn(carry(dialer_read, target_write, up, Arc::clone(&all)));
                tokio::spawn(carry(target_read, dialer_write, down, Arc::clone(&all)));
            }
        });
        Self { port, heard, task }
    }

    pub(crate) fn has_heard(&self, what: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard
            .windows(what.len())
            .any(|some| some == what.as_bytes())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    change: Option<Change>,
    all: Arc<Mutex<Vec<u8>>>,
) {
    if let Some(change) = change {
        let mut first = vec![0; 32];
        if from.read_exact(&mut first).await.is_err() {
            return;
        }
        let length = u32::from_le_bytes(first[..4].try_into().unwrap()) as usize;
        first.resize(32 + length, 0);
        if from.read_exact(&mut first[32..]).await.is_err()
            || to.write_all(&change(first)).await.is_err()
        {
            return;
        }
    }
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        all.lock().unwrap().extend_from_slice(&bytes[..read]);
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    // An end is an end for the other one too.
    if to.shutdown().await.is_err() {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    InTheClear,
    Encrypted,
    Refused,
}

/// Sends one message and says how it went.
async fn outcome(listens: Security, dials: Security) -> Outcome {
    let port = free_port();
    let listening = Listening::start(direct(&format!("tcp://127.0.0.1:{port}"), listens)).await;
    let tap = Tap::start(port).await;
    let sender = factory(once(direct(
        &format!("tcp://127.0.0.1:{}", tap.port),
        dials,
    )));
    let sink = sender.create_sink("ticks").await.unwrap();
    sink.send(Message::new("\0\0\0\0\0\0\0\0c4nary"))
        .await
        .unwrap();
    let outcome = match soon(sink.connect()).await {
        Ok(()) => {
            assert!(sender.close(PATIENCE).await.is_complete());
            if tap.has_heard("c4nary") {
                Outcome::InTheClear
            } else {
                Outcome::Encrypted
            }
        }
        Err(error) => {
            assert!(error.is_permanent(), "{error}");
            assert!(error.failure().advice().is_some(), "{error}");
            assert!(!tap.has_heard("c4nary"), "{error}");
            Outcome::Refused
        }
    };
    let (numbers, _) = listening.stop().await;
    assert_eq!(numbers.len(), usize::from(outcome != Outcome::Refused));
    outcome
}

#[tokio::test]
async fn the_safest_that_both_allow_is_spoken() {
    use Outcome::{Encrypted, InTheClear, Refused};
    use TlsMode::{Off, Prefer, Require};
    let authority = Authority::new();
    let server = authority.security_with(&authority.here("server"));
    for (dials, listens, expected) in [
        (Off, Off, InTheClear),
        (Off, Prefer, InTheClear),
        (Off, Require, Refused),
        (Prefer, Off, InTheClear),
        (Prefer, Prefer, Encrypted),
        (Prefer, Require, Encrypted),
        (Require, Off, Refused),
        (Require, Prefer, Encrypted),
        (Require, Require, Encrypted),
    ] {
        let (server, client) = (
            with_mode(server.clone(), listens),
            with_mode(authority.security(), dials),
        );
        assert_eq!(
            outcome(server, client).await,
            expected,
            "{dials} to {listens}"
        );
    }
}

#[tokio::test]
async fn without_a_certificate_a_listener_offers_what_is_left() {
    use Outcome::{InTheClear, Refused};
    use TlsMode::{Off, Prefer, Require};
    let authority = Authority::new();
    for (dials, expected) in [(Off, InTheClear), (Prefer, InTheClear), (Require, Refused)] {
        let client = with_mode(authority.security(), dials);
        assert_eq!(
            outcome(Security::default(), client).await,
            expected,
            "{dials}"
        );
    }
}

#[tokio::test]
async fn where_both_can_encrypt_a_failure_is_not_made_good_in_the_clear() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.security_with(&authority.here("server"));
    for mode in [TlsMode::Prefer, TlsMode::Require] {
        let client = with_mode(other.security(), mode);
        assert_eq!(outcome(server.clone(), client).await, Outcome::Refused);
    }
}

#[tokio::test]
async fn a_password_is_not_sent_where_nothing_is_encrypted() {
    let port = free_port();
    let listening = Listening::start(direct(
        &format!("tcp://127.0.0.1:{port}"),
        Security::default(),
    ))
    .await;
    let tap = Tap::start(port).await;
    let dials = Security {
        username: Some("feed".to_owned()),
        password: Some("s3cr3t-canary".to_owned().into()),
        ..Security::default()
    };
    let sender = factory(once(direct(
        &format!("tcp://127.0.0.1:{}", tap.port),
        dials,
    )));
    // The registry may refuse it before; here it does not know yet what the listener can do.
    if let Ok(sink) = sender.create_sink("ticks").await {
        let error = soon(sink.connect()).await.unwrap_err();
        assert!(error.is_permanent(), "{error}");
        assert!(
            error.to_string().contains("never sent in the clear"),
            "{error}"
        );
    }
    assert!(!tap.has_heard("s3cr3t-canary"));
    listening.stop().await;
}
