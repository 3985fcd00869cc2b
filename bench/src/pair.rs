//! One run: two processes, started, heard out and, if they do not end, killed.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::cli::Part;
use crate::measure::{Received, Run, Sent};

/// Runs one pair of processes; both are gone when this returns.
pub fn run(part: &Part, limit: Duration) -> Result<Run> {
    let deadline = Instant::now() + limit;
    let mut receiver = Process::start("receive", part)?;
    let announced: String = receiver.hear(deadline)?;
    let part = Part {
        address: announced.parse()?,
        ..part.clone()
    };

    let mut sender = Process::start("send", &part)?;
    let sent: Sent = sender.hear(deadline)?;
    sender.end(deadline)?;
    receiver.dismiss();
    let received: Received = receiver.hear(deadline)?;
    receiver.end(deadline)?;

    ensure!(
        sent.confirmed == part.count && received.counted == part.count,
        "{} were to be sent, {} were confirmed, {} counted",
        part.count,
        sent.confirmed,
        received.counted,
    );
    Ok(Run {
        messages: part.count,
        wall_seconds: sent.wall_seconds,
        sender_cpu_seconds: sent.cpu_seconds,
        receiver_cpu_seconds: received.cpu_seconds,
        latency: sent.latency.or(received.latency),
    })
}

/// One process of the pair; dropped, it is killed.
struct Process {
    role: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(role: &'static str, part: &Part) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg(role)
            .args(["--contestant", &part.contestant])
            .args(["--address", &part.address.to_string()])
            .args(["--size", &part.size.to_string()])
            .args(["--count", &part.count.to_string()])
            .args(["--rate", &part.rate.to_string()])
            .args(["--senders", &part.senders.to_string()])
            .args(["--consumers", &part.consumers.to_string()])
            .args(part.pin.then_some("--pin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the process that is to {role}"))?;
        let stdout = child.stdout.take();
        let (said, lines) = channel();
        // Not joined: it ends with the process's stdout.
        thread::spawn(move || {
            for line in stdout
                .into_iter()
                .flat_map(|out| BufReader::new(out).lines())
            {
                let Ok(line) = line else { return };
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { role, child, lines })
    }

    /// Waits for the next line.
    fn hear<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<T> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => serde_json::from_str(&line).with_context(|| format!("in {line:?}")),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the process that is to {} says nothing", self.role)
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the process that is to {} failed", self.role)
            }
        }
    }

    /// Tells it that nothing more will come.
    fn dismiss(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end.
    fn end(&mut self, deadline: Instant) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(
                    status.success(),
                    "the process that is to {} ended: {status}",
                    self.role
                );
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("the process that is to {} does not end", self.role);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
