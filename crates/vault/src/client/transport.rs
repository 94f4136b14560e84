//! The HTTP client: connections, TLS, sockets.

use keyfob_core::{Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use zeroize::Zeroizing;

use super::lookup::SharedLookup;
use crate::config::{CertificateAuthority, VaultConfig, Verification, read_file};

/// The largest file of certificates or keys, in bytes.
const MAX_PEM_BYTES: usize = 1 << 20;

/// Makes the client of one address. No connection is made.
pub(super) fn client(config: &VaultConfig) -> Result<Client> {
    let mut builder = ClientBuilder::new()
        .user_agent(concat!("keyfob/", env!("CARGO_PKG_VERSION")))
        // The token is a header that clients do not strip when they follow to another host.
        .redirect(Policy::none())
        // The retry layer is the only owner of retries.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .dns_resolver(SharedLookup::default())
        .connect_timeout(config.connect_timeout);
    if let Some(socket) = config.address.socket() {
        builder = builder.unix_socket(socket);
    }
    if config.address.is_encrypted() {
        builder = with_tls(builder, config)?;
    } else {
        // Without a certificate to check there is no need to load the system's authorities, which takes long.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|_| {
        Error::new(ErrorKind::InvalidConfig, "the TLS settings can't be used").with("vault", config.address.to_string())
    })
}

fn with_tls(mut builder: ClientBuilder, config: &VaultConfig) -> Result<ClientBuilder> {
    let tls = &config.tls;
    if tls.verification == Verification::Off {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if !tls.authorities.is_empty() {
        let mut certificates = Vec::new();
        for authority in &tls.authorities {
            certificates.extend(certificates_of(authority)?);
        }
        // As Vault's own command line: who names an authority trusts that one, and not the system's too.
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(identity) = &tls.identity {
        let mut pem = Zeroizing::new(Vec::new());
        for (variable, file) in [
            ("VAULT_CLIENT_CERT", &identity.certificate),
            ("VAULT_CLIENT_KEY", &identity.key),
        ] {
            pem.extend_from_slice(&read_file(file, MAX_PEM_BYTES, variable)?);
            pem.push(b'\n');
        }
        let identity = Identity::from_pem(&pem).map_err(|_| {
            Error::new(
                ErrorKind::InvalidConfig,
                "the client certificate and its key are not a certificate and a private key in PEM",
            )
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

fn certificates_of(authority: &CertificateAuthority) -> Result<Vec<Certificate>> {
    let (pem, place) = match authority {
        CertificateAuthority::Pem(pem) => (Zeroizing::new(pem.clone()), "VAULT_CACERT_BYTES".to_owned()),
        CertificateAuthority::File(file) => (read_file(file, MAX_PEM_BYTES, "VAULT_CACERT")?, file.display().to_string()),
    };
    let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            "there is no certificate in PEM in the certificate authority's file",
        )
        .with("file", place)
    })
}
