//! Which configuration is meant, and reading it.

use std::path::PathBuf;

use clap::Args;
use wakewire::ServiceRegistry;

use crate::check;
use crate::said::Said;
use crate::talk;

/// Where the services are written down.
#[derive(Args, Clone, Debug)]
pub(crate) struct Configuration {
    /// The configuration; else what `WAKEWIRE_CONFIG` names, else ./services.toml.
    #[arg(long = "config", value_name = "FILE")]
    said: Option<PathBuf>,
}

impl Configuration {
    /// Returns which file is meant: as said, else as the environment says, else the one here.
    pub(crate) fn path(self) -> PathBuf {
        self.said
            .or_else(|| std::env::var_os("WAKEWIRE_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from("services.toml"))
    }

    /// Reads it, or says all its faults.
    pub(crate) fn load(self) -> Result<ServiceRegistry, Said> {
        let path = self.path();
        ServiceRegistry::from_file(&path)
            .map_err(|error| check::refused(&path, &error, false, talk::is_colourful()))
    }
}
