//! A key-encryption key, wrapped by a key source.

use std::fmt;

use keyfob_core::{Error, ErrorKind, Result};

use crate::context::slot_context;
use crate::ids::{KekId, StoreId};
use crate::kek::KeyEncryptionKey;
use crate::source::KeySource;

/// One key-encryption key, wrapped by one key source. A store keeps its slots beside its data; nothing in them is
/// secret.
///
/// Whoever has the source's key opens the slot, and through it everything that the key in it wrapped. A store may have
/// several slots for one key (several people, or the old and the new key during a change) and several keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Which key is in it.
    pub kek: KekId,
    /// The [id](KeySource::id) of the source that wrapped it. Ask [`KeySource::fits`] whether a source may open it:
    /// equality is too strict for passphrases.
    pub source: String,
    /// What the source made of the key.
    pub wrapped: Vec<u8>,
}

impl KeySlot {
    /// The most slots that [`unlock_all`](Self::unlock_all) takes: each may cost a computation that is slow on
    /// purpose, or a call to a service.
    pub const MAX: usize = 64;

    /// Takes the key out.
    ///
    /// # Errors
    /// `Unauthenticated` when the source's key is not the one that made this slot, `Corrupt` when the slot was
    /// changed or belongs to another store, and those of [`KeySource::unwrap`].
    pub async fn unlock(&self, source: &dyn KeySource, store: StoreId) -> Result<KeyEncryptionKey> {
        if !source.fits(&self.source) {
            return Err(does_not_fit(std::slice::from_ref(self), source));
        }
        let context = slot_context(store, self.kek, &self.source);
        let secret = source.unwrap(&context, &self.wrapped).await?;
        Ok(KeyEncryptionKey::new(self.kek, secret))
    }

    /// Takes the keys out of all slots that `source` opens: at least one key, each key once, in the order of the slots.
    ///
    /// # Errors
    /// `Unauthenticated` when the source opens none of the slots, `Corrupt` when a slot that fits it was changed or
    /// there are more than [`MAX`](Self::MAX), and those of [`KeySource::unwrap`].
    pub async fn unlock_all(slots: &[Self], source: &dyn KeySource, store: StoreId) -> Result<Vec<KeyEncryptionKey>> {
        if slots.len() > Self::MAX {
            let message = format!("the store has {} key slots, more than {}", slots.len(), Self::MAX);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut keys: Vec<KeyEncryptionKey> = Vec::new();
        let mut refusal = None;
        for slot in slots.iter().filter(|slot| source.fits(&slot.source)) {
            if keys.iter().any(|key| key.id() == slot.kek) {
                continue;
            }
            match slot.unlock(source, store).await {
                Ok(key) => keys.push(key),
                // Another passphrase's slot, or a service has another key of the same name.
                Err(error) if error.kind() == ErrorKind::Unauthenticated => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        if keys.is_empty() {
            let error = does_not_fit(slots, source);
            return Err(match refusal {
                Some(refusal) => error.with_source(refusal),
                None => error,
            });
        }
        Ok(keys)
    }
}

impl fmt::Debug for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySlot")
            .field("kek", &self.kek)
            .field("source", &self.source)
            .field("wrapped_bytes", &self.wrapped.len())
            .finish()
    }
}

fn does_not_fit(slots: &[KeySlot], source: &dyn KeySource) -> Error {
    let mut makers: Vec<String> = slots.iter().map(|slot| slot.source.escape_debug().to_string()).collect();
    makers.sort_unstable();
    makers.dedup();
    let error = Error::new(ErrorKind::Unauthenticated, "the key does not fit this store").with("key", source.id().as_str());
    if makers.is_empty() {
        return error.with_hint("the store has no key slot at all: it is not complete, put back a backup");
    }
    error
        .with("protected_by", makers.join(" "))
        .with_hint("use the key that the store was made with or that it was last changed to")
}
