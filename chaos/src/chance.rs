//! Which fault comes next, from a seed. No I/O, no clock.

use std::time::Duration;

use std::fmt;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Whom faults happen to, and what is in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The relay is killed.
    Relay,
    /// The relay is killed while its receivers are stopped: what it has taken, they do not have.
    Ahead,
    /// Consumers of a relay are killed.
    Receiver,
    /// The listener of a direct service is killed.
    Listener,
    /// Senders are killed.
    Sender,
    /// Everybody is killed, stopped or cut off, also several at once.
    All,
    /// Everybody is stopped for a while and goes on.
    Stop,
    /// All connections are reset.
    Cut,
    /// All connections stay open and carry nothing further: the peers must notice.
    HalfOpen,
    /// The relay may open few files, and strangers take them all; meanwhile receivers are killed and come back.
    Starve,
    /// Everything, but the relay, the first sender and the first receiver are never killed: they must not grow.
    #[value(skip)]
    Soak,
}

/// A process of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Relay,
    Sender(usize),
    Receiver(usize),
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL to each, and a new process after this time.
    Kill(Vec<Who>, Duration),
    /// SIGSTOP to all receivers, and SIGKILL to the relay after this time; then all go on.
    KillAhead(Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Stop(Who, Duration),
    /// Every connection is reset.
    Cut,
    /// Every connection falls silent.
    Hold,
    /// Strangers take every descriptor of the relay; this one is killed, and gets in again all the same.
    Starve(Who),
}

/// Draws faults.
#[derive(Debug)]
pub(crate) struct Chance {
    random: StdRng,
    scenario: Scenario,
    senders: usize,
    receivers: usize,
    longest_stop: Duration,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Scenario {
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(|| "soak".to_owned(), |value| value.get_name().to_owned())
    }

    /// Returns whether a fault is a kill; of the others each counts as one cycle.
    pub(crate) const fn is_of_kills(self) -> bool {
        !matches!(self, Self::Stop | Self::Cut | Self::HalfOpen | Self::Starve)
    }

    /// Returns whether messages go from senders to a listener without a relay.
    pub(crate) const fn is_direct(self) -> bool {
        matches!(self, Self::Listener)
    }

    /// Returns whether connections are cut or held, for which something must stand in between.
    pub(crate) const fn needs_proxy(self) -> bool {
        matches!(self, Self::All | Self::Cut | Self::HalfOpen | Self::Soak)
    }
}

impl Who {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Relay => "relay".to_owned(),
            Self::Sender(place) => format!("sender-{place}"),
            Self::Receiver(place) => format!("receiver-{place}"),
        }
    }
}

