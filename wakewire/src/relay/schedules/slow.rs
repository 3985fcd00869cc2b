//! Consumers that stop reading and hold the log until they are let go (C5), and come back.

use std::time::Duration;

use super::{Fault, World};

/// Less than anybody's patience.
const WHILE: Duration = Duration::from_secs(25 * 60);

impl World {
    pub(super) fn slowness(&mut self) {
        let k = self.rng.below(self.consumers.len());
        match self.rng.below(100) {
            0 => {
                self.consumers[k].stalled = true;
                self.consumers[k].was_stalled = true;
                self.seen.stalled += 1;
            }
            1 if self.rng.below(4) == 0 => self.goes_on(k),
            2..=5 => self.time_passes(),
            _ => {}
        }
    }

    /// It reads what has come, and is as quick as the others.
    fn goes_on(&mut self, k: usize) {
        if self.consumers[k].stalled {
            self.consumers[k].stalled = false;
            for _ in 0..9 {
                self.round(true);
            }
        }
    }

    /// Whoever is not stopped gets on within a while.
    fn time_passes(&mut self) {
        for _ in 0..3 {
            self.round(true);
        }
        self.now += WHILE;
        self.relay_lets_go();
    }

    /// C5, as the relay does it once a second.
    fn relay_lets_go(&mut self) {
        if self.fault == Fault::EndlessPatience {
            return;
        }
        let mut overdue = self.hub.overdue(self.now);
        if self.fault == Fault::AllAreSlow && !overdue.is_empty() {
            let attached = self.hub.roster.attached().iter();
            let connections = attached.filter_map(|&slot| self.hub.roster.get(slot)?.connection);
            overdue = connections.collect();
        }
        for id in overdue {
            let c = id.0 as usize;
            self.seen.overdue += 1;
            if let Some(u) = self.consumers.iter().find(|u| u.connection == Some(c)) {
                assert!(!u.kind.at_most_once, "nobody waits for it (C6)");
                assert!(!self.calm || u.stalled, "it was not slow, and is let go");
            }
            self.cut(c);
            self.relay_lost(c);
        }
    }

    /// Those who are waited for by name come back; then the others get everything, whoever is slow.
    pub(super) fn slow_ones_stop_nobody(&mut self) -> Result<(), String> {
        if !self.setup.slow {
            return Ok(());
        }
        for k in (0..self.consumers.len()).filter(|&k| self.setup.consumers[k].named) {
            self.goes_on(k);
        }
        if self.calm && self.consumers.iter().any(|u| !u.stalled) {
            // Enough to fill the log, and time to let go of who holds it.
            for _ in 0..10 {
                for producer in &mut self.producers {
                    producer.outbox.append();
                    producer.outbox.append();
                }
                self.time_passes();
            }
            let mut left = 30;
            while !self.is_quiet(true) && left > 0 {
                self.time_passes();
                left -= 1;
            }
            self.drain(true)?;
        }
        for u in &mut self.consumers {
            u.stalled = false;
        }
        Ok(())
    }
}
