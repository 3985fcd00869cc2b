//! 100,000 sinks that sleep: their file, and what they cost.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use allocation_counter::measure;
use anyhow::{Result, ensure};
use wakewire::{ServiceRegistry, SinkFactory};

use crate::figure::{Figure, Target};
use crate::listener::runtime;
use crate::statistics::Sorted;
use crate::system;

pub(crate) fn sleeping() -> Result<Vec<Figure>> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("services.toml");
    let mut text = String::new();
    for number in 0..SINKS {
        writeln!(
            text,
            "[services.device_{number}]\ntype = \"direct\"\nendpoint = \"unix:///run/devices/{number}.sock\"\n"
        )?;
    }
    fs::write(&file, &text)?;
    let runtime = runtime()?;
    let (mut loading, mut creating, mut closing) = (Vec::new(), Vec::new(), Vec::new());
    let mut bytes = Vec::new();
    let (mut tasks, mut descriptors, mut resident) = (0, 0, 0.0);
    for _ in 0..RUNS {
        let start = system::computed()?;
        let registry = ServiceRegistry::from_file(&file)?;
        loading.push((system::computed()? - start).as_secs_f64());
        let factory = SinkFactory::from_registry(registry);
        let names: Vec<_> = (0..SINKS)
            .map(|number| format!("device_{number}"))
            .collect();
        let mut sinks = Vec::with_capacity(SINKS);
        let open_before = system::descriptors()?;
        let resident_before = system::resident()?;
        let start = system::computed()?;
        let counted = measure(|| {
            runtime.block_on(async {
                for name in &names {
                    sinks.push(factory.create_sink(name).await);
                }
            });
        });
        let took = (system::computed()? - start).as_secs_f64();
        for sink in &sinks {
            if let Err(error) = sink {
                return Err(error.clone().into());
            }
        }
        creating.push(took * 1e6 / SINKS as f64);
        bytes.push(counted.bytes_current as f64 / SINKS as f64);
        let grown = system::resident()?.saturating_sub(resident_before) as f64 / SINKS as f64;
        // Later runs find memory that the first one has left.
        resident = grown.max(resident);
        tasks = runtime.metrics().num_alive_tasks();
        descriptors = system::descriptors()?.saturating_sub(open_before);
        let start = system::computed()?;
        let report = runtime.block_on(factory.close(Duration::from_secs(60)));
        closing.push((system::computed()? - start).as_secs_f64());
        ensure!(report.per_sink.len() == SINKS, "some did not report");
    }
    let (loading, creating) = (Sorted::new(loading), Sorted::new(creating));
    let closing = Sorted::new(closing);
    let of = |what: &str| format!("{SINKS} sleeping sinks from one file: {what}");
    let runs = format!("of computing; median of {RUNS}");
    Ok(vec![
        Figure::new(
            of("loading and checking it"),
            loading.median(),
            "s",
            Target::AtMost(1.0),
        )
        .how(format!("{runs}; {} bytes", text.len())),
        Figure::new(
            of("making one"),
            creating.median(),
            "µs",
            Target::AtMost(2.0),
        )
        .how(&runs),
        Figure::said(of("closing all"), closing.median(), "s").how(&runs),
        Figure::new(
            of("memory of one"),
            Sorted::new(bytes).median(),
            "B",
            Target::AtMost(1024.0),
        )
        .how(format!(
            "bytes allocated; the process grew by {resident:.0}"
        )),
        Figure::new(of("tasks"), tasks as f64, "", Target::AtMost(0.0)),
        Figure::new(
            of("descriptors"),
            descriptors as f64,
            "",
            Target::AtMost(0.0),
        ),
    ])
}

const SINKS: usize = 100_000;

const RUNS: usize = 5;
