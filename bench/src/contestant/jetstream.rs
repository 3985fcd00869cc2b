//! `nats-jetstream`: as `nats-core`, with a stream on disk; each message is acknowledged to the sender when it is stored,
//! and by the receiver when it was processed.

use std::collections::VecDeque;

use anyhow::{Context, Result, anyhow};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;

use super::nats::{DONE, SUBJECT, Server, confirm, connect};
use super::{Contestant, Course};
use crate::address::Transport;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[&JetStream];

/// Messages that the sender has not seen acknowledged yet.
const IN_FLIGHT: usize = 4096;

struct JetStream;

impl Contestant for JetStream {
    fn name(&self) -> &'static str {
        "nats-jetstream"
    }

    fn about(&self) -> &'static str {
        "the same with a stream on disk, acknowledged on both sides"
    }

    fn carries(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let server = Server::start(&course.address)?;
        let address = server.address.clone();
        let mut checker = Checker::new(course);
        let dismissal = stage.dismissal();
        let checker = Flavor::MultiThread.run(async move {
            let client = connect(&address, 65_536).await?;
            let streams = jetstream::new(client.clone());
            let stream = streams
                .create_stream(stream::Config {
                    name: SUBJECT.into(),
                    subjects: vec![SUBJECT.into()],
                    ..stream::Config::default()
                })
                .await?;
            let consumer = stream
                .create_consumer(pull::Config {
                    durable_name: Some("receiver".into()),
                    ack_policy: AckPolicy::Explicit,
                    max_ack_pending: 65_536,
                    ..pull::Config::default()
                })
                .await?;
            let mut messages = consumer.messages().await?;
            stage.announce(&address)?;
            while !checker.is_done() {
                let message = messages.next().await.context("the server left")??;
                checker.check(&message.payload)?;
                message.ack().await.map_err(|error| anyhow!(error))?;
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
            let client = connect(&course.address, 65_536).await?;
            let streams = jetstream::new(client.clone());
            let mut confirmation = client.subscribe(DONE).await?;
            client.flush().await?;
            let mut payloads = Payloads::new(&course);
            let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);

            let stopwatch = Stopwatch::start();
            for sequence in 0..course.count {
                payloads.yielding(sequence).await;
                if in_flight.len() == IN_FLIGHT
                    && let Some(oldest) = in_flight.pop_front()
                {
                    IntoFuture::into_future(oldest).await?;
                }
                in_flight.push_back(streams.publish(SUBJECT, payloads.make(sequence)).await?);
            }
            for acknowledged in in_flight {
                acknowledged.await?;
            }
            let confirmed = confirmation.next().await.context("the server left")?;
            let confirmed = confirmed.payload.first_chunk().context("too short")?;
            Ok(stopwatch.stop(u64::from_le_bytes(*confirmed)))
        })
    }
}
