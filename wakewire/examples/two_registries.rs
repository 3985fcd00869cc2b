//! One service, run unchanged on `services.toml` and on a registry that stands for a control plane.
//!
//! `cargo run -p wakewire --example two_registries`; see `docs/stage-2.md`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::future::{Future, ready};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use wakewire::{
    Failure, Message, MessageSink, Registry, ServiceConfig, SinkError, SinkFactory, WhenFull,
};

/// The service. It knows a name, and nothing of where the name is looked up.
async fn serve(factory: &SinkFactory) -> Result<String, SinkError> {
    let sink = factory.create_sink("market_data").await?;
    sink.send(Message::new("WETH/USDC 3412.07")).await?;
    let mut source = factory.create_source("market_data").await?;
    let message = source.recv().await?.expect("nobody has closed it");
    source.close(Duration::from_secs(1)).await;
    factory.close(Duration::from_secs(1)).await;
    Ok(String::from_utf8_lossy(&message.payload).into_owned())
}

/// What a control plane said last. A real one would keep this up to date in the background.
#[derive(Debug, Default)]
struct ControlPlane {
    provisioned: HashMap<String, ServiceConfig>,
}

impl ControlPlane {
    fn provision(mut self, name: &str, config: ServiceConfig) -> Result<Self, SinkError> {
        config.validate(name)?; // the rules that a file is held to
        self.provisioned.insert(name.to_owned(), config);
        Ok(self)
    }
}

impl Registry for ControlPlane {
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        let found = self.provisioned.get(name).cloned().ok_or_else(|| {
            let failure = Failure::new(name).hint("ask the control plane to provision it");
            SinkError::UnknownService(failure)
        });
        Box::pin(ready(found))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let endpoint = |file: &str| socket(directory.path(), file);

    // Stage 1: a file.
    let text = format!(
        "[services.market_data]\ntype = 'direct'\nendpoint = '{}'",
        endpoint("file.sock")
    );
    let factory = SinkFactory::from_config_str(&text)?;
    println!("services.toml: {}", serve(&factory).await?);

    // Stage 2: anything else that answers the same question.
    let config = ServiceConfig {
        when_full: WhenFull::Reject,
        ..ServiceConfig::direct(endpoint("plane.sock").parse()?)
    };
    let plane = ControlPlane::default().provision("market_data", config)?;
    let factory = SinkFactory::from_registry(plane);
    println!("control plane: {}", serve(&factory).await?);
    Ok(())
}

fn socket(directory: &Path, file: &str) -> String {
    format!("unix://{}", directory.join(file).display())
}
