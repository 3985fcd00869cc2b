//! Processes of the command in a directory of their own, and waiting for what they do: bounded, and for a
//! condition, never for the wall.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free_port;

/// Longer than anything here takes on a loaded machine; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a configuration of one service, `ticks`.
pub(crate) struct Place {
    directory: TempDir,
    started: AtomicUsize,
}

impl Place {
    /// A Unix socket in the directory.
    pub(crate) fn unix(kind: &str, further: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = format!("unix://{}/ticks.sock", directory.path().display());
        Self::at(directory, kind, &endpoint, further)
    }

    /// A free loopback port.
    pub(crate) fn tcp(kind: &str, further: &str) -> Self {
        let endpoint = format!("tcp://127.0.0.1:{}", free_port());
        Self::at(tempfile::tempdir().unwrap(), kind, &endpoint, further)
    }

    /// The same over UDP.
    pub(crate) fn udp(kind: &str, further: &str) -> Self {
        let endpoint = format!("udp://127.0.0.1:{}", free_port());
        Self::at(tempfile::tempdir().unwrap(), kind, &endpoint, further)
    }

    /// A free port of this transport, with a certificate for this machine that all trust, where it needs one.
    pub(crate) fn secured(kind: &str, scheme: &str, path: &str, further: &str) -> Self {
        let endpoint = format!("{scheme}://127.0.0.1:{}{path}", free_port());
        let directory = tempfile::tempdir().unwrap();
        let mut further = further.to_owned();
        if scheme != "ws" {
            let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let signed = rcgen::generate_simple_self_signed(names).unwrap();
            let at = |name: &str| directory.path().join(name);
            fs::write(at("cert.pem"), signed.cert.pem()).unwrap();
            let mut key = OpenOptions::new();
            let key = key
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(at("key.pem"));
            let pem = signed.signing_key.serialize_pem();
            key.unwrap().write_all(pem.as_bytes()).unwrap();
            for (name, file) in [("ca", "cert.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
                further += &format!("\n{name} = '{}'", at(file).display());
            }
        }
        Self::at(directory, kind, &endpoint, &further)
    }

    pub(crate) fn both(kind: &str, further: &str) -> [Self; 2] {
        [Self::unix(kind, further), Self::tcp(kind, further)]
    }

    fn at(directory: TempDir, kind: &str, endpoint: &str, further: &str) -> Self {
        let text = format!(
            "[services.ticks]\ntype = '{kind}'\nendpoint = '{endpoint}'\n\
             lazy = {{ retry_delay_ms = 20, max_retry_delay_secs = 0.2 }}\n{further}\n"
        );
        fs::write(directory.path().join("services.toml"), text).unwrap();
        Self {
            directory,
            started: AtomicUsize::new(0),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the directory and returns its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, Stdio::null(), None)
    }

    /// With its stdout for the test to read, as fast as the test wants.
    pub(crate) fn start_piped(&self, arguments: &[&str]) -> (Running, ChildStdout) {
        let mut running = self.start_with(arguments, Stdio::null(), Some(Stdio::piped()));
        let stdout = running.stdout();
        (running, stdout)
    }

    /// With this directory for temporary files.
    pub(crate) fn start_in(&self, temporary: &Path, arguments: &[&str]) -> Running {
        self.spawn(arguments, Stdio::null(), None, Some(temporary))
    }

    pub(crate) fn start_with(
        &self,
        arguments: &[&str],
        stdin: Stdio,
        stdout: Option<Stdio>,
    ) -> Running {
        self.spawn(arguments, stdin, stdout, None)
    }

    fn spawn(
        &self,
        arguments: &[&str],
        stdin: Stdio,
        stdout: Option<Stdio>,
        temporary: Option<&Path>,
    ) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let stderr = self.path(&format!("{number}.err"));
        let out = self.path(&format!("{number}.out"));
        let child = Command::new(env!("CARGO_BIN_EXE_wakewire"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("WAKEWIRE_CONFIG")
            .env_remove("RUST_LOG")
            .envs(temporary.map(|directory| ("TMPDIR", directory)))
            .stdin(stdin)
            .stdout(stdout.unwrap_or_else(|| File::create(&out).unwrap().into()))
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running {
            child,
            stdout: out,
            stderr,
        }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// Starts the relay and waits until it listens.
    pub(crate) fn relay(&self) -> Running {
        let relay = self.start(&["relay", "ticks"]);
        relay.says("relay listens");
        relay
    }
}

/// The password of those tests that have one.
pub(crate) const CANARY: &str = "s3cr3t-canary";

/// A process; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended and what it had said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Running {
    /// Waits until stderr has this.
    pub(crate) fn says(&self, what: &str) {
        self.says_that(what, |said| said.contains(what));
    }

    /// Waits until what stderr has is so.
    pub(crate) fn says_that(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        until(&format!("{:?} says {what}", self.stderr), || {
            is_so(&text(&self.stderr))
        });
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the pipe that its stdout goes to.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Returns how much is on stdout.
    pub(crate) fn written(&self) -> u64 {
        fs::metadata(&self.stdout).unwrap().len()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Kills it (SIGKILL); it is dead when this returns.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Ended {
        let mut code = None;
        until("the end of a process", || {
            let status = self.child.try_wait().unwrap();
            code = status.map(|status| status.code());
            code.is_some()
        });
        let stderr = text(&self.stderr);
        assert!(!stderr.contains(CANARY), "it said a password");
        Ended {
            code: code.flatten(),
            stdout: fs::read(&self.stdout).unwrap_or_default(),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long since.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Ended {
    /// Fails unless it ended so.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Fails unless stderr has this.
    #[track_caller]
    pub(crate) fn saying(self, what: &str) -> Self {
        assert!(self.stderr.contains(what), "no `{what}`: {}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// Waits for a condition that no event tells of.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads a pipe, as much as it is told to; so it stops whoever writes.
pub(crate) struct Tap {
    wanted: Sender<usize>,
    came: Receiver<Vec<u8>>,
}

impl Tap {
    pub(crate) fn on(mut pipe: ChildStdout) -> Self {
        let (wanted, wants) = channel::<usize>();
        let (comes, came) = channel();
        thread::spawn(move || {
            for wanted in wants {
                let mut bytes = Vec::new();
                pipe.by_ref()
                    .take(wanted as u64)
                    .read_to_end(&mut bytes)
                    .unwrap();
                if comes.send(bytes).is_err() {
                    return;
                }
            }
        });
        Self { wanted, came }
    }

    /// Reads so many bytes, fewer only at the end.
    pub(crate) fn read(&self, bytes: usize) -> Vec<u8> {
        self.wanted.send(bytes).unwrap();
        self.came.recv_timeout(PATIENCE).expect("not in time")
    }

    /// Reads from now on whatever comes; returns it when the pipe has ended.
    pub(crate) fn open(self) -> impl FnOnce() -> Vec<u8> {
        self.wanted.send(usize::MAX).unwrap();
        move || self.came.recv_timeout(PATIENCE).expect("not in time")
    }
}

/// The last that a process said of its progress, and how often it has said something.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<(u64, Value)>>);

impl Watch {
    pub(crate) fn on(pipe: ChildStdout) -> Self {
        let watch = Self::default();
        let told = watch.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let mut last = told.0.lock().unwrap();
                *last = (last.0 + 1, serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        watch
    }

    /// Waits for a report that was made from now on and of which this is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let now = self.0.lock().unwrap().0;
        let mut found = Value::Null;
        until(what, || {
            let (number, last) = &*self.0.lock().unwrap();
            let holds = *number > now && is_so(last);
            if holds {
                found = last.clone();
            }
            holds
        });
        found
    }
}

/// Lines of arbitrary bytes, the last without a newline; the same for the same seed.
pub(crate) fn arbitrary_lines(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut text = Vec::new();
    for number in 0..count {
        if number > 0 {
            text.push(b'\n');
        }
        match number % 10 {
            0 => {}
            1 => text.push(b'\r'),
            2 => text.extend_from_slice(b"\0\xff\xc3\r"),
            _ => {
                for _ in 0..random() % 80 {
                    let byte = random().to_le_bytes()[0];
                    text.push(if byte == b'\n' { 0 } else { byte });
                }
            }
        }
    }
    // Something behind the last newline, or it would be no line.
    text.extend_from_slice(b"the end");
    text
}

/// What `listen` makes of it.
pub(crate) fn with_newline(mut text: Vec<u8>) -> Vec<u8> {
    text.push(b'\n');
    text
}

/// Fails without printing megabytes.
#[track_caller]
pub(crate) fn same(output: &[u8], expected: &[u8]) {
    let place = output.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        output == expected,
        "{} bytes, expected {}; they differ at {place:?}",
        output.len(),
        expected.len()
    );
}
