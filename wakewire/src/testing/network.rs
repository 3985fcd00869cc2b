//! Names without sockets: every service of a program within the process of its test.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::proxy::Proxy;
use crate::endpoint::Endpoint;
use crate::error::SinkError;
use crate::factory::SinkFactory;
use crate::registry::{Registry, ServiceConfig, ServiceRegistry};
use crate::security::{Security, TlsMode};

/// A network within the process: services are found by their names, and wherever their endpoints are, their
/// connections go over memory.
///
/// Everything else is the real thing, from the outbox to the relay, and none of it needs a socket: a program's own
/// `services.toml` does. Where time is paused, hours pass in a moment. Two networks have nothing in common.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use wakewire::testing::{Network, assert_ledger};
/// use wakewire::{Message, MessageSink, SinkFactory};
///
/// // The program under test knows names only.
/// async fn program(services: &SinkFactory) -> Result<(), wakewire::SinkError> {
///     services.create_sink("orders").await?.send(Message::new("buy")).await
/// }
///
/// let network = Network::new();
/// let text = "[services.orders]\ntype = 'direct'\nendpoint = 'tls://orders.example:7000'";
/// let services = network.factory(text)?;
/// let mut orders = services.create_source("orders").await?;
/// program(&services).await?;
/// assert_eq!(orders.recv().await?.expect("not closed").payload, "buy");
/// orders.close(Duration::from_secs(1)).await;
/// let report = services.close(Duration::from_secs(1)).await;
/// assert_ledger(&report);
/// assert_eq!(report.delivered, 1);
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Network {
    number: u64,
    buffer: usize,
}

impl Network {
    /// Makes one in which nobody listens yet.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self {
            number: MADE.fetch_add(1, Relaxed),
            buffer: BUFFER,
        }
    }

    /// Lets so many bytes be on the way over a [`proxy`](Self::proxy) made from now on, in either direction and on
    /// either side of it, as in a socket's buffer; default 16 KiB. With 1 every write of more than a byte waits.
    #[must_use]
    pub fn with_buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes.max(1);
        self
    }

    /// Makes a factory over a text of services, as [`SinkFactory::from_config_str`], with all of them in this network.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with every fault of the text.
    pub fn factory(&self, services: &str) -> Result<SinkFactory, SinkError> {
        let services = ServiceRegistry::from_toml(services)?;
        Ok(SinkFactory::from_registry(self.registry(services)))
    }

    /// Returns a registry of the same services in this network: for [`SinkFactory::from_registry`]. They lose what is
    /// about TLS, as nobody else can read what passes; passwords stay.
    pub fn registry(&self, services: impl Registry + 'static) -> impl Registry + 'static {
        InMemory {
            services,
            number: self.number,
        }
    }

    /// Returns where a service is: for [`serve`](crate::source::serve) and
    /// [`Connection::open`](crate::connection::Connection::open), which know endpoints.
    pub fn endpoint(&self, service: &str) -> Endpoint {
        endpoint(self.number, service)
    }

    /// Puts a proxy in front of a service, whether anybody listens there already or not: connections from now on go
    /// through it, and as long as it lives.
    ///
    /// # Errors
    ///
    /// There is one already, or no tokio runtime.
    pub fn proxy(&self, service: &str) -> io::Result<Proxy> {
        Proxy::memory(&place(self.number, service), self.buffer)
    }
}

fn place(network: u64, service: &str) -> String {
    format!("{network}.{service}")
}

fn endpoint(network: u64, service: &str) -> Endpoint {
    Endpoint::Memory(place(network, service))
}

#[derive(Debug)]
struct InMemory<R> {
    services: R,
    number: u64,
}

impl<R: Registry> Registry for InMemory<R> {
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        Box::pin(async move {
            let mut config = self.services.lookup(name).await?;
            if config.endpoint.is_some() {
                config.endpoint = Some(endpoint(self.number, name));
                config.security = Security {
                    tls: TlsMode::default(),
                    ca: None,
                    cert: None,
                    key: None,
                    client_ca: None,
                    ..config.security
                };
            }
            Ok(config)
        })
    }
}

/// As in the transport.
const BUFFER: usize = 16 * 1024;
