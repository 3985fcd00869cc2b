//! From a name to its one sink, or to a source. Each sink is made once.

#[cfg(test)]
mod bad_disk;
#[cfg(test)]
mod bad_store;
mod lane;
mod ping;
mod place;
mod spool;
mod store;

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::ping::PingReport;
use self::place::reachable;
use self::spool::Spools;
use crate::backoff::LazyConfig;
use crate::cursor::Cursor;
use crate::delivery::Delivery;
use crate::error::{Failure, Phase, SinkError};
use crate::registry::{
    CompositePattern, Registry, ServiceConfig, ServiceRegistry, SinkType, WithoutConsumers,
};
use crate::relay::{HubConfig, Relay, RelayConfig};
use crate::sink::composite::CompositeSink;
use crate::sink::direct::DirectSink;
use crate::sink::relay::RelaySink;
use crate::sink::together::Together;
use crate::sink::{MessageSink, Report};
use crate::source::{Closer, MessageSource, SourceConfig, Start};

/// Makes sinks and sources by service name.
///
/// A name has one sink, however often and by however many tasks it is asked for. Nothing is opened here:
/// a sink connects with its first message, a source when it is first asked. Only a sink with a
/// [`spool`](crate::ServiceConfig::spool) reads that, and connects at once if its last life has left something to
/// deliver. `main` ends with [`close`](Self::close).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use wakewire::{Message, MessageSink, SinkFactory};
///
/// let factory = SinkFactory::from_config_str(
///     "[services.market_data_relay]\ntype = 'relay'\nendpoint = 'unix:///tmp/no-relay-yet.sock'",
/// )?;
/// let sink = factory.create_sink("market_data_relay").await?;
/// sink.send(Message::new("tick")).await?;
///
/// let report = factory.close(Duration::from_millis(20)).await;
/// assert_eq!(report.undelivered, 1); // no relay came, and that is said
/// # Ok::<(), wakewire::SinkError>(())
/// # }).unwrap();
/// ```
pub struct SinkFactory {
    registry: Arc<dyn Registry>,
    /// What the registry says was held to the rules when it was read.
    is_sound: bool,
    lazy: Arc<LazyConfig>,
    made: Mutex<Made>,
    /// Whose turn it is to open spools.
    opening: Arc<tokio::sync::Mutex<()>>,
}

/// What the factory has made.
#[derive(Default)]
struct Made {
    sinks: BTreeMap<String, Arc<dyn MessageSink>>,
    sources: Vec<Closer>,
    closed: bool,
}

