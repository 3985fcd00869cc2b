//! What is played, all of it drawn from one seed. No I/O, no clock.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::fault::{Fault, Timed};

/// A play: who is there, how they behave, and what breaks when.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub service: Service,
    pub producers: Vec<Producer>,
    pub consumers: Vec<Consumer>,
    pub network: Network,
    pub faults: Vec<Timed>,
    /// When the last fault has ended: from here on nothing breaks any more.
    pub healed: Duration,
}

/// Who carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Relay,
    Direct,
    /// Direct and `at_most_once`.
    Lossy,
}

#[derive(Debug)]
pub struct Service {
    pub kind: Kind,
    buffer_size: u32,
    log_bytes: u32,
    retry_delay_ms: u32,
    max_retry_delay_ms: u32,
    connect_timeout_ms: u32,
    idle_timeout_ms: u32,
    drain_timeout_ms: u32,
}

#[derive(Debug)]
pub struct Producer {
    /// Between two bursts of messages.
    pub pause: Duration,
    /// Messages at once.
    pub burst: u32,
    /// Bytes of a message, at most.
    pub size: usize,
    /// After how many bursts it disconnects, whatever it owes.
    pub disconnects: Option<u32>,
    pub leaving: Option<Leaving>,
}

/// A sink that is closed, or just dropped, while everything else goes on.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub at: Duration,
    /// How long it may take to deliver what is owed; none = it is dropped.
    pub within: Option<Duration>,
}

#[derive(Debug)]
pub struct Consumer {
    /// Messages taken at once; none = one after the other.
    pub batch: Option<usize>,
    /// After how many messages it rests, and how long.
    pub rest: Option<(u32, Duration)>,
    /// After how many messages it closes its source and opens another one.
    pub reopens: Option<u32>,
}

#[derive(Debug)]
pub struct Network {
    pub tick: Duration,
    pub latency: RangeInclusive<Duration>,
    /// Segments that one direction of a connection holds, and connections that wait to be accepted.
    pub capacity: usize,
}

pub const RELAY: &str = "relay";

impl Plan {
    /// Draws the play of this seed.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(SmallRng::seed_from_u64(seed));
        let kind = match draw.from(0..=7) {
            0..=4 => Kind::Relay,
            5..=6 => Kind::Direct,
            _ => Kind::Lossy,
        };
        let consumers = if kind == Kind::Relay {
            draw.from(1..=3)
        } else {
            1
        };
        let length = Duration::from_millis(draw.skewed::<u32>(4_000..=40_000).into());
        let mut plan = Self {
            seed,
            service: Service {
                kind,
                buffer_size: draw.skewed(4..=1000),
                log_bytes: draw.skewed(10_000..=1_000_000),
                retry_delay_ms: draw.from(10..=200),
                max_retry_delay_ms: draw.from(200..=2000),
                connect_timeout_ms: draw.from(300..=3000),
                idle_timeout_ms: draw.skewed(200..=50_000),
                drain_timeout_ms: draw.skewed(1..=500),
            },
            producers: (0..draw.from(1..=3))
                .map(|_| draw.producer(length))
                .collect(),
            consumers: (0..consumers).map(|_| draw.consumer()).collect(),
            network: Network {
                tick: Duration::from_millis(*draw.of(&[5, 10, 20])),
                latency: Duration::ZERO..=draw.milliseconds(1..=150),
                capacity: usize::from(draw.skewed::<u16>(64..=1024)),
            },
            faults: Vec::new(),
            healed: length,
        };
        // Who disconnects all the time dials all the time, and turmoil ends the simulation where more wait to be let in.
        if plan.producers.iter().any(|p| p.disconnects.is_some()) {
            plan.network.capacity = 4096;
        }
        for _ in 0..draw.skewed(1..=12) {
            draw.fault(&mut plan);
        }
        plan.faults.sort_by_key(|timed| timed.at);
        plan
    }

    /// Returns the names of all hosts.
    pub fn hosts(&self) -> Vec<String> {
        let relay = (self.service.kind == Kind::Relay).then(|| RELAY.to_owned());
        let producers = (0..self.producers.len()).map(producer);
        let consumers = (0..self.consumers.len()).map(consumer);
        relay
            .into_iter()
            .chain(producers)
            .chain(consumers)
            .collect()
    }

    /// Returns the pairs of hosts that talk with each other.
    fn links(&self) -> Vec<(String, String)> {
        let hub = self.hub();
        let others = self.hosts().into_iter().filter(|host| *host != hub);
        others.map(|host| (hub.clone(), host)).collect()
    }

    /// Returns the host that all others dial.
    fn hub(&self) -> String {
        match self.service.kind {
            Kind::Relay => RELAY.to_owned(),
            Kind::Direct | Kind::Lossy => consumer(0),
        }
    }

    /// Returns the services.toml of this host.
    pub fn services(&self, host: &str) -> String {
        let Service {
            kind,
            buffer_size,
            log_bytes,
            retry_delay_ms,
            max_retry_delay_ms,
            connect_timeout_ms,
            idle_timeout_ms,
            drain_timeout_ms,
        } = self.service;
        let hub = self.hub();
        // Who listens does so at all of its addresses, as one would.
        let address = if hub == host { "0.0.0.0" } else { &hub };
        let kind = match kind {
            Kind::Relay => {
                let consumers: Vec<_> = (0..self.consumers.len()).map(consumer).collect();
                format!("type = 'relay'\nconsumers = {consumers:?}\nlog_bytes = {log_bytes}")
            }
            Kind::Direct => "type = 'direct'".to_owned(),
            Kind::Lossy => "type = 'direct'\ndelivery = 'at_most_once'".to_owned(),
        };
        format!(
            "[services.feed]\n{kind}\nendpoint = 'tcp://{address}:7000'\nbuffer_size = {buffer_size}\n\
             idle_timeout_secs = {}\ndrain_timeout_secs = {}\nlazy.retry_delay_ms = {retry_delay_ms}\nlazy.max_retry_delay_secs = {}\n\
             lazy.connect_timeout_secs = {}\n",
            seconds(idle_timeout_ms),
            seconds(drain_timeout_ms),
            seconds(max_retry_delay_ms),
            seconds(connect_timeout_ms),
        )
    }
}

