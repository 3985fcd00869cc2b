//! The other side is `openssl`, which nobody here wrote.

use std::io::ErrorKind;
use std::process::{Output, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use wakewire::{Security, TlsMode};

use super::{Authority, Listening, Pair, direct, factory, frame, free_port, hello, with_mode};
use crate::support::{PATIENCE, expect, numbered, soon};

fn openssl(args: &[&str]) -> Child {
    let child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs OpenSSL: install the Debian package `openssl`")
        }
        Err(error) => panic!("openssl: {error}"),
    }
}

/// Shakes hands with whoever listens at the port, closes, and returns what it says about it.
pub(super) async fn inspect(port: u16, further: &[&str]) -> Output {
    let address = format!("127.0.0.1:{port}");
    let mut child = openssl(&[&["s_client", "-connect", &address], further].concat());
    drop(child.stdin.take());
    soon(child.wait_with_output()).await.unwrap()
}

/// The first certificate of a text, without line ends.
pub(super) fn first_certificate(text: &str) -> String {
    let (_, text) = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .expect("a certificate");
    let (text, _) = text.split_once("-----END CERTIFICATE-----").unwrap();
    text.replace(['\r', '\n'], "")
}

/// The certificate that is shown at the port.
pub(super) async fn shown(port: u16) -> String {
    let output = inspect(port, &["-alpn", "wakewire/1"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    first_certificate(&text)
}

async fn serve(endpoint: &str, security: Security) -> Listening {
    Listening::start(direct(endpoint, security)).await
}

#[tokio::test]
async fn its_client_completes_our_handshake() {
    let authority = Authority::new();
    let server = authority.security_with(&authority.here("server"));
    let ca = authority.ca();
    let trusting = ["-CAfile", ca.to_str().unwrap(), "-verify_return_error"];
    for (scheme, mode) in [
        ("tls", TlsMode::Prefer),
        ("tcp", TlsMode::Prefer),
        ("tcp", TlsMode::Require),
    ] {
        let port = free_port();
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        let listening = serve(&endpoint, with_mode(server.clone(), mode)).await;
        let options = [
            &["-tls1_3", "-alpn", "wakewire/1", "-verify_ip", "127.0.0.1"],
            &trusting[..],
        ];
        let output = inspect(port, &options.concat()).await;
        let text = String::from_utf8_lossy(&output.stdout);
        for expected in [
            "New, TLSv1.3",
            "ALPN protocol: wakewire/1",
            "Verify return code: 0 (ok)",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        // Nothing but 1.3, nothing but wakewire.
        for (options, alert) in [
            (
                &["-tls1_2", "-alpn", "wakewire/1"][..],
                "alert protocol version",
            ),
            (
                &["-tls1_3", "-alpn", "http/1.1"],
                "alert no application protocol",
            ),
        ] {
            let output = inspect(port, &[options, &trusting].concat()).await;
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(alert), "{text}");
            assert!(!output.status.success());
        }
        assert!(listening.stop().await.0.is_empty());
    }
}

/// A connection of `openssl s_client` that bytes are piped into.
struct Piped(Child);

impl Piped {
    fn open(port: u16, further: &[&str], ca: &str, pair: Option<&Pair>) -> Self {
        let address = format!("127.0.0.1:{port}");
        let mut args = vec![
            "s_client",
            "-connect",
            &address,
            "-quiet",
            "-nocommands",
            "-tls1_3",
            "-CAfile",
            ca,
            "-verify_return_error",
        ];
        args.extend(further);
        if let Some(pair) = pair {
            args.extend([
                "-cert",
                pair.cert.to_str().unwrap(),
                "-key",
                pair.key.to_str().unwrap(),
            ]);
        }
        Self(openssl(&args))
    }

    async fn say(&mut self, bytes: &[u8]) {
        let stdin = self.0.stdin.as_mut().unwrap();
        soon(stdin.write_all(bytes)).await.unwrap();
        soon(stdin.flush()).await.unwrap();
    }

    /// Reads one frame: its kind, sequence and body.
    async fn hear(&mut self) -> Option<(u8, u64, Vec<u8>)> {
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut header = [0; 32];
        soon(stdout.read_exact(&mut header)).await.ok()?;
        let mut body = vec![0; u32::from_le_bytes(header[..4].try_into().unwrap()) as usize];
        soon(stdout.read_exact(&mut body)).await.ok()?;
        Some((
            header[4],
            u64::from_le_bytes(header[8..16].try_into().unwrap()),
            body,
        ))
    }

    /// Greets and returns what the welcome says that the listener has of this session.
    async fn greet(&mut self, session: [u8; 16]) -> u64 {
        self.say(&hello(session)).await;
        let (kind, _, body) = self.hear().await.expect("an answer");
        assert_eq!(kind, 2, "a welcome");
        let mut d = minicbor::Decoder::new(&body);
        for _ in 0..d.map().unwrap().unwrap() {
            if d.u8().unwrap() == 3 {
                return d.u64().unwrap();
            }
            d.skip().unwrap();
        }
        panic!("a welcome says what it has");
    }
}

#[tokio::test]
async fn a_hello_that_is_piped_in_gets_a_welcome_but_only_with_alpn() {
    let authority = Authority::new();
    let port = free_port();
    let server = authority.security_with(&authority.here("server"));
    let listening = serve(&format!("tls://127.0.0.1:{port}"), server).await;
    let ca = authority.ca();
    let mut piped = Piped::open(port, &["-alpn", "wakewire/1"], ca.to_str().unwrap(), None);
    assert_eq!(piped.greet([7; 16]).await, 0);
    let mut silent = Piped::open(port, &[], ca.to_str().unwrap(), None);
    silent.say(&hello([8; 16])).await;
    assert!(silent.hear().await.is_none(), "no ALPN, no answer");
    drop(piped);
    assert!(listening.stop().await.0.is_empty());
}

#[tokio::test]
async fn a_session_is_resumed_by_its_own_identity_only() {
    let authority = Authority::new();
    let port = free_port();
    let security = Security {
        client_ca: Some(authority.ca()),
        ..authority.security_with(&authority.here("server"))
    };
    let receiver = factory(direct(&format!("tls://127.0.0.1:{port}"), security));
    let mut source = receiver.create_source("ticks").await.unwrap();
    let (feed, other) = (authority.here("feed"), authority.here("other"));
    let ca = authority.ca();
    let open = |pair: &Pair| {
        Piped::open(
            port,
            &["-alpn", "wakewire/1"],
            ca.to_str().unwrap(),
            Some(pair),
        )
    };
    let asking = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = asking => {}
        message = source.recv() => panic!("{message:?}"),
    }
    let taking = tokio::spawn(async move {
        expect(&mut source, 0..3).await;
        // Asking says that they were processed.
        soon(source.recv()).await
    });
    let session = [7; 16];
    let mut first = open(&feed);
    assert_eq!(first.greet(session).await, 0);
    for n in 0..3_u64 {
        let mut data = frame(4, &n.to_le_bytes(), false);
        data[5] = 1;
        data[8..16].copy_from_slice(&(n + 1).to_le_bytes());
        first.say(&data).await;
    }
    loop {
        let (kind, sequence, _) = first.hear().await.expect("an acknowledgement");
        if kind == 5 && sequence == 3 {
            break;
        }
    }
    // The same number from somebody else is another session, and does not end the first one's connection.
    assert_eq!(open(&other).greet(session).await, 0);
    first.say(&frame(10, &[], false)).await;
    assert_eq!(first.hear().await.expect("still there").0, 11, "a pong");
    // A renewed certificate is the same identity.
    drop(first);
    let renewed = authority.here("feed");
    let tickets = ["first", "second"].map(|name| authority.directory.path().join(name));
    let tickets = tickets.each_ref().map(|path| path.to_str().unwrap());
    let alpn = ["-alpn", "wakewire/1"];
    let with = |further: &[&str]| {
        let further = [&alpn, further].concat();
        Piped::open(port, &further, ca.to_str().unwrap(), Some(&renewed))
    };
    let mut before = with(&["-sess_out", tickets[0]]);
    assert_eq!(before.greet(session).await, 3);
    drop(before);
    // A resumed TLS session, in which no certificate is shown, is the same identity too.
    let mut resumed = with(&["-sess_in", tickets[0], "-sess_out", tickets[1]]);
    assert_eq!(resumed.greet(session).await, 3);
    drop(resumed);
    let output = inspect(
        port,
        &["-tls1_3", "-alpn", "wakewire/1", "-sess_in", tickets[1]],
    )
    .await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Reused, TLSv1.3"), "{text}");
    taking.abort();
}

#[tokio::test]
async fn our_dialer_shakes_hands_with_its_server_and_greets() {
    let authority = Authority::new();
    let pair = authority.here("server");
    for mode in [TlsMode::Prefer, TlsMode::Require] {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut child = openssl(&[
            "s_server",
            "-accept",
            &address,
            "-cert",
            pair.cert.to_str().unwrap(),
            "-key",
            pair.key.to_str().unwrap(),
            "-tls1_3",
            "-alpn",
            "wakewire/1",
        ]);
        // By its scheme, or by its mode from the first byte.
        let scheme = if mode == TlsMode::Prefer {
            "tls"
        } else {
            "tcp"
        };
        let endpoint = format!("{scheme}://{address}");
        let sender = factory(direct(&endpoint, with_mode(authority.security(), mode)));
        let sink = sender.create_sink("a-name-to-look-for").await.unwrap();
        sink.send(numbered(0)).await.unwrap();
        let mut said = Vec::new();
        let stdout = child.stdout.as_mut().unwrap();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&said).contains("a-name-to-look-for") {
            let read = soon(stdout.read(&mut bytes)).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&bytes[..read]);
        }
        let text = String::from_utf8_lossy(&said);
        assert!(
            text.contains("ALPN protocols selected: wakewire/1"),
            "{text}"
        );
        assert!(
            text.contains("TLS_AES") || text.contains("TLS_CHACHA"),
            "{text}"
        );
        child.kill().await.unwrap();
        sender.close(PATIENCE / 30).await;
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_refused() {
    let authority = Authority::new();
    let pair = authority.here("server");
    for (further, expected) in [
        (
            &["-tls1_3", "-alpn", "http/1.1"][..],
            "NoApplicationProtocol",
        ),
        (&["-tls1_3"], "does not say that it speaks `wakewire/1`"),
        (&["-tls1_2", "-alpn", "wakewire/1"], "ProtocolVersion"),
    ] {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let serving = [
            "s_server",
            "-accept",
            &address,
            "-cert",
            pair.cert.to_str().unwrap(),
            "-key",
            pair.key.to_str().unwrap(),
        ];
        let _child = openssl(&[&serving[..], further].concat());
        // It tries again until the server is up; what the server is, is permanent.
        let sender = factory(direct(&format!("tls://{address}"), authority.security()));
        let sink = sender.create_sink("ticks").await.unwrap();
        let error = loop {
            let error = soon(sink.connect()).await.unwrap_err();
            if error.is_permanent() {
                break error;
            }
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
