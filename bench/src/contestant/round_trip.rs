//! One message there and back, and then the next: how long it takes when nobody is in a hurry but that one.

use std::io::{Read, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wakewire::{Message, MessageSink, SinkFactory};

use super::{Contestant, Course, Work};
use crate::address::Address;
use crate::child::Stage;
use crate::measure::{Latency, Sent, Stopwatch};
use crate::payload::{Checker, Payloads};
use crate::runtime::Flavor;
use crate::socket::{Connection, Listener};

pub const ENTRIES: &[&dyn Contestant] = &[
    &Raw,
    &Tokio,
    &Wakewire {
        name: "wakewire-rt-current",
        flavor: Flavor::CurrentThread,
    },
    &Wakewire {
        name: "wakewire-rt-multi",
        flavor: Flavor::MultiThread,
    },
];

/// The times of round trips.
pub struct Trips {
    times: Histogram<u64>,
    stopwatch: Stopwatch,
    done: u64,
}

impl Trips {
    pub fn begin() -> Result<Self> {
        Ok(Self {
            times: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            stopwatch: Stopwatch::start(),
            done: 0,
        })
    }

    /// Notes one that began then.
    pub fn note(&mut self, begun: Instant) {
        self.times
            .saturating_record(begun.elapsed().as_nanos() as u64);
        self.done += 1;
    }

    pub fn end(self) -> Sent {
        let latency = Some(Latency::of(&self.times));
        Sent {
            latency,
            ..self.stopwatch.stop(self.done)
        }
    }
}

struct Raw;

impl Contestant for Raw {
    fn name(&self) -> &'static str {
        "raw-rt"
    }

    fn about(&self) -> &'static str {
        "blocking sockets, one write and one read"
    }

    fn work(&self) -> Work {
        Work::RoundTrip
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let listener = Listener::bind(&course.address)?;
        stage.announce(&listener.address()?)?;
        let mut socket = listener.accept()?.blocking();
        let mut checker = Checker::new(course);
        let mut message = vec![0; course.size];
        while !checker.is_done() {
            socket.read_exact(&mut message)?;
            checker.check(&message)?;
            socket.write_all(&message)?;
        }
        Ok(checker)
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let mut socket = Connection::open(&course.address)?.blocking();
        let mut payloads = Payloads::new(course);
        let mut answer = vec![0; course.size];
        let mut trips = Trips::begin()?;
        for sequence in 0..course.count {
            let message = payloads.make(sequence);
            let begun = Instant::now();
            socket.write_all(&message)?;
            socket.read_exact(&mut answer)?;
            trips.note(begun);
        }
        Ok(trips.end())
    }
}

struct Tokio;

impl Contestant for Tokio {
    fn name(&self) -> &'static str {
        "tokio-rt"
    }

    fn about(&self) -> &'static str {
        "tokio's sockets, one write and one read, no channel, one thread"
    }

    fn work(&self) -> Work {
        Work::RoundTrip
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let listener = Listener::bind(&course.address)?;
        stage.announce(&listener.address()?)?;
        let connection = listener.accept()?;
        let mut checker = Checker::new(course);
        let mut message = vec![0; course.size];
        Flavor::CurrentThread.run(async move {
            let mut socket = connection.under_tokio()?;
            while !checker.is_done() {
                socket.read_exact(&mut message).await?;
                checker.check(&message)?;
                socket.write_all(&message).await?;
            }
            Ok(checker)
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let connection = Connection::open(&course.address)?;
        let course = course.clone();
        Flavor::CurrentThread.run(async move {
            let mut socket = connection.under_tokio()?;
            let mut payloads = Payloads::new(&course);
            let mut answer = vec![0; course.size];
            let mut trips = Trips::begin()?;
            for sequence in 0..course.count {
                let message = payloads.make(sequence);
                let begun = Instant::now();
                socket.write_all(&message).await?;
                socket.read_exact(&mut answer).await?;
                trips.note(begun);
            }
            Ok(trips.end())
        })
    }
}

struct Wakewire {
    name: &'static str,
    flavor: Flavor,
}

impl Contestant for Wakewire {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "a sink and a source on both sides, owned messages, acknowledged"
    }

    fn work(&self) -> Work {
        Work::RoundTrip
    }

    fn receive(&self, course: &Course, stage: Stage) -> Result<Checker> {
        let address = course.address.with_port()?;
        stage.announce(&address)?;
        let mut dismissal = stage.dismissal();
        let mut checker = Checker::new(course);
        self.flavor.run(async move {
            let there = SinkFactory::from_config_str(&service(&address))?;
            let mut source = there.create_source(SERVICE).await?;
            // The first message says where the answers go.
            let first = source.recv().await?.context("closed")?;
            let back = SinkFactory::from_config_str(std::str::from_utf8(&first.payload)?)?;
            let sink = back.create_sink(SERVICE).await?;
            sink.connect().await?;
            sink.send(first).await?;
            loop {
                tokio::select! {
                    biased;
                    message = source.recv() => {
                        let message = message?.context("closed")?;
                        checker.check(&message.payload)?;
                        sink.send(message).await?;
                    }
                    _ = &mut dismissal => return Ok(checker),
                }
            }
        })
    }

    fn send(&self, course: &Course) -> Result<Sent> {
        let course = course.clone();
        self.flavor.run(async move {
            let there = SinkFactory::from_config_str(&service(&course.address))?;
            let back = service(&course.address.beside().with_port()?);
            let sink = there.create_sink(SERVICE).await?;
            let mut source = SinkFactory::from_config_str(&back)?
                .create_source(SERVICE)
                .await?;
            let mut payloads = Payloads::new(&course);
            sink.send(Message::new(back)).await?;
            source.recv().await?.context("closed")?;

            let mut trips = Trips::begin()?;
            for sequence in 0..course.count {
                let message = Message::new(payloads.make(sequence));
                let begun = Instant::now();
                sink.send(message).await?;
                source.recv().await?.context("closed")?;
                trips.note(begun);
            }
            Ok(trips.end())
        })
    }
}

fn service(address: &Address) -> String {
    format!(
        "[services.{SERVICE}]\ntype = 'direct'\nendpoint = '{address}'\nlazy.max_retries = 20\nlazy.retry_delay_ms = 5"
    )
}

const SERVICE: &str = "bench";
