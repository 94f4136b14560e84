//! A keyring: keys that data is encrypted with. The primary one encrypts, and all of them decrypt.

mod data_key;
mod reencrypt;

use std::num::NonZeroUsize;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use keyfob_core::{Error, ErrorKind, Result, SecretValue, async_trait};
use serde_json::Value;

pub use self::data_key::{DataKey, Keyring};
pub use self::reencrypt::{Portion, Reencrypt};
use crate::keys::set::{Key, Set};
use crate::keys::unusable;
use crate::progress::Progress;
use crate::random::{random_bytes, random_id};
use crate::rotator::{Rotator, StepContext};

/// What a data-encryption key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataAlgorithm {
    /// AES-128 in Galois/counter mode: `A128GCM` of RFC 7518.
    A128Gcm,
    /// AES-256 in Galois/counter mode: `A256GCM` of RFC 7518.
    A256Gcm,
    /// ChaCha20-Poly1305 of RFC 8439, called `C20P`.
    C20P,
}

impl DataAlgorithm {
    /// `alg` of a key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
            Self::C20P => "C20P",
        }
    }

    fn aead(self) -> &'static Algorithm {
        match self {
            Self::A128Gcm => &AES_128_GCM,
            Self::A256Gcm => &AES_256_GCM,
            Self::C20P => &CHACHA20_POLY1305,
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::A128Gcm, Self::A256Gcm, Self::C20P]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
    }
}

/// Rotates the keys that an application encrypts its data with, so that no record becomes unreadable.
///
/// The value is a JWK Set (RFC 7517) of symmetric keys, newest first:
///
/// ```json
/// {"keys": [
///   {"kty": "oct", "kid": "5f0e6a1c9d2b7f34", "alg": "A256GCM", "use": "enc", "created": "2026-11-30T16:00:00Z", "state": "primary", "k": "..."},
///   {"kty": "oct", "kid": "b1946ac92492d234", "alg": "A256GCM", "use": "enc", "created": "2026-08-01T16:00:00Z", "state": "readable", "k": "..."}
/// ]}
/// ```
///
/// The *primary* key encrypts; every key decrypts. An application keeps `kid` beside each record, and reads the keyring anew when
/// it meets a `kid` that is not in it. [`Keyring`] reads the document. A secret that is to begin with such a set holds `{"keys": []}`;
/// fields that nobody here knows stay as they are.
///
/// # A rotation
/// 1. `create` puts a new primary key in front of the others, all of which stay, as *readable*.
/// 2. `test` encrypts and decrypts something with it, and sees that no key of the old set is missing.
/// 3. Once the new set is current, `finish` has what [encrypts the data anew](Self::reencrypt) do so, portion by portion. After each
///    portion its [`Progress`] is in the journal: a run that is killed or takes too long is followed by one that goes on there.
/// 4. After the grace period, when every application has the new set, `revoke` has it done once more: for records that somebody
///    wrote meanwhile with the key from before.
/// 5. Keys are only ever taken out where [`keep`](Self::keep) says so, and then only those that whoever encrypts anew
///    [says](Reencrypt::unused) no record needs.
///
/// Before the new set is current a rotation can be taken back. Afterwards it can't: the old set lacks a key that data is encrypted
/// with already. A new rotation makes another key primary.
#[derive(Debug, Clone)]
pub struct KeyringRotator {
    algorithm: DataAlgorithm,
    reencrypt: Option<Arc<dyn Reencrypt>>,
    kept: Option<NonZeroUsize>,
}

impl KeyringRotator {
    /// New keys are for this algorithm. Data that there is stays encrypted with the key that it is encrypted with.
    #[must_use]
    pub const fn new(algorithm: DataAlgorithm) -> Self {
        Self {
            algorithm,
            reencrypt: None,
            kept: None,
        }
    }

    /// Has the data encrypted anew with each new key.
    #[must_use]
    pub fn reencrypt(mut self, reencrypt: Arc<dyn Reencrypt>) -> Self {
        self.reencrypt = Some(reencrypt);
        self
    }

    /// Keeps so many keys that are not primary, and takes out those before them that no record needs. Without it, the default, all stay
    /// for ever; so they do without [`reencrypt`](Self::reencrypt), when nobody can say what is needed.
    ///
    /// At least one stays: whoever read the keyring a while ago may still encrypt with it.
    #[must_use]
    pub const fn keep(mut self, count: NonZeroUsize) -> Self {
        self.kept = Some(count);
        self
    }

    /// Has everything encrypted anew that is not encrypted with the primary key, from where `stage` was.
    async fn work(&self, step: &StepContext<'_>, stage: &str) -> Result<()> {
        let Some(reencrypt) = &self.reencrypt else {
            return Ok(());
        };
        let mut progress = Progress::kept(step, stage);
        loop {
            match reencrypt.portion(step, &progress).await? {
                Portion::Last(all) => return all.keep(step, stage).await,
                Portion::More(further) if further == progress => {
                    return Err(unusable(
                        "the data is not encrypted anew: a portion ended where it began, and is not the last one",
                    ));
                }
                Portion::More(further) => {
                    further.keep(step, stage).await?;
                    progress = further;
                }
            }
        }
    }

