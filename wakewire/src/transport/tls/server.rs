//! The side that listens: what we show, and whose certificates let somebody in.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{Alpn, Unusable, VERSIONS, files, provider, subject};
use crate::error::Phase;
use crate::security::{Identity, Security};
use crate::transport::line::{Line, part};
use crate::transport::unreached::Unreached;

pub(super) fn config(security: &Security, alpn: Alpn) -> Result<ServerConfig, Unusable> {
    let (Some(cert), Some(key)) = (&security.cert, &security.key) else {
        let what = "to listen with TLS, `cert` and `key` are needed";
        let hint = "set `cert` and `key` to the PEM files of the service's certificate";
        return Err(Unusable::new(what, hint));
    };
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS)?;
    let builder = match &security.client_ca {
        Some(path) => {
            let authorities = Arc::new(files::authorities("client_ca", path)?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| {
                Unusable::new(
                    format!("`client_ca`: {error}"),
                    "it must hold certificates of authorities",
                )
            })?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(files::chain(cert)?, files::private_key(key)?)?;
    config.alpn_protocols = alpn.offered();
    Ok(config)
}

pub(super) async fn accept(
    config: Arc<ServerConfig>,
    alpn: Alpn,
    mut line: Line,
) -> Result<Line, Unreached> {
    let since = Instant::now();
    let handshake = TlsAcceptor::from(config)
        .accept(line.stream)
        .into_fallible();
    let mut stream = match handshake.await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // What is wrong has been said: the peer is to hear it.
            part(stream).await;
            return Err(Unreached::for_now(Phase::Tls, error));
        }
    };
    let session = stream.get_ref().1;
    let known = match session.peer_certificates() {
        Some([certificate, ..]) => subject::of(certificate).map(Identity::Certificate),
        _ => Ok(Identity::Anonymous),
    };
    let heard = if alpn.is_met_by(session.alpn_protocol()) {
        known
    } else {
        Err(format!(
            "the peer does not say that it speaks `{}`",
            alpn.name()
        ))
    };
    match heard {
        Ok(identity) => line.identity = identity,
        Err(cause) => {
            part(&mut stream).await;
            return Err(Unreached::foreign(Phase::Tls, cause));
        }
    }
    line.stream = Box::new(stream);
    line.is_private = true;
    line.course.step(Phase::Tls, since);
    Ok(line)
}
