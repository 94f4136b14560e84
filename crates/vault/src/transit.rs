//! The transit engine: keys that encrypt and sign without leaving the server.

mod keys;
mod refusals;
mod signing;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

pub use self::keys::{TransitKey, TransitKeyType};
use self::refusals::REFUSALS;
pub use self::signing::{HashAlgorithm, RsaPadding, SignOptions};
use crate::client::{Answer, ApiPath, Call, Vault};

/// One mount of the transit engine. Cheap to clone.
///
/// Names of keys are one path segment. Every method fails with `NotFound` when there is no such key or no such mount,
/// unless it says otherwise, with `PermissionDenied` when no policy of the token allows it, and with what any request
/// can fail with. Nothing is asked twice.
///
/// Associated data is not secret and not kept in the ciphertext: who decrypts gives the same bytes again. Empty
/// associated data is none.
#[derive(Clone)]
pub struct Transit {
    vault: Vault,
    mount: String,
}

impl Transit {
    /// Where the engine is mounted by default.
    pub const DEFAULT_MOUNT: &'static str = "transit";

    /// The engine at `mount`. Sends nothing.
    ///
    /// # Errors
    /// `InvalidInput` when `mount` can't be a path.
    pub fn new(vault: Vault, mount: &str) -> Result<Self> {
        ApiPath::parse(mount)?;
        Ok(Self {
            vault,
            mount: mount.to_owned(),
        })
    }

    /// The path of the mount.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// Encrypts with the newest version of a key, and gives the server's text, `vault:v1:...`.
    ///
    /// A server whose policy lets the token *create* below `encrypt/` makes a missing key: allow `update` only. It then
    /// says `PermissionDenied` when there is none.
    ///
    /// # Errors
    /// `Unsupported` when the key's type can't encrypt, or can't bind associated data.
    pub async fn encrypt(&self, key: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<String> {
        let plaintext = Zeroizing::new(STANDARD.encode(plaintext));
        let body = EncryptBody {
            plaintext: &plaintext,
            associated_data: &STANDARD.encode(associated_data),
        };
        let answer = self.post("encrypt", key, &body).await?;
        answer.data::<WithCiphertext>().map(|data| data.ciphertext)
    }

    /// Decrypts what [`encrypt`](Self::encrypt) gave.
    ///
    /// # Errors
    /// - `Corrupt` when the ciphertext was changed, is of another key, or was made with other associated data. The
    ///   server does not tell these apart.
    /// - `PermissionDenied` also when the key's `min_decryption_version` does not allow the version any more.
    pub async fn decrypt(&self, key: &str, ciphertext: &str, associated_data: &[u8]) -> Result<SecretValue> {
        let body = CiphertextBody {
            ciphertext,
            associated_data: &STANDARD.encode(associated_data),
        };
        let answer = self.post("decrypt", key, &body).await?;
        let data = answer.data::<WithPlaintext>()?;
        let bytes = STANDARD.decode(data.plaintext.as_bytes());
        // The decoder's words could quote the text.
        let bytes = bytes.map_err(|_| answer.error(ErrorKind::Other, "the server's answer is not of the expected shape"))?;
        Ok(SecretValue::new(bytes))
    }

    /// Encrypts a ciphertext again, with the newest version of its key. The plaintext stays on the server.
    ///
    /// The server can't do so where there is associated data: decrypt and encrypt again.
    ///
    /// # Errors
    /// Those of [`decrypt`](Self::decrypt); `Corrupt` also when the ciphertext has associated data.
    pub async fn rewrap(&self, key: &str, ciphertext: &str) -> Result<String> {
        let body = CiphertextBody {
            ciphertext,
            associated_data: "",
        };
        let answer = self.post("rewrap", key, &body).await?;
        answer.data::<WithCiphertext>().map(|data| data.ciphertext)
    }

    /// Posts something that changes nothing on the server.
    async fn post(&self, verb: &'static str, key: &str, body: &impl Serialize) -> Result<Answer> {
        let path = self.path(verb, key)?;
        let call = Call::post(&path).body(body)?.reads_only().refusals(REFUSALS);
        self.vault.request(call).await
    }

    fn path(&self, verb: &'static str, key: &str) -> Result<ApiPath> {
        if key.contains('/') {
            return Err(
                Error::new(ErrorKind::InvalidInput, "the name of a transit key has no `/`").with("mount", self.mount.clone())
            );
        }
        ApiPath::parse(&self.mount)?.join(verb)?.join(key)
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit")
            .field("vault", &self.vault)
            .field("mount", &self.mount)
            .finish()
    }
}

#[derive(Serialize)]
struct EncryptBody<'a> {
    plaintext: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    associated_data: &'a str,
}

#[derive(Serialize)]
struct CiphertextBody<'a> {
    ciphertext: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct WithCiphertext {
    ciphertext: String,
}

#[derive(Deserialize)]
struct WithPlaintext {
    #[serde(deserialize_with = "wiped")]
    plaintext: Zeroizing<String>,
}

fn wiped<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