    /// The ids of the keys that may go, if nobody needs them.
    fn surplus(&self, set: &Set) -> Vec<String> {
        let Some(kept) = self.kept else { return Vec::new() };
        let readable = set.0.iter().filter(|key| text(key, "state") != Some(PRIMARY));
        readable
            .skip(kept.get())
            .filter_map(|key| text(key, "kid").map(str::to_owned))
            .collect()
    }
}

const PRIMARY: &str = "primary";
const READABLE: &str = "readable";

#[async_trait]
impl Rotator for KeyringRotator {
    fn kind(&self) -> &str {
        "keyring"
    }

    async fn create(&self, step: &StepContext<'_>) -> Result<SecretValue> {
        let old = step.old_value()?;
        Keyring::parse(old)?;
        let mut set = Set::parse(old)?;
        for key in &mut set.0 {
            key.insert("state".to_owned(), Value::from(READABLE));
        }
        let created = Timestamp::try_from(step.started()).map_err(|_| unusable("the clock says an impossible time"))?;
        set.0.insert(0, generate(self.algorithm, created)?);
        set.text()
    }

    async fn set(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    async fn test(&self, step: &StepContext<'_>) -> Result<()> {
        let (old, new) = (Keyring::parse(step.old_value()?)?, Keyring::parse(step.new_value()?)?);
        if let Some(lost) = old.keys().iter().find(|key| !new.has(key)) {
            return Err(unusable("a key that data may be encrypted with is not in the new keyring").with("kid", lost.id.clone()));
        }
        prove(new.primary().ok_or_else(|| unusable("there is no key in the keyring"))?)
    }

    async fn finish(&self, step: &StepContext<'_>) -> Result<()> {
        self.work(step, "finish").await
    }

    async fn revoke(&self, step: &StepContext<'_>) -> Result<Option<SecretValue>> {
        let Some(reencrypt) = &self.reencrypt else {
            return Ok(None);
        };
        self.work(step, "revoke").await?;
        let mut current = Set::parse(step.new_value()?)?;
        let surplus = self.surplus(&current);
        if surplus.is_empty() {
            return Ok(None);
        }
        let mut unused = reencrypt.unused(step, &surplus).await?;
        unused.retain(|id| surplus.contains(id));
        if unused.len() < surplus.len() {
            tracing::warn!(
                target: "keyfob",
                name = step.name().as_str(),
                count = surplus.len() - unused.len(),
                "keys stay in a keyring for longer than was asked for, because data still needs them"
            );
        }
        if unused.is_empty() {
            return Ok(None);
        }
        current
            .0
            .retain(|key| text(key, "kid").is_none_or(|id| !unused.iter().any(|unused| unused == id)));
        current.text().map(Some)
    }

    async fn rollback(&self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }

    fn come_back(&self, _: &SecretValue, _: &SecretValue) -> Result<SecretValue> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "the keyring from before lacks the key that data is encrypted with now, so it does not come back",
        )
        .with_hint("rotate again: that makes another key primary, and every record stays readable"))
    }
}

fn text<'k>(key: &'k Key, field: &str) -> Option<&'k str> {
    key.get(field).and_then(Value::as_str)
}

/// A new primary key.
fn generate(algorithm: DataAlgorithm, created: Timestamp) -> Result<Key> {
    let bytes = random_bytes(algorithm.aead().key_len())?;
    let fields = [
        ("kty", "oct".to_owned()),
        // Random, because it stands in the open beside every record.
        ("kid", random_id()?),
        ("alg", algorithm.as_str().to_owned()),
        ("use", "enc".to_owned()),
        ("created", format!("{created:.0}")),
        ("state", PRIMARY.to_owned()),
        ("k", BASE64URL_NOPAD.encode(&bytes)),
    ];
    Ok(fields
        .into_iter()
        .map(|(name, field)| (name.to_owned(), Value::from(field)))
        .collect())
}

/// Proves that what the key encrypts it decrypts again.
fn prove(key: &DataKey) -> Result<()> {
    let wrong = || unusable("the primary key can't encrypt").with("kid", key.id.clone());
    let algorithm = DataAlgorithm::named(&key.algorithm)
        .ok_or_else(|| unusable("the primary key is for an algorithm that nobody here knows").with("kid", key.id.clone()))?;
    let sealing = || UnboundKey::new(algorithm.aead(), key.secret.expose_secret()).map(LessSafeKey::new);
    // Once, and of no use to anybody.
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut bytes = b"a record".to_vec();
    let sealed = sealing().and_then(|key| key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes));
    sealed.map_err(|_| wrong())?;
    let opening = sealing().map_err(|_| wrong())?;
    let opened = opening
        .open_in_place(nonce(), Aad::empty(), &mut bytes)
        .map_err(|_| wrong())?;
    match opened == b"a record" {
        true => Ok(()),
        false => Err(wrong()),
    }
}
