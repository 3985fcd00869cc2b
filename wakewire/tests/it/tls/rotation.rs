//! Certificates that change while messages flow.

use wakewire::MessageSink;

use super::openssl::{first_certificate, shown};
use super::{Authority, Listening, direct, factory, free_port, replace};
use crate::support::{PATIENCE, numbered, soon};

fn pem(path: &std::path::Path) -> String {
    first_certificate(&std::fs::read_to_string(path).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_to_newcomers_and_disturbs_nobody() {
    let authority = Authority::new();
    let pair = authority.here("server");
    let port = free_port();
    let endpoint = format!("tls://127.0.0.1:{port}");
    let listening = Listening::start(direct(&endpoint, authority.security_with(&pair))).await;
    // One that stays, and sends all the time.
    let sender = factory(direct(&endpoint, authority.security()));
    let sink = sender.create_sink("ticks").await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let sending = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            sink.send(numbered(n)).await.unwrap();
            n += 1;
        }
        n
    });
    let mut before = shown(port).await;
    for _ in 0..10 {
        assert_eq!(before, pem(&pair.cert));
        authority.here("server");
        let now = shown(port).await;
        assert_ne!(now, before);
        before = now;
        // One that comes and goes.
        let other = factory(direct(&endpoint, authority.security()));
        let visitor = other.create_sink("ticks").await.unwrap();
        soon(visitor.connect()).await.unwrap();
        assert!(other.close(PATIENCE).await.is_complete());
    }
    stop.send(()).unwrap();
    let sent = soon(sending).await.unwrap();
    assert!(sent > 0);
    let report = sender.close(PATIENCE).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.per_sink[0].connects, 1, "the connection stays up");
    let (numbers, _) = listening.stop().await;
    assert!(numbers.into_iter().eq(0..sent), "all, once, in order");
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let authority = Authority::new();
    let pair = authority.here("server");
    let port = free_port();
    let endpoint = format!("tls://127.0.0.1:{port}");
    let listening = Listening::start(direct(&endpoint, authority.security_with(&pair))).await;
    let before = shown(port).await;
    replace(&pair.cert, "not a certificate");
    assert_eq!(shown(port).await, before);
    // A certificate without its key: half of a change.
    let other = authority.here("other");
    std::fs::copy(&other.cert, &pair.cert).unwrap();
    assert_eq!(shown(port).await, before);
    std::fs::remove_file(&pair.cert).unwrap();
    assert_eq!(shown(port).await, before);
    let sender = factory(direct(&endpoint, authority.security()));
    let sink = sender.create_sink("ticks").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    assert!(sender.close(PATIENCE).await.is_complete());
    // The other half.
    std::fs::copy(&other.cert, &pair.cert).unwrap();
    std::fs::copy(&other.key, &pair.key).unwrap();
    assert_ne!(shown(port).await, before);
    assert_eq!(listening.stop().await.0, [0]);
}

#[tokio::test]
async fn a_dialer_takes_a_new_authority_without_being_made_anew() {
    let (old, new) = (Authority::new(), Authority::new());
    let port = free_port();
    let endpoint = format!("tls://127.0.0.1:{port}");
    let trusted = old.directory.path().join("trusted.pem");
    std::fs::copy(old.ca(), &trusted).unwrap();
    let server = new.security_with(&new.here("server"));
    let listening = Listening::start(direct(&endpoint, server)).await;
    let security = wakewire::Security {
        ca: Some(trusted.clone()),
        ..wakewire::Security::default()
    };
    let sender = factory(direct(&endpoint, security));
    let sink = sender.create_sink("ticks").await.unwrap();
    assert!(soon(sink.connect()).await.is_err());
    replace(&trusted, &std::fs::read_to_string(new.ca()).unwrap());
    soon(sink.connect()).await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    assert!(sender.close(PATIENCE).await.is_complete());

    assert_eq!(listening.stop().await.0, [0]);
}
