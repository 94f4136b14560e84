//! Signatures and HMACs of the transit engine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyfob_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Transit;

/// How a signature is made. Ed25519 knows no choices and ignores both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignOptions {
    /// What the input is hashed with.
    pub hash: HashAlgorithm,
    /// How RSA pads; other keys ignore it.
    pub padding: RsaPadding,
}

/// A hash of the SHA-2 family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How RSA pads what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RsaPadding {
    /// RSASSA-PSS.
    #[default]
    Pss,
    /// RSASSA-PKCS1-v1_5, for those who can verify nothing else.
    Pkcs1v15,
}

impl Transit {
    /// Signs `input` with the newest version of a key, and gives the server's text, `vault:v1:...`.
    ///
    /// # Errors
    /// `Unsupported` when the key's type can't sign.
    pub async fn sign(&self, key: &str, input: &[u8], options: &SignOptions) -> Result<String> {
        let input = encoded(input);
        let body = options.body(&input, None);
        let answer = self.post("sign", key, &body).await?;
        answer.data::<WithSignature>().map(|data| data.signature)
    }

    /// Whether `signature` is one of `input` by a version of the key that still verifies, made with the same options. A
    /// text that can't be a signature is none: `false`, not an error.
    ///
    /// # Errors
    /// `Unsupported` when the key's type can't verify, `PermissionDenied` also when the key's `min_decryption_version`
    /// does not allow the version any more, `InvalidInput` when the signature names a version that the key does not have.
    pub async fn verify(&self, key: &str, input: &[u8], signature: &str, options: &SignOptions) -> Result<bool> {
        if !looks_like_output(signature) {
            return Ok(false);
        }
        let input = encoded(input);
        let body = options.body(&input, Some(signature));
        match self.post("verify", key, &body).await {
            Ok(answer) => answer.data::<WithValid>().map(|data| data.valid),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The HMAC of `input` by the newest version of a key of any type, in the server's text, `vault:v1:...`.
    ///
    /// # Errors
    /// Those that every method has.
    pub async fn hmac(&self, key: &str, input: &[u8], hash: HashAlgorithm) -> Result<String> {
        let input = encoded(input);
        let body = HmacBody {
            input: &input,
            algorithm: hash.as_str(),
            hmac: None,
        };
        let answer = self.post("hmac", key, &body).await?;
        answer.data::<WithHmac>().map(|data| data.hmac)
    }

    /// Whether `hmac` is the one of `input`. The server compares.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    pub async fn verify_hmac(&self, key: &str, input: &[u8], hmac: &str, hash: HashAlgorithm) -> Result<bool> {
        if !looks_like_output(hmac) {
            return Ok(false);
        }
        let input = encoded(input);
        let body = HmacBody {
            input: &input,
            algorithm: hash.as_str(),
            hmac: Some(hmac),
        };
        let answer = self.post("verify", key, &body).await?;
        answer.data::<WithValid>().map(|data| data.valid)
    }
}

impl SignOptions {
    fn body<'a>(&self, input: &'a str, signature: Option<&'a str>) -> SignBody<'a> {
        SignBody {
            input,
            hash_algorithm: self.hash.as_str(),
            signature_algorithm: match self.padding {
                RsaPadding::Pss => "pss",
                RsaPadding::Pkcs1v15 => "pkcs1v15",
            },
            signature,
        }
    }
}

impl HashAlgorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha2-256",
            Self::Sha384 => "sha2-384",
            Self::Sha512 => "sha2-512",
        }
    }
}

#[derive(Serialize)]
struct SignBody<'a> {
    input: &'a str,
    hash_algorithm: &'static str,
    signature_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

#[derive(Serialize)]
struct HmacBody<'a> {
    input: &'a str,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac: Option<&'a str>,
}

#[derive(Deserialize)]
struct WithSignature {
    signature: String,
}

#[derive(Deserialize)]
struct WithHmac {
    hmac: String,
}

#[derive(Deserialize)]
struct WithValid {
    valid: bool,
}

/// What is signed may be secret.
fn encoded(input: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(input))
}

/// `vault:v`, a number, `:`, base64. The server calls anything else a wrong request.
fn looks_like_output(text: &str) -> bool {
    let Some((version, base64)) = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    version.parse::<u32>().is_ok() && STANDARD.decode(base64).is_ok()
}
