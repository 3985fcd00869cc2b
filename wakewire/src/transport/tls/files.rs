//! Reads certificates and keys (PEM).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Unusable;

/// Reads our own certificate, and those between it and its authority.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    certificates("cert", path)
}

/// Reads the authorities that the file of this key names.
pub(super) fn authorities(key: &str, path: &Path) -> Result<RootCertStore, Unusable> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        store.add(certificate).map_err(|error| {
            let what = format!(
                "`{key}`: {} holds a bad certificate: {error}",
                path.display()
            );
            Unusable::new(what, PEM)
        })?;
    }
    Ok(store)
}

/// Reads our private key, if nobody else can.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let (bytes, mode) = read("key", path)?;
    if mode & 0o077 != 0 {
        let what = format!(
            "`key`: {} may be read by others than its owner (mode {:03o})",
            path.display(),
            mode & 0o777
        );
        return Err(Unusable::new(
            what,
            "run `chmod 600` on it, and replace the key if others were here",
        ));
    }
    // What was read is never part of an error.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let what = format!("`key`: {} holds no private key", path.display());
        Unusable::new(what, PEM)
    })
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let (bytes, _) = read(key, path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            let what = format!("`{key}`: {} is no PEM file: {error}", path.display());
            Unusable::new(what, PEM)
        })?;
    if certificates.is_empty() {
        let what = format!("`{key}`: {} holds no certificate", path.display());
        return Err(Unusable::new(what, PEM));
    }
    Ok(certificates)
}

/// Reads a file, and who may read it: both of the same file, whatever is done to the path meanwhile.
fn read(key: &str, path: &Path) -> Result<(Vec<u8>, u32), Unusable> {
    let unreadable = |error: std::io::Error| {
        let what = format!("`{key}`: {}: {error}", path.display());
        Unusable::new(what, "write the path of a file that this process may read")
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = mode(&file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        let what = format!("`{key}`: {} has more than {LARGEST} bytes", path.display());
        return Err(Unusable::new(what, PEM));
    }
    Ok((bytes, mode))
}

#[cfg(unix)]
fn mode(file: &File) -> std::io::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map(|metadata| metadata.mode())
}

/// Elsewhere the directory must protect it.
#[cfg(not(unix))]
fn mode(_: &File) -> std::io::Result<u32> {
    Ok(0)
}

/// Several times what all authorities of a system take.
const LARGEST: u64 = 4 << 20;

const PEM: &str = "it must be a PEM file, with `-----BEGIN …-----` lines";
