//! A certificate and its key, and the assertion that is signed with them.
//!
//! The format of the assertion: <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::{digest, signature};
use azure_core::error::ErrorKind as SdkKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyfob_core::{Environment, ErrorKind, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::invalid;
use crate::problem::Problem;

/// The largest file of a certificate and its key, in bytes.
const MAX_PEM_BYTES: usize = 1 << 18;
/// Microsoft asks for five to ten minutes at most.
const GOOD_FOR: u64 = 300;

/// What an application logs in with.
pub(super) struct Certificate {
    /// Of the certificate's DER, by SHA-256, as Base64.
    thumbprint: String,
    key: KeyPair,
}

impl Certificate {
    /// Reads a PEM file with a certificate and its RSA key.
    ///
    /// # Errors
    /// `InvalidConfig`, which never repeats anything of the file.
    pub(super) fn read(environment: &Environment, file: &Path) -> Result<Self> {
        let wrong = |message| invalid(message).with("file", file.display().to_string());
        let pem = environment.read(file, MAX_PEM_BYTES);
        let pem = Zeroizing::new(pem.map_err(|error| wrong("the certificate can't be read").with("reason", error.to_string()))?);
        if pem.windows(9).any(|part| part == b"ENCRYPTED") {
            return Err(wrong("the private key is encrypted, which is not supported")
                .with_hint("write certificate and key to a PEM file that only you may read"));
        }
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| {
            wrong("there is no certificate in PEM in the file")
                .with_hint("a PKCS #12 file (`.pfx`) becomes one with `openssl pkcs12 -in FILE -nodes`")
        })?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wrong("there is no private key in PEM in the file"))?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(wrong("the private key is not an RSA key, and Entra takes no other")),
        };
        let key = key.map_err(|_| wrong("the private key is not an RSA key of 2,048 bits or more"))?;
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &certificate)),
            key,
        })
    }

    fn sign(&self, claims: &serde_json::Value) -> Result<String, Problem> {
        let failed = || Problem::new(ErrorKind::Other, "the assertion can't be signed");
        let header = serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &signature::RSA_PSS_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| failed())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature)))
    }
}

/// Says who asks, to one audience.
pub(super) struct Assertion {
    pub(super) certificate: Arc<Certificate>,
    pub(super) audience: String,
    pub(super) client_id: String,
}

impl Assertion {
    fn claims(&self, now: u64) -> Result<serde_json::Value, Problem> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| Problem::new(ErrorKind::Other, "the system has no random numbers"))?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(serde_json::json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]),
            "iat": now,
            "nbf": now,
            "exp": now + GOOD_FOR,
        }))
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion")
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = self.claims(now).and_then(|claims| self.certificate.sign(&claims));
        signed.map_err(|problem| problem.into_sdk(SdkKind::Credential))
    }
}