impl SinkFactory {
    /// Makes a factory over a file of services.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with every fault of the file.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        ServiceRegistry::from_file(path).map(Self::from_registry)
    }

    /// Makes a factory over a text of services.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with every fault of the text.
    pub fn from_config_str(text: &str) -> Result<Self, SinkError> {
        ServiceRegistry::from_toml(text).map(Self::from_registry)
    }

    /// Makes a factory over any registry: a service that uses it does not change when that does.
    pub fn from_registry(registry: impl Registry + 'static) -> Self {
        Self {
            is_sound: (&registry as &dyn Any).is::<ServiceRegistry>(),
            registry: Arc::new(registry),
            lazy: Arc::default(),
            made: Mutex::default(),
            opening: Arc::default(),
        }
    }

    /// Sets how sinks connect for which the registry says nothing.
    #[must_use]
    pub fn with_lazy_config(mut self, default: LazyConfig) -> Self {
        self.lazy = Arc::new(default);
        self
    }

    /// Returns the sink of this name; the same one each time. Opens nothing.
    ///
    /// # Errors
    ///
    /// [`SinkError::UnknownService`] with the names there are; [`SinkError::InvalidConfig`] when it cannot be
    /// made as configured, a composite that contains itself included; [`SinkError::Io`] when its spool cannot be
    /// opened: another process has it, it is damaged, or it is not for this user alone; [`SinkError::Closed`] after
    /// `close`.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing was made.
    pub async fn create_sink(&self, service_name: &str) -> Result<Arc<dyn MessageSink>, SinkError> {
        if let Some(sink) = self.made.lock().sink(service_name)? {
            return Ok(sink);
        }
        let services = self.look_up_with_targets(service_name).await?;
        let (mut spools, _turn) = self.open_spools(&services).await?;
        // From here on nothing waits: two callers of one name cannot make two sinks.
        let mut made = self.made.lock();
        if made.closed {
            return Err(closed(service_name));
        }
        let mut last = None;
        for (name, config) in services {
            let targets = made.targets(&config);
            last = Some(match made.sinks.entry(name) {
                Entry::Occupied(there) => Arc::clone(there.get()),
                Entry::Vacant(place) => {
                    let sink = self.make(place.key(), &config, targets, &mut spools)?;
                    Arc::clone(place.insert(sink))
                }
            });
        }
        // The targets come first, and what was asked for at the end.
        last.ok_or_else(|| SinkError::UnknownService(Failure::new(service_name)))
    }

    /// Makes a source of this service: subscribes to a relay, or listens at a direct service's endpoint, when
    /// it is first asked for a message. Each call makes a new one. If the service has a `cursor` it is opened here.
    ///
    /// # Errors
    ///
    /// As [`create_sink`](Self::create_sink); a composite has no source. [`SinkError::Io`] as
    /// [`Cursor::open`](Cursor::open) says: another source has the cursor, or it is damaged.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing was made.
    pub async fn create_source(&self, service_name: &str) -> Result<MessageSource, SinkError> {
        let config = self.look_up(service_name).await?;
        let target = reachable(service_name, &config)?;
        let mut made = self.made.lock();
        if made.closed {
            return Err(closed(service_name));
        }
        let cursor = match &config.cursor {
            Some(path) => Some(Cursor::open_for(service_name, path)?),
            None => None,
        };
        let mut source = MessageSource::new(SourceConfig {
            service: service_name.into(),
            target,
            subscribes: matches!(config.kind, SinkType::Relay),
            at_most_once: config.delivery == Delivery::AtMostOnce,
            admission: config.admission(),
            lazy: config.lazy_config(LazyConfig::clone(&self.lazy)),
            consumer: None,
            start: Start::Owed,
        });
        if let Some(cursor) = cursor {
            source = source.with_cursor(cursor);
        }
        made.sources.retain(Closer::is_needed);
        made.sources.push(source.closer());
        Ok(source)
    }

    /// Makes the relay of this service; it listens when it is [run](Relay::run).
    ///
    /// # Errors
    ///
    /// As [`create_sink`](Self::create_sink); only a service of type `relay` has one. It is its owner's to close.
    /// [`SinkError::Io`] when the directory of its `store_and_forward` cannot be used, is damaged, or another relay
    /// has it.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing was made.
    pub async fn create_relay(&self, service_name: &str) -> Result<Relay, SinkError> {
        let config = self.look_up(service_name).await?;
        if config.kind != SinkType::Relay {
            let cause = format!("it is of type `{}`, not `relay`", config.kind.name());
            return Err(SinkError::InvalidConfig(
                Failure::new(service_name)
                    .phase(Phase::Resolve)
                    .because(cause),
            ));
        }
        if self.made.lock().closed {
            return Err(closed(service_name));
        }
        let store = self.open_store(service_name, &config).await?;
        Ok(Relay::new(Self::relay_config(service_name, config)?, store))
    }

    fn relay_config(service_name: &str, config: ServiceConfig) -> Result<RelayConfig, SinkError> {
        Ok(RelayConfig {
            service: service_name.into(),
            target: reachable(service_name, &config)?,
            admission: config.admission(),
            hub: HubConfig {
                hold: config.without_consumers == WithoutConsumers::Hold,
                at_least_once: config.delivery == Delivery::AtLeastOnce,
                log_bytes: config.log_bytes,
                unnamed_deadline: config.unnamed_deadline(),
                named_deadline: config.named_deadline(),
                named: config.consumers,
            },
        })
    }

    /// Waits until everything accepted before the call is delivered, at most this long, and reports over all
    /// sinks.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing is changed.
    pub async fn flush(&self, within: Duration) -> Report {
        let sinks: Vec<_> = self.made.lock().sinks.values().cloned().collect();
        over_all(&sinks, |sink| sink.flush(within)).await
    }

    /// Delivers what is owed, at most this long, closes every sink and source for good, and reports what was
    /// delivered and what was not. Every later send gets `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, no further messages are taken, and delivering goes on.
    pub async fn close(&self, within: Duration) -> Report {
        let sinks: Vec<_> = {
            let mut made = self.made.lock();
            made.closed = true;
            made.sources.drain(..).for_each(|source| source.close());
            made.sinks.values().cloned().collect()
        };
        over_all(&sinks, |sink| sink.close(within)).await
    }

    /// Looks a name up and, for a composite, everything below it; targets come before those that name them.
    async fn look_up_with_targets(
        &self,
        name: &str,
    ) -> Result<Vec<(String, ServiceConfig)>, SinkError> {
        let mut done: Vec<(String, ServiceConfig)> = Vec::new();
        // The path from the name that was asked for, each with the targets that are still to be looked up.
        let mut path: Vec<(String, ServiceConfig, Vec<String>)> = vec![self.entry(name).await?];
        while let Some((_, _, open)) = path.last_mut() {
            let Some(next) = open.pop() else {
                done.extend(path.pop().map(|(name, config, _)| (name, config)));
                continue;
            };
            if let Some(start) = path.iter().position(|(name, ..)| *name == next) {
                let names: Vec<_> = path[start..]
                    .iter()
                    .map(|(name, ..)| name.as_str())
                    .collect();
                let cycle = format!("{} → {next}", names.join(" → "));
                let failure = Failure::new(name).phase(Phase::Resolve);
                return Err(SinkError::InvalidConfig(
                    failure
                        .because(format!("a composite contains itself: {cycle}"))
                        .hint("take one of them out"),
                ));
            }
            if path.len() >= MAX_DEPTH {
                let failure = Failure::new(name).phase(Phase::Resolve);
                let cause = format!("composites are nested more than {MAX_DEPTH} deep");
                return Err(SinkError::InvalidConfig(
                    failure.because(cause).hint("name the targets directly"),
                ));
            }
            if done.iter().all(|(name, _)| *name != next) {
                path.push(self.entry(&next).await?);
            }
        }
        Ok(done)
    }

    /// Any registry is held to the rules that a file is.
    async fn look_up(&self, name: &str) -> Result<ServiceConfig, SinkError> {
        let config = self.registry.lookup(name).await?;
        if !self.is_sound {
            config.validate(name)?;
        }
        Ok(config)
    }

    async fn entry(&self, name: &str) -> Result<(String, ServiceConfig, Vec<String>), SinkError> {
        let config = self.look_up(name).await?;
        let open = match &config.kind {
            SinkType::Composite { targets, .. } => targets.iter().rev().cloned().collect(),
            SinkType::Relay | SinkType::Direct => Vec::new(),
        };
        Ok((name.to_owned(), config, open))
    }

    fn make(
        &self,
        name: &str,
        config: &ServiceConfig,
        targets: Vec<(String, Arc<dyn MessageSink>)>,
        spools: &mut Spools,
    ) -> Result<Arc<dyn MessageSink>, SinkError> {
        let mut link = || self.link(name, config, spools.remove(name));
        Ok(match &config.kind {
            SinkType::Relay => Arc::new(RelaySink::from_link(link()?)),
            SinkType::Direct => Arc::new(DirectSink::from_link(link()?)),
            SinkType::Composite { pattern, .. } => Arc::new(match pattern {
                CompositePattern::Fanout => CompositeSink::fanout(name, targets)?,
                CompositePattern::RoundRobin => CompositeSink::round_robin(name, targets)?,
                CompositePattern::Failover => CompositeSink::failover(name, targets)?,
            }),
        })
    }
}

