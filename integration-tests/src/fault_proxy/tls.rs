//! TLS towards the client and towards the server.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What the proxies of this process show to their clients.
pub(super) struct Identity {
    /// The authority that vouches for it and for nothing else, in PEM.
    pub(super) authority: String,
    pub(super) config: Arc<ServerConfig>,
}

/// Made once per process: a client's configuration may outlive a proxy.
pub(super) fn identity() -> io::Result<&'static Identity> {
    static IDENTITY: OnceLock<Result<Identity, String>> = OnceLock::new();
    IDENTITY
        .get_or_init(|| make().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|reason| io::Error::other(reason.as_str()))
}

/// A client that trusts the authorities in the file `ca`, and nobody else.
pub(super) fn client(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other(format!("no certificate in `{}`", ca.display())));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Arc::new(config))
}

/// The only protocol whose requests the proxy can tell apart.
const HTTP: &[u8] = b"http/1.1";

fn make() -> io::Result<Identity> {
    let dir = tempfile::tempdir()?;
    let request = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2"]).args(arguments).current_dir(dir.path());
        let said = command
            .output()
            .map_err(|error| io::Error::other(format!("can't run `openssl`, which makes the certificate: {error}")))?;
        if said.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&said.stderr).into_owned();
        Err(io::Error::other(format!("`openssl` makes no certificate: {reason}")))
    };
    request(&["-subj", "/CN=fault proxy", "-keyout", "ca.key", "-out", "ca.pem"])?;
    request(&[
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
    ])?;
    let chain = CertificateDer::from_pem_file(dir.path().join("server.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(dir.path().join("server.key")).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Identity {
        authority: fs::read_to_string(dir.path().join("ca.pem"))?,
        config: Arc::new(config),
    })
}
