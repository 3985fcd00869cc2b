//! Stands where TLS is not built in: offers nothing, and says what to do.

use std::io;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::error::Phase;
use crate::security::Security;
use crate::transport::line::Line;
use crate::transport::unreached::Unreached;

/// Whether this build speaks TLS.
pub(crate) const IS_BUILT_IN: bool = false;

/// The certificates and keys that nobody can use.
#[derive(Debug)]
pub(crate) struct Keys;

impl Keys {
    pub(crate) const fn new(_: &Endpoint, _: &Arc<Security>) -> Self {
        Self
    }

    pub(crate) async fn connect(&self, _: Line, _: &str) -> Result<Line, Unreached> {
        Err(absent())
    }

    pub(crate) async fn accept(&self, _: Line) -> Result<Line, Unreached> {
        Err(absent())
    }

    pub(crate) const fn can_serve(&self) -> bool {
        false
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::InvalidInput, ABSENT))
    }
}

fn absent() -> Unreached {
    Unreached::misconfigured(Phase::Tls, ABSENT).hint("build with the feature `tls`")
}

/// No connection here has a TLS error.
pub(crate) const fn refusal(_: &io::Error) -> Option<Unreached> {
    None
}

const ABSENT: &str = "TLS is not built into this version";
