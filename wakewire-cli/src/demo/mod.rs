//! `wakewire demo`: real processes, a relay that is killed again and again, and a ledger that adds up.

pub(crate) mod cast;
mod ledger;
mod paced;
mod payload;
mod play;
mod screen;
mod tally;
mod troupe;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use self::ledger::Ledger;
use self::play::{Feeding, Play};
use self::screen::Screen;
use self::troupe::Stage;
use crate::interrupt::Interrupt;
use crate::said::{LOST, REFUSED, Said};
use crate::send::now;
use crate::talk::grouped;

/// What `wakewire demo` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Send the lines of this file; else numbered messages of 64 bytes.
    #[arg(long, value_name = "FILE", conflicts_with = "messages")]
    input: Option<PathBuf>,
    /// How many messages.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(100..))]
    messages: u64,
    /// Print all figures as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows messages that survive, and how fast they are.
pub(crate) async fn run(arguments: Arguments) -> Said {
    match shown(arguments).await {
        Ok(said) | Err(said) => said,
    }
}

async fn shown(arguments: Arguments) -> Result<Said, Said> {
    let Arguments {
        input,
        mut messages,
        json,
    } = arguments;
    let mut what = "numbered and hashed messages of 64 bytes".to_owned();
    if let Some(path) = &input {
        let shown = path.display();
        messages = payload::lines(path).map_err(|error| {
            Said::fault(format!("cannot read `{shown}`: {error}"), None, REFUSED)
        })?;
        if messages == 0 {
            return Err(Said::fault(
                format!("`{shown}` has no lines"),
                None,
                REFUSED,
            ));
        }
        what = format!("lines of {shown}");
    }
    let stage =
        Stage::new().map_err(|error| Said::fault(format!("cannot begin: {error}"), None, LOST))?;
    let mut screen = Screen::new(now());
    let mut interrupt = Interrupt::new()?;
    let feeding = Feeding {
        messages,
        input,
        over: Some(OVER),
    };
    screen.say(&format!(
        "{} {what}, over {OVER:?}: sender first, then the consumers alpha and beta, the relay last.\n\
         The relay is killed (SIGKILL) about every second, and started again.\n",
        grouped(messages)
    ));
    let mut play = Play::new(&stage, &mut screen, &mut interrupt, feeding.clone());
    let paced = paced::run(&mut play).await;
    let paced = play.end(paced).await?;
    if !paced.faults().is_empty() {
        return Ok(ended(&paced, None, json));
    }
    screen.say("\nNow the same as fast as it goes, with nobody killed.\n");
    let feeding = Feeding {
        over: None,
        ..feeding
    };
    let mut play = Play::new(&stage, &mut screen, &mut interrupt, feeding);
    let fast = paced::fast(&mut play).await;
    let fast = play.end(fast).await?;
    Ok(ended(&paced, Some(&fast), json))
}

/// Says how it ended.
fn ended(paced: &Ledger, fast: Option<&Ledger>, json: bool) -> Said {
    let mut faults = paced.faults();
    faults.extend(fast.iter().flat_map(|fast| fast.faults()));
    let mut said = Said::default();
    for fault in &faults {
        let more = Said::fault(fault, None, LOST);
        said.stderr += &more.stderr;
        said.code = more.code;
    }
    if json {
        return said.answering(&json!({
            "messages": paced.total,
            "paced": paced.json(),
            "fast": fast.map(Ledger::json),
            "faults": faults,
        }));
    }
    said.stdout = paced.text();
    if let Some(fast) = fast {
        said.stdout += &format!(
            "  As fast as it goes: {} messages/s through the relay to both consumers, acknowledged ({:.2} s).\n",
            grouped(fast.per_second()),
            fast.sent.seconds,
        );
    }
    if faults.is_empty() {
        said.stdout += "  Nothing lost, nothing twice, nothing out of order.\n";
    }
    said
}

/// Long enough for several kills, short enough to be watched.
const OVER: Duration = Duration::from_secs(10);
