//! One deadline from accepting a connection to knowing who it is: neither silence nor a byte now and then extends it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use wakewire::{MessageSource, Security, ServiceConfig, TlsMode};

use crate::limits::{good_client, listening};
use crate::support::{PATIENCE, Place};
use crate::tls::{Authority, free_port};

/// The beginning of a greeting that will take longer than it may, if a byte comes every now and then.
fn beginning(of: Opening) -> Vec<u8> {
    match of {
        // The header of a `Hello` of 3000 bytes, and a first part of them.
        Opening::Frame { flags } => {
            let mut frame = vec![0; 64];
            frame[..2].copy_from_slice(&3000_u16.to_le_bytes());
            frame[4..6].copy_from_slice(&[HELLO, flags]);
            frame
        }
        // The header of a TLS record of 512 bytes (RFC 8446 §5.1): a handshake message, a `ClientHello`.
        Opening::Tls => vec![22, 3, 1, 2, 0, 1, 0, 1, 252],
    }
}

#[derive(Clone, Copy)]
enum Opening {
    Frame { flags: u8 },
    Tls,
}

const HELLO: u8 = 1;
const CHECKSUMMED: u8 = 8;

/// Says nothing.
async fn is_silent(mut stream: impl AsyncRead + Unpin) {
    let end = async { while let Ok(1..) = stream.read(&mut [0; 64]).await {} };
    timeout(PATIENCE, end).await.expect("it was let stay");
}

/// Says something ever again, and never all.
async fn dawdles(mut stream: impl AsyncRead + AsyncWrite + Unpin, of: Opening) {
    let talk = async {
        if stream.write_all(&beginning(of)).await.is_err() {
            return;
        }
        let mut pace = interval(Duration::from_millis(300));
        let mut heard = [0; 64];
        loop {
            tokio::select! {
                read = stream.read(&mut heard) => if !matches!(read, Ok(1..)) { return },
                _ = pace.tick() => {}
            }
            if stream.write_all(&[0]).await.is_err() {
                return;
            }
        }
    };
    let since = Instant::now();
    timeout(PATIENCE, talk).await.expect("it was let stay");
    // It was the deadline, and not what it said.
    assert!(since.elapsed() > Duration::from_secs(3), "let go at once");
}

async fn over_tcp(port: u16, opening: Opening, good: &ServiceConfig, source: &mut MessageSource) {
    let mut strangers = JoinSet::new();
    for _ in 0..20 {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        strangers.spawn(is_silent(stream));
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        strangers.spawn(dawdles(stream, opening));
    }
    are_let_go(strangers, good, source).await;
}

async fn are_let_go(mut all: JoinSet<()>, good: &ServiceConfig, source: &mut MessageSource) {
    good_client(good, source, 1).await;
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    good_client(good, source, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_greet_in_time_is_let_go_over_tcp_and_tls() {
    let authority = Authority::new();
    let security = authority.security_with(&authority.here("server"));
    let cases = [
        (
            "tcp",
            TlsMode::Prefer,
            Security::default(),
            Opening::Frame { flags: CHECKSUMMED },
        ),
        ("tcp", TlsMode::Require, security.clone(), Opening::Tls),
        ("tls", TlsMode::Prefer, security, Opening::Tls),
    ];
    let mut all = JoinSet::new();
    for (scheme, tls, security, opening) in cases {
        all.spawn(async move {
            let port = free_port();
            let endpoint = format!("{scheme}://127.0.0.1:{port}");
            let config = ServiceConfig {
                security: Security { tls, ..security },
                ..ServiceConfig::direct(endpoint.parse().unwrap())
            };
            let (_factory, mut source) = listening(&config).await;
            over_tcp(port, opening, &config, &mut source).await;
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_greet_in_time_is_let_go_over_a_unix_socket() {
    let place = Place::new();
    let path = place.path().join("ticks.sock");
    let config = ServiceConfig::direct(wakewire::Endpoint::Unix(path.clone()));
    let (_factory, mut source) = listening(&config).await;
    let mut strangers = JoinSet::new();
    for _ in 0..20 {
        strangers.spawn(is_silent(UnixStream::connect(&path).await.unwrap()));
        let stream = UnixStream::connect(&path).await.unwrap();
        strangers.spawn(dawdles(stream, Opening::Frame { flags: 0 }));
    }
    are_let_go(strangers, &config, &mut source).await;
}
