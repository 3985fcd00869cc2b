//! Each message has its effect exactly once, though the consumer dies again and again: what it has computed and how far
//! it has come are stored together.
//!
//! `cargo run -p wakewire --example exactly_once`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use wakewire::{Message, MessageSource, Position, SinkError, SinkFactory};

/// What the application keeps: the first line is its own, the others say what is in it already. A database would
/// be told both in one transaction; here a file is replaced as a whole.
struct Account {
    total: u64,
    positions: Vec<Position>,
}

impl Account {
    fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(_) => "0".to_owned(), // the first time
        };
        let mut lines = text.lines();
        let total = lines.next().unwrap_or("0").parse()?;
        let positions = lines.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { total, positions })
    }

    fn store(
        &mut self,
        path: &Path,
        amount: u64,
        position: Position,
    ) -> Result<(), Box<dyn Error>> {
        self.total += amount;
        // One for each producer: the newest.
        self.positions
            .retain(|known| known.session() != position.session());
        self.positions.push(position);
        let lines = self.positions.iter().map(Position::to_string);
        let text: Vec<_> = [self.total.to_string()].into_iter().chain(lines).collect();
        let new = path.with_extension("new");
        fs::write(&new, text.join("\n"))?;
        Ok(fs::rename(new, path)?)
    }
}

/// Adds up what comes, `most` messages at most; dies then, in the middle of everything.
async fn live(mut source: MessageSource, path: &Path, most: u64) -> Result<(), Box<dyn Error>> {
    let mut account = Account::load(path)?;
    source = source.starting_after(account.positions.iter().copied());
    for _ in 0..most {
        let message = loop {
            match source.recv().await {
                // The life before has not let go of the endpoint yet.
                Err(SinkError::Io(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                received => break received?,
            }
        };
        let Some(message) = message else {
            break;
        };
        let amount = String::from_utf8_lossy(&message.payload).parse()?;
        let position = source.position().ok_or("a message is in hand")?;
        account.store(path, amount, position)?;
        if account.total == 500_500 {
            // The last one: this life may end well.
            source.close(Duration::from_secs(5)).await;
            return Ok(());
        }
    }
    println!("died with a total of {}", account.total);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let factory = SinkFactory::from_config_str(&format!(
        "[services.amounts]\n\
         type = 'direct'\n\
         endpoint = 'unix://{}/amounts.sock'",
        directory.path().display()
    ))?;
    let sink = factory.create_sink("amounts").await?;
    for amount in 1..=1000 {
        sink.send(Message::new(amount.to_string())).await?;
    }

    let path = directory.path().join("account");
    for most in [1, 10, 100, 300, 500, 1000] {
        let source = factory.create_source("amounts").await?;
        live(source, &path, most).await?;
    }
    println!("1 + 2 + … + 1000 = {}", Account::load(&path)?.total);
    Ok(())
}
