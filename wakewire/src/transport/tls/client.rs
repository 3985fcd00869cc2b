//! The side that dials: who the peer must be, and what we show when asked.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{Alpn, Unusable, VERSIONS, fault, files, provider};
use crate::error::Phase;
use crate::security::Security;
use crate::transport::line::Line;
use crate::transport::unreached::Unreached;

pub(super) fn config(security: &Security, alpn: Alpn) -> Result<ClientConfig, Unusable> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS)?;
    let builder = match &security.ca {
        Some(path) => builder.with_root_certificates(files::authorities("ca", path)?),
        None => {
            let system = Verifier::new(provider()).map_err(|error| {
                Unusable::new(
                    format!("the system's certificates cannot be used: {error}"),
                    "install the package `ca-certificates`, or set `ca`",
                )
            })?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(system))
        }
    };
    let mut config = match (&security.cert, &security.key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(files::chain(cert)?, files::private_key(key)?)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            let what = "`cert` and `key` belong together, and only one of them is set";
            return Err(Unusable::new(what, "set both, or neither"));
        }
    };
    config.alpn_protocols = alpn.offered();
    Ok(config)
}

pub(super) async fn connect(
    config: Arc<ClientConfig>,
    alpn: Alpn,
    mut line: Line,
    host: &str,
) -> Result<Line, Unreached> {
    let since = Instant::now();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Unreached::misconfigured(Phase::Tls, format!("`{host}`: {error}"))
            .hint("write a name or an address that a certificate can be for")
    })?;
    let stream = TlsConnector::from(config)
        .connect(name, line.stream)
        .await
        .map_err(|error| fault::dialing(error, host))?;
    if !alpn.is_met_by(stream.get_ref().1.alpn_protocol()) {
        let cause = format!("the peer does not say that it speaks `{}`", alpn.name());
        return Err(Unreached::foreign(Phase::Tls, cause));
    }
    line.stream = Box::new(stream);
    line.is_private = true;
    line.course.step(Phase::Tls, since);
    Ok(line)
}