/// Returns the name of a producer's host.
pub fn producer(index: usize) -> String {
    format!("producer-{index}")
}

/// Returns the name of a consumer, and of its host.
pub fn consumer(index: usize) -> String {
    format!("consumer-{index}")
}

fn seconds(milliseconds: u32) -> f64 {
    f64::from(milliseconds) / 1000.0
}

struct Draw(SmallRng);

impl Draw {
    fn from<T: rand::distr::uniform::SampleUniform + PartialOrd>(
        &mut self,
        range: RangeInclusive<T>,
    ) -> T {
        self.0.random_range(range)
    }

    /// Draws a number whose logarithm is evenly spread: small ones as often as large ones.
    fn skewed<T: Into<f64> + TryFrom<u32> + Copy>(&mut self, range: RangeInclusive<T>) -> T {
        let (least, most): (f64, f64) = ((*range.start()).into(), (*range.end()).into());
        let drawn = self.from(least.ln()..=most.ln()).exp().round();
        T::try_from(drawn as u32).unwrap_or(*range.end())
    }

    fn milliseconds(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.from(range))
    }

    fn within(&mut self, length: Duration) -> Duration {
        self.milliseconds(0..=u64::try_from(length.as_millis()).unwrap_or(0))
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.from(0..=some.len() - 1)]
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.from(1..=many) == 1
    }

    fn producer(&mut self, length: Duration) -> Producer {
        Producer {
            pause: self.milliseconds(5..=200),
            burst: self.skewed(1..=30),
            size: usize::from(self.skewed::<u16>(16..=20_000)),
            disconnects: self.one_in(3).then(|| self.skewed(3..=100)),
            leaving: self.one_in(4).then(|| Leaving {
                at: self.within(length),
                within: (!self.one_in(3)).then(|| self.milliseconds(0..=3000)),
            }),
        }
    }

    fn consumer(&mut self) -> Consumer {
        Consumer {
            batch: self
                .one_in(3)
                .then(|| usize::from(self.skewed::<u16>(1..=100))),
            rest: self.one_in(2).then(|| {
                let after = self.skewed(1..=100);
                (after, after * self.milliseconds(1..=8))
            }),
            reopens: self.one_in(3).then(|| self.skewed(50..=500)),
        }
    }

    /// Adds one fault, and its end.
    fn fault(&mut self, plan: &mut Plan) {
        let begins = self.within(plan.healed);
        // A peer that is cut off is given up after 15 s: some are, while others are away too.
        let lasts = Duration::from_millis(self.skewed::<u32>(20..=30_000).into());
        let ends = (begins + lasts).min(plan.healed);
        let (links, hosts) = (plan.links(), plan.hosts());
        let (a, b) = self.of(&links).clone();
        let host = self.of(&hosts).clone();
        let (fault, end) = match self.from(0..=8) {
            0 => (Fault::Cut(a.clone(), b.clone()), Fault::Mend(a, b)),
            1 => (Fault::CutOneWay(a.clone(), b.clone()), Fault::Mend(a, b)),
            2 => (Fault::CutOneWay(b.clone(), a.clone()), Fault::Mend(a, b)),
            3 => (Fault::Hold(a.clone(), b.clone()), Fault::Release(a, b)),
            4 => return self.swizzle(plan, begins, ends),
            5 => {
                let rate = self.from(0.01..=0.3);
                let fault = Fault::Loss(a.clone(), b.clone(), rate);
                (fault, Fault::Loss(a, b, 0.0))
            }
            6 => {
                let fault = Fault::Latency(a.clone(), b.clone(), self.milliseconds(0..=700));
                (fault, Fault::Latency(a, b, *plan.network.latency.end()))
            }
            7 => {
                let silently = self.one_in(2);
                (
                    Fault::Crash {
                        host: host.clone(),
                        silently,
                    },
                    Fault::Restart(host),
                )
            }
            _ => (Fault::Restart(host.clone()), Fault::Restart(host)),
        };
        plan.faults.push(Timed { at: begins, fault });
        plan.faults.push(Timed {
            at: ends,
            fault: end,
        });
    }

    /// FoundationDB's swizzle-clog: links are stopped one after the other and go on in another order.
    fn swizzle(&mut self, plan: &mut Plan, begins: Duration, ends: Duration) {
        let mut links = plan.links();
        links.shuffle(&mut self.0);
        links.truncate(self.from(1..=links.len()));
        let half = (ends - begins) / 2;
        for (a, b) in links {
            plan.faults.push(Timed {
                at: begins + self.within(half),
                fault: Fault::Hold(a.clone(), b.clone()),
            });
            plan.faults.push(Timed {
                at: begins + half + self.within(half),
                fault: Fault::Release(a, b),
            });
        }
    }
}
