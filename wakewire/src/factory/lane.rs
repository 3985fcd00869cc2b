//! The link of a relay or direct service.

use std::sync::Arc;

use super::SinkFactory;
use super::place::reachable;
use crate::backoff::LazyConfig;
use crate::error::SinkError;
use crate::link::{Link, LinkConfig};
use crate::outbox::Limits;
use crate::registry::ServiceConfig;
use crate::spool::Spool;
use crate::spool::recovery::Recovered;

impl SinkFactory {
    /// Returns how the service's connections are opened: the factory's own, where it says nothing else.
    fn lazy_config(&self, config: &ServiceConfig) -> Arc<LazyConfig> {
        let lazy = config.lazy_config(LazyConfig::clone(&self.lazy));
        if lazy == *self.lazy {
            Arc::clone(&self.lazy)
        } else {
            Arc::new(lazy)
        }
    }

    /// Makes the link of this service, over its spool if it has one.
    pub(super) fn link(
        &self,
        name: &str,
        config: &ServiceConfig,
        spool: Option<(Spool, Recovered)>,
    ) -> Result<Link, SinkError> {
        let target = reachable(name, config)?;
        let endpoint = target.endpoint();
        let service: Arc<str> = name.into();
        let limits = Limits {
            messages: config.buffer_size,
            bytes: config.buffer_bytes,
            delivery: config.delivery,
            when_full: config.when_full,
            checksummed: endpoint.is_checksummed(),
            loses_frames: endpoint.loses_frames(),
        };
        let link = LinkConfig {
            asks_for: Arc::clone(&service),
            service,
            endpoint: endpoint.to_string().into(),
            checksummed: endpoint.is_checksummed(),
            admission: config.admission(),
            lazy: self.lazy_config(config),
            idle_timeout: config.idle_timeout,
            drain_timeout: config.drain_timeout,
        };
        match spool {
            None => Ok(Link::new(link, limits, Box::new(target))),
            Some((spool, recovered)) => {
                Link::spooled(link, limits, Box::new(target), spool, recovered)
            }
        }
    }
}
