//! What breaks, and how the simulated network is told.

use std::time::Duration;

use turmoil::Sim;

/// Something that breaks, or is mended.
#[derive(Clone, Debug)]
pub enum Fault {
    /// What is on the way between the two is lost, and whatever is sent.
    Cut(String, String),
    /// The same from the first to the second alone.
    CutOneWay(String, String),
    Mend(String, String),
    /// What is on the way between the two stays there.
    Hold(String, String),
    Release(String, String),
    /// With every segment the link may break, at this rate, until it is repaired by one of the next.
    Loss(String, String, f64),
    /// At most so long are segments on their way.
    Latency(String, String, Duration),
    /// Ends a host with everything that it holds in memory; silently, the others are not told by its kernel.
    Crash {
        host: String,
        silently: bool,
    },
    /// Starts a host, one that runs after ending it.
    Restart(String),
}

/// A fault at its time.
#[derive(Clone, Debug)]
pub struct Timed {
    pub at: Duration,
    pub fault: Fault,
}

impl Fault {
    /// Makes it so.
    pub fn happen(&self, sim: &mut Sim<'_>, hosts: &[String]) {
        match self {
            Self::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
            Self::CutOneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
            Self::Mend(a, b) => sim.repair(a.as_str(), b.as_str()),
            Self::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
            Self::Release(a, b) => sim.release(a.as_str(), b.as_str()),
            Self::Loss(a, b, rate) => sim.set_link_fail_rate(a.as_str(), b.as_str(), *rate),
            Self::Latency(a, b, most) => {
                sim.set_link_max_message_latency(a.as_str(), b.as_str(), *most);
            }
            Self::Crash { host, silently } => {
                for other in others(hosts, host).filter(|_| *silently) {
                    sim.partition(host.as_str(), other);
                }
                sim.crash(host.as_str());
                for other in others(hosts, host).filter(|_| *silently) {
                    sim.repair(host.as_str(), other);
                }
            }
            Self::Restart(host) => sim.bounce(host.as_str()),
        }
    }
}

/// Mends every link and starts every host that was ended.
pub fn heal(sim: &mut Sim<'_>, hosts: &[String]) {
    for a in hosts {
        for b in others(hosts, a) {
            sim.set_link_fail_rate(a.as_str(), b, 0.0);
            sim.release(a.as_str(), b);
        }
        if !sim.is_host_running(a.as_str()) {
            sim.bounce(a.as_str());
        }
    }
}

fn others<'a>(hosts: &'a [String], host: &'a str) -> impl Iterator<Item = &'a str> {
    hosts
        .iter()
        .map(String::as_str)
        .filter(move |other| *other != host)
}
