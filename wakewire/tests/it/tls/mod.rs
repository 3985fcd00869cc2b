//! TLS over real sockets: certificates made for each test, `openssl` as the other side where it matters.

mod attacks;
pub(crate) mod negotiation;
mod openssl;
mod paths;
mod refusals;
mod rotation;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minicbor::Encoder;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use wakewire::{LazySettings, MessageSource, Security, ServiceConfig, SinkFactory, TlsMode};

pub(crate) use crate::support::free_port;
use crate::support::{PATIENCE, factory_of as factory, number};

/// An authority, and what it has signed, in a directory of its own.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority");
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), cert.pem()).unwrap();
        Self {
            directory,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Signs one for this machine's own name and addresses.
    pub(crate) fn here(&self, name: &str) -> Pair {
        self.sign(name, Self::params(name, &["localhost", "127.0.0.1"]))
    }

    pub(crate) fn params(name: &str, hosts: &[&str]) -> CertificateParams {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// Signs and writes both files; again under the same name, it writes over them.
    pub(crate) fn sign(&self, name: &str, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        let pair = Pair {
            cert: path("pem"),
            key: path("key"),
        };
        replace(&pair.cert, &cert.pem());
        replace(&pair.key, &key.serialize_pem());
        pair
    }

    fn expired(&self) -> Pair {
        let mut params = Self::params("expired", &["localhost", "127.0.0.1"]);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign("expired", params)
    }

    /// What a service that trusts it says.
    pub(crate) fn security(&self) -> Security {
        Security {
            ca: Some(self.ca()),
            ..Security::default()
        }
    }

    /// What a service says that also has a certificate of its own.
    pub(crate) fn security_with(&self, pair: &Pair) -> Security {
        Security {
            cert: Some(pair.cert.clone()),
            key: Some(pair.key.clone()),
            ..self.security()
        }
    }
}

/// Writes a file beside the other and moves it there, as whoever renews certificates does.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(beside, path).unwrap();
}

/// A direct service that tries again soon.
fn direct(endpoint: &str, security: Security) -> ServiceConfig {
    ServiceConfig {
        security,
        lazy: LazySettings {
            retry_delay: Some(Duration::from_millis(5)),
            ..LazySettings::default()
        },
        ..ServiceConfig::direct(endpoint.parse().unwrap())
    }
}

/// The same, for whoever wants to know how one attempt goes.
fn once(config: ServiceConfig) -> ServiceConfig {
    ServiceConfig {
        lazy: LazySettings {
            max_retries: Some(0),
            ..config.lazy
        },
        ..config
    }
}

/// Certificates contradict `tls = "off"`, and are left out there.
pub(crate) fn with_mode(security: Security, tls: TlsMode) -> Security {
    match tls {
        TlsMode::Off => Security {
            tls,
            ..Security::default()
        },
        TlsMode::Prefer | TlsMode::Require => Security { tls, ..security },
    }
}

/// A source in a task of its own that takes everything and says at the end which numbers came.
struct Listening {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<(Vec<u64>, u64)>,
}

impl Listening {
    /// Returns when the endpoint is bound.
    async fn start(config: ServiceConfig) -> Self {
        let authority = config.endpoint.as_ref().unwrap().to_string();
        let authority = authority.split_once("://").unwrap().1.to_owned();
        let factory = factory(config);
        let source = factory.create_source("ticks").await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(take(source, factory, stopped));
        let bound = async {
            while TcpStream::connect(&authority).await.is_err() {
                assert!(!task.is_finished(), "it cannot listen at {authority}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, bound).await.unwrap();
        Self { stop, task }
    }

    /// Closes it; returns what came, and over how many connections.
    async fn stop(self) -> (Vec<u64>, u64) {
        self.stop.send(()).unwrap();
        crate::support::soon(self.task).await.unwrap()
    }
}

async fn take(
    mut source: MessageSource,
    _factory: SinkFactory,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) -> (Vec<u64>, u64) {
    let mut numbers = Vec::new();
    loop {
        tokio::select! {
            message = source.recv() => numbers.push(number(&message.unwrap().unwrap())),
            _ = &mut stopped => break,
        }
    }
    assert!(source.close(PATIENCE).await);
    (numbers, source.stats().connects)
}

/// One control frame, written from `docs/wire-protocol.md`.
fn frame(kind: u8, body: &[u8], checksummed: bool) -> Vec<u8> {
    let mut frame = vec![0; 32];
    frame[..4].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    frame[4] = kind;
    frame.extend_from_slice(body);
    if checksummed {
        frame[5] = 8;
        let sum = crc_fast::crc32_iscsi(&frame);
        frame[28..32].copy_from_slice(&sum.to_le_bytes());
    }
    frame
}

const NEGOTIATE: u8 = 13;

/// An offer: 0 is TLS, 1 TCP, 2 UDP.
fn offer(protocols: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut e = Encoder::new(&mut body);
    e.map(1).unwrap().u8(0).unwrap();
    e.array(protocols.len() as u64).unwrap();
    for protocol in protocols {
        e.u8(*protocol).unwrap();
    }
    frame(NEGOTIATE, &body, true)
}

/// A producer's hello of this session, as TLS carries it: without a checksum.
fn hello(session: [u8; 16]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut e = Encoder::new(&mut body);
    e.map(5).unwrap();
    e.u8(0)
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(1)
        .unwrap()
        .u8(1)
        .unwrap();
    e.u8(2).unwrap().str("ticks").unwrap();
    e.u8(3).unwrap().map(3).unwrap();
    e.u8(0).unwrap().u32(1 << 20).unwrap();
    e.u8(1).unwrap().u32(0).unwrap();
    e.u8(2).unwrap().u32(5000).unwrap();
    e.u8(4).unwrap().map(3).unwrap();
    e.u8(0).unwrap().bytes(&session).unwrap();
    e.u8(1).unwrap().u8(1).unwrap();
    e.u8(2).unwrap().bool(false).unwrap();
    frame(1, &body, false)
}
