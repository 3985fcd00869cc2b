//! Everybody in a run, and what they have written down so far.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::chance::Who;
use crate::checker::{Checker, Demands};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::record::{LENGTH, Mark, MarkFile, Record, Word};
use crate::role::Planted;
use crate::stage::{Setting, Stage};

/// The processes of a run. They are killed when this is dropped, before their directory is removed.
#[derive(Debug)]
pub(crate) struct Troupe {
    relay: Option<Process>,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) checker: Checker,
    setting: Setting,
    stage: Stage,
    /// Logs are kept, for somebody to look at.
    keeps: bool,
    next_origin: u64,
    /// Senders that died lately: what they had acknowledged may be in the relay, and must not come again.
    dead: VecDeque<(u64, Mark)>,
    plant: Option<Planted>,
}

#[derive(Debug, Default)]
struct Sender {
    process: Option<Process>,
    origin: u64,
}

#[derive(Debug)]
struct Receiver {
    process: Option<Process>,
    name: String,
    life: u64,
    log: Option<Log>,
}

/// A log that is read as it grows.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    /// What is not a whole record yet.
    rest: Vec<u8>,
}

impl Troupe {
    pub(crate) async fn start(
        setting: Setting,
        senders: usize,
        stage: Stage,
        keeps: bool,
        plant: Option<Planted>,
    ) -> io::Result<Self> {
        stage.write(&setting, senders)?;
        let proxy = if setting.has_proxy {
            Some(Proxy::start(&stage.front, &stage.back).await?)
        } else {
            None
        };
        let receiver = |place| Receiver {
            process: None,
            name: Who::Receiver(place).name(),
            life: 0,
            log: None,
        };
        let mut troupe = Self {
            relay: None,
            senders: (0..senders).map(|_| Sender::default()).collect(),
            receivers: (0..setting.receivers).map(receiver).collect(),
            proxy,
            checker: Checker::new(Demands {
                may_lose: setting.over.may_lose(),
                has_cursor: setting.has_cursor,
                has_store: setting.has_store && !setting.is_direct,
            }),
            setting,
            stage,
            keeps,
            next_origin: 1,
            dead: VecDeque::new(),
            plant,
        };
        for who in troupe.everybody() {
            troupe.bring(who)?;
        }
        Ok(troupe)
    }

    /// Returns who there is.
    pub(crate) fn everybody(&self) -> Vec<Who> {
        let relay = (!self.setting.is_direct).then_some(Who::Relay);
        let receivers = (0..self.receivers.len()).map(Who::Receiver);
        let senders = (0..self.senders.len()).map(Who::Sender);
        relay.into_iter().chain(receivers).chain(senders).collect()
    }

    /// Starts a new life of somebody.
    pub(crate) fn bring(&mut self, who: Who) -> io::Result<()> {
        match who {
            Who::Relay => {
                let services = self.stage.services(Who::Relay);
                let mark = self.stage.path("relay.tasks");
                let mut role: Vec<OsString> = vec!["relay".into()];
                if let Some(files) = self.setting.files {
                    role.extend(["--files".into(), files.to_string().into()]);
                }
                let root = self.stage.root();
                self.relay = Some(Process::start(root, "relay", &services, &mark, &role)?);
                Ok(())
            }
            Who::Sender(place) => self.bring_sender(place),
            Who::Receiver(place) => self.bring_receiver(place),
        }
    }

    fn bring_sender(&mut self, place: usize) -> io::Result<()> {
        let origin = self.next_origin;
        self.next_origin += 1;
        let mark = self.mark_of(origin);
        let role: Vec<OsString> = vec![
            "sender".into(),
            "--origin".into(),
            origin.to_string().into(),
            "--largest".into(),
            self.setting.over.largest().to_string().into(),
        ];
        let services = self.stage.services(Who::Sender(place));
        let name = Who::Sender(place).name();
        let process = Process::start(self.stage.root(), &name, &services, &mark, &role)?;
        self.checker.sender(origin, Mark::default());
        if let Some(sender) = self.senders.get_mut(place) {
            *sender = Sender {
                process: Some(process),
                origin,
            };
        }
        Ok(())
    }

    fn bring_receiver(&mut self, place: usize) -> io::Result<()> {
        // What is known to be acknowledged before it begins must not come to it.
        let mut floors: Vec<_> = self.dead.iter().copied().collect();
        for sender in &self.senders {
            if sender.origin > 0 {
                let mark = MarkFile::open(&self.mark_of(sender.origin))?.read()?;
                floors.push((sender.origin, mark));
            }
        }
        let services = self.stage.services(Who::Receiver(place));
        let is_direct = self.setting.is_direct;
        let Some(receiver) = self.receivers.get_mut(place) else {
            return Ok(());
        };
        receiver.life += 1;
        let path = self
            .stage
            .path(&format!("{}.{:06}.log", receiver.name, receiver.life));
        let mut file = File::options().create_new(true).append(true).open(&path)?;
        for (origin, mark) in floors {
            let floor = Record::Floor {
                origin,
                acked: mark.acked,
            };
            file.write_all(&floor.encode())?;
        }
        let mut role: Vec<OsString> = vec!["receiver".into(), "--log".into(), path.clone().into()];
        if !is_direct {
            role.extend(["--name".into(), receiver.name.clone().into()]);
        }
        // Only once.
        if let Some(plant) = self
            .plant
            .take()
            .and_then(|plant| plant.to_possible_value())
        {
            role.extend(["--plant".into(), plant.get_name().into()]);
        }
        receiver.log = Some(Log {
            file: File::open(&path)?,
            path,
            rest: Vec::new(),
        });
        self.checker.born(&receiver.name);
        let mark = self.stage.path(&format!("{}.tasks", receiver.name));
        receiver.process = Some(Process::start(
            self.stage.root(),
            &receiver.name,
            &services,
            &mark,
            &role,
        )?);
        Ok(())
    }

