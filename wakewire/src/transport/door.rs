//! Takes connections at an endpoint and hears each one out before anybody deals with it.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::acceptor::{Acceptor, Arrival};
use super::budget::Budget;
use super::dial::Target;
use super::hearing::{House, greet};
pub(crate) use super::hearing::{Reader, Visitor, Writer, reject};
use super::log_rate::{Event, LogLine};
use super::turnstile::{Ticket, Turnstile, Verdict};
use crate::error::Failure;

/// A bound endpoint, and those who have not finished greeting.
pub(crate) struct Door {
    acceptor: Acceptor,
    house: Arc<House>,
    greeting: JoinSet<(Ticket, Option<Visitor>)>,
    /// Those who are greeting, to be dropped when others have come after them.
    tasks: HashMap<Ticket, AbortHandle>,
    /// There is no file for another one until somebody who was dropped is gone.
    full: bool,
}

impl Door {
    /// Binds the endpoint of a service. One that is in use may be that of somebody in this process who was just
    /// dropped and whose task ends a moment later: it is tried again for a short while.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays bound.
    pub(crate) async fn open(target: &Target, service: &str) -> io::Result<Self> {
        let give_up = Instant::now() + BIND_WITHIN;
        let acceptor = loop {
            match Acceptor::bind(target).await {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up =>
                {
                    sleep(BIND_WITHIN / 25).await;
                }
                bound => break bound?,
            }
        };
        Ok(Self {
            acceptor,
            house: Arc::new(House {
                service: service.to_owned(),
                checksummed: target.endpoint().is_checksummed(),
                target: target.clone(),
                turnstile: Mutex::new(Turnstile::new(target.limits())),
                budget: Budget::new(target.limits().inbound_bytes),
                log_rates: Mutex::default(),
            }),
            greeting: JoinSet::new(),
            tasks: HashMap::new(),
            full: false,
        })
    }

    /// Returns the next who has greeted. Silent connections never stand in the way of others: accepting goes
    /// on, and beyond a bound the oldest that has not greeted is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nobody is lost.
    pub(crate) async fn next(&mut self) -> Visitor {
        loop {
            tokio::select! {
                accepted = self.acceptor.accept(), if !self.full => match accepted {
                    Ok(arrival) => self.admit(arrival),
                    Err(error) => {
                        if let Some(LogLine { withheld }) = self.house.log(Event::Unaccepted) {
                            let service = &self.house.service;
                            tracing::warn!(%service, %error, withheld, "no connection accepted");
                        }
                        self.full = is_out_of_files(&error) && self.drop_oldest();
                        if !self.full {
                            // Others must end first, and asking again at once would spin.
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                },
                Some(greeted) = self.greeting.join_next() => {
                    self.full = false;
                    // One that was dropped has been forgotten already.
                    let Ok((ticket, visitor)) = greeted else { continue };
                    self.tasks.remove(&ticket);
                    self.house.turnstile.lock().gone(ticket);
                    if let Some(visitor) = visitor {
                        return visitor;
                    }
                }
            }
        }
    }

    /// Drops the one that has been greeting longest; returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.house.turnstile.lock().drop_oldest();
        let task = oldest.and_then(|oldest| self.tasks.remove(&oldest));
        task.inspect(AbortHandle::abort).is_some()
    }

    fn admit(&mut self, arrival: Arrival) {
        let now = Instant::now().into_std();
        let verdict = self.house.turnstile.lock().arrive(arrival.address(), now);
        let (ticket, dropped) = match verdict {
            Verdict::Hear(ticket, dropped) => (ticket, dropped),
            Verdict::TooFast => {
                let service = &self.house.service;
                tracing::debug!(%service, address = ?arrival.address(), "connects too often");
                return;
            }
        };
        if let Some(task) = dropped.and_then(|dropped| self.tasks.remove(&dropped)) {
            task.abort();
        }
        let house = Arc::clone(&self.house);
        let task = self.greeting.spawn(async move {
            let service = &house.service;
            let visitor = match timeout(GREETING_WITHIN, greet(&house, arrival, ticket)).await {
                Ok(Ok(visitor)) => Some(visitor),
                Ok(Err(unreached)) => {
                    let error = unreached.error(Failure::new(service.as_str()));
                    tracing::debug!(%service, %error, "a connection did not greet");
                    None
                }
                Err(_) => {
                    tracing::debug!(%service, "a connection was silent for {GREETING_WITHIN:?}");
                    None
                }
            };
            (ticket, visitor)
        });
        self.tasks.insert(ticket, task);
    }
}

/// Longer than a dropped task needs to end, shorter than anybody notices.
const BIND_WITHIN: Duration = Duration::from_millis(250);

/// From being accepted to having greeted, however slowly the bytes drip.
const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// Of this process, or of the whole system.
fn is_out_of_files(error: &io::Error) -> bool {
    let out = [Errno::MFILE, Errno::NFILE];
    error
        .raw_os_error()
        .is_some_and(|code| out.iter().any(|errno| errno.raw_os_error() == code))
}

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
