//! What an application reads of a keyring.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use keyfob_core::{Error, Result, SecretValue};

use super::{PRIMARY, READABLE, text};
use crate::keys::set::{Key, Set};
use crate::keys::unusable;

/// The keys of a secret that [`KeyringRotator`](super::KeyringRotator) rotates, for whoever encrypts and decrypts with them.
///
/// ```
/// use keyfob_core::SecretValue;
/// use keyfob_rotation::Keyring;
///
/// # fn decrypt(_: &keyfob_rotation::DataKey) {}
/// let value = SecretValue::from(
///     r#"{"keys": [{"kty": "oct", "kid": "5f0e6a1c", "alg": "A128GCM", "state": "primary", "k": "AAAAAAAAAAAAAAAAAAAAAA"}]}"#,
/// );
/// let keyring = Keyring::parse(&value)?;
/// let encrypts = keyring.primary().expect("a rotation has put a key in");
/// // Beside the record stands `encrypts.id`, by which it is decrypted later:
/// decrypt(keyring.key("5f0e6a1c").expect("else the keyring that was read is too old"));
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Keyring(Vec<DataKey>);

/// One key of a keyring.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataKey {
    /// `kid`: what stands beside each record.
    pub id: String,
    /// `alg`, for example `A256GCM`.
    pub algorithm: String,
    /// Whether it encrypts. There is one such key, unless there is none at all.
    pub is_primary: bool,
    /// The key itself.
    pub secret: SecretValue,
}

impl Keyring {
    /// Reads the value of a secret.
    ///
    /// # Errors
    /// `InvalidInput` for what is no keyring: a key without `kid`, `alg` or `k`, two of one `kid`, or keys of which not exactly one is primary.
    pub fn parse(value: &SecretValue) -> Result<Self> {
        let set = Set::parse(value).map_err(hinted)?;
        let keys: Vec<DataKey> = set.0.iter().map(DataKey::read).collect::<Result<_>>().map_err(hinted)?;
        let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        if ids.len() < keys.len() {
            return Err(unusable("two keys of the keyring have the same `kid`"));
        }
        let primaries = keys.iter().filter(|key| key.is_primary).count();
        match (keys.is_empty(), primaries) {
            (true, _) | (false, 1) => Ok(Self(keys)),
            _ => Err(unusable("of the keys in a keyring exactly one is primary")),
        }
    }

    /// The key to encrypt with. `None` before the first rotation.
    #[must_use]
    pub fn primary(&self) -> Option<&DataKey> {
        self.0.iter().find(|key| key.is_primary)
    }

    /// The key of this `kid`.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&DataKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All keys, as they stand in the secret: newest first.
    #[must_use]
    pub fn keys(&self) -> &[DataKey] {
        &self.0
    }

    /// Whether the same key is in here, in whatever state.
    pub(super) fn has(&self, key: &DataKey) -> bool {
        self.key(&key.id)
            .is_some_and(|own| own.algorithm == key.algorithm && own.secret.expose_secret() == key.secret.expose_secret())
    }
}

impl DataKey {
    fn read(key: &Key) -> Result<Self> {
        let field = |name: &str| text(key, name).filter(|text| !text.is_empty());
        let (Some("oct"), Some(id), Some(algorithm), Some(k)) = (field("kty"), field("kid"), field("alg"), field("k")) else {
            return Err(unusable("a key of the keyring lacks `kty` (`oct`), `kid`, `alg` or `k`"));
        };
        let is_primary = match field("state") {
            Some(PRIMARY) => true,
            Some(READABLE) => false,
            _ => return Err(unusable("`state` of a key is neither `primary` nor `readable`")),
        };
        let bytes = BASE64URL_NOPAD
            .decode(k.as_bytes())
            .map_err(|_| unusable("`k` of a key is not base64url without padding"))?;
        Ok(Self {
            id: id.to_owned(),
            algorithm: algorithm.to_owned(),
            is_primary,
            secret: SecretValue::new(bytes),
        })
    }
}

fn hinted(error: Error) -> Error {
    error.with_hint("a secret that is to be a keyring begins as `{\"keys\": []}`")
}