    /// Returns where the relay or the listener is reached without anything in between.
    pub(crate) fn back(&self) -> &str {
        &self.stage.back
    }

    /// Returns the process of somebody who is alive.
    pub(crate) fn process(&mut self, who: Who) -> Option<&mut Process> {
        match who {
            Who::Relay => self.relay.as_mut(),
            Who::Sender(place) => self.senders.get_mut(place)?.process.as_mut(),
            Who::Receiver(place) => self.receivers.get_mut(place)?.process.as_mut(),
        }
    }

    /// Returns those receivers that are alive.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &Process> {
        self.receivers.iter().filter_map(|r| r.process.as_ref())
    }

    /// SIGKILL; what the dead has written down is read to its end.
    pub(crate) async fn kill(&mut self, who: Who) -> io::Result<()> {
        if let Some(process) = self.process(who) {
            process.kill().await?;
        }
        match who {
            Who::Relay => self.relay = None,
            Who::Sender(place) => self.bury_sender(place)?,
            Who::Receiver(place) => self.bury_receiver(place)?,
        }
        Ok(())
    }

    fn bury_sender(&mut self, place: usize) -> io::Result<()> {
        let Some(sender) = self.senders.get_mut(place) else {
            return Ok(());
        };
        let origin = std::mem::take(sender).origin;
        let path = self.mark_of(origin);
        let file = MarkFile::open(&path)?;
        if !self.setting.has_spool {
            file.set(Word::Gone, 1)?;
        }
        let mark = file.read()?;
        self.checker.sender(origin, mark);
        self.dead.push_back((origin, mark));
        if self.dead.len() > REMEMBERED
            && let Some((origin, _)) = self.dead.pop_front()
            && !self.keeps
        {
            fs::remove_file(self.mark_of(origin))?;
        }
        Ok(())
    }

    fn bury_receiver(&mut self, place: usize) -> io::Result<()> {
        self.read()?;
        if let Some(receiver) = self.receivers.get_mut(place) {
            receiver.process = None;
            if let Some(log) = receiver.log.take()
                && !self.keeps
            {
                fs::remove_file(log.path)?;
            }
        }
        Ok(())
    }

    fn mark_of(&self, origin: u64) -> PathBuf {
        self.stage.path(&format!("sender-{origin:06}.mark"))
    }

    /// Reads what everybody has written down since the last call.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        for receiver in &mut self.receivers {
            if let Some(log) = &mut receiver.log {
                log.read(|record| self.checker.take(&receiver.name, record))?;
            }
        }
        for sender in &self.senders {
            if sender.origin > 0 {
                let mark = MarkFile::open(&self.mark_of(sender.origin))?.read()?;
                self.checker.sender(sender.origin, mark);
            }
        }
        Ok(())
    }

    /// Returns how many messages each receiver was handed.
    pub(crate) fn received(&self) -> Vec<u64> {
        let received = |receiver: &Receiver| self.checker.received(&receiver.name);
        self.receivers.iter().map(received).collect()
    }

    /// Returns what the living senders have accepted and not seen acknowledged, as far as they have looked.
    pub(crate) fn unacknowledged(&self) -> io::Result<u64> {
        let mut sum = 0;
        for sender in self.senders.iter().filter(|sender| sender.origin > 0) {
            let mark = MarkFile::open(&self.mark_of(sender.origin))?.read()?;
            sum += mark.accepted.saturating_sub(mark.acked);
        }
        Ok(sum)
    }

    /// Says who has ended though nobody told it to.
    pub(crate) fn deserter(&mut self) -> io::Result<Option<String>> {
        for who in self.everybody() {
            if let Some(process) = self.process(who)
                && let Some(how) = process.ended()?
            {
                return Ok(Some(format!("{} has ended by itself: {how}", who.name())));
            }
        }
        Ok(None)
    }

    /// Has these end by themselves.
    pub(crate) async fn end(&mut self, who: Who, within: Duration) -> io::Result<Option<String>> {
        let Some(process) = self.process(who) else {
            return Ok(None);
        };
        let ended = process.end(within).await?;
        Ok(ended.err().map(|how| format!("{}: {how}", who.name())))
    }
}

impl Log {
    fn read(&mut self, mut take: impl FnMut(Record)) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let (records, rest) = self.rest.as_chunks::<LENGTH>();
        for record in records {
            let record = Record::decode(record).ok_or_else(|| {
                io::Error::other(format!("{}: what is no record", self.path.display()))
            })?;
            take(record);
        }
        self.rest = rest.to_vec();
        Ok(())
    }
}

/// Checks logs that were kept: the same as while they grew.
pub(crate) fn checked(directory: &std::path::Path, demands: Demands) -> io::Result<Checker> {
    let mut checker = Checker::new(demands);
    let mut paths: Vec<_> = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    // Lives are numbered with leading zeros.
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if let Some(origin) = name
            .strip_prefix("sender-")
            .and_then(|name| name.strip_suffix(".mark"))
            .and_then(|origin| origin.parse().ok())
        {
            checker.sender(origin, MarkFile::open(&path)?.read()?);
        } else if let Some((receiver, _)) = name
            .strip_suffix(".log")
            .and_then(|name| name.rsplit_once('.'))
        {
            checker.born(receiver);
            let mut log = Log {
                file: File::open(&path)?,
                path: path.clone(),
                rest: Vec::new(),
            };
            log.read(|record| checker.take(receiver, record))?;
        }
    }
    Ok(checker)
}

/// How many dead senders are remembered.
const REMEMBERED: usize = 8;