impl Made {
    fn sink(&self, name: &str) -> Result<Option<Arc<dyn MessageSink>>, SinkError> {
        if self.closed {
            return Err(closed(name));
        }
        Ok(self.sinks.get(name).cloned())
    }

    /// Returns the targets of a composite, which are made before it.
    fn targets(&self, config: &ServiceConfig) -> Vec<(String, Arc<dyn MessageSink>)> {
        let SinkType::Composite { targets, .. } = &config.kind else {
            return Vec::new();
        };
        let targets = targets.iter();
        targets
            .filter_map(|target| Some((target.clone(), Arc::clone(self.sinks.get(target)?))))
            .collect()
    }
}

impl fmt::Debug for SinkFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.made.lock();
        f.debug_struct("SinkFactory")
            .field("registry", &self.registry)
            .field("sinks", &made.sinks.keys().collect::<Vec<_>>())
            .field("closed", &made.closed)
            .finish_non_exhaustive()
    }
}

/// Asks all sinks at the same time and merges what they say.
async fn over_all<'a>(
    sinks: &'a [Arc<dyn MessageSink>],
    ask: impl Fn(&'a Arc<dyn MessageSink>) -> crate::sink::Flushing<'a>,
) -> Report {
    let mut asked = Together::new();
    for (index, sink) in sinks.iter().enumerate() {
        asked.add(index, ask(sink));
    }
    let parts = asked.all().await.into_iter().filter_map(|ended| {
        ended
            .result
            .inspect_err(|error| tracing::warn!(%error, "a sink could not report"))
            .ok()
    });
    Report::over(parts.flat_map(|part| part.per_sink))
}

fn closed(name: &str) -> SinkError {
    SinkError::Closed(Failure::new(name).hint("the factory was closed; make a new one"))
}

/// As deep as composites may be nested; what is deeper was made by mistake, and a send goes down every step.
const MAX_DEPTH: usize = 64;
