//! What a listener bears: how many, how silent, how useless; and that a good client is served meanwhile.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing_subscriber::util::SubscriberInitExt;
use wakewire::{
    Endpoint, ListenLimits, MessageSource, Password, Security, ServiceConfig, SinkError,
    SinkFactory,
};

use crate::support::{PATIENCE, Place, factory_of, free_port, number, numbered, soon};

fn factory(config: &ServiceConfig) -> SinkFactory {
    factory_of(config.clone())
}

fn unix(place: &Place) -> (PathBuf, ServiceConfig) {
    let path = place.path().join("ticks.sock");
    let config = ServiceConfig::direct(Endpoint::Unix(path.clone()));
    (path, config)
}

fn tcp() -> (u16, ServiceConfig) {
    let port = free_port();
    let endpoint = format!("tcp://127.0.0.1:{port}");
    (port, ServiceConfig::direct(endpoint.parse().unwrap()))
}

/// A source that has bound its endpoint, because it has received something.
pub(crate) async fn listening(config: &ServiceConfig) -> (SinkFactory, MessageSource) {
    let factory = factory(config);
    let sink = factory.create_sink("ticks").await.unwrap();
    let mut source = factory.create_source("ticks").await.unwrap();
    sink.send(numbered(0)).await.unwrap();
    assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), 0);
    (factory, source)
}

/// A new process's worth of sender: sends one message; returns how long its delivery took.
pub(crate) async fn good_client(
    config: &ServiceConfig,
    source: &mut MessageSource,
    n: u64,
) -> Duration {
    let factory = factory(config);
    let start = Instant::now();
    let sink = factory.create_sink("ticks").await.unwrap();
    sink.send(numbered(n)).await.unwrap();
    assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), n);
    let took = start.elapsed();
    drop(factory);
    took
}

