//! A private key that can sign.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, ED25519,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::pair::KeyKind;
use super::unusable;

/// A private key, read from PKCS #8.
pub(super) enum SigningKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// A new key, as PKCS #8 version 1, which everybody reads.
    pub(super) fn generate(kind: KeyKind) -> Result<Zeroizing<Vec<u8>>> {
        let random = SystemRandom::new();
        let rsa = |size| {
            let pair = RsaKeyPair::generate(size)?;
            let der: Pkcs8V1Der<'_> = pair.as_der()?;
            Ok(Zeroizing::new(der.as_ref().to_vec()))
        };
        let document = |document: aws_lc_rs::pkcs8::Document| Zeroizing::new(document.as_ref().to_vec());
        let made = match kind {
            KeyKind::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random).map(document),
            KeyKind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map(document),
            KeyKind::P384 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random).map(document),
            KeyKind::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyKind::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyKind::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        made.map_err(failed)
    }

    /// # Errors
    /// `InvalidInput` for what is no key of this kind.
    pub(super) fn parse(kind: KeyKind, pkcs8: &[u8]) -> Result<Self> {
        let key = match kind {
            KeyKind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Self::Ed25519),
            KeyKind::P256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map(Self::P256),
            KeyKind::P384 => EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8).map(Self::P384),
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => RsaKeyPair::from_pkcs8(pkcs8).map(Self::Rsa),
        };
        let key = key.map_err(|_| unusable("the private key is not one of the kind that is rotated"))?;
        match (&key, kind.rsa_bytes()) {
            (Self::Rsa(pair), Some(bytes)) if pair.public_modulus_len() != bytes => {
                Err(unusable("the RSA key has not the length that is rotated"))
            }
            _ => Ok(key),
        }
    }

    /// The public key as `SubjectPublicKeyInfo`.
    pub(super) fn public(&self) -> Result<Vec<u8>> {
        let der: Result<PublicKeyX509Der<'_>, _> = match self {
            Self::Ed25519(pair) => pair.public_key().as_der(),
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_der(),
            Self::Rsa(pair) => pair.public_key().as_der(),
        };
        der.map(|der| der.as_ref().to_vec()).map_err(failed)
    }

    /// A signature as certificates have it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) | Self::P384(pair) => {
                let signature = pair.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// Whether this is a signature of the key, by its public part.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, public): (&'static dyn VerificationAlgorithm, &[u8]) = match self {
            Self::Ed25519(pair) => (&ED25519, pair.public_key().as_ref()),
            Self::P256(pair) => (&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref()),
            Self::P384(pair) => (&ECDSA_P384_SHA384_ASN1, pair.public_key().as_ref()),
            Self::Rsa(pair) => (&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref()),
        };
        UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
    }

    /// Proves that what the key signs is verified with its public part.
    pub(super) fn prove(&self, message: &[u8]) -> Result<()> {
        match self.verifies(message, &self.sign(message)?) {
            true => Ok(()),
            false => Err(unusable("what the key signs is not verified with its public part")),
        }
    }
}

pub(super) fn failed(_: aws_lc_rs::error::Unspecified) -> Error {
    Error::new(ErrorKind::Other, "a key could not be made or used")
}
