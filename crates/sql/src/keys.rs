//! The keys of an open store: the unlocked ones, and where to unlock others.

use std::sync::{Arc, PoisonError, RwLock};

use keyfob_core::{ErrorKind, Result};
use keyfob_envelope::{KeyEncryptionKey, KeySlot, KeySource};

use crate::key_config::KeyConfig;
use crate::keyring::Keyring;

/// What all handles of a store unlock with. A change of the key replaces both.
pub(crate) struct Keys {
    key: RwLock<KeyConfig>,
    ring: RwLock<Arc<Keyring>>,
}

impl Keys {
    pub(crate) fn new(key: KeyConfig, ring: Keyring) -> Self {
        Self {
            key: RwLock::new(key),
            ring: RwLock::new(Arc::new(ring)),
        }
    }

    pub(crate) fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_ring(&self, ring: Keyring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    pub(crate) fn source(&self) -> Result<Arc<dyn KeySource>> {
        self.key.read().unwrap_or_else(PoisonError::into_inner).source()
    }

    pub(crate) fn set_key(&self, key: KeyConfig) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// Reads the key and the slots again. False when that unlocks nothing that was not in `before`.
    pub(crate) async fn unlock_again<F>(&self, before: &Keyring, slots: impl Fn() -> F) -> Result<bool>
    where
        F: Future<Output = Result<Vec<KeySlot>>>,
    {
        let unlock = async || {
            let source = self.source()?;
            Keyring::unlock(&slots().await?, &*source, before.store).await
        };
        let ring = match unlock().await {
            // The change may have ended between the look at the key file and the one at the slots.
            Err(error) if error.kind() == ErrorKind::Unauthenticated => unlock().await?,
            ring => ring?,
        };
        let is_new = ring.keks().any(|kek| !before.has(kek.id()));
        self.set_ring(ring);
        Ok(is_new)
    }

    /// Keys that have no slot any more open nothing of this store, and are not kept.
    pub(crate) fn forget_without_slot(&self, slots: &[KeySlot]) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let has_slot = |kek: &KeyEncryptionKey| slots.iter().any(|slot| slot.kek == kek.id());
        let left: Vec<KeyEncryptionKey> = ring.keks().filter(|kek| has_slot(kek)).cloned().collect();
        if left.len() < ring.keks().count() && !left.is_empty() {
            *ring = Arc::new(Keyring::new(ring.store, left));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyfob_envelope::{RawKey, StoreId};

    use super::*;

    const STORE: StoreId = StoreId([1; 16]);

    #[tokio::test]
    async fn a_change_that_ends_between_the_key_file_and_the_slots_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let [file, new_file] = ["key", "new-key"].map(|name| directory.path().join(name));
        RawKey::create_file(&file).unwrap();
        RawKey::create_file(&new_file).unwrap();
        let [old, new] = [(); 2].map(|()| KeyEncryptionKey::generate().unwrap());
        let slots = vec![new.protect(&RawKey::from_file(&new_file).unwrap(), STORE).await.unwrap()];
        let before = Keyring::new(STORE, [old.clone()]);
        let keys = Keys::new(KeyConfig::File(file.clone()), Keyring::new(STORE, [old]));
        let looks = AtomicUsize::new(0);

        let is_new = keys.unlock_again(&before, async || {
            // The key file was read; now the change ends, and the slots are those of the new key.
            if looks.fetch_add(1, Ordering::SeqCst) == 0 {
                std::fs::rename(&new_file, &file).unwrap();
            }
            Ok(slots.clone())
        });
        assert!(is_new.await.unwrap());
        assert!(keys.ring().has(new.id()));
    }

    #[tokio::test]
    async fn a_key_that_opens_nothing_is_an_error_and_the_unlocked_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["key", "other"].map(|name| directory.path().join(name));
        RawKey::create_file(&file).unwrap();
        RawKey::create_file(&other).unwrap();
        let kek = KeyEncryptionKey::generate().unwrap();
        let slots = vec![kek.protect(&RawKey::from_file(&other).unwrap(), STORE).await.unwrap()];
        let keys = Keys::new(KeyConfig::File(file), Keyring::new(STORE, [kek.clone()]));
        let error = keys.unlock_again(&keys.ring(), async || Ok(slots.clone())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(keys.ring().has(kek.id()));
    }

    #[tokio::test]
    async fn only_keys_without_a_slot_are_forgotten() {
        let source = RawKey::generate().unwrap();
        let [old, new] = [(); 2].map(|()| KeyEncryptionKey::generate().unwrap());
        let slots = vec![new.protect(&source, STORE).await.unwrap()];
        let keys = Keys::new(
            KeyConfig::Source(Arc::new(source)),
            Keyring::new(STORE, [old.clone(), new.clone()]),
        );
        keys.forget_without_slot(&slots);
        assert!(keys.ring().has(new.id()) && !keys.ring().has(old.id()));
        keys.forget_without_slot(&[]);
        assert!(keys.ring().has(new.id()), "what reads the store is kept");
    }
}
