//! TLS of the raw contestants, blocking, and a certificate for everybody.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::socket::Duplex;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Makes a certificate for this machine, and its key.
pub fn make(directory: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()])?;
    fs::write(directory.join(CERTIFICATE), made.cert.pem())?;
    // A key that others may read is refused.
    let mut key = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(directory.join(KEY))?;
    Ok(key.write_all(made.signing_key.serialize_pem().as_bytes())?)
}

/// Returns what stands in a service for it.
pub fn keys(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "cert = '{directory}/{CERTIFICATE}'\nkey = '{directory}/{KEY}'\nca = '{directory}/{CERTIFICATE}'"
    )
}

/// The listener's side.
pub fn accepted(socket: TcpStream, directory: &Path) -> Result<Box<dyn Duplex>> {
    socket.set_nodelay(true)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate(directory)?],
            PrivateKeyDer::from_pem_file(directory.join(KEY))?,
        )?;
    let connection = ServerConnection::new(Arc::new(config))?;
    Ok(Box::new(StreamOwned::new(connection, socket)))
}

/// The dialer's side.
pub fn connected(socket: TcpStream, directory: &Path) -> Result<Box<dyn Duplex>> {
    socket.set_nodelay(true)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate(directory)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    Ok(Box::new(StreamOwned::new(connection, socket)))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificate(directory: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(directory.join(CERTIFICATE)).context("no certificate")
}
