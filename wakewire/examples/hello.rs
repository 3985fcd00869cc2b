//! A sink and a source of one direct service, in one process.
//!
//! `cargo run -p wakewire --example hello`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use wakewire::{Message, MessageSink, SinkFactory};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The text says where `ticks` is; everything below knows only the name.
    let directory = tempfile::tempdir()?;
    let factory = SinkFactory::from_config_str(&format!(
        "[services.ticks]\n\
         type = 'direct'\n\
         endpoint = 'unix://{}/ticks.sock'",
        directory.path().display()
    ))?;

    // Nobody listens yet. `Ok` means that the message was accepted: it waits, and the sink owes it.
    let sink = factory.create_sink("ticks").await?;
    sink.send(Message::new("WETH/USDC 3412.07")).await?;
    println!("sent, connected: {}", sink.is_connected());

    // The source binds the endpoint when it is first asked; the sink dials until it finds it there.
    let mut source = factory.create_source("ticks").await?;
    if let Some(message) = source.recv().await? {
        println!("received {}", String::from_utf8_lossy(&message.payload));
    }

    // Closing says that the message in hand was processed. Only then does it leave the sender's buffer.
    source.close(Duration::from_secs(1)).await;
    let report = factory.close(Duration::from_secs(1)).await;
    for sink in &report.per_sink {
        println!("{}: {}", sink.name, sink.ledger);
    }
    Ok(())
}
