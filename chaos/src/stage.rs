//! Where a run takes place: a directory, and a services.toml for each part.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use std::fmt;

use clap::ValueEnum;
use rand::RngExt;
use serde::Serialize;
use tempfile::TempDir;

use crate::chance::Who;

/// What messages go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Over {
    Unix,
    Tcp,
    Tls,
    Ws,
    Wss,
    Udp,
}

/// How a run is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) over: Over,
    pub(crate) is_direct: bool,
    /// Senders and receivers reach the others through this process.
    pub(crate) has_proxy: bool,
    pub(crate) receivers: usize,
    /// How many files the relay may have open, if that is to be few.
    pub(crate) files: Option<u64>,
    /// How much the relay keeps, if that is to be little: it is full soon then, and must not grow further.
    pub(crate) log_bytes: Option<u64>,
    /// Senders keep what they owe on disk.
    pub(crate) has_spool: bool,
    /// Receivers keep on disk what they have had.
    pub(crate) has_cursor: bool,
    /// The relay keeps on disk what it takes.
    pub(crate) has_store: bool,
}

/// A directory with everything that a run needs; gone when this is, unless it was given.
#[derive(Debug)]
pub(crate) struct Stage {
    path: PathBuf,
    /// Where the proxy listens, and to where it passes on.
    pub(crate) front: String,
    pub(crate) back: String,
    _directory: Option<TempDir>,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Over {
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Returns whether nothing is owed over it.
    pub(crate) const fn may_lose(self) -> bool {
        matches!(self, Self::Udp)
    }

    /// Returns how much a message may have beside its head.
    pub(crate) const fn largest(self) -> usize {
        if self.may_lose() { 1000 } else { 20_000 }
    }
}

impl Stage {
    /// Makes the directory, below `keep` if that is given.
    pub(crate) fn new(name: &str, over: Over, keep: Option<&Path>) -> io::Result<Self> {
        let (path, directory) = match keep {
            Some(keep) => {
                let path = keep.join(name);
                fs::create_dir_all(&path)?;
                (path, None)
            }
            None => {
                let directory = tempfile::Builder::new()
                    .prefix("wakewire-chaos-")
                    .tempdir()?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let place = |end: &str| match over {
            Over::Unix => Ok(path.join(end).display().to_string()),
            _ => Ok::<_, io::Error>(format!("127.0.0.1:{}", free_port()?)),
        };
        let (front, back) = (place("front.sock")?, place("back.sock")?);
        Ok(Self {
            path,
            front,
            back,
            _directory: directory,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.path
    }

    /// Writes everybody's services.toml, and a certificate where one is needed.
    pub(crate) fn write(&self, setting: &Setting, senders: usize) -> io::Result<()> {
        if setting.over.is_encrypted() {
            let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(hosts).map_err(io::Error::other)?;
            fs::write(self.path("cert.pem"), made.cert.pem())?;
            fs::write(self.path("key.pem"), made.signing_key.serialize_pem())?;
            fs::set_permissions(self.path("key.pem"), fs::Permissions::from_mode(0o600))?;
        }
        let parts = [Who::Relay]
            .into_iter()
            .chain((0..senders).map(Who::Sender))
            .chain((0..setting.receivers).map(Who::Receiver));
        for part in parts {
            fs::write(self.services(part), self.text(setting, part))?;
        }
        Ok(())
    }

    /// Returns where the services.toml of this part is.
    pub(crate) fn services(&self, part: Who) -> PathBuf {
        self.path(&format!("{}.toml", part.name()))
    }

    fn text(&self, setting: &Setting, part: Who) -> String {
        let listens = match part {
            Who::Relay => true,
            Who::Sender(_) => false,
            Who::Receiver(_) => setting.is_direct,
        };
        let place = if listens || !setting.has_proxy {
            &self.back
        } else {
            &self.front
        };
        let scheme = setting.over.name();
        let mut text = format!("[services.{SERVICE}]\nendpoint = \"{scheme}://{place}\"\n");
        if setting.over.may_lose() {
            text += "delivery = \"at_most_once\"\n";
        } else {
            text += "delivery = \"at_least_once\"\n";
        }
        if setting.is_direct {
            text += "type = \"direct\"\n";
        } else {
            let names: Vec<_> = (0..setting.receivers)
                .map(|place| Who::Receiver(place).name())
                .collect();
            text += "type = \"relay\"\n";
            if !setting.over.may_lose() {
                text += &format!("consumers = {names:?}\n");
            }
            if let Some(bytes) = setting.log_bytes {
                text += &format!("log_bytes = {bytes}\n");
            }
        }
        if setting.over.is_encrypted() {
            for (key, file) in [("ca", "cert"), ("cert", "cert"), ("key", "key")] {
                let path = self.path(&format!("{file}.pem"));
                text += &format!("{key} = \"{}\"\n", path.display());
            }
        }
        match part {
            Who::Sender(place) if setting.has_spool => {
                let path = self.path(&format!("spool-{place}"));
                text += &format!("spool = \"{}\"\n", path.display());
            }
            Who::Receiver(place) if setting.has_cursor => {
                let path = self.path(&format!("cursor-{place}"));
                text += &format!("cursor = \"{}\"\n", path.display());
            }
            Who::Relay if setting.has_store && !setting.is_direct => {
                let path = self.path("store");
                text += &format!("store_and_forward = \"{}\"\n", path.display());
            }
            _ => {}
        }
        // So that the time goes into faults, not into waiting for the next attempt.
        text + "lazy = { retry_delay_ms = 5, max_retry_delay_secs = 0.05, connect_timeout_secs = 2 }\n"
    }
}

/// Finds a port below those that the system gives to outgoing connections: it must be free again after each kill.
fn free_port() -> io::Result<u16> {
    let mut random = rand::rng();
    for _ in 0..100 {
        let port = random.random_range(15_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port"))
}

/// The one service of a run.
pub(crate) const SERVICE: &str = "feed";
