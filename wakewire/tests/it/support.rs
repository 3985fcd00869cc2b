//! What several tests need: a directory for sockets, numbered messages, bounded waits.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Once;
use std::time::Duration;

use tempfile::TempDir;
use wakewire::{Message, MessageSource, Registry, ServiceConfig, SinkError, SinkFactory};

pub(crate) use crate::ports::free_port;

/// Sockets in a directory of their own.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A service of this kind at a Unix socket in the directory.
    pub(crate) fn unix(&self, name: &str, kind: &str, further: &str) -> String {
        let path = self.0.path().join(format!("{name}.sock"));
        format!(
            "[services.{name}]\ntype = '{kind}'\nendpoint = 'unix://{}'\n{further}\n",
            path.display()
        )
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

/// A service of this kind at a free port.
pub(crate) fn tcp(name: &str, kind: &str, further: &str) -> String {
    let port = free_port();
    format!("[services.{name}]\ntype = '{kind}'\nendpoint = 'tcp://127.0.0.1:{port}'\n{further}\n")
}

/// Logs everything, if `WAKEWIRE_TEST_LOG` is set: so `scripts/look-for-secrets` has all there is to search.
pub(crate) fn log() {
    static SAID: Once = Once::new();
    if std::env::var_os("WAKEWIRE_TEST_LOG").is_some() {
        SAID.call_once(|| {
            let log = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false);
            log.with_writer(std::io::stderr).init();
        });
    }
}

pub(crate) fn factory(text: &str) -> SinkFactory {
    log();
    SinkFactory::from_config_str(text).unwrap()
}

/// A registry in which every name is the same service, made in code.
#[derive(Debug)]
struct Only(ServiceConfig);

impl Registry for Only {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        Box::pin(ready(Ok(self.0.clone())))
    }
}

/// A factory of this one service, whatever it is called.
pub(crate) fn factory_of(config: ServiceConfig) -> SinkFactory {
    log();
    SinkFactory::from_registry(Only(config))
}

/// A message that says its number.
pub(crate) fn numbered(number: u64) -> Message {
    Message::new(number.to_le_bytes().to_vec())
}

pub(crate) fn number(message: &Message) -> u64 {
    u64::from_le_bytes(message.payload[..8].try_into().unwrap())
}

/// Longer than anything here takes on a loaded machine; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails rather than hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("not within 30 s")
}

/// Waits for a condition that no event tells of.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within 30 s: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Receives exactly these numbers, in order.
pub(crate) async fn expect(source: &mut MessageSource, numbers: std::ops::Range<u64>) {
    for expected in numbers {
        let message = soon(source.recv()).await.unwrap().expect("not closed");
        assert_eq!(number(&message), expected);
    }
}

/// How many cases a test has: as the environment says, for the published runs, or this many.
pub(crate) fn cases(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.replace('_', "").parse().expect(variable),
        Err(_) => otherwise,
    }
}
