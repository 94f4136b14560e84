//! Where the key that protects a store comes from.

use std::fmt;

use async_trait::async_trait;
use keyfob_core::Result;
use zeroize::Zeroizing;

/// A key that protects a store's key-encryption keys, wherever it lives: in a file, in somebody's head, in a
/// service that never gives it out.
///
/// The wrapping happens at the source. It is asked once when a store is opened and when its key is changed, never
/// for single secrets.
///
/// `Debug` must not print key bytes.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Names this source in key slots and messages. Constant for the lifetime of the source, harmless to show.
    fn id(&self) -> &KeySourceId;

    /// Whether a slot that was made by the source `slot_source` (a [`KeySlot::source`](crate::KeySlot)) may be one
    /// that this source opens.
    ///
    /// For most sources that is equality with [`id`](Self::id). A passphrase fits every slot of a passphrase: which
    /// one it opens is only known by trying.
    fn fits(&self, slot_source: &str) -> bool;

    /// Encrypts a key so that only [`unwrap`](Self::unwrap) of the same source, with the same `context`, gets it back.
    ///
    /// # Errors
    /// Those of the place where the source lives.
    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>>;

    /// Decrypts what [`wrap`](Self::wrap) made.
    ///
    /// # Errors
    /// `Unauthenticated` when this source's key is another one, `Corrupt` when `wrapped` or `context` is not what it
    /// was; a source that can't tell the two apart says `Unauthenticated`.
    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>>;
}

/// The name of a [`KeySource`], for example `key:3f9ab2c4d5e6f708`: printable, stable, harmless to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySourceId(String);

impl KeySourceId {
    /// Takes a name of the form `kind:which`.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeySourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
