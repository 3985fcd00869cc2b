//! One run: everybody at full load, fault after fault, then peace, and what became of every message.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::chance::{Chance, Fault, Scenario, Who};
use crate::checker::Count;
use crate::proxy;
use crate::role::Planted;
use crate::said::{grouped, put};
use crate::stage::{Over, Setting, Stage};
use crate::troupe::Troupe;

/// What a run is told.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) scenario: Scenario,
    pub(crate) over: Over,
    pub(crate) seed: u64,
    /// Kills, or other faults where the scenario has none.
    pub(crate) cycles: u64,
    pub(crate) senders: usize,
    pub(crate) receivers: usize,
    pub(crate) longest_stop: Duration,
    pub(crate) has_spool: bool,
    pub(crate) has_cursor: bool,
    pub(crate) has_store: bool,
    pub(crate) keep: Option<PathBuf>,
    pub(crate) plant: Option<Planted>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) over: Over,
    pub(crate) seed: u64,
    pub(crate) senders: usize,
    pub(crate) kills: u64,
    /// With something unacknowledged at that moment.
    pub(crate) kills_under_load: u64,
    pub(crate) stops: u64,
    pub(crate) cuts: u64,
    pub(crate) holds: u64,
    pub(crate) starvations: u64,
    /// The longest time from the end of a fault until every receiver had something again.
    pub(crate) slowest_recovery_ms: u64,
    pub(crate) seconds: f64,
    pub(crate) accepted: u64,
    pub(crate) receivers: BTreeMap<String, Count>,
    pub(crate) faults: Vec<String>,
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) order: Order,
    pub(crate) troupe: Troupe,
    pub(crate) chance: Chance,
    start: Instant,
    outcome: Outcome,
    said: Instant,
}

