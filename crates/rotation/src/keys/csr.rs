//! A private key for TLS and the request for its certificate (PKCS #10, RFC 2986).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use serde::{Deserialize, Serialize};

use super::der::{
    BIT_STRING, CONTEXT_0, DNS_NAME, INTEGER, IP_ADDRESS, NULL, OBJECT, OCTET_STRING, SEQUENCE, SET, UTF8, element, split,
};
use super::signing::SigningKey;
use super::{KeyKind, aside, pem, unusable};
use crate::rotator::{Rotator, StepContext};

/// Has certificates signed.
#[async_trait]
pub trait Issuer: Send + Sync + fmt::Debug {
    /// The certificate for a request, both as PEM; certificates of authorities in between may follow it.
    ///
    /// May be asked again in one rotation, for another key, when the answer came to nobody.
    async fn issue(&self, request: &str, step: &StepContext<'_>) -> Result<String>;
}

/// Makes private keys for TLS, with the request for a certificate.
///
/// The value is a JSON object of PEM texts:
///
/// ```json
/// {"private_key": "-----BEGIN PRIVATE KEY-----...", "csr": "-----BEGIN CERTIFICATE REQUEST-----...", "certificate": "-----BEGIN CERTIFICATE-----..."}
/// ```
///
/// `certificate` is what an [issuer](Self::issuer) answered. Without an issuer it is missing, and it is up to whoever has the request
/// signed that the server goes on with the old key ([`Rotation::previous`](crate::Rotation::previous)) until then.
///
/// Before a new key becomes current: it signs something, and its public part verifies that; the request is for this key and signed with
/// it; and so is the certificate.
#[derive(Debug, Clone)]
pub struct TlsKeyRotator {
    kind: KeyKind,
    names: Vec<HostName>,
    issuer: Option<Arc<dyn Issuer>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostName {
    Dns(String),
    Ip(IpAddr),
}

#[derive(Deserialize)]
struct Document {
    private_key: SecretValue,
    csr: String,
    certificate: Option<String>,
}

#[derive(Serialize)]
struct NewDocument<'a> {
    private_key: &'a str,
    csr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
}

impl TlsKeyRotator {
    /// Keys of this kind for a server of these names, DNS names (perhaps beginning with `*.`) and IP addresses. The first is also the
    /// subject's common name, if it is not longer than the 64 bytes that this may have.
    ///
    /// # Errors
    /// `InvalidConfig` for no name, or one that can't stand in a certificate.
    pub fn new(kind: KeyKind, names: &[&str]) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, "a certificate needs a name"));
        }
        let names = names.iter().map(|name| HostName::parse(name)).collect::<Result<_>>()?;
        Ok(Self {
            kind,
            names,
            issuer: None,
        })
    }

    /// Has the certificate signed in `create`.
    #[must_use]
    pub fn issuer(mut self, issuer: Arc<dyn Issuer>) -> Self {
        self.issuer = Some(issuer);
        self
    }
}

#[async_trait]
impl Rotator for TlsKeyRotator {
    fn kind(&self) -> &str {
        "tls-key"
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let (kind, names) = (self.kind, self.names.clone());
        let (private_key, csr) = aside(move || {
            let pkcs8 = SigningKey::generate(kind)?;
            let csr = request(kind, &SigningKey::parse(kind, &pkcs8)?, &names)?;
            Ok((pem::encode(pem::PRIVATE_KEY, &pkcs8), pem::encode(pem::REQUEST, &csr)))
        })
        .await?;
        let csr = csr.expose_str()?;
        let certificate = match &self.issuer {
            Some(issuer) => Some(issuer.issue(csr, step).await?),
            None => None,
        };
        let certificate = certificate.as_deref();
        // Twice is more than the escapes of line breaks need, so that it never grows and leaves a copy behind.
        let size = private_key.len() + csr.len() + certificate.map_or(0, str::len);
        let mut bytes = Vec::with_capacity(2 * size + 100);
        let document = NewDocument {
            private_key: private_key.expose_str()?,
            csr,
            certificate,
        };
        let written = serde_json::to_writer(&mut bytes, &document);
        let value = SecretValue::new(bytes);
        written.map_err(|_| Error::new(ErrorKind::Other, "the key can't be written as JSON"))?;
        Ok(value)
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        // What the parser says could quote the value.
        let document: Document = serde_json::from_slice(step.new_value()?.expose_secret())
            .map_err(|_| unusable("the secret is not a JSON object with `private_key` and `csr`"))?;
        let key = SigningKey::parse(self.kind, &pem::decode(pem::PRIVATE_KEY, document.private_key.expose_str()?)?)?;
        key.prove(step.id().as_bytes())?;
        let public = key.public()?;
        let csr = pem::decode(pem::REQUEST, &document.csr)?;
        let is_for_key = signed_request(&csr)
            .is_some_and(|(info, signature)| key_of_request(info) == Some(&public[..]) && key.verifies(info, signature));
        if !is_for_key {
            return Err(unusable("the certificate request is not for this key, or not signed with it"));
        }
        match &document.certificate {
            Some(certificate) => {
                let certificate = pem::decode(pem::CERTIFICATE, certificate)?;
                match key_of_certificate(&certificate) == Some(&public[..]) {
                    true => Ok(()),
                    false => Err(unusable("the certificate is not for this key")),
                }
            }
            None if self.issuer.is_some() && !step.is_reversal() => Err(unusable("the secret has no certificate")),
            None => Ok(()),
        }
    }