/// Raises how many files this process may have open; returns how many it may.
fn raise_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_silent_sockets_do_not_keep_a_good_client_out() {
    let files = raise_files();
    // Both ends of those that are greeting, one of the others, and room for the tests beside this one.
    let many = usize::try_from(files.saturating_sub(4096).min(10_000)).unwrap();
    assert!(
        many >= 2048,
        "this user may open {files} files only: raise `ulimit -Hn`"
    );
    let (port, config) = tcp();
    let (_listener, mut source) = listening(&config).await;
    let mut silent = Vec::new();
    let (mut slowest, mut n) = (Duration::ZERO, 0);
    while silent.len() < many {
        for _ in 0..500.min(many - silent.len()) {
            silent.push(soon(TcpStream::connect(("127.0.0.1", port))).await.unwrap());
        }
        n += 1;
        slowest = slowest.max(good_client(&config, &mut source, n).await);
    }
    println!("{many} silent sockets; the slowest of {n} good clients took {slowest:?}");
    // Well below the 5 s after which silent ones are dropped: nobody waited for that.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}

/// Says to a child of this process that it is the listener, and where.
const LISTENS_AT: &str = "WAKEWIRE_TEST_LISTENS_AT";

/// A process that ends with this one.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Receives in a process that may open few files.
async fn receive_with_few_files(endpoint: &str) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(128);
    setrlimit(Resource::Nofile, limit).unwrap();
    let factory = factory(&ServiceConfig::direct(endpoint.parse().unwrap()));
    let mut source = factory.create_source("ticks").await.unwrap();
    while source.recv().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_that_take_all_files_do_not_keep_a_good_client_out() {
    if let Ok(endpoint) = std::env::var(LISTENS_AT) {
        return receive_with_few_files(&endpoint).await;
    }
    raise_files();
    let (port, config) = tcp();
    let _child = Child(
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "limits::silent_sockets_that_take_all_files_do_not_keep_a_good_client_out",
            ])
            .env(LISTENS_AT, format!("tcp://127.0.0.1:{port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut silent = Vec::new();
    // If each of them kept its place for its five seconds, this would take a minute.
    let flooded = soon(async {
        for n in 0..3 {
            let factory = factory(&config);
            let sink = factory.create_sink("ticks").await.unwrap();
            sink.send(numbered(n)).await.unwrap();
            let report = sink.flush(PATIENCE).await.unwrap();
            assert!(report.is_complete(), "{report:?}");
            for _ in 0..1000 {
                silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
            }
        }
    });
    flooded.await;
}

#[tokio::test]
async fn as_many_connections_as_allowed_and_not_one_more_until_one_leaves() {
    let place = Place::new();
    let (_, mut config) = unix(&place);
    config.limits = ListenLimits {
        connections: 3,
        ..ListenLimits::default()
    };
    let (_one, mut source) = listening(&config).await;
    let more: Vec<_> = (0..2).map(|_| factory(&config)).collect();
    for factory in &more {
        let sink = factory.create_sink("ticks").await.unwrap();
        soon(sink.connect()).await.unwrap();
    }
    let late = factory(&config);
    let sink = late.create_sink("ticks").await.unwrap();
    sink.send(numbered(7)).await.unwrap(); // accepted: it waits for its turn
    let refused = soon(async {
        loop {
            if let Some(error) = sink.metadata().last_error {
                break error.to_string();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(refused.contains("`max_connections`"), "{refused}");
    drop(more);
    assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), 7);
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection_and_nobody_elses() {
    let place = Place::new();
    let (path, config) = unix(&place);
    let (_listener, mut source) = listening(&config).await;
    // 32 pings, then one too many.
    let mut stream = greeted(&path, &hello()).await;
    let ping = frame(10, 0, &[]);
    for _ in 0..32 {
        stream.write_all(&ping).await.unwrap();
    }
    assert_eq!(soon(read_frame(&mut stream)).await[4], 11, "at the limit");
    soon(ended_by(stream, &ping)).await;
    let took = good_client(&config, &mut source, 1).await;
    println!("a good client beside it took {took:?}");
}

#[tokio::test]
async fn frames_that_are_there_already_are_borne_for_a_while() {
    let place = Place::new();
    let (path, config) = unix(&place);
    let (_listener, mut source) = listening(&config).await;
    bears_what_is_there(&path).await;
    // The connection of its session that comes next is served.
    let mut stream = greeted(&path, &hello()).await;
    stream
        .write_all(&frame(4, 2, &7_u64.to_le_bytes()))
        .await
        .unwrap();
    for expected in [0, 7] {
        assert_eq!(
            number(&soon(source.recv()).await.unwrap().unwrap()),
            expected
        );
    }
    good_client(&config, &mut source, 1).await;
}

#[tokio::test]
async fn a_relay_bears_useless_frames_for_a_while() {
    let place = Place::new();
    let factory = crate::support::factory(&place.unix("ticks", "relay", ""));
    let path = place.path().join("ticks.sock");
    let mut relay = factory.create_relay("ticks").await.unwrap();
    relay.bind().await.unwrap();
    let attacks = async {
        bears_what_is_there(&path).await;
        // A producer acknowledges nothing.
        let mut stream = greeted(&path, &hello()).await;
        stream.write_all(&frame(5, 0, &[])).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        // A consumer that has acknowledged the one message that there is, and says so again and again.
        let mut stream = greeted(&path, &consumers_hello()).await;
        let mut gap = read_frame(&mut stream).await;
        while gap[4] != 6 {
            gap = read_frame(&mut stream).await;
        }
        let mut ack = frame(5, 1, &[]);
        ack[6] = 1;
        ack[24..28].copy_from_slice(&gap[24..28]);
        for _ in 0..30 {
            stream.write_all(&ack).await.unwrap();
        }
        stream.write_all(&frame(10, 0, &[])).await.unwrap();
        while read_frame(&mut stream).await[4] != 11 {}
        ended_by(stream, &ack).await;
    };
    tokio::select! {
        () = soon(attacks) => {}
        stopped = relay.run() => panic!("{stopped:?}"),
    }
}

#[tokio::test]
async fn who_floods_a_relay_does_not_flood_its_log() {
    const VISITS: usize = 500;
    let written = Arc::new(Mutex::new(Vec::new()));
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer({
        let written = Arc::clone(&written);
        move || Log(Arc::clone(&written))
    });
    let _until_the_end = log.set_default();
    let place = Place::new();
    let factory = crate::support::factory(&place.unix("ticks", "relay", ""));
    let path = place.path().join("ticks.sock");
    let mut relay = factory.create_relay("ticks").await.unwrap();
    relay.bind().await.unwrap();
    let start = Instant::now();
    let visits = async {
        for _ in 0..VISITS {
            let mut stream = greeted(&path, &hello()).await;
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
    };
    tokio::select! {
        () = visits => {}
        stopped = relay.run() => panic!("{stopped:?}"),
    }
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap() + 2;
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    for event in [": connected ", ": lost "] {
        let lines = text.lines().filter(|line| line.contains(event)).count();
        assert!((10..=10 * seconds).contains(&lines), "{event}: {lines}");
    }
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_of_a_relay_is_never_in_the_middle_of_a_frame() {
    let place = Place::new();
    let factory = crate::support::factory(&place.unix("ticks", "relay", ""));
    let path = place.path().join("ticks.sock");
    let mut relay = factory.create_relay("ticks").await.unwrap();
    relay.bind().await.unwrap();
    let sink = factory.create_sink("ticks").await.unwrap();
    for _ in 0..300 {
        let message = wakewire::Message::new(vec![0x55; 10_000]);
        sink.send(message).await.unwrap();
    }
    let consumers = async {
        for _ in 0..20 {
            // It reads nothing, until another connection of the same consumer takes its place.
            let mut first = greeted(&path, &consumers_hello()).await;
            first.readable().await.unwrap();
            let _second = greeted(&path, &consumers_hello()).await;
            let mut bytes = Vec::new();
            first.read_to_end(&mut bytes).await.ok();
            let mut rest = &bytes[..];
            while let Some((head, more)) = rest.split_at_checked(32) {
                let length = u32::from_le_bytes(head[..4].try_into().unwrap());
                // The last one may be cut off; what there is of it is its own.
                let (body, more) = more.split_at(more.len().min(length as usize));
                if head[4] == 4 {
                    let strange: Vec<_> = body.iter().filter(|byte| **byte != 0x55).collect();
                    assert!(strange.is_empty(), "{strange:?}");
                }
                rest = more;
            }
        }
    };
    tokio::select! {
        () = soon(consumers) => {}
        stopped = relay.run() => panic!("{stopped:?}"),
    }
}

/// A producer that says its first message again: 30 times are borne, and not more than ten a second after that.
async fn bears_what_is_there(path: &Path) {
    let mut stream = greeted(path, &hello()).await;
    let data = frame(4, 1, &0_u64.to_le_bytes());
    for _ in 0..=30 {
        stream.write_all(&data).await.unwrap();
    }
    stream.write_all(&frame(10, 0, &[])).await.unwrap();
    while soon(read_frame(&mut stream)).await[4] != 11 {}
    soon(ended_by(stream, &data)).await;
}

/// Connects, says hello, reads the welcome.
async fn greeted(path: &Path, hello: &[u8]) -> tokio::net::UnixStream {
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    stream.write_all(hello).await.unwrap();
    assert_eq!(soon(read_frame(&mut stream)).await[4], 2, "a welcome");
    stream
}

/// Reads a frame; returns its header.
async fn read_frame(stream: &mut tokio::net::UnixStream) -> [u8; 32] {
    let mut head = [0; 32];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_le_bytes(head[..4].try_into().unwrap());
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.unwrap();
    head
}

/// Says this frame without end until the connection ends, in whichever way the system tells it: more often than ten
/// times a second, whatever the machine does meanwhile.
async fn ended_by(mut stream: tokio::net::UnixStream, frame: &[u8]) {
    let flood = frame.repeat(4096);
    while stream.write_all(&flood).await.is_ok() {}
    stream.read_to_end(&mut Vec::new()).await.ok();
}

/// A frame over a Unix socket, as in docs/wire-protocol.md.
pub(crate) fn frame(kind: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 32];
    frame[..4].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    frame[4] = kind;
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame.extend(body);
    frame
}

/// A producer's hello: versions 1 to 1, any service, a session of ones.
pub(crate) fn hello() -> Vec<u8> {
    let mut cbor = front_of_hello();
    cbor.extend([0x04, 0xa3, 0x00, 0x50]);
    cbor.extend([1; 16]);
    cbor.extend([0x01, 0x01, 0x02, 0xf4]);
    frame(1, 0, &cbor)
}

/// A consumer's, without a name.
pub(crate) fn consumers_hello() -> Vec<u8> {
    let mut cbor = front_of_hello();
    cbor.extend([0x05, 0xa4, 0x01, 0x50]);
    cbor.extend([2; 16]);
    cbor.extend([0x02, 0xf4, 0x03, 0x00, 0x04, 0x00]);
    frame(1, 0, &cbor)
}

fn front_of_hello() -> Vec<u8> {
    let mut cbor = vec![0xa5, 0x00, 0x01, 0x01, 0x01, 0x02, 0x60];
    cbor.extend([
        0x03, 0xa3, 0x00, 0x1a, 0, 0x10, 0, 0, 0x01, 0x00, 0x02, 0x00,
    ]);
    cbor
}

#[test]
fn an_endless_hello_is_cut_off_by_its_length() {
    let place = Place::new();
    let (path, config) = unix(&place);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (_factory, _source) = runtime.block_on(listening(&config));
    for (length, goes_on) in [(4096_u32, true), (4097, false), (u32::MAX, false)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut head = [0; 32];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = 1;
        stream.write_all(&head).unwrap();
        if goes_on {
            // Whole, and no CBOR: refused for that, so that it was read.
            stream.write_all(&vec![0xff; length as usize]).unwrap();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[4], 3, "a reject");
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(text.contains("malformed"), goes_on, "{text}");
        assert_eq!(
            text.contains("exceeds the limit of 4096"),
            !goes_on,
            "{text}"
        );
    }
}

fn secured(config: &ServiceConfig, username: &str, password: &str) -> ServiceConfig {
    ServiceConfig {
        security: Security {
            username: Some(username.to_owned()),
            password: Some(Password::from(password.to_owned())),
            ..Security::default()
        },
        ..config.clone()
    }
}

#[tokio::test]
async fn only_the_right_password_gets_in_and_is_never_told() {
    let place = Place::new();
    let (_, open) = unix(&place);
    let config = secured(&open, "feed", "s3cr3t-canary");
    let (_listener, mut source) = listening(&config).await;
    for wrong in [
        open.clone(),
        secured(&open, "feed", "s3cr3t-canarY"),
        secured(&open, "food", "s3cr3t-canary"),
    ] {
        let factory = factory(&wrong);
        let sink = factory.create_sink("ticks").await.unwrap();
        let error = soon(sink.connect()).await.unwrap_err();
        assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
        let told = format!("{error} {error:?} {wrong:?} {:?}", sink.metadata());
        assert!(told.contains("demands a user and a password"), "{told}");
        assert!(!told.contains("s3cr3t"), "{told}");
    }
    good_client(&config, &mut source, 1).await;
}

#[tokio::test]
async fn a_password_that_is_changed_counts_from_the_next_connection_on() {
    let place = Place::new();
    let (_, open) = unix(&place);
    let file = place.path().join("password");
    std::fs::write(&file, "s3cr3t-canary 1\n").unwrap();
    let listens = ServiceConfig {
        security: Security {
            password: Some(Password::File(file.clone())),
            ..secured(&open, "feed", "").security
        },
        ..open.clone()
    };
    let (_listener, mut source) = listening(&listens).await;
    let (old, new) = (
        secured(&open, "feed", "s3cr3t-canary 1"),
        secured(&open, "feed", "s3cr3t-canary 2"),
    );
    let stays = factory(&old);
    let sink = stays.create_sink("ticks").await.unwrap();
    sink.send(numbered(1)).await.unwrap();
    assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), 1);

    std::fs::write(&file, "s3cr3t-canary 2\n").unwrap();
    let late = factory(&old);
    let refused = late.create_sink("ticks").await.unwrap();
    let error = soon(refused.connect()).await.unwrap_err();
    assert!(matches!(error, SinkError::Unauthorized(_)), "{error}");
    good_client(&new, &mut source, 2).await;
    // Whoever is in stays in.
    sink.send(numbered(3)).await.unwrap();
    assert_eq!(number(&soon(source.recv()).await.unwrap().unwrap()), 3);
}

#[tokio::test]
async fn a_password_is_never_sent_over_an_open_network_connection() {
    for endpoint in ["tcp://127.0.0.1:9", "ws://127.0.0.1:9/"] {
        for tls in [wakewire::TlsMode::Off, wakewire::TlsMode::Prefer] {
            let mut config = secured(
                &ServiceConfig::direct(endpoint.parse().unwrap()),
                "feed",
                "s3cr3t-canary",
            );
            config.security.tls = tls;
            let factory = factory(&config);
            let error = factory.create_sink("ticks").await.unwrap_err();
            assert!(matches!(error, SinkError::InvalidConfig(_)), "{error}");
            assert!(factory.create_source("ticks").await.is_err());
            let error = wakewire::DirectSink::secured(endpoint, config.security).unwrap_err();
            assert!(
                error.to_string().contains("never sent in the clear"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_for_the_users_who_are_named() {
    let place = Place::new();
    let (_, config) = unix(&place);
    let me = rustix::process::geteuid().as_raw();
    let with = |uid| ServiceConfig {
        security: Security {
            allow_uids: vec![uid],
            ..Security::default()
        },
        ..config.clone()
    };
    let (listener, mut source) = listening(&with(me)).await;
    assert!(soon(source.close(Duration::from_secs(5))).await);
    soon(listener.close(Duration::from_secs(5))).await;

    let others = factory(&with(me + 1));
    let mut source = others.create_source("ticks").await.unwrap();
    let sink = factory(&config).create_sink("ticks").await.unwrap();
    let refused = async {
        loop {
            match sink.connect().await {
                Err(error @ SinkError::Unauthorized(_)) => break error.to_string(),
                // Not bound yet.
                Ok(()) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let refused = tokio::select! {
        refused = soon(refused) => refused,
        received = source.recv() => panic!("{received:?}"),
    };
    assert!(refused.contains(&format!("user {me} may not")), "{refused}");
}
