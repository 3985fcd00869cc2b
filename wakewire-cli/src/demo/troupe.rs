//! The demo's processes: started, heard, asked, stopped and killed, each by its own id.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cast::{Received, Sent};

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Sender,
    /// By its place in [`CONSUMERS`].
    Consumer(usize),
    Relay,
}

/// The names of the consumers that the relay waits for.
pub(super) const CONSUMERS: [&str; 2] = ["alpha", "beta"];

/// What a process says.
#[derive(Debug)]
pub(super) enum Heard {
    Sent(Sent),
    Received(usize, Received),
    /// It says nothing further.
    Silent(Who),
}

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Consumer(0) => CONSUMERS[0],
            Self::Consumer(_) => CONSUMERS[1],
            Self::Relay => "relay",
        }
    }
}

/// A directory with the configuration, the socket and what the processes complain of; gone when this is.
#[derive(Debug)]
pub(super) struct Stage {
    directory: TempDir,
    command: PathBuf,
}

impl Stage {
    /// Makes the directory and writes the configuration.
    pub(super) fn new() -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("wakewire-demo-")
            .tempdir()?;
        let socket = directory.path().join("relay.sock");
        let text = format!(
            "# What `wakewire demo` runs on.\n\
             [services.{SERVICE}]\n\
             type = \"relay\"\n\
             endpoint = \"unix://{}\"\n\
             consumers = [\"{}\", \"{}\"]\n\
             # So that one sees it heal.\n\
             lazy = {{ retry_delay_ms = 50, max_retry_delay_secs = 0.25 }}\n",
            socket.display(),
            CONSUMERS[0],
            CONSUMERS[1],
        );
        std::fs::write(directory.path().join(CONFIGURATION), text)?;
        Ok(Self {
            directory,
            command: std::env::current_exe()?,
        })
    }

    /// Starts a process of this command.
    pub(super) fn start(
        &self,
        who: Who,
        subcommand: &str,
        arguments: &[&OsStr],
    ) -> io::Result<(Player, ChildStdout)> {
        let complaints = File::options()
            .create(true)
            .append(true)
            .open(self.complaints(who))?;
        let mut child = Command::new(&self.command)
            .arg(subcommand)
            .arg("--config")
            .arg(self.directory.path().join(CONFIGURATION))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .kill_on_drop(true)
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (stdin @ Some(_), Some(stdout)) => Ok((Player { child, stdin }, stdout)),
            _ => Err(io::Error::other("a process without pipes")),
        }
    }

    /// Returns the last that this process said on stderr.
    pub(super) fn last_words(&self, who: Who) -> String {
        let read = || {
            let mut file = File::open(self.complaints(who))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    fn complaints(&self, who: Who) -> PathBuf {
        self.directory.path().join(format!("{}.log", who.name()))
    }
}

/// One process. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Player {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Player {
    /// Asks for a report.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(b"\n").await,
            None => Ok(()),
        }
    }

    /// Lets it end by itself.
    pub(super) fn dismiss(&mut self) {
        self.stdin = None;
    }

    /// Stops it where it is, as if it hung.
    pub(super) fn freeze(&self) -> io::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the process has ended"))?;
        Ok(kill_process(id, Signal::STOP)?)
    }

    /// Returns whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Kills it (SIGKILL), and waits until it is dead.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Waits until it has ended; kills it when that takes too long. Returns whether it ended well.
    pub(super) async fn end(&mut self) -> io::Result<bool> {
        self.dismiss();
        match timeout(END_WITHIN, self.child.wait()).await {
            Ok(status) => Ok(status?.success()),
            Err(_) => {
                self.kill().await?;
                Ok(false)
            }
        }
    }
}

/// Hears all processes in one place.
#[derive(Debug)]
pub(super) struct Audience {
    tell: Sender<Heard>,
    heard: Receiver<Heard>,
    listening: JoinSet<()>,
}

impl Audience {
    pub(super) fn new() -> Self {
        let (tell, heard) = channel(64);
        Self {
            tell,
            heard,
            listening: JoinSet::new(),
        }
    }

    /// Begins to hear a process.
    pub(super) fn hear(&mut self, who: Who, stdout: ChildStdout) {
        let tell = self.tell.clone();
        self.listening.spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let heard = match who {
                    Who::Sender => read(&line).map(Heard::Sent),
                    Who::Consumer(place) => read(&line).map(|said| Heard::Received(place, said)),
                    // Its end is seen by itself: one that was killed is followed by another.
                    Who::Relay => continue,
                };
                if let Some(heard) = heard
                    && tell.send(heard).await.is_err()
                {
                    return;
                }
            }
            // The demo itself may have ended.
            drop(tell.send(Heard::Silent(who)).await);
        });
    }

    /// Waits for the next thing that is said.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

fn read<T: DeserializeOwned>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}

/// The service of the demo.
pub(super) const SERVICE: &str = "market_data";
const CONFIGURATION: &str = "services.toml";
/// A process that was asked to end has ended by then.
const END_WITHIN: Duration = Duration::from_secs(5);
/// What is shown of a log when something went wrong.
const LAST_WORDS: u64 = 2000;