    async fn finish(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn revoke(&self, _: &StepContext<'_>) -> Result<Option<SecretValue>> {
        Ok(None)
    }

    async fn rollback(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}

impl HostName {
    fn parse(name: &str) -> Result<Self> {
        if let Ok(address) = name.parse() {
            return Ok(Self::Ip(address));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let host = name.strip_prefix("*.").unwrap_or(name);
        match name.len() <= 253 && host.split('.').all(is_label) {
            true => Ok(Self::Dns(name.to_owned())),
            false => Err(
                Error::new(ErrorKind::InvalidConfig, "this is neither a DNS name nor an IP address")
                    .with("host", name)
                    .with_hint("write a name of another script in its ASCII form, as `xn--...`"),
            ),
        }
    }

    fn general_name(&self) -> Vec<u8> {
        match self {
            Self::Dns(name) => element(DNS_NAME, &[name.as_bytes()]),
            Self::Ip(IpAddr::V4(address)) => element(IP_ADDRESS, &[&address.octets()]),
            Self::Ip(IpAddr::V6(address)) => element(IP_ADDRESS, &[&address.octets()]),
        }
    }
}

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 1.2.840.113549.1.9.14
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.2.840.10045.4.3.2
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 1.2.840.10045.4.3.3
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// 1.2.840.113549.1.1.11
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];

/// The longest common name (RFC 5280, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

fn request(kind: KeyKind, key: &SigningKey, names: &[HostName]) -> Result<Vec<u8>> {
    let common = match names.first() {
        Some(HostName::Dns(name)) if name.len() <= MAX_COMMON_NAME => Some(name.clone()),
        Some(HostName::Ip(address)) => Some(address.to_string()),
        _ => None,
    };
    let subject = common.map(|name| {
        let pair = element(
            SEQUENCE,
            &[&element(OBJECT, &[COMMON_NAME]), &element(UTF8, &[name.as_bytes()])],
        );
        element(SET, &[&pair])
    });
    let general: Vec<u8> = names.iter().flat_map(HostName::general_name).collect();
    let extension = element(
        SEQUENCE,
        &[
            &element(OBJECT, &[SUBJECT_ALT_NAME]),
            &element(OCTET_STRING, &[&element(SEQUENCE, &[&general])]),
        ],
    );
    let attribute = element(
        SEQUENCE,
        &[
            &element(OBJECT, &[EXTENSION_REQUEST]),
            &element(SET, &[&element(SEQUENCE, &[&extension])]),
        ],
    );
    let info = element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[0]]),
            &element(SEQUENCE, &[&subject.unwrap_or_default()]),
            &key.public()?,
            &element(CONTEXT_0, &[&attribute]),
        ],
    );
    let algorithm = match kind {
        KeyKind::Ed25519 => element(SEQUENCE, &[&element(OBJECT, &[ED25519])]),
        KeyKind::P256 => element(SEQUENCE, &[&element(OBJECT, &[ECDSA_SHA256])]),
        KeyKind::P384 => element(SEQUENCE, &[&element(OBJECT, &[ECDSA_SHA384])]),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            element(SEQUENCE, &[&element(OBJECT, &[RSA_SHA256]), &element(NULL, &[])])
        }
    };
    let signature = element(BIT_STRING, &[&[0], &key.sign(&info)?]);
    Ok(element(SEQUENCE, &[&info, &algorithm, &signature]))
}

/// What is signed, as it stands there, and the signature.
fn signed_request(csr: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, _) = split(SEQUENCE, csr)?;
    let (_, rest) = split(SEQUENCE, whole)?;
    let info = &whole[..whole.len() - rest.len()];
    let (_, rest) = split(SEQUENCE, rest)?;
    let (bits, _) = split(BIT_STRING, rest)?;
    Some((info, bits.strip_prefix(&[0])?))
}

fn key_of_request(info: &[u8]) -> Option<&[u8]> {
    let (inner, _) = split(SEQUENCE, info)?;
    let (_, rest) = split(INTEGER, inner)?;
    let (_subject, rest) = split(SEQUENCE, rest)?;
    whole(rest)
}

fn key_of_certificate(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = split(SEQUENCE, certificate)?;
    let (inner, _) = split(SEQUENCE, outer)?;
    let (_version, rest) = split(CONTEXT_0, inner)?;
    let (_serial, rest) = split(INTEGER, rest)?;
    let mut rest = rest;
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        (_, rest) = split(SEQUENCE, rest)?;
    }
    whole(rest)
}

/// The first element with its head.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (_, after) = split(SEQUENCE, bytes)?;
    Some(&bytes[..bytes.len() - after.len()])
}
