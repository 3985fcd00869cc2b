//! `zenoh`: a publisher to a subscriber, peer to peer, reliable, with a sender that waits when the network is full.

use anyhow::{Context as _, Result, anyhow};
use zenoh::handlers::FifoChannel;
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session};

use super::{Contestant, Course};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[&Zenoh];

/// Messages that wait for the receiving task.
const QUEUE: usize = 1024;

struct Zenoh;

impl Contestant for Zenoh {
    fn name(&self) -> &'static str {
        "zenoh"
    }

    fn about(&self) -> &'static str {
        "zenoh, peer to peer, reliable"
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let address = course.address.with_port()?;
        let mut checker = Checker::new(course);
        let dismissal = stage.dismissal();
        Flavor::MultiThread.run(async move {
            let session = open("listen", &address).await?;
            let messages = session
                .declare_subscriber(KEY)
                .with(FifoChannel::new(QUEUE))
                .await
                .map_err(|error| anyhow!(error))?;
            stage.announce(&address)?;
            while !checker.is_done() {
                let sample = messages
                    .recv_async()
                    .await
                    .map_err(|error| anyhow!(error))?;
                checker.check(&sample.payload().to_bytes())?;
            }
            session
                .put(DONE, checker.seen().to_le_bytes())
                .congestion_control(CongestionControl::Block)
                .await
                .map_err(|error| anyhow!(error))?;
            dismissal.await?;
            Ok(checker)
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let course = course.clone();
        Flavor::MultiThread.run(async move {
            let session = open("connect", &course.address).await?;
            let confirmation = session
                .declare_subscriber(DONE)
                .await
                .map_err(|error| anyhow!(error))?;
            let publisher = session
                .declare_publisher(KEY)
                .congestion_control(CongestionControl::Block)
                .await
                .map_err(|error| anyhow!(error))?;
            // Until both sides know of each other's subscribers, what is put goes nowhere.
            while !publisher
                .matching_status()
                .await
                .map_err(|error| anyhow!(error))?
                .matching()
            {
                tokio::task::yield_now().await;
            }
            let mut payloads = Payloads::new(&course);

            let stopwatch = Stopwatch::start();
            for sequence in 0..course.count {
                payloads.yielding(sequence).await;
                publisher
                    .put(payloads.make(sequence))
                    .await
                    .map_err(|error| anyhow!(error))?;
            }
            let confirmed = confirmation
                .recv_async()
                .await
                .map_err(|error| anyhow!(error))?;
            let confirmed = confirmed.payload().to_bytes();
            let confirmed = confirmed.first_chunk().context("too short")?;
            Ok(stopwatch.stop(u64::from_le_bytes(*confirmed)))
        })
    }
}

async fn open(role: &str, address: &Address) -> Result<Session> {
    let endpoint = address.behind("unixsock-stream/", "tcp/")?;
    let mut config = Config::default();
    for (key, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("listen/endpoints", "[]".to_owned()),
        (&format!("{role}/endpoints"), format!("[\"{endpoint}\"]")),
    ] {
        config
            .insert_json5(key, &value)
            .map_err(|error| anyhow!(error))?;
    }
    zenoh::open(config).await.map_err(|error| anyhow!(error))
}

const KEY: &str = "bench";
const DONE: &str = "done";
