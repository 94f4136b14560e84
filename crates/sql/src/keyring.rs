//! The unlocked keys of a store.

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use keyfob_envelope::{Context, KekId, KeyEncryptionKey, KeySlot, KeySource, Sealed, StoreId, kek_of};
use zeroize::Zeroizing;

use crate::error::corrupt;
use crate::rows::{Digest, VersionRow};

/// How often a piece of work is done again because the key has changed under it.
pub(crate) const MAX_UNLOCKS: usize = 8;

/// The key-encryption keys of a store that could be unlocked: one, or several while the key is being changed.
pub(crate) struct Keyring {
    pub(crate) store: StoreId,
    keys: Vec<Key>,
}

/// A key-encryption key with what is derived from it.
pub(crate) struct Key {
    pub(crate) kek: KeyEncryptionKey,
    /// Authenticates the root.
    pub(crate) integrity: Zeroizing<Digest>,
    /// Authenticates the generation that is remembered outside the store.
    pub(crate) memory: Zeroizing<Digest>,
}

impl Keyring {
    pub(crate) fn new(store: StoreId, keks: impl IntoIterator<Item = KeyEncryptionKey>) -> Self {
        let keys = keks.into_iter().map(|kek| Key::new(kek, store)).collect();
        Self { store, keys }
    }

    /// The keys of a new store: a new key, and its slot for `source`.
    pub(crate) async fn generate(source: &dyn KeySource) -> Result<(Self, KekId, Vec<KeySlot>)> {
        let store = StoreId::generate()?;
        let kek = KeyEncryptionKey::generate()?;
        let slots = vec![kek.protect(source, store).await?];
        let id = kek.id();
        Ok((Self::new(store, [kek]), id, slots))
    }

    /// Unlocks every slot that fits `source`.
    pub(crate) async fn unlock(slots: &[KeySlot], source: &dyn KeySource, store: StoreId) -> Result<Self> {
        let keks = KeySlot::unlock_all(slots, source, store).await?;
        Ok(Self::new(store, keks))
    }

    pub(crate) fn has(&self, id: KekId) -> bool {
        self.keys.iter().any(|key| key.kek.id() == id)
    }

    /// The key with this id. `Unauthenticated` when it is not unlocked: then it may be worth looking at the slots again.
    pub(crate) fn key(&self, id: KekId) -> Result<&Key> {
        self.keys.iter().find(|key| key.kek.id() == id).ok_or_else(|| {
            Error::new(ErrorKind::Unauthenticated, "the store is locked with another key")
                .with("key", id.to_string())
                .with_hint("the key was changed, or the store was changed from outside: give the new key, or see `keyfob doctor`")
        })
    }

    pub(crate) fn keks(&self) -> impl Iterator<Item = &KeyEncryptionKey> {
        self.keys.iter().map(|key| &key.kek)
    }

    pub(crate) fn seal(&self, kek: KekId, name: &str, number: u64, facts: &[u8], value: &SecretValue) -> Result<Sealed> {
        self.key(kek)?.kek.seal(&self.context(name, number, facts), value)
    }

    pub(crate) fn open(&self, name: &str, row: &VersionRow<'_>, facts: &[u8]) -> Result<SecretValue> {
        let kek = self.owner_of(name, row.wrapped_key)?;
        let context = self.context(name, row.number, facts);
        kek.open(&context, row.wrapped_key, row.ciphertext)
            .map_err(|error| error.with("name", name).with("version", row.number.to_string()))
    }

    /// Wraps a data key again, by `new`.
    pub(crate) fn rewrap(&self, new: &KeyEncryptionKey, name: &str, number: u64, wrapped_key: &[u8]) -> Result<Vec<u8>> {
        self.owner_of(name, wrapped_key)?
            .rewrap(new, &self.context(name, number, &[]), wrapped_key)
            .map_err(|error| error.with("name", name).with("version", number.to_string()))
    }

    fn owner_of(&self, name: &str, wrapped_key: &[u8]) -> Result<&KeyEncryptionKey> {
        let id = kek_of(wrapped_key).map_err(|_| corrupt("the secret's data key is damaged").with("name", name))?;
        self.key(id).map(|key| &key.kek).map_err(|error| error.with("name", name))
    }

    fn context<'a>(&self, name: &'a str, version: u64, metadata: &'a [u8]) -> Context<'a> {
        Context {
            store: self.store,
            name,
            version,
            metadata,
        }
    }
}

impl Key {
    fn new(kek: KeyEncryptionKey, store: StoreId) -> Self {
        let integrity = kek.derive("keyfob-sql integrity", store);
        let memory = kek.derive("keyfob-sql generation", store);
        Self { kek, integrity, memory }
    }
}
