//! `wakewire`: a sink by name to a source by name, acknowledged after processing, kept until then.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use wakewire::{Message, MessageRef, MessageSink, SinkError, SinkFactory};

use super::{Contestant, Course};
use crate::address::{Address, Transport};
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads, Slate};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[
    &Wakewire {
        name: "wakewire-views-current",
        about: "borrowed on both sides (send_ref, recv_batch), acknowledged, everything on one thread",
        flavor: Flavor::CurrentThread,
        api: Api::Borrowed,
    },
    &Wakewire {
        name: "wakewire-views-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
        api: Api::Borrowed,
    },
    &Wakewire {
        name: "wakewire-owned-current",
        about: "owned messages (send, recv), acknowledged, everything on one thread",
        flavor: Flavor::CurrentThread,
        api: Api::Owned,
    },
    &Wakewire {
        name: "wakewire-owned-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
        api: Api::Owned,
    },
    &Wakewire {
        name: "wakewire-batch-current",
        about: "owned messages by the hundred (send_batch, recv_batch), everything on one thread",
        flavor: Flavor::CurrentThread,
        api: Api::Batches,
    },
    &Wakewire {
        name: "wakewire-batch-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
        api: Api::Batches,
    },
];

/// How the application holds messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Borrowed,
    Owned,
    Batches,
}

struct Wakewire {
    name: &'static str,
    about: &'static str,
    flavor: Flavor,
    api: Api,
}

impl Contestant for Wakewire {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn has_senders(&self) -> bool {
        true
    }

    fn carries(&self, _transport: Transport) -> bool {
        true
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let address = course.address.with_port()?;
        let services = services(&address);
        stage.announce(&address)?;
        let dismissal = stage.dismissal();
        let mut checker = Checker::new(course);
        let views = self.api != Api::Owned;
        self.flavor.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let mut source = factory.create_source(SERVICE).await?;
            // Asking for more says that the last ones were processed, so it asks until it is dismissed.
            let closing = tokio::spawn(async move {
                dismissal.await?;
                factory.close(PATIENCE).await;
                anyhow::Ok(())
            });
            if views {
                while let Some(batch) = source.recv_batch().await? {
                    for message in &batch {
                        checker.check(message.payload())?;
                    }
                }
            } else {
                while let Some(message) = source.recv().await? {
                    checker.check(&message.payload)?;
                }
            }
            closing.await??;
            Ok(checker)
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let services = services(&course.address);
        let course = course.clone();
        let api = self.api;
        self.flavor.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let sink = factory.create_sink(SERVICE).await?;
            sink.connect().await?;

            let stopwatch = Stopwatch::start();
            if course.senders == 1 {
                send_all(api, &sink, &course, 0).await?;
            } else {
                let mut tasks = JoinSet::new();
                for sender in 0..course.senders {
                    let (sink, course) = (sink.clone(), course.clone());
                    tasks.spawn(async move { send_all(api, &sink, &course, sender).await });
                }
                while let Some(sent) = tasks.join_next().await {
                    sent??;
                }
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

/// Sends the share of one sender.
async fn send_all(
    api: Api,
    sink: &impl MessageSink,
    course: &Course,
    sender: u32,
) -> Result<(), SinkError> {
    let count = course.share(sender);
    match api {
        Api::Borrowed => {
            let mut slate = Slate::of(course, sender);
            for sequence in 0..count {
                slate.payloads().yielding(sequence).await;
                let message = MessageRef::new(slate.write(sequence));
                sink.send_ref(&message).await?;
            }
        }
        Api::Owned => {
            let mut payloads = Payloads::of(course, sender);
            for sequence in 0..count {
                payloads.yielding(sequence).await;
                sink.send(Message::new(payloads.make(sequence))).await?;
            }
        }
        Api::Batches => {
            let mut payloads = Payloads::of(course, sender);
            let mut sequence = 0;
            while sequence < count {
                payloads.yielding(sequence).await;
                // At a rate, what is due; else by the hundred.
                let mut batch = Vec::with_capacity(BATCH);
                while sequence < count && batch.len() < BATCH && payloads.is_due(sequence) {
                    batch.push(Message::new(payloads.make(sequence)));
                    sequence += 1;
                }
                sink.send_batch(batch).await?;
            }
        }
    }
    Ok(())
}

fn services(address: &Address) -> String {
    let service = format!("[services.{SERVICE}]\ntype = 'direct'\nlazy.max_retries = 20\n");
    match address {
        Address::Unix(_) | Address::Tcp(_) => service + &format!("endpoint = '{address}'"),
        #[cfg(feature = "tls")]
        Address::Tls(address, directory) => {
            service + &format!("endpoint = 'tls://{address}'\n") + &crate::tls::keys(directory)
        }
    }
}

const SERVICE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
const BATCH: usize = 100;
