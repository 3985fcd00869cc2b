//! One run of the demo: who plays, what is known, and that it gets on.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::cast::Sent;
use super::ledger::Ledger;
use super::screen::{Kills, Scene, Screen};
use super::troupe::{Audience, CONSUMERS, Heard, Player, SERVICE, Stage, Who};
use crate::interrupt::Interrupt;
use crate::said::{LOST, Said};
use crate::send::now;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Feeding {
    pub(super) messages: u64,
    pub(super) input: Option<PathBuf>,
    /// Spread over this time.
    pub(super) over: Option<Duration>,
}

/// A run under way. Its processes are killed when it is dropped.
pub(super) struct Play<'a> {
    stage: &'a Stage,
    screen: &'a mut Screen,
    interrupt: &'a mut Interrupt,
    feeding: Feeding,
    audience: Audience,
    pub(super) sender: Option<Player>,
    consumers: Vec<Player>,
    pub(super) relay: Option<Player>,
    pub(super) scene: Scene,
    /// Consumers that were heard of.
    pub(super) present: [bool; 2],
    /// Reports of the sender so far.
    pub(super) reports: u64,
    /// When something was delivered last, and how much by then.
    progress: (Instant, u64),
    /// When it is over, come what may.
    deadline: Instant,
}

impl<'a> Play<'a> {
    pub(super) fn new(
        stage: &'a Stage,
        screen: &'a mut Screen,
        interrupt: &'a mut Interrupt,
        feeding: Feeding,
    ) -> Self {
        let now = now();
        let allowed = feeding.over.unwrap_or_default()
            + SETTLE_WITHIN
            + Duration::from_secs(feeding.messages / SLOWEST);
        Self {
            stage,
            screen,
            interrupt,
            audience: Audience::new(),
            sender: None,
            consumers: Vec::new(),
            relay: None,
            scene: Scene {
                total: feeding.messages,
                sent: Sent {
                    state: "starting".to_owned(),
                    ..Sent::default()
                },
                ..Scene::default()
            },
            present: [false; 2],
            reports: 0,
            progress: (now, 0),
            deadline: now + allowed,
            feeding,
        }
    }

    pub(super) fn start_sender(&mut self) -> Result<(), Said> {
        let messages = self.feeding.messages.to_string();
        let over = self
            .feeding
            .over
            .map(|over| format!("{}ms", over.as_millis()));
        let mut arguments: Vec<&OsStr> = ["--name", SERVICE, "sender", "--messages", &messages]
            .map(OsStr::new)
            .to_vec();
        if let Some(input) = &self.feeding.input {
            arguments.extend([OsStr::new("--input"), input.as_os_str()]);
        }
        if let Some(over) = &over {
            arguments.extend([OsStr::new("--over"), OsStr::new(over)]);
        }
        let started = self.stage.start(Who::Sender, "cast", &arguments);
        let (player, stdout) = started.map_err(|error| self.broken(&error))?;
        self.audience.hear(Who::Sender, stdout);
        self.sender = Some(player);
        Ok(())
    }

    pub(super) fn start_consumers(&mut self) -> Result<(), Said> {
        let messages = self.feeding.messages.to_string();
        for (place, name) in CONSUMERS.iter().enumerate() {
            let arguments = [
                "--name",
                SERVICE,
                "consumer",
                "--as",
                name,
                "--messages",
                &messages,
            ]
            .map(OsStr::new);
            let who = Who::Consumer(place);
            let started = self.stage.start(who, "cast", &arguments);
            let (player, stdout) = started.map_err(|error| self.broken(&error))?;
            self.audience.hear(who, stdout);
            self.consumers.push(player);
        }
        Ok(())
    }

    pub(super) fn start_relay(&mut self) -> Result<(), Said> {
        let arguments = [SERVICE, "--while-stdin"].map(OsStr::new);
        let started = self.stage.start(Who::Relay, "relay", &arguments);
        let (player, _says_nothing) = started.map_err(|error| self.broken(&error))?;
        self.relay = Some(player);
        self.scene.relay_is_up = true;
        Ok(())
    }

    /// Kills the relay; it is dead when this returns.
    pub(super) async fn kill_relay(&mut self) -> Result<(), Said> {
        if let Some(mut relay) = self.relay.take() {
            let killed = relay.kill().await;
            killed.map_err(|error| self.broken(&error))?;
        }
        self.scene.relay_is_up = false;
        Ok(())
    }

    /// Waits until it is so.
    pub(super) async fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Said> {
        while !is_so(self) {
            self.step(now() + STEP).await?;
        }
        Ok(())
    }

