//! The processes of the system, in a directory of their own: started, ended and killed by their own ids.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::chain::PATIENCE;

/// A directory with a `services.toml`, where processes run.
pub(crate) struct Place(TempDir);

impl Place {
    /// With these services; `DIRECTORY` in the text stands for the directory.
    pub(crate) fn new(services: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.services(services);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exchanges the services.
    pub(crate) fn services(&self, text: &str) {
        let text = text.replace("DIRECTORY", self.path().to_str().unwrap());
        fs::write(self.path().join("services.toml"), text).unwrap();
    }

    /// Starts a program of this workspace; what it prints is in `NAME.out` and `NAME.err`, over all its lives.
    pub(crate) fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Running {
        let file = |ending: &str| {
            let path = self.path().join(format!("{name}.{ending}"));
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap();
            (path, file)
        };
        let ((stdout, out), (stderr, err)) = (file("out"), file("err"));
        let child = Command::new(built(program))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("RUST_LOG")
            .env_remove("WAKEWIRE_CONFIG")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Running {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn adapter(&self, node: &str) -> Running {
        self.start(
            "adapter",
            "polygon-adapter",
            &[
                "--node",
                node,
                "--from",
                "0",
                "--position",
                "position",
                "--json",
            ],
        )
    }

    pub(crate) fn relay(&self, service: &str) -> Running {
        self.start(service, "wakewire", &["relay", service])
    }
}

/// A process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Waits until it has ended by itself, and well; returns what it printed.
    pub(crate) async fn ended_well(mut self) -> String {
        let ended = timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .unwrap();
        assert_eq!(ended.code(), Some(0), "{}", self.said());
        self.printed()
    }

    /// SIGKILL; it is dead and buried when this returns.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; it must end by itself, and well.
    pub(crate) async fn end(mut self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .unwrap();
        assert_eq!(ended.code(), Some(0), "{}", self.said());
    }
}

/// Returns the path of a program, as `cargo test --workspace` has built it.
fn built(program: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_polygon-adapter"));
    let path = own.with_file_name(program);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace`",
        path.display()
    );
    path
}

/// Waits for a condition that no event tells of.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
