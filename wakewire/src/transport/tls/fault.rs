//! What a failed handshake means to whoever dials, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::error::Phase;
use crate::transport::unreached::Unreached;

/// Says why our handshake with this host failed.
pub(super) fn dialing(error: io::Error, host: &str) -> Unreached {
    let Some(fault) = fault(&error) else {
        // Closed, reset: it may be a restart.
        return Unreached::for_now(Phase::Tls, error);
    };
    match fault {
        Error::InvalidCertificate(certificate) => {
            let hint = match certificate {
                // Another authority of the same name signed it, if the signature is bad.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "set `ca = \"…\"` to the authority that signed the peer's certificate"
                        .to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => format!(
                    "the certificate is for others than `{host}`: write the name that it is for into \
                     the endpoint, or give the peer one for this name"
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "renew the peer's certificate".to_owned()
                }
                _ => "give the peer a certificate that `ca` vouches for".to_owned(),
            };
            Unreached::unauthorized(Phase::Tls, error).hint(hint)
        }
        Error::InvalidMessage(_) => {
            let cause = format!("the peer answered in the clear: {fault}");
            Unreached::foreign(Phase::Tls, cause).hint(NO_TLS)
        }
        _ => refusal(&error).unwrap_or_else(|| Unreached::for_now(Phase::Tls, error)),
    }
}

/// Says why the peer does not take us, if it has said so by an alert. In TLS 1.3 the dialer's handshake is done
/// before the peer has looked at its certificate, so this may come with the first read.
pub(crate) fn refusal(error: &io::Error) -> Option<Unreached> {
    use AlertDescription as Alert;
    let fault = fault(error)?;
    let cause = fault.to_string();
    let unreached = match fault {
        Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired => Unreached::unauthorized(Phase::Tls, cause)
                .hint("the peer demands a certificate: set `cert` and `key`"),
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError => Unreached::unauthorized(Phase::Tls, cause).hint(
                "set `cert` and `key` to a certificate that the peer's `client_ca` vouches for",
            ),
            Alert::NoApplicationProtocol => Unreached::foreign(Phase::Tls, cause),
            Alert::HandshakeFailure | Alert::ProtocolVersion => {
                Unreached::foreign(Phase::Tls, cause).hint(NO_TLS)
            }
            _ => return None,
        },
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) | Error::NoApplicationProtocol => {
            Unreached::foreign(Phase::Tls, cause)
        }
        _ => return None,
    };
    Some(unreached)
}

fn fault(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

const NO_TLS: &str = "it takes no TLS 1.3 there: set `cert` and `key` where the service listens, or correct the endpoint";
