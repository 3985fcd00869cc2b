//! `wakewire relay`: spreads a service's messages until it is told to end.

use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt;
use wakewire::SinkFactory;

use crate::configuration::Configuration;
use crate::interrupt::Interrupt;
use crate::said::Said;

/// What `wakewire relay` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The service, of type `relay`.
    name: String,
    #[command(flatten)]
    configuration: Configuration,
    /// End with stdin, so that it does not outlive whoever started it.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Serves; what happens is told by the library's events.
pub(crate) async fn run(arguments: Arguments) -> Said {
    match serve(arguments).await {
        Ok(said) | Err(said) => said,
    }
}

async fn serve(arguments: Arguments) -> Result<Said, Said> {
    let registry = arguments.configuration.load()?;
    let factory = SinkFactory::from_registry(registry);
    let relay = factory.create_relay(&arguments.name).await;
    let mut relay = relay.map_err(|error| Said::error(&error))?;
    let mut interrupt = Interrupt::new()?;
    tokio::select! {
        served = relay.run() => served.map_err(|error| Said::error(&error))?,
        () = interrupt.came() => {}
        () = stdin_ended(), if arguments.while_stdin => {}
    }
    relay.close(CLOSE_WITHIN).await;
    Ok(Said::default())
}

/// Waits for the end of stdin.
pub(crate) async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut room = [0; 64];
    while matches!(stdin.read(&mut room).await, Ok(1..)) {}
}

/// How long it takes at most to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