/// Why a run ends early.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The promise is broken: something does not go on.
    Stuck(String),
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Run {
    pub(crate) async fn start(order: Order) -> io::Result<Self> {
        let scenario = order.scenario.name();
        // Datagrams are not owed, and go through no proxy for streams.
        let is_direct = order.scenario.is_direct() || order.over.may_lose();
        let setting = Setting {
            over: order.over,
            is_direct,
            has_proxy: order.scenario.needs_proxy() && !order.over.may_lose(),
            receivers: if is_direct { 1 } else { order.receivers },
            files: (order.scenario == Scenario::Starve).then_some(FILES),
            log_bytes: (order.scenario == Scenario::Soak).then_some(LOG),
            has_spool: order.has_spool,
            has_cursor: order.has_cursor,
            has_store: order.has_store,
        };
        let name = format!("{scenario}-{}-{}", order.over.name(), order.seed);
        let stage = Stage::new(&name, order.over, order.keep.as_deref())?;
        let parts = (order.senders, setting.receivers);
        let keeps = order.keep.is_some();
        let start = Instant::now();
        Ok(Self {
            troupe: Troupe::start(setting, order.senders, stage, keeps, order.plant).await?,
            chance: Chance::new(order.seed, order.scenario, parts, order.longest_stop),
            start,
            said: start,
            outcome: Outcome {
                scenario,
                over: order.over,
                seed: order.seed,
                senders: order.senders,
                kills: 0,
                kills_under_load: 0,
                stops: 0,
                cuts: 0,
                holds: 0,
                starvations: 0,
                slowest_recovery_ms: 0,
                seconds: 0.0,
                accepted: 0,
                receivers: BTreeMap::new(),
                faults: Vec::new(),
            },
            order,
        })
    }

    /// Does all of it.
    pub(crate) async fn play(mut self) -> io::Result<Outcome> {
        let played = async {
            self.until_all_have(0).await?;
            while self.cycles() < self.order.cycles {
                let (pause, after_messages) = self.chance.pause();
                sleep(pause).await;
                let fault = self.chance.next();
                self.inflict(&fault).await?;
                if self.order.scenario == Scenario::HalfOpen {
                    // More than a sender keeps: acknowledgements must have come over a new connection.
                    self.until_all_have(BUFFERED * self.order.senders as u64)
                        .await?;
                } else if after_messages {
                    self.until_all_have(0).await?;
                }
                self.progress();
            }
            self.finish().await
        };
        let played = played.await;
        self.conclude(played)
    }

    /// Draws up what came of it.
    pub(crate) fn conclude(mut self, played: Result<(), Broken>) -> io::Result<Outcome> {
        self.troupe.read()?;
        self.outcome.faults = self.troupe.checker.faults();
        match played {
            Ok(()) => {}
            Err(Broken::Stuck(how)) => self.outcome.faults.insert(0, how),
            Err(Broken::Io(error)) => return Err(error),
        }
        self.outcome.seconds = (Instant::now() - self.start).as_secs_f64();
        self.outcome.accepted = self.troupe.checker.accepted();
        self.outcome.receivers = self.troupe.checker.counts();
        Ok(self.outcome)
    }

    fn cycles(&self) -> u64 {
        let Outcome {
            kills,
            stops,
            cuts,
            holds,
            starvations,
            ..
        } = self.outcome;
        if self.order.scenario.is_of_kills() {
            kills
        } else {
            stops + cuts + holds + starvations
        }
    }

    /// Has a fault happen, and everybody back.
    pub(crate) async fn inflict(&mut self, fault: &Fault) -> Result<(), Broken> {
        match fault {
            Fault::Kill(victims, away) => {
                for who in victims {
                    let is_loaded = self.troupe.unacknowledged()? > 0;
                    self.troupe.kill(*who).await?;
                    self.outcome.kills += 1;
                    self.outcome.kills_under_load += u64::from(is_loaded);
                }
                sleep(*away).await;
                for who in victims {
                    self.troupe.bring(*who)?;
                }
            }
            Fault::KillAhead(time) => {
                for receiver in self.troupe.receivers() {
                    receiver.stop()?;
                }
                sleep(*time).await;
                let is_loaded = self.troupe.unacknowledged()? > 0;
                self.troupe.kill(Who::Relay).await?;
                self.outcome.kills += 1;
                self.outcome.kills_under_load += u64::from(is_loaded);
                for receiver in self.troupe.receivers() {
                    receiver.go_on()?;
                }
                self.troupe.bring(Who::Relay)?;
            }
            Fault::Stop(who, time) => {
                self.outcome.stops += 1;
                if let Some(process) = self.troupe.process(*who) {
                    process.stop()?;
                    sleep(*time).await;
                }
                if let Some(process) = self.troupe.process(*who) {
                    process.go_on()?;
                }
            }
            Fault::Cut => {
                if let Some(proxy) = &self.troupe.proxy {
                    self.outcome.cuts += 1;
                    proxy.cut();
                }
            }
            Fault::Starve(who) => {
                self.outcome.starvations += 1;
                self.starve(*who).await?;
            }
            Fault::Hold => {
                if let Some(proxy) = &self.troupe.proxy {
                    self.outcome.holds += 1;
                    proxy.hold();
                }
            }
        }
        Ok(())
    }

    /// Has strangers take all descriptors of the relay. Who is inside is served, and who comes back gets in.
    async fn starve(&mut self, who: Who) -> Result<(), Broken> {
        let mut strangers = Vec::new();
        let mut most = 0;
        let deadline = Instant::now() + Duration::from_secs(5);
        while most < FILES && Instant::now() < deadline {
            strangers.push(proxy::connect(self.troupe.back()).await);
            if let Some(relay) = self.troupe.process(Who::Relay) {
                most = most.max(relay.descriptors()?);
            }
        }
        if most < FILES {
            let how = format!("the relay had {most} of {FILES} files open: that is not starved");
            return Err(Broken::Io(io::Error::other(how)));
        }
        self.until_all_have(0).await?;
        self.troupe.kill(who).await?;
        self.outcome.kills += 1;
        self.troupe.bring(who)?;
        self.until_all_have(0).await?;
        drop(strangers);
        Ok(())
    }

    /// Waits until every receiver has been handed more than so many messages since the call.
    pub(crate) async fn until_all_have(&mut self, more: u64) -> Result<(), Broken> {
        self.troupe.read()?;
        let (before, since) = (self.troupe.received(), Instant::now());
        loop {
            let now = self.troupe.received();
            if now
                .iter()
                .zip(&before)
                .all(|(now, before)| *now > before + more)
            {
                break;
            }
            if since.elapsed() > PATIENCE {
                return Err(Broken::Stuck(format!(
                    "not every receiver was handed anything for {PATIENCE:?}: {before:?}, {now:?}"
                )));
            }
            self.look().await?;
        }
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.outcome.slowest_recovery_ms = self.outcome.slowest_recovery_ms.max(took);
        Ok(())
    }

    /// Waits a moment, and reads what came.
    async fn look(&mut self) -> Result<(), Broken> {
        if let Some(how) = self.troupe.deserter()? {
            return Err(Broken::Stuck(how));
        }
        sleep(LOOK).await;
        self.troupe.read()?;
        Ok(())
    }

    /// Nobody is harmed any more: everything that is owed must be delivered.
    pub(crate) async fn finish(&mut self) -> Result<(), Broken> {
        let (senders, others): (Vec<_>, Vec<_>) = self
            .troupe
            .everybody()
            .into_iter()
            .partition(|who| matches!(who, Who::Sender(_)));
        for who in &senders {
            if let Some(process) = self.troupe.process(*who) {
                process.dismiss();
            }
        }
        self.end(&senders).await?;
        if self.order.has_store {
            // It is acknowledged, and may be on the relay's disk alone.
            let since = Instant::now();
            while self.troupe.checker.is_owed() && since.elapsed() < PATIENCE {
                sleep(LOOK).await;
                self.troupe.read()?;
            }
        }
        // Receivers first, while the relay is there to hear what they have processed.
        let others: Vec<_> = others.into_iter().rev().collect();
        self.end(&others).await?;
        self.troupe.read()?;
        let waiting = self.troupe.unacknowledged()?;
        if waiting > 0 && !self.order.over.may_lose() {
            let how = format!("{waiting} accepted messages are not acknowledged in the end");
            return Err(Broken::Stuck(how));
        }
        Ok(())
    }

    async fn end(&mut self, parts: &[Who]) -> Result<(), Broken> {
        for who in parts {
            if let Some(how) = self.troupe.end(*who, PATIENCE).await? {
                return Err(Broken::Stuck(how));
            }
        }
        Ok(())
    }

    fn progress(&mut self) {
        if self.said.elapsed() < Duration::from_secs(5) {
            return;
        }
        self.said = Instant::now();
        put(&format!(
            "    {} of {} · {} messages accepted, {} s\n",
            self.cycles(),
            self.order.cycles,
            grouped(self.troupe.checker.accepted()),
            self.start.elapsed().as_secs()
        ));
    }
}

/// Nothing may take longer: a silent peer is given up after 15 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a relay needs for itself and those who are with it, and a few more.
const FILES: u64 = 40;
/// More than senders keep, and full after seconds.
const LOG: u64 = 8 * 1024 * 1024;
/// As many messages a sender keeps, by default.
const BUFFERED: u64 = 10_000;
/// Between two looks at the logs.
const LOOK: Duration = Duration::from_millis(3);
