//! `wakewire`: a sink by name to a source by name, acknowledged after processing, kept until then.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::task::JoinSet;
use wakewire::{Message, MessageSink, SinkError, SinkFactory};

use super::{Contestant, Course};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;

pub const ENTRIES: &[&dyn Contestant] = &[
    &Wakewire {
        name: "wakewire-views-current",
        about: "borrowed views (recv_batch), acknowledged, everything on one thread",
        flavor: Flavor::CurrentThread,
        views: true,
    },
    &Wakewire {
        name: "wakewire-views-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
        views: true,
    },
    &Wakewire {
        name: "wakewire-owned-current",
        about: "owned messages (recv), acknowledged, everything on one thread",
        flavor: Flavor::CurrentThread,
        views: false,
    },
    &Wakewire {
        name: "wakewire-owned-multi",
        about: "the same on two workers",
        flavor: Flavor::MultiThread,
        views: false,
    },
];

struct Wakewire {
    name: &'static str,
    about: &'static str,
    flavor: Flavor,
    views: bool,
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

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let address = course.address.with_port()?;
        let services = services(&address);
        stage.announce(&address)?;
        let mut dismissal = stage.dismissal();
        let mut checker = Checker::new(course);
        let views = self.views;
        self.flavor.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let mut source = factory.create_source(SERVICE).await?;
            // Asking for more says that the last ones were processed, so it asks until it is dismissed.
            loop {
                if views {
                    tokio::select! {
                        biased;
                        batch = source.recv_batch() => {
                            for message in &batch?.context("closed")? {
                                checker.check(message.payload())?;
                            }
                        }
                        _ = &mut dismissal => break,
                    }
                } else {
                    tokio::select! {
                        biased;
                        message = source.recv() => {
                            checker.check(&message?.context("closed")?.payload)?;
                        }
                        _ = &mut dismissal => break,
                    }
                }
            }
            Ok(checker)
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let services = services(&course.address);
        let course = course.clone();
        self.flavor.run(async move {
            let factory = SinkFactory::from_config_str(&services)?;
            let sink = factory.create_sink(SERVICE).await?;
            sink.connect().await?;

            let stopwatch = Stopwatch::start();
            if course.senders == 1 {
                send_all(&sink, Payloads::new(&course), course.count).await?;
            } else {
                let mut tasks = JoinSet::new();
                for sender in 0..course.senders {
                    let (sink, payloads) = (sink.clone(), Payloads::of(&course, sender));
                    let share = course.share(sender);
                    tasks.spawn(async move { send_all(&sink, payloads, share).await });
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

async fn send_all(
    sink: &impl MessageSink,
    mut payloads: Payloads,
    count: u64,
) -> Result<(), SinkError> {
    for sequence in 0..count {
        payloads.yielding(sequence).await;
        sink.send(Message::new(payloads.make(sequence))).await?;
    }
    Ok(())
}

fn services(address: &Address) -> String {
    format!("[services.{SERVICE}]\ntype = 'direct'\nendpoint = '{address}'\nlazy.max_retries = 20")
}

const SERVICE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
