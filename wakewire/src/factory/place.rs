//! Where a service is, if this build can get there.

use crate::error::{Failure, Phase, SinkError};
use crate::registry::{ServiceConfig, SinkType};
use crate::transport::dial::Target;

/// Returns where a service is, if this build can open it, and how it is protected.
pub(super) fn reachable(name: &str, config: &ServiceConfig) -> Result<Target, SinkError> {
    let failure = Failure::new(name).phase(Phase::Resolve);
    let Some(endpoint) = &config.endpoint else {
        let cause = match &config.kind {
            SinkType::Composite { .. } => "a composite has no endpoint to listen at",
            SinkType::Relay | SinkType::Direct => "it has no endpoint",
        };
        return Err(SinkError::InvalidConfig(
            failure
                .because(cause)
                .hint("name a relay or a direct service"),
        ));
    };
    let scheme = endpoint.scheme();
    if !scheme.is_built_in() {
        let cause = format!("`{}` is not built into this version", scheme.name());
        let failure = failure.endpoint(endpoint.to_string()).because(cause);
        return Err(SinkError::InvalidConfig(
            failure.hint("use `unix://` or `tcp://`"),
        ));
    }
    Ok(Target::new(
        endpoint.clone(),
        config.security.clone(),
        config.limits,
    ))
}
