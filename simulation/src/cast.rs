//! Who plays: a producer, a relay and a consumer, each the real library in a simulated host.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use wakewire::{Message, MessageSink, SinkFactory};

use crate::journal::{Journal, Stream};
use crate::plan::{Consumer, Plan, Producer, RELAY, consumer, producer};

/// What the hosts of a play share with whoever watches it.
#[derive(Clone)]
pub struct Stage {
    pub plan: Rc<Plan>,
    pub journal: Rc<RefCell<Journal>>,
    /// The last messages are to be sent; then silence.
    pub ending: Rc<RefCell<Ending>>,
}

/// How far the end is.
#[derive(Default)]
pub struct Ending {
    pub begun: bool,
    /// Which producers have sent their last.
    pub done: Vec<bool>,
}

impl Stage {
    fn factory(&self, host: &str) -> turmoil::Result<SinkFactory> {
        Ok(SinkFactory::from_config_str(&self.plan.services(host))?)
    }

    fn journal<T>(&self, note: impl FnOnce(&mut Journal) -> T) -> T {
        let mut journal = self.journal.borrow_mut();
        if let Some(now) = turmoil::sim_elapsed() {
            journal.at(now);
        }
        note(&mut journal)
    }

    /// Sends bursts until the end, and a last one after everything was mended.
    pub async fn produce(self, index: usize) -> turmoil::Result {
        let part = &self.plan.producers[index];
        let stream = self.journal(|journal| journal.producer_begins(index));
        self.ending.borrow_mut().done[index] = false;
        let factory = self.factory(&producer(index))?;
        let sink = factory.create_sink("feed").await?;
        let now = turmoil::sim_elapsed().unwrap_or_default();
        // Who comes back after it should have left stays.
        let leaving = part.leaving.filter(|leaving| leaving.at > now);
        let sending = self.send_bursts(part, stream, &*sink);
        let Some(leaving) = leaving else {
            return sending.await;
        };
        match timeout_at(Instant::now() + (leaving.at - now), sending).await {
            Ok(ended) => return ended,
            Err(_) => self.ending.borrow_mut().done[index] = true,
        }
        match leaving.within {
            Some(within) => {
                let begun = Instant::now();
                let report = factory.close(within).await;
                let took = begun.elapsed();
                let ledger = report.per_sink.first().map(|sink| sink.ledger);
                self.journal(|journal| {
                    journal.producer_leaves(stream, ledger.as_ref());
                    if took > within + PATIENCE {
                        journal.is_broken(format!("{stream:?}: close({within:?}) took {took:?}"));
                    }
                });
            }
            None => self.journal(|journal| journal.producer_leaves(stream, None)),
        }
        drop((sink, factory));
        self.stay_silent(stream).await
    }

