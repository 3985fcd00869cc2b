//! Is a service there, and what does getting there cost?

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::SinkFactory;
use super::place::reachable;
use crate::error::{Failure, Phase, SinkError};
use crate::transport::probe::probe;

/// What was seen of a service that answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PingReport {
    /// Where it is, as configured.
    pub endpoint: String,
    /// Which protocol is spoken, and why that one.
    pub protocol: String,
    /// How long each step took until it could be talked to, in order.
    pub steps: Vec<(Phase, Duration)>,
    /// From each question to its answer.
    pub round_trips: Vec<Duration>,
}

impl fmt::Display for PingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.endpoint, self.protocol)?;
        for (phase, took) in &self.steps {
            write!(f, "; {phase} {took:.1?}")?;
        }
        if let Some(best) = self.round_trips.iter().min() {
            write!(f, "; round trip {best:.1?}")?;
        }
        Ok(())
    }
}

impl SinkFactory {
    /// Asks whether a service is there: opens a connection as a sink would, greets, sends so many pings (1 to 32),
    /// and closes it. Nothing is sent to the service's users, and no consumer is disturbed.
    ///
    /// # Errors
    ///
    /// What a sink would run into at once: no such service, nobody there, wrong certificates or password. It is
    /// not tried again. [`SinkError::Timeout`] when it takes longer than `within`.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the connection is closed.
    pub async fn ping(
        &self,
        service_name: &str,
        pings: usize,
        within: Duration,
    ) -> Result<PingReport, SinkError> {
        let config = self.look_up(service_name).await?;
        let target = reachable(service_name, &config)?;
        let endpoint = target.endpoint().to_string();
        let failure = || Failure::new(service_name).endpoint(endpoint.as_str());
        let asked = timeout(within, probe(&target, service_name, pings.clamp(1, 32))).await;
        let Ok(asked) = asked else {
            let failure = failure().phase(Phase::Handshake);
            return Err(SinkError::Timeout(
                failure.hint("somebody accepts connections there and says nothing"),
            ));
        };
        let seen = asked.map_err(|unreached| unreached.error(failure()))?;
        Ok(PingReport {
            protocol: seen.chosen,
            steps: seen.steps,
            round_trips: seen.round_trips,
            endpoint,
        })
    }
}
