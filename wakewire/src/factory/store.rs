//! Opens the disk of a relay that stores: on a thread that may block.

use std::io;
use std::path::Path;

use tokio::runtime::Handle;

use super::SinkFactory;
use crate::error::{Failure, Phase, SinkError};
use crate::registry::ServiceConfig;
use crate::relay::store::Store;
use crate::spool::journal::Unopened;
use crate::spool::shared::Kept;

impl SinkFactory {
    /// Opens the disk of this service's relay, if it has one.
    pub(super) async fn open_store(
        &self,
        name: &str,
        config: &ServiceConfig,
    ) -> Result<Option<(Store, Kept)>, SinkError> {
        let Some(base) = config.store_and_forward.clone() else {
            return Ok(None);
        };
        let Ok(runtime) = Handle::try_current() else {
            let hint = "make the relay inside a tokio runtime";
            return Err(SinkError::NoRuntime(Failure::new(name).hint(hint)));
        };
        let (service, fsync, bytes) = (name.to_owned(), config.store_fsync(), config.log_bytes);
        let directory = base.clone();
        let open = move || Store::open(&directory, &service, fsync, bytes);
        let opened = runtime.spawn_blocking(open).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error).into()));
        opened
            .map(Some)
            .map_err(|error| refused(name, config, &base, &error))
    }
}

/// Says why a relay's disk is not opened, and what to do.
fn refused(name: &str, config: &ServiceConfig, base: &Path, error: &Unopened) -> SinkError {
    let hint = match error {
        Unopened::Damage(_) => {
            "restore it, or move the directory of this service away: then what only the relay holds is not delivered"
        }
        Unopened::Io(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            "one relay at a time: end that process, or give this one a `store_and_forward` of its own"
        }
        Unopened::Io(_) => {
            "`store_and_forward` names a directory that belongs to this user and that no other may write to, or a new \
             one in a directory that is there"
        }
    };
    let mut failure = Failure::new(name).phase(Phase::Spool);
    if let Some(endpoint) = &config.endpoint {
        failure = failure.endpoint(endpoint.to_string());
    }
    let cause = format!("the relay's messages in `{}`: {error}", base.display());
    SinkError::Io(failure.because(cause).hint(hint))
}