    async fn send_bursts(
        &self,
        part: &Producer,
        stream: Stream,
        sink: &dyn MessageSink,
    ) -> turmoil::Result {
        let mut number = 0;
        for burst in 1_u32.. {
            let is_last = self.ending.borrow().begun;
            for _ in 0..part.burst {
                // What is refused, because the buffer is full, is offered again.
                while sink
                    .send(message(stream, number, part.size))
                    .await
                    .inspect_err(|error| self.journal(|journal| journal.note(error.to_string())))
                    .is_err()
                {}
                self.journal(|journal| journal.accepted(stream));
                number += 1;
            }
            self.account(stream, sink).await?;
            if is_last {
                break;
            }
            if part
                .disconnects
                .is_some_and(|after| burst.is_multiple_of(after))
            {
                // What it still owes goes on with the next message.
                let drained = sink.disconnect().await.is_ok();
                self.journal(|journal| journal.note(("disconnects", stream, drained)));
            }
            sleep(part.pause).await;
        }
        self.ending.borrow_mut().done[stream.producer] = true;
        loop {
            self.account(stream, sink).await?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn account(&self, stream: Stream, sink: &dyn MessageSink) -> turmoil::Result {
        let report = sink.flush(Duration::ZERO).await?;
        if let Some(sink) = report.per_sink.first() {
            self.journal(|journal| journal.accounts(stream, &sink.ledger));
        }
        Ok(())
    }

    /// After a close nothing is dialled. What turmoil counts are sockets, those that were being connected too, and it
    /// keeps the ones of which the attempt was given up: more than now may never be.
    async fn stay_silent(&self, stream: Stream) -> turmoil::Result {
        let before = turmoil::established_tcp_stream_count();
        loop {
            sleep(LOOK_EVERY).await;
            let sockets = turmoil::established_tcp_stream_count();
            if sockets > before {
                self.journal(|journal| {
                    journal.is_broken(format!(
                        "{stream:?}: closed, and dials: {before} sockets, {sockets}"
                    ));
                });
            }
        }
    }

    /// Relays for ever.
    pub async fn relay(self) -> turmoil::Result {
        let factory = self.factory(RELAY)?;
        loop {
            let mut relay = factory.create_relay("feed").await?;
            if let Err(error) = relay.run().await {
                self.journal(|journal| journal.note(error.to_string()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Processes messages for ever, as a new consumer now and then.
    pub async fn consume(self, index: usize) -> turmoil::Result {
        let part = &self.plan.consumers[index];
        let name = consumer(index);
        let factory = self.factory(&name)?;
        loop {
            let mut source = factory.create_source("feed").await?.named(name.as_str());
            self.journal(|journal| journal.consumer_begins(index));
            let mut taken = 0;
            while part.reopens.is_none_or(|most| taken < most) {
                let more = match part.batch {
                    None => match source.recv().await {
                        Ok(Some(message)) => {
                            self.process(index, &message.payload, &mut taken, part)
                                .await
                        }
                        Ok(None) => false,
                        Err(error) => self.pause(error.to_string()).await,
                    },
                    Some(most) => match source.recv_batch_up_to(most).await {
                        Ok(Some(batch)) => {
                            for view in &batch {
                                self.process(index, view.payload(), &mut taken, part).await;
                            }
                            true
                        }
                        Ok(None) => false,
                        Err(error) => self.pause(error.to_string()).await,
                    },
                };
                if !more {
                    break;
                }
            }
            source.close(Duration::from_millis(500)).await;
        }
    }

    async fn pause(&self, why: String) -> bool {
        self.journal(|journal| journal.note(why));
        sleep(LOOK_EVERY).await;
        true
    }

    async fn process(
        &self,
        index: usize,
        payload: &[u8],
        taken: &mut u32,
        part: &Consumer,
    ) -> bool {
        self.journal(|journal| match read(payload) {
            Some((stream, number)) => journal.processed(index, stream, number),
            None => journal.is_broken(format!("consumer {index} got what nobody sent")),
        });
        *taken += 1;
        if let Some((_, rest)) = part.rest.filter(|(after, _)| taken.is_multiple_of(*after)) {
            sleep(rest).await;
        }
        true
    }
}

/// Makes a message that says whose it is, of a length and with bytes that follow from that.
fn message(stream: Stream, number: u32, most: usize) -> Message {
    let (producer, life) = (stream.producer as u32, stream.life as u32);
    let mut payload = Vec::with_capacity(most);
    for part in [producer, life, number] {
        payload.extend_from_slice(&part.to_be_bytes());
    }
    let length = HEAD + (number as usize * 7919 + 13) % (most - HEAD + 1);
    payload.extend((HEAD..length).map(|index| filler(number, index)));
    Message::new(Bytes::from(payload))
}

/// Reads one; none if a byte is not as it was made.
fn read(payload: &[u8]) -> Option<(Stream, u32)> {
    let (head, rest) = payload.split_first_chunk::<HEAD>()?;
    let mut parts = head
        .chunks_exact(4)
        .map(|part| u32::from_be_bytes([part[0], part[1], part[2], part[3]]));
    let (producer, life, number) = (parts.next()?, parts.next()?, parts.next()?);
    let stream = Stream {
        producer: producer as usize,
        life: life as usize,
    };
    // No early end: almost all are whole, and then this is a few instructions for many bytes.
    let wrong = rest.iter().zip(HEAD..).fold(0, |wrong, (byte, index)| {
        wrong | (byte ^ filler(number, index))
    });
    (wrong == 0).then_some((stream, number))
}

fn filler(number: u32, index: usize) -> u8 {
    (number as usize * 31 + index) as u8
}

const HEAD: usize = 12;

/// Between two looks at how things are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a close may take beyond its time.
const PATIENCE: Duration = Duration::from_millis(500);
