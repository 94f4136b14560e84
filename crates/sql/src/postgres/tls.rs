//! TLS to the server.

use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Trusts the authorities of the PEM file, else those of the machine.
pub(super) fn connector(authorities: Option<&Path>) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let config = match authorities {
        None => builder.with_platform_verifier().map_err(unusable)?.with_no_client_auth(),
        Some(file) => builder.with_root_certificates(read(file)?).with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read(file: &Path) -> Result<RootCertStore> {
    let wrong = |message: &'static str| Error::new(ErrorKind::InvalidConfig, message).with("file", file.display().to_string());
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|_| wrong("the file that `sslrootcert` names can't be read"))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| wrong("the file that `sslrootcert` names is not a PEM file"))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    match added {
        0 => Err(wrong("the file that `sslrootcert` names holds no certificate")),
        _ => Ok(roots),
    }
}

fn unusable(error: rustls::Error) -> Error {
    Error::new(ErrorKind::InvalidConfig, "TLS can't be set up").with_source(error)
}
