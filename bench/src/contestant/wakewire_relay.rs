//! `wakewire-relay`: a sink by name, a relay in a third process, consumers by name; acknowledged end to end. The
//! receiver starts the relay and ends it, and its CPU time counts as the receiver's.

use std::env;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wakewire::{Message, MessageSink, SinkFactory};

use super::{Contestant, Course, Work};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[&WakewireRelay];

struct WakewireRelay;

impl Contestant for WakewireRelay {
    fn name(&self) -> &'static str {
        "wakewire-relay"
    }

    fn about(&self) -> &'static str {
        "borrowed views through a relay to each consumer, acknowledged end to end"
    }

    fn work(&self) -> Work {
        Work::FanOut
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let address = course.address.with_port()?;
        let relay = RelayProcess::start(&address, course)?;
        let services = services(&address, course);
        let course = course.clone();
        let mut dismissal = stage.dismissal();
        let checker = Flavor::MultiThread.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let (end, ended) = watch::channel(());
            let mut consumers = JoinSet::<Result<Checker>>::new();
            for name in names(&course) {
                let mut source = factory.create_source(SERVICE).await?.named(name);
                let (mut checker, mut ended) = (Checker::new(&course), ended.clone());
                consumers.spawn(async move {
                    loop {
                        // Asking for more says that the last ones were processed, so it asks until the end.
                        tokio::select! {
                            biased;
                            batch = source.recv_batch() => {
                                for message in &batch?.context("closed")? {
                                    checker.check(message.payload())?;
                                }
                            }
                            _ = ended.changed() => return Ok(checker),
                        }
                    }
                });
            }
            drop(ended);
            stage.announce(&address)?;
            tokio::select! {
                failed = consumers.join_next() => {
                    failed.context("no consumers")??.map(drop)?;
                    bail!("a consumer ended early");
                }
                dismissed = &mut dismissal => dismissed?,
            }
            end.send_replace(());
            let mut all: Vec<Checker> = Vec::new();
            while let Some(checker) = consumers.join_next().await {
                all.push(checker??);
            }
            // The one that got the least speaks for all.
            all.into_iter()
                .min_by_key(Checker::seen)
                .context("no consumers")
        })?;
        drop(relay);
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let services = services(&course.address, course);
        let mut payloads = Payloads::new(course);
        let course = course.clone();
        Flavor::MultiThread.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let sink = factory.create_sink(SERVICE).await?;
            // With the first everybody is there.
            sink.send(Message::new(payloads.make(0))).await?;
            sink.flush(PATIENCE).await?;
            payloads.begin();

            let stopwatch = Stopwatch::start();
            for sequence in 1..course.count {
                payloads.yielding(sequence).await;
                sink.send(Message::new(payloads.make(sequence))).await?;
            }
            let report = sink.flush(PATIENCE).await?;
            let sent = stopwatch.stop(report.delivered);
            if !report.is_complete() {
                bail!("not all was delivered: {report:?}");
            }
            Ok(sent)
        })
    }
}

/// Relays until it is killed.
pub fn relay(course: &Course) -> Result<()> {
    let services = services(&course.address, course);
    Flavor::MultiThread.run(async move {
        let factory = SinkFactory::from_config_str(&services)?;
        Ok(factory.create_relay(SERVICE).await?.run().await?)
    })
}

/// The relay's process; dropped, it is ended and waited for.
struct RelayProcess(Child);

impl RelayProcess {
    fn start(address: &Address, course: &Course) -> Result<Self> {
        let child = Command::new(env::current_exe()?)
            .arg("relay")
            .args(["--contestant", "wakewire-relay"])
            .args(["--address", &address.to_string()])
            .args(["--size", &course.size.to_string()])
            .args(["--count", &course.count.to_string()])
            .args(["--rate", "0", "--senders", "1"])
            .args(["--consumers", &course.consumers.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the relay")?;
        Ok(Self(child))
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn names(course: &Course) -> impl Iterator<Item = String> {
    (0..course.consumers).map(|number| format!("consumer-{number}"))
}

fn services(address: &Address, course: &Course) -> String {
    let consumers: Vec<String> = names(course).collect();
    format!(
        "[services.{SERVICE}]\ntype = 'relay'\nendpoint = '{address}'\nlazy.retry_delay_ms = 5\n\
         lazy.max_retry_delay_secs = 0.05\nconsumers = {consumers:?}"
    )
}

const SERVICE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
