//! The service `polygon-adapter`: pool events of an EVM node, sent to a name.

use std::path::PathBuf;
use std::process::ExitCode;

use alloy_primitives::Address;
use clap::Parser;

/// Sends the pool events of an EVM node to a service.
#[derive(Debug, Parser)]
#[command(name = "polygon-adapter", version)]
struct Arguments {
    /// The node, `ws://…`.
    #[arg(long, value_name = "URL")]
    node: Option<String>,
    /// The service that is sent to.
    #[arg(long, value_name = "NAME", default_value = "market_data_relay")]
    to: String,
    /// The services file.
    #[arg(long, value_name = "FILE", default_value = "services.toml")]
    services: PathBuf,
    /// A pool to follow; may be given more than once. Without one, all pools.
    #[arg(long, value_name = "ADDRESS")]
    pool: Vec<Address>,
    /// Sends recorded logs instead of asking a node.
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    replay: Option<PathBuf>,
    /// Reports as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let _ = Arguments::parse();
    ExitCode::SUCCESS
}
