//! `wakewire ping`: is a service there, and where does the time go?

use std::time::Duration;

use clap::Args;
use serde_json::json;
use wakewire::{PingReport, SinkFactory};

use crate::configuration::Configuration;
use crate::duration;
use crate::said::Said;

/// What `wakewire ping` is told.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The service, a relay or a direct one.
    name: String,
    #[command(flatten)]
    configuration: Configuration,
    /// How many round trips, at most 32.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    count: u8,
    /// How long it may take in all.
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = duration::parse)]
    within: Duration,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks once; a service that is not there is an error, and is not waited for.
pub(crate) async fn run(arguments: Arguments) -> Said {
    let registry = match arguments.configuration.load() {
        Ok(registry) => registry,
        Err(said) => return said,
    };
    let factory = SinkFactory::from_registry(registry);
    let Arguments {
        name,
        count,
        within,
        json,
        ..
    } = arguments;
    match factory.ping(&name, count.into(), within).await {
        Ok(report) if json => Said::default().answering(&as_json(&name, &report)),
        Ok(report) => Said {
            stdout: as_text(&name, &report),
            ..Said::default()
        },
        Err(error) => Said::error(&error),
    }
}

fn as_text(name: &str, report: &PingReport) -> String {
    let mut text = format!("{name} at {}\n", report.endpoint);
    let mut line = |what: &str, value: String| text += &format!("  {what:<24}{value}\n");
    line("protocol", report.protocol.clone());
    for (phase, took) in &report.steps {
        line(&phase.to_string(), format!("{took:.1?}"));
    }
    let mut sorted = report.round_trips.clone();
    sorted.sort_unstable();
    if let (Some(best), Some(worst)) = (sorted.first(), sorted.last()) {
        let many = sorted.len();
        line(
            "round trip",
            format!("{best:.1?} to {worst:.1?}, {many} times"),
        );
    }
    text
}

fn as_json(name: &str, report: &PingReport) -> serde_json::Value {
    let seconds = Duration::as_secs_f64;
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|(phase, took)| json!({ "step": phase.to_string(), "seconds": seconds(took) }))
        .collect();
    let round_trips: Vec<_> = report.round_trips.iter().map(seconds).collect();
    json!({
        "service": name,
        "endpoint": report.endpoint,
        "protocol": report.protocol,
        "steps": steps,
        "round_trips": round_trips,
    })
}
