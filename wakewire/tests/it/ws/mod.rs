//! WebSocket over real sockets: between wakewire peers, and with those who have never heard of it.

mod foreign;
mod http;
mod peers;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use wakewire::{MessageSource, Security, ServiceConfig, ServiceRegistry, SinkFactory};

use crate::support::{factory_of, free_port as port, soon};

/// Makes a factory of the one service `x`.
fn factory(kind: &str, endpoint: &str, further: &str, security: &Security) -> SinkFactory {
    let text = format!(
        "[services.x]\ntype = '{kind}'\nendpoint = '{endpoint}'\n\
         lazy = {{ retry_delay_ms = 5, max_retry_delay_secs = 0.05 }}\n{further}\n"
    );
    let registry = ServiceRegistry::from_toml(&text).unwrap();
    factory_of(ServiceConfig {
        security: security.clone(),
        ..registry.lookup("x").unwrap().clone()
    })
}

/// A certificate of this machine, which vouches for itself.
struct Certificate {
    directory: TempDir,
}

impl Certificate {
    fn new() -> Self {
        let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(hosts).unwrap();
        let certificate = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(certificate.cert(), cert.pem()).unwrap();
        let mut key = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(certificate.key())
            .unwrap();
        key.write_all(signing_key.serialize_pem().as_bytes())
            .unwrap();
        certificate
    }

    fn cert(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// What both sides say.
    fn security(&self) -> Security {
        Security {
            ca: Some(self.cert()),
            cert: Some(self.cert()),
            key: Some(self.key()),
            ..Security::default()
        }
    }
}

/// A relay that runs until it is killed; killed, its task is dropped with everything it holds.
struct Running(JoinHandle<()>);

impl Running {
    async fn start(factory: &SinkFactory) -> Self {
        let mut relay = factory.create_relay("x").await.unwrap();
        soon(relay.bind()).await.unwrap();
        Self(tokio::spawn(async move { relay.run().await.unwrap() }))
    }

    async fn kill(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}

/// Binds a source, which does so when it is first asked.
async fn bind(source: &mut MessageSource, port: u16) {
    let bound = crate::support::eventually("the endpoint is bound", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    tokio::select! {
        () = bound => {}
        message = source.recv() => panic!("nobody sends: {message:?}"),
    }
}

/// Enough for a goodbye.
const CLOSING: Duration = Duration::from_secs(20);
