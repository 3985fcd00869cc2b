//! Several services behind one name: to all of them, or to the first that works.
//!
//! `cargo run -p wakewire --example composites`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use wakewire::{Message, MessageSink, MessageSource, SinkError, SinkFactory};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| {
        let path = directory.path().join(name);
        format!(
            "[services.{name}]\ntype = 'direct'\nendpoint = 'unix://{}'\nlazy.retry_delay_ms = 10\n",
            path.display()
        )
    };
    let factory = SinkFactory::from_config_str(&format!(
        "{}{}{}
        [services.both]
        type = 'composite'
        pattern = 'fanout'
        targets = ['book', 'recorder']

        [services.available]
        type = 'composite'
        pattern = 'failover'
        targets = ['primary', 'recorder']",
        at("book"),
        at("recorder"),
        // One place in the buffer, so that a primary that is away takes one message and then gives them back.
        at("primary") + "buffer_size = 1\nwhen_full = 'reject'\n"
    ))?;
    let mut book = factory.create_source("book").await?;
    let mut recorder = factory.create_source("recorder").await?;

    // `Ok` of a fan-out means that every target has accepted the message.
    let both = factory.create_sink("both").await?;
    both.send(Message::new("tick")).await?;
    println!("book: {}", next(&mut book).await?);
    println!("recorder: {}", next(&mut recorder).await?);

    // The primary is not there. It accepts what its buffer holds; what it gives back goes to the next target.
    let available = factory.create_sink("available").await?;
    for number in 1..=3 {
        available
            .send(Message::new(format!("order {number}")))
            .await?;
    }
    println!("recorder: {}", next(&mut recorder).await?);
    println!("recorder: {}", next(&mut recorder).await?);

    // And it still owes that one message: whoever comes as the primary gets it.
    let mut primary = factory.create_source("primary").await?;
    println!("primary: {}", next(&mut primary).await?);

    for mut source in [book, recorder, primary] {
        source.close(Duration::from_secs(1)).await;
    }
    // The leaves are counted once, however many composites name them.
    let report = factory.close(Duration::from_secs(1)).await;
    for sink in &report.per_sink {
        println!("{}: {}", sink.name, sink.ledger);
    }
    Ok(())
}

async fn next(source: &mut MessageSource) -> Result<String, SinkError> {
    let message = source.recv().await?.expect("nobody has closed it");
    Ok(String::from_utf8_lossy(&message.payload).into_owned())
}
