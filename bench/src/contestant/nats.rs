//! `nats-core`: a nats-server between the two processes, over TCP. The receiver starts it and ends it, and its CPU time
//! counts as the receiver's.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Contestant, Course, Work};
use crate::address::{Address, Transport};
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[
    &Core {
        name: "nats-core",
        work: Work::OneWay,
    },
    &Core {
        name: "nats-core-fan-out",
        work: Work::FanOut,
    },
];

struct Core {
    name: &'static str,
    work: Work,
}

impl Contestant for Core {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "a nats-server between them; nothing is kept or acknowledged"
    }

    fn work(&self) -> Work {
        self.work
    }

    fn carries(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let server = Server::start(&course.address)?;
        let address = server.address.clone();
        let consumers = match self.work {
            Work::FanOut => course.consumers,
            Work::OneWay | Work::RoundTrip => 1,
        };
        // It throws away what does not fit; so everything fits.
        let capacity = course.count as usize + 1;
        let dismissal = stage.dismissal();
        let course = course.clone();
        let checker = Flavor::MultiThread.run(async move {
            let mut receiving = JoinSet::<Result<Checker>>::new();
            for _ in 0..consumers {
                let client = connect(&address, capacity).await?;
                let mut messages = client.subscribe(SUBJECT).await?;
                client.flush().await?;
                let mut checker = Checker::new(&course);
                receiving.spawn(async move {
                    while !checker.is_done() {
                        let message = messages.next().await.context("the server left")?;
                        checker.check(&message.payload)?;
                    }
                    Ok(checker)
                });
            }
            let client = connect(&address, 16).await?;
            stage.announce(&address)?;
            let mut checker = Checker::new(&course);
            while let Some(received) = receiving.join_next().await {
                checker = received??;
            }
            confirm(&client, &checker).await?;
            dismissal.await?;
            Ok(checker)
        })?;
        drop(server);
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let course = course.clone();
        Flavor::MultiThread.run(async move {
            let client = connect(&course.address, 16).await?;
            let mut confirmation = client.subscribe(DONE).await?;
            client.flush().await?;
            let mut payloads = Payloads::new(&course);

            let stopwatch = Stopwatch::start();
            for sequence in 0..course.count {
                payloads.yielding(sequence).await;
                client.publish(SUBJECT, payloads.make(sequence)).await?;
            }
            let confirmed = confirmation.next().await.context("the server left")?;
            let confirmed = confirmed.payload.first_chunk().context("too short")?;
            Ok(stopwatch.stop(u64::from_le_bytes(*confirmed)))
        })
    }
}

/// A nats-server on this machine; dropped, it is ended and waited for.
pub struct Server {
    child: Child,
    pub address: Address,
    /// Where it keeps streams; gone when it is.
    _store: TempDir,
}

impl Server {
    /// Starts one, with streams, and with room for any number of messages that a client has not taken yet.
    pub fn start(address: &Address) -> Result<Self> {
        let address = address.with_port()?;
        let Address::Tcp(at) = &address else {
            bail!("a nats-server listens on TCP only");
        };
        let store = TempDir::with_prefix("wakewire-bench-nats-")?;
        let settings = store.path().join("settings");
        std::fs::write(&settings, "max_pending: 8GB\nmax_payload: 8MB\n")?;
        let child = Command::new("nats-server")
            .args(["--addr", &at.ip().to_string()])
            .args(["--port", &at.port().to_string()])
            .arg("--jetstream")
            .arg("--store_dir")
            .arg(store.path())
            .arg("--config")
            .arg(&settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nats-server; it is in Debian's package of that name")?;
        let mut server = Self {
            child,
            address: address.clone(),
            _store: store,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(at).is_err() {
            let ended = server.child.try_wait()?;
            ensure!(ended.is_none(), "nats-server ended: {ended:?}");
            ensure!(Instant::now() < deadline, "nats-server does not listen");
            sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects with room for so many messages that were not taken yet.
pub async fn connect(address: &Address, capacity: usize) -> Result<Client> {
    let Address::Tcp(address) = address else {
        bail!("a nats-server listens on TCP only");
    };
    ConnectOptions::new()
        .subscription_capacity(capacity)
        .connect(address.to_string())
        .await
        .context("cannot connect to nats-server")
}

/// Says how many came.
pub async fn confirm(client: &Client, checker: &Checker) -> Result<()> {
    let seen = checker.seen().to_le_bytes().to_vec();
    client.publish(DONE, seen.into()).await?;
    Ok(client.flush().await?)
}

pub const SUBJECT: &str = "bench";
pub const DONE: &str = "done";
