//! TLS for the measurements: what a client trusts, and what stands for a service at its public name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Outcome;

/// A client that trusts the authorities in the file `ca`, and nobody else.
pub(super) fn client(ca: &Path) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// An authority that was made for this run, and a certificate by it for this machine and for the names that tools have
/// built in.
pub(super) struct Identity {
    directory: TempDir,
}

impl Identity {
    /// The authority's own key is gone when this is made, so that it vouches for nothing else.
    pub(super) fn make() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let request = |arguments: &[&str]| -> Outcome {
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
            let said = command
                .args(["-nodes", "-days", "2"])
                .args(arguments)
                .current_dir(directory.path())
                .output()?;
            match said.status.success() {
                true => Ok(()),
                false => Err(format!("`openssl` makes no certificate: {}", String::from_utf8_lossy(&said.stderr)).into()),
            }
        };
        request(&["-subj", "/CN=keyfob benches", "-keyout", "ca.key", "-out", "ca.pem"])?;
        let names = "subjectAltName=IP:127.0.0.1,DNS:secretmanager.googleapis.com,DNS:*.vault.azure.net,\
                     DNS:login.microsoftonline.com";
        let signed_by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=keyfob benches"];
        let files = ["-keyout", "server.key", "-out", "server.pem"];
        let leaf = [
            "-addext",
            names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "extendedKeyUsage=serverAuth",
        ];
        request(&[&signed_by[..], &files, &leaf].concat())?;
        fs::remove_file(directory.path().join("ca.key"))?;
        Ok(Self { directory })
    }

    /// The authority, in PEM.
    pub(super) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server with that certificate, for these protocols.
    pub(super) fn server(&self, protocols: &[&str]) -> Outcome<Arc<ServerConfig>> {
        let file = |name: &str| self.directory.path().join(name);
        let chain = CertificateDer::from_pem_file(file("server.pem"))?;
        let key = PrivateKeyDer::from_pem_file(file("server.key"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}
