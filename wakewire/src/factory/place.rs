//! Where a service is, if this build can get there.

use crate::error::{Failure, Phase, SinkError};
use crate::registry::{ServiceConfig, SinkType};
use crate::transport::dial::Target;

/// Returns where a service is, if this build can open it, and how it is protected.
pub(super) fn reachable(name: &str, config: &ServiceConfig) -> Result<Target, SinkError> {
    let failure = || Failure::new(name).phase(Phase::Resolve);
    let Some(endpoint) = &config.endpoint else {
        let cause = match &config.kind {
            SinkType::Composite { .. } => "a composite has no endpoint to listen at",
            SinkType::Relay | SinkType::Direct => "it has no endpoint",
        };
        return Err(SinkError::InvalidConfig(
            failure()
                .because(cause)
                .hint("name a relay or a direct service"),
        ));
    };
    Target::new(endpoint.clone(), config.security.clone(), config.limits)
        .sound()
        .map_err(|unreached| unreached.error(failure().endpoint(endpoint.to_string())))
}
