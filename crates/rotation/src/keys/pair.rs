//! A private key as PEM.

use keyfob_core::{Result, SecretValue, async_trait};

use super::signing::SigningKey;
use super::{aside, pem};
use crate::rotator::{Rotator, StepContext};

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// EdDSA over Curve25519 (RFC 8032).
    Ed25519,
    /// ECDSA over NIST's P-256.
    P256,
    /// ECDSA over NIST's P-384.
    P384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyKind {
    pub(super) const fn rsa_bytes(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(256),
            Self::Rsa3072 => Some(384),
            Self::Rsa4096 => Some(512),
            _ => None,
        }
    }
}

/// Makes private keys as PKCS #8 in PEM (`-----BEGIN PRIVATE KEY-----`), which hold the public key: `openssl pkey -pubout` shows it.
///
/// Nobody outside is told of a new key: who verifies with the public one has to get it, and during the grace period to take the one
/// of [`Rotation::previous`](crate::Rotation::previous) too. For tokens [`JwksRotator`](super::JwksRotator) keeps both in one secret.
///
/// Before a new key becomes current it signs something, and its public key verifies that.
#[derive(Debug, Clone, Copy)]
pub struct KeyPairRotator {
    kind: KeyKind,
}

impl KeyPairRotator {
    /// Keys of this kind.
    #[must_use]
    pub const fn new(kind: KeyKind) -> Self {
        Self { kind }
    }
}

#[async_trait]
impl Rotator for KeyPairRotator {
    fn kind(&self) -> &str {
        "key-pair"
    }

    async fn create(&self, _: &StepContext<'_>) -> Result<SecretValue> {
        let kind = self.kind;
        let der = aside(move || SigningKey::generate(kind)).await?;
        Ok(pem::encode(pem::PRIVATE_KEY, &der))
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let der = pem::decode(pem::PRIVATE_KEY, step.new_value()?.expose_str()?)?;
        SigningKey::parse(self.kind, &der)?.prove(step.id().as_bytes())
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
