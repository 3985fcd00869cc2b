//! The processes of a run: each is started, stopped and killed by its own id, and none outlives this one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// One process; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Where it complains.
    complaints: PathBuf,
    pub(crate) mark: PathBuf,
}

impl Process {
    /// Starts this program in a role.
    pub(crate) fn start(
        root: &Path,
        name: &str,
        services: &Path,
        mark: &Path,
        role: &[OsString],
    ) -> io::Result<Self> {
        let complaints = root.join(format!("{name}.err"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&complaints)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("role")
            .arg("--parent")
            .arg(getpid().as_raw_pid().to_string())
            .arg("--services")
            .arg(services)
            .arg("--mark")
            .arg(mark)
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        Ok(Self {
            child,
            stdin,
            complaints,
            mark: mark.to_owned(),
        })
    }

    /// Returns its id; none after its end.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns how many descriptors it has open.
    pub(crate) fn descriptors(&self) -> io::Result<u64> {
        let id = self
            .id()
            .ok_or_else(|| io::Error::other("the process has ended"))?;
        Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count() as u64)
    }

    /// SIGKILL; it is dead and buried when this returns.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGSTOP: it does nothing further until it goes on.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = self.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the process has ended"))?;
        Ok(kill_process(id, signal)?)
    }

    /// Lets it end by itself.
    pub(crate) fn dismiss(&mut self) {
        self.stdin = None;
    }

    /// Returns whether it has ended by itself, and how.
    pub(crate) fn ended(&mut self) -> io::Result<Option<String>> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(None);
        };
        Ok(Some(format!("{status}: {}", self.last_words())))
    }

    /// Waits until it has ended by itself; says why not, or that it failed.
    pub(crate) async fn end(&mut self, within: Duration) -> io::Result<Result<(), String>> {
        self.dismiss();
        match timeout(within, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                if status.success() {
                    return Ok(Ok(()));
                }
                Ok(Err(format!("{status}: {}", self.last_words())))
            }
            Err(_) => Ok(Err(format!("it did not end within {within:?}"))),
        }
    }

    fn last_words(&self) -> String {
        let read = || {
            let mut file = File::open(&self.complaints)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_default()
    }
}

/// What is shown of what a process complained of.
const LAST_WORDS: u64 = 2000;
