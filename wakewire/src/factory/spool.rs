//! Opens the spool of a service: on a thread that may block, one after the other, so that two callers of one name do
//! not shut each other out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::SinkFactory;
use crate::error::{Failure, Phase, SinkError};
use crate::registry::ServiceConfig;
use crate::spool::Spool;
use crate::spool::journal::Unopened;
use crate::spool::recovery::Recovered;

/// The spools that were opened for sinks that are about to be made.
pub(super) type Spools = BTreeMap<String, (Spool, Recovered)>;

/// Holds off other openings.
pub(super) type Turn = OwnedMutexGuard<()>;

impl SinkFactory {
    /// Opens the spools of those services that have one and no sink yet. Until the turn is dropped nobody else opens
    /// any; it goes with the opening itself, which ends even when nobody waits for it any more.
    pub(super) async fn open_spools(
        &self,
        services: &[(String, ServiceConfig)],
    ) -> Result<(Spools, Option<Turn>), SinkError> {
        let mut spools = Spools::new();
        if services.iter().all(|(_, config)| config.spool.is_none()) {
            return Ok((spools, None));
        }
        let mut turn = Arc::clone(&self.opening).lock_owned().await;
        for (name, config) in services {
            let Some(base) = config.spool.clone() else {
                continue;
            };
            if self.made.lock().sink(name)?.is_some() {
                continue;
            }
            let Ok(runtime) = Handle::try_current() else {
                let hint = "make the sink inside a tokio runtime";
                return Err(SinkError::NoRuntime(Failure::new(&**name).hint(hint)));
            };
            let (service, fsync, bytes) = (name.clone(), config.spool_fsync(), config.buffer_bytes);
            let directory = base.clone();
            let open = move || (Spool::open(&directory, &service, fsync, bytes), turn);
            let opened = match runtime.spawn_blocking(open).await {
                Ok((opened, kept)) => {
                    turn = kept;
                    opened
                }
                Err(error) => {
                    return Err(refused(
                        name,
                        config,
                        &base,
                        &io::Error::other(error).into(),
                    ));
                }
            };
            let opened = opened.map_err(|error| refused(name, config, &base, &error))?;
            spools.insert(name.clone(), opened);
        }
        Ok((spools, Some(turn)))
    }
}

/// Says why a spool is not opened, and what to do.
fn refused(name: &str, config: &ServiceConfig, base: &Path, error: &Unopened) -> SinkError {
    let hint = match error {
        Unopened::Damage(_) => {
            "restore it, or move the directory of this service away: then what it holds is not sent"
        }
        Unopened::Io(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            "one process at a time: end that one, or give this one a `spool` of its own"
        }
        Unopened::Io(_) => {
            "`spool` names a directory that belongs to this user and that no other may write to, or a new one in a \
             directory that is there"
        }
    };
    let mut failure = Failure::new(name).phase(Phase::Spool);
    if let Some(endpoint) = &config.endpoint {
        failure = failure.endpoint(endpoint.to_string());
    }
    let cause = format!("the spool in `{}`: {error}", base.display());
    SinkError::Io(failure.because(cause).hint(hint))
}
