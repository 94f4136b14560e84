//! The keys of the transit engine.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Transit;
use super::refusals::REFUSALS;
use crate::client::{Answer, Call};

/// A kind of key that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitKeyType {
    /// AES-128-GCM, encrypts and binds associated data.
    Aes128Gcm96,
    /// AES-256-GCM, encrypts and binds associated data. The server's default.
    Aes256Gcm96,
    /// ChaCha20-Poly1305, encrypts and binds associated data.
    ChaCha20Poly1305,
    /// Ed25519, signs.
    Ed25519,
    /// ECDSA on P-256, signs.
    EcdsaP256,
    /// ECDSA on P-384, signs.
    EcdsaP384,
    /// ECDSA on P-521, signs.
    EcdsaP521,
    /// RSA with 2048 bits, encrypts and signs.
    Rsa2048,
    /// RSA with 3072 bits, encrypts and signs.
    Rsa3072,
    /// RSA with 4096 bits, encrypts and signs.
    Rsa4096,
}

impl TransitKeyType {
    /// The server's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes128Gcm96 => "aes128-gcm96",
            Self::Aes256Gcm96 => "aes256-gcm96",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

/// What the server says about a key. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransitKey {
    /// Its type in the server's word, for example `aes256-gcm96`; it may be none of [`TransitKeyType`].
    pub key_type: String,
    /// The version that encrypts and signs, counted from 1.
    pub latest_version: u64,
    /// The oldest version that decrypts and verifies.
    pub min_decryption_version: u64,
    /// The versions that the server still uses, in order.
    pub versions: Vec<u64>,
    /// Whether the key can leave the server.
    pub exportable: bool,
    /// Whether the key can be deleted.
    pub deletion_allowed: bool,
}

impl Transit {
    /// Makes a key. One that exists with this type is left as it is.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a key of this name and another type.
    pub async fn create_key(&self, key: &str, key_type: TransitKeyType) -> Result<TransitKey> {
        #[derive(Serialize)]
        struct Body {
            r#type: &'static str,
        }
        let path = self.path("keys", key)?;
        let body = Body {
            r#type: key_type.as_str(),
        };
        // Repeated, it changes nothing: but whether the key was made is unknown when the answer is lost.
        let answer = self.vault.request(Call::post(&path).body(&body)?.refusals(REFUSALS)).await?;
        written(&answer)?;
        let made = self.key(key).await?;
        if made.key_type != key_type.as_str() {
            let error = Error::new(
                ErrorKind::AlreadyExists,
                "there is a transit key of this name and another type",
            );
            return Err(error.with("key", key).with("type", made.key_type));
        }
        Ok(made)
    }

    /// What the server says about a key.
    ///
    /// # Errors
    /// `NotFound`, and what any request can fail with.
    pub async fn key(&self, key: &str) -> Result<TransitKey> {
        #[derive(Deserialize)]
        struct Data {
            r#type: String,
            latest_version: u64,
            min_decryption_version: u64,
            keys: BTreeMap<String, IgnoredAny>,
            exportable: bool,
            deletion_allowed: bool,
        }
        let path = self.path("keys", key)?;
        let answer = self.vault.request(Call::get(&path).refusals(REFUSALS)).await?;
        let data: Data = answer.data()?;
        let mut versions: Vec<u64> = data.keys.keys().filter_map(|version| version.parse().ok()).collect();
        versions.sort_unstable();
        Ok(TransitKey {
            key_type: data.r#type,
            latest_version: data.latest_version,
            min_decryption_version: data.min_decryption_version,
            versions,
            exportable: data.exportable,
            deletion_allowed: data.deletion_allowed,
        })
    }

    /// Adds a version to a key. Older versions decrypt and verify as before; [`rewrap`](Self::rewrap) brings a
    /// ciphertext to the newest.
    ///
    /// # Errors
    /// `Timeout` when the answer was lost: the version may be there.
    pub async fn rotate_key(&self, key: &str) -> Result<()> {
        let path = self.path("keys", key)?.join("rotate")?;
        let answer = self.vault.request(Call::post(&path).refusals(REFUSALS)).await?;
        written(&answer)
    }

    /// Says which versions still decrypt and verify: `version` and newer. Can be taken back.
    ///
    /// # Errors
    /// `InvalidInput` when the key has no such version.
    pub async fn set_min_decryption_version(&self, key: &str, version: u64) -> Result<()> {
        #[derive(Serialize)]
        struct Body {
            min_decryption_version: u64,
        }
        let path = self.path("keys", key)?.join("config")?;
        let body = Body {
            min_decryption_version: version,
        };
        let call = Call::post(&path).body(&body)?.refusals(REFUSALS);
        let answer = self.vault.request(call).await?;
        written(&answer)
    }
}

/// An answer to a write may be empty, and says then whether there was something to write to.
fn written(answer: &Answer) -> Result<()> {
    if answer.is_missing() {
        return Err(answer.error(ErrorKind::NotFound, "there is no transit engine at this path"));
    }
    Ok(())
}