    /// Hears one thing, or waits until then; shows the scene, and fails when nothing gets on.
    pub(super) async fn step(&mut self, until: Instant) -> Result<(), Said> {
        let until = until.min(now() + STEP);
        tokio::select! {
            heard = self.audience.next() => if let Some(heard) = heard {
                self.take(heard)?;
            },
            () = sleep_until(until.into()) => {}
            () = self.interrupt.came() => return Err(Said::fault("interrupted", None, LOST)),
        }
        let now = now();
        self.screen.show(&self.scene, now);
        let done = self.scene.sent.delivered
            + self
                .scene
                .received
                .iter()
                .map(|one| one.received)
                .sum::<u64>();
        if done > self.progress.1 {
            self.progress = (now, done);
        }
        if now - self.progress.0 > STUCK_AFTER {
            return Err(self.failed(&format!("nothing was delivered for {STUCK_AFTER:?}")));
        }
        if now > self.deadline {
            return Err(self.failed("it takes too long"));
        }
        if let Some(relay) = &mut self.relay
            && relay.has_ended().unwrap_or(true)
        {
            return Err(self.failed("the relay has ended by itself"));
        }
        Ok(())
    }

    /// Lets the consumers end by themselves, and makes the ledger.
    pub(super) async fn finish(&mut self, kills: Option<Kills>) -> Result<Ledger, Said> {
        let total = self.scene.total;
        let is_all_here = move |play: &Self| {
            let received = &play.scene.received;
            received.iter().all(|one| one.received >= total)
        };
        // Acknowledged is received; that it is reported may take a moment.
        let patience = now() + REPORT_WITHIN;
        self.until(|play| is_all_here(play) || now() > patience)
            .await?;
        self.consumers.iter_mut().for_each(Player::dismiss);
        self.until(|play| play.scene.received.iter().all(|one| one.done))
            .await?;
        Ok(Ledger {
            total,
            sent: self.scene.sent.clone(),
            received: self.scene.received.clone(),
            kills,
        })
    }

    /// Ends all processes, by themselves after a success and by force otherwise.
    pub(super) async fn end<T>(mut self, played: Result<T, Said>) -> Result<T, Said> {
        let players = [self.sender.take(), self.relay.take()];
        let players = players
            .into_iter()
            .flatten()
            .chain(self.consumers.drain(..));
        for mut player in players {
            let ended = if played.is_ok() {
                player.end().await.map(|_well| ())
            } else {
                player.kill().await
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "a process could not be ended");
            }
        }
        played
    }

    fn take(&mut self, heard: Heard) -> Result<(), Said> {
        match heard {
            Heard::Sent(sent) => {
                // A report may be overtaken by the last one.
                if !self.scene.sent.done {
                    self.scene.sent = sent;
                }
                self.reports += 1;
            }
            Heard::Received(place, received) => {
                if let (Some(known), Some(present)) = (
                    self.scene.received.get_mut(place),
                    self.present.get_mut(place),
                ) {
                    *known = received;
                    *present = true;
                }
            }
            Heard::Silent(who) => {
                let may = match who {
                    Who::Sender => self.scene.sent.done,
                    Who::Consumer(place) => {
                        let known = self.scene.received.get(place);
                        known.is_some_and(|known| known.done)
                    }
                    Who::Relay => true,
                };
                if !may {
                    return Err(self.failed(&format!("the {} has ended by itself", who.name())));
                }
            }
        }
        Ok(())
    }

    /// Says why the demo cannot go on, and what its processes said last.
    pub(super) fn failed(&self, why: &str) -> Said {
        let sent = &self.scene.sent;
        let mut said = Said::fault(format!("the demo failed: {why}"), None, LOST).also(format!(
            "sender: accepted {}, delivered {}, waiting {}, {}",
            sent.accepted, sent.delivered, sent.waiting, sent.state
        ));
        if let Some(error) = &sent.last_error {
            said = said.also(format!("sender: last error: {error}"));
        }
        for who in [Who::Sender, Who::Consumer(0), Who::Consumer(1), Who::Relay] {
            let words = self.stage.last_words(who);
            if !words.is_empty() {
                said = said.also(format!("--- {} said:\n{}", who.name(), words.trim_end()));
            }
        }
        said
    }

    pub(super) fn broken(&self, error: &io::Error) -> Said {
        self.failed(&format!("a process cannot be worked with: {error}"))
    }
}

/// How often the scene is looked at while nothing is heard.
const STEP: Duration = Duration::from_millis(50);
/// Longer than any healing takes, on a loaded machine too.
const STUCK_AFTER: Duration = Duration::from_secs(20);
/// What a run may take beside the time over which it is spread.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);
/// So many messages a second there are always, even without optimisation.
const SLOWEST: u64 = 10_000;
/// A consumer reports ten times a second.
const REPORT_WITHIN: Duration = Duration::from_secs(5);
