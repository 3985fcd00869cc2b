//! Two machines, as the kernel sees them: namespaces with a cable between them, which is cut in three ways that no end of
//! a connection is told of, or loses packets. Needs `unshare`, `ip` and `nft`, and leave to make namespaces.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::until;

/// How the network goes, and how it comes back: what is said on each machine.
const WAYS: [(&str, &str, &str); 3] = [
    (
        "link down",
        "ip link set $here down",
        "ip link set $here up",
    ),
    (
        "packets dropped",
        "ip neigh replace $other lladdr 02:00:00:00:00:99 dev $here nud permanent",
        "ip neigh del $other dev $here",
    ),
    (
        "blackhole",
        "ip route add blackhole $other/32",
        "ip route del blackhole $other/32",
    ),
];

/// Asked after 5 s, dead after 15 s, looked at twice a second; the rest is for a machine with other things to do.
const NOTICED: Duration = Duration::from_secs(20);

/// A shell in a network of its own, which lives as long as its stdin; everything in it ends with it.
struct Namespace {
    shell: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Namespace {
    /// Starts a shell by this command.
    fn of(mut command: Command) -> Self {
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut shell = shell.expect("`unshare` is needed: install util-linux");
        let (stdin, stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut namespace = Self {
            shell,
            stdin,
            stdout: BufReader::new(stdout),
        };
        namespace.run("ip link set lo up");
        namespace
    }

    /// Runs a line; fails unless that went well.
    #[track_caller]
    fn run(&mut self, line: &str) {
        writeln!(self.stdin, "{line}; echo \"ended $?\"").expect("namespaces are not allowed here");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(
            answer, "ended 0\n",
            "`{line}`: are `ip` (iproute2) and `nft` (nftables) here, and leave to make namespaces?"
        );
    }

    /// Starts the command in it, with its output in files.
    fn start(&self, directory: &Path, name: &str, arguments: &[&str], stdin: Stdio) -> Child {
        let file = |kind: &str| File::create(directory.join(format!("{name}.{kind}"))).unwrap();
        Command::new("nsenter")
            .args(["--preserve-credentials", "--user", "--net", "--target"])
            .arg(self.shell.id().to_string())
            .arg(env!("CARGO_BIN_EXE_wakewire"))
            .args(arguments)
            .current_dir(directory)
            .env("RUST_LOG", "wakewire=info")
            .stdin(stdin)
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may have ended with the test that failed.
        drop(self.shell.kill());
        drop(self.shell.wait());
    }
}

/// Two namespaces, and the cable between `near` and `far`.
fn two_machines() -> [Namespace; 2] {
    let mut near = Command::new("unshare");
    let mut near = Namespace::of({
        near.args(["--user", "--map-root-user", "--net", "sh"]);
        near
    });
    let mut far = Command::new("nsenter");
    let mut far = Namespace::of({
        far.args(["--preserve-credentials", "--user", "--target"]);
        far.arg(near.shell.id().to_string());
        far.args(["unshare", "--net", "sh"]);
        far
    });
    let id = far.shell.id();
    near.run("ip link add near type veth peer name far");
    near.run(&format!("ip link set far netns {id}"));
    for (machine, name, address) in [(&mut near, "near", 1), (&mut far, "far", 2)] {
        let other = 3 - address;
        machine.run(&format!("here={name} other=10.9.0.{other}"));
        machine.run(&format!("ip address add 10.9.0.{address}/24 dev $here"));
        machine.run("ip link set $here up");
    }
    [near, far]
}

/// A process; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn said(path: &PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// A sender on one machine, and who listens on the other.
struct Pair {
    near: Namespace,
    far: Namespace,
    directory: TempDir,
    _listen: Running,
    send: Running,
    writing: PipeWriter,
}

impl Pair {
    /// Starts both, after this was done to each machine.
    fn start(mut prepare: impl FnMut(&mut Namespace)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [mut near, mut far] = two_machines();
        prepare(&mut near);
        prepare(&mut far);
        let services = "[services.ticks]\ntype = 'direct'\nendpoint = 'tcp://10.9.0.2:7000'\n";
        std::fs::write(directory.path().join("services.toml"), services).unwrap();
        let listen = far.start(
            directory.path(),
            "listen",
            &["listen", "ticks"],
            Stdio::null(),
        );
        let (reading, writing) = std::io::pipe().unwrap();
        let send = near.start(directory.path(), "send", &["send", "ticks"], reading.into());
        Self {
            near,
            far,
            directory,
            _listen: Running(listen),
            send: Running(send),
            writing,
        }
    }

    fn said(&self, file: &str) -> String {
        said(&self.directory.path().join(file))
    }

    /// Ends the input; everything has come, once and in order.
    fn end(mut self, all: &str) {
        drop(self.writing);
        let mut ended = None;
        until("the sender ends", || {
            ended = self.send.0.try_wait().unwrap();
            ended.is_some()
        });
        let file = |name: &str| said(&self.directory.path().join(name));
        assert!(ended.unwrap().success(), "{}", file("send.err"));
        until("everything has come", || {
            file("listen.out").len() >= all.len()
        });
        assert_eq!(file("listen.out"), all);
    }
}

/// Sends lines to the other machine, loses it, and finds it again: idle, or with lines under way.
fn a_network_goes_and_comes_back((way, break_it, mend_it): (&str, &str, &str), idle: bool) {
    let mut pair = Pair::start(|_| {});
    pair.writing.write_all(b"0\n").unwrap();
    until("the first line", || pair.said("listen.out") == "0\n");
    let broken = Instant::now();
    pair.near.run(break_it);
    pair.far.run(break_it);
    let mut all = "0\n".to_owned();
    let mut more = |pair: &mut Pair, lines: std::ops::Range<u32>| {
        for line in lines {
            writeln!(pair.writing, "{line}").unwrap();
            writeln!(all, "{line}").unwrap();
        }
    };
    if !idle {
        more(&mut pair, 1..1000);
    }
    until(&format!("{way}: it is noticed"), || {
        pair.said("send.err").contains("connection lost")
    });
    let noticed = broken.elapsed();
    println!(
        "{way}, {}: noticed after {noticed:?}",
        if idle { "idle" } else { "with data" }
    );
    assert!(noticed < NOTICED, "{way}: {noticed:?}");
    more(&mut pair, 1000..2000);
    pair.near.run(mend_it);
    pair.far.run(mend_it);
    pair.end(&all);
}

#[test]
fn a_network_that_goes_without_a_word_is_noticed_and_nothing_is_lost() {
    thread::scope(|scope| {
        for way in WAYS {
            for idle in [true, false] {
                scope.spawn(move || a_network_goes_and_comes_back(way, idle));
            }
        }
    });
}

/// Each machine loses a fifth of what reaches it.
const LOSE: &str = "nft 'add table ip lossy; add chain ip lossy in { type filter hook input priority 0; }; \
                    add rule ip lossy in numgen random mod 5 == 0 counter drop'";

/// Succeeds if it has lost some.
const HAS_LOST: &str = "! nft list chain ip lossy in | grep -q 'packets 0 '";

/// Lines at a time, each time waited for, so that many single packets go and come.
const AT_A_TIME: u32 = 10;
const TIMES: u32 = 200;

#[test]
fn a_network_that_loses_a_fifth_of_its_packets_loses_no_line_and_no_connection() {
    let mut pair = Pair::start(|machine| machine.run(LOSE));
    let begun = Instant::now();
    let mut all = String::new();
    for time in 0..TIMES {
        for line in AT_A_TIME * time..AT_A_TIME * (time + 1) {
            writeln!(pair.writing, "{line}").unwrap();
            writeln!(all, "{line}").unwrap();
        }
        until("these lines", || pair.said("listen.out").len() >= all.len());
    }
    println!(
        "{TIMES} times there, with a fifth lost, in {:?}",
        begun.elapsed()
    );
    pair.near.run(HAS_LOST);
    pair.far.run(HAS_LOST);
    let errors = pair.said("send.err");
    assert!(!errors.contains("connection lost"), "{errors}");
    pair.end(&all);
}
