//! A producer, two named consumers and a relay, started in the wrong order; the relay dies half way.
//!
//! `cargo run -p wakewire --example relay`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use wakewire::{Message, MessageSink, MessageSource, SinkError, SinkFactory};

const HALF: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The relay acknowledges to the producer what both consumers have processed, and nothing before.
    let directory = tempfile::tempdir()?;
    let factory = SinkFactory::from_config_str(&format!(
        "[services.ticks]\n\
         type = 'relay'\n\
         endpoint = 'unix://{}/ticks.sock'\n\
         consumers = ['book', 'recorder']\n\
         lazy.retry_delay_ms = 10",
        directory.path().display()
    ))?;

    // First the producer. There is no relay, so the messages wait in the sink.
    let sink = factory.create_sink("ticks").await?;
    for number in 0..HALF {
        sink.send(Message::new(format!("tick {number}"))).await?;
    }

    // Then the consumers, then the relay. Half way it is dropped with everything it held in memory.
    let half = Arc::new(Barrier::new(3));
    let mut consumers = JoinSet::new();
    for name in ["book", "recorder"] {
        let source = factory.create_source("ticks").await?.named(name);
        consumers.spawn(consume(name, source, Arc::clone(&half)));
    }
    let mut relays = start(&factory).await?;
    half.wait().await;
    relays.shutdown().await;
    println!("the relay is gone; another takes its place");
    let _relays = start(&factory).await?;
    for number in HALF..2 * HALF {
        sink.send(Message::new(format!("tick {number}"))).await?;
    }

    while let Some(ended) = consumers.join_next().await {
        let name = ended??;
        println!("{name} has {} messages, in order, none twice", 2 * HALF);
    }
    let report = factory.close(Duration::from_secs(5)).await;
    println!("{}", report.per_sink[0].ledger);
    Ok(())
}

/// Runs a relay until the set is shut down or dropped.
async fn start(factory: &SinkFactory) -> Result<JoinSet<Result<(), SinkError>>, SinkError> {
    let mut relay = factory.create_relay("ticks").await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { relay.run().await });
    Ok(tasks)
}

/// Receives all messages; half way says so. Asking for the next message acknowledges the last.
async fn consume(
    name: &'static str,
    mut source: MessageSource,
    half: Arc<Barrier>,
) -> Result<&'static str, SinkError> {
    for number in 0..2 * HALF {
        if number == HALF {
            half.wait().await;
        }
        let message = source.recv().await?.expect("nobody has closed it");
        assert_eq!(message.payload, format!("tick {number}"));
    }
    source.close(Duration::from_secs(1)).await;
    Ok(name)
}