impl Chance {
    pub(crate) fn new(
        seed: u64,
        scenario: Scenario,
        (senders, receivers): (usize, usize),
        longest_stop: Duration,
    ) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            scenario,
            senders,
            receivers,
            longest_stop,
        }
    }

    /// Returns what happens next.
    pub(crate) fn next(&mut self) -> Fault {
        match self.scenario {
            Scenario::Relay => self.kill(Who::Relay),
            Scenario::Ahead => {
                let time = self.random.random_range(1..80);
                Fault::KillAhead(Duration::from_millis(time))
            }
            Scenario::Receiver | Scenario::Listener => {
                let who = self.receiver();
                self.kill(who)
            }
            Scenario::Sender => {
                let who = self.sender();
                self.kill(who)
            }
            Scenario::Stop => self.stop(),
            Scenario::Cut => Fault::Cut,
            Scenario::HalfOpen => Fault::Hold,
            Scenario::Starve => Fault::Starve(self.receiver()),
            Scenario::All => match self.random.random_range(0..10) {
                0..6 => {
                    let who = self.anybody();
                    self.kill(who)
                }
                6..8 => self.stop(),
                _ => Fault::Cut,
            },
            Scenario::Soak => match self.random.random_range(0..20) {
                0..5 if self.senders > 1 => self.kill(Who::Sender(self.senders - 1)),
                5..10 if self.receivers > 1 => self.kill(Who::Receiver(self.receivers - 1)),
                10..15 => Fault::Cut,
                _ => self.stop(),
            },
        }
    }

    /// Returns how long it is quiet before the next fault, and whether messages must have come first: a fault
    /// in between hits processes that are only finding each other again.
    pub(crate) fn pause(&mut self) -> (Duration, bool) {
        let pause = self.random.random_range(0..60);
        (Duration::from_millis(pause), self.random.random_ratio(4, 5))
    }

    fn kill(&mut self, who: Who) -> Fault {
        let mut victims = vec![who];
        // Two at once, where there are others.
        if self.scenario == Scenario::All && self.random.random_ratio(1, 4) {
            let other = self.anybody();
            if other != who {
                victims.push(other);
            }
        }
        let away = self.random.random_range(0..50);
        Fault::Kill(victims, Duration::from_millis(away))
    }

    fn stop(&mut self) -> Fault {
        let longest = u64::try_from(self.longest_stop.as_millis()).unwrap_or(u64::MAX);
        let time = self.random.random_range(10..=longest.max(10));
        Fault::Stop(self.anybody(), Duration::from_millis(time))
    }

    fn anybody(&mut self) -> Who {
        match self.random.random_range(0..3) {
            0 => Who::Relay,
            1 => self.sender(),
            _ => self.receiver(),
        }
    }

    fn sender(&mut self) -> Who {
        Who::Sender(self.random.random_range(0..self.senders.max(1)))
    }

    fn receiver(&mut self) -> Who {
        Who::Receiver(self.random.random_range(0..self.receivers.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, scenario: Scenario) -> Vec<Fault> {
        let mut chance = Chance::new(seed, scenario, (2, 3), Duration::from_millis(300));
        (0..500).map(|_| chance.next()).collect()
    }

    #[test]
    fn a_seed_says_what_happens() {
        assert_eq!(drawn(1, Scenario::All), drawn(1, Scenario::All));
        assert_ne!(drawn(1, Scenario::All), drawn(2, Scenario::All));
    }

    #[test]
    fn everybody_is_hit_by_everything() {
        let all = drawn(3, Scenario::All);
        let everybody = (0..2)
            .map(Who::Sender)
            .chain((0..3).map(Who::Receiver))
            .chain([Who::Relay]);
        for who in everybody {
            let killed = |fault: &Fault| matches!(fault, Fault::Kill(v, _) if v[0] == who);
            assert!(all.iter().any(killed), "{who:?} is never killed");
            let stopped = |fault: &Fault| matches!(fault, Fault::Stop(v, _) if *v == who);
            assert!(all.iter().any(stopped), "{who:?} is never stopped");
        }
        assert!(all.contains(&Fault::Cut));
        assert!(
            all.iter()
                .any(|f| matches!(f, Fault::Kill(v, _) if v.len() == 2))
        );
    }

    #[test]
    fn a_soak_kills_only_whom_nobody_measures() {
        let all = drawn(5, Scenario::Soak);
        let killed: Vec<_> = all
            .iter()
            .filter_map(|fault| match fault {
                Fault::Kill(victims, _) => Some(victims),
                _ => None,
            })
            .flatten()
            .collect();
        assert!(killed.contains(&&Who::Sender(1)) && killed.contains(&&Who::Receiver(2)));
        let spared = |who: &&Who| matches!(who, Who::Sender(1) | Who::Receiver(2));
        assert!(killed.iter().all(spared), "{killed:?}");
        assert!(all.contains(&Fault::Cut));
    }

    #[test]
    fn a_scenario_hits_whom_it_says() {
        let only = |scenario, is: fn(&Who) -> bool| {
            let all = drawn(4, scenario);
            all.iter()
                .all(|fault| matches!(fault, Fault::Kill(v, _) if v.iter().all(is)))
        };
        assert!(only(Scenario::Relay, |who| *who == Who::Relay));
        let ahead = drawn(4, Scenario::Ahead);
        let is_ahead = |fault: &Fault| matches!(fault, Fault::KillAhead(_));
        assert!(ahead.iter().all(is_ahead));
        assert!(only(Scenario::Sender, |who| matches!(who, Who::Sender(_))));
        assert!(only(Scenario::Receiver, |who| matches!(
            who,
            Who::Receiver(_)
        )));
    }
}
