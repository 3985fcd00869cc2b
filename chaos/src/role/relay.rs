//! The relay: the library's, as it is.

use std::path::Path;

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{CLOSE_WITHIN, Done, factory, told_to_end};
use crate::stage::SERVICE;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How many files it may have open.
    #[arg(long)]
    files: Option<u64>,
}

pub(super) async fn run(services: &Path, arguments: Arguments) -> Done {
    if arguments.files.is_some() {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = arguments.files;
        setrlimit(Resource::Nofile, limit)?;
    }
    let factory = factory(services)?;
    let mut relay = factory.create_relay(SERVICE).await?;
    tokio::select! {
        served = relay.run() => served?,
        () = told_to_end() => {}
    }
    relay.close(CLOSE_WITHIN).await;
    Ok(())
}
