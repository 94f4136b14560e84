//! A transit key as the key of an encrypted store: it never leaves the server.

use std::fmt;

use async_trait::async_trait;
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KeySource, KeySourceId};
use zeroize::Zeroizing;

use crate::transit::Transit;

/// A key of the transit engine as a [`KeySource`].
///
/// The server binds the context as associated data, so the key's type must be `aes128-gcm96`, `aes256-gcm96` or
/// `chacha20-poly1305`. Its id is `vault-transit:MOUNT/KEY`: the server's address is not part of it, because a server may move.
///
/// The token needs `update` on `MOUNT/encrypt/KEY` and `MOUNT/decrypt/KEY`; to open a store the second is enough.
///
/// In [`wrap`](KeySource::wrap) and [`unwrap`](KeySource::unwrap), `Unauthenticated` means only that the key does not
/// open the slot. A log-in that fails is `PermissionDenied`, and a missing key or mount is `InvalidConfig`: neither may
/// look like a key that does not fit, or like a secret that is not there.
pub struct TransitKeySource {
    id: KeySourceId,
    transit: Transit,
    key: String,
}

impl TransitKeySource {
    /// The word before `:` in the id.
    pub const KIND: &'static str = "vault-transit";

    /// The key `key`. Sends nothing.
    ///
    /// # Errors
    /// `InvalidConfig` when `key` can't be the name of a transit key.
    pub fn new(transit: Transit, key: &str) -> Result<Self> {
        let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
        if key.is_empty() || !key.chars().all(fits) || matches!(key, "." | "..") {
            return Err(
                Error::new(ErrorKind::InvalidConfig, "this can't be the name of a transit key")
                    .with("key", key.escape_debug().to_string())
                    .with_hint("a name has letters, digits, `_`, `-` and `.`; the mount follows it: `vault-transit:KEY@MOUNT`"),
            );
        }
        Ok(Self {
            id: KeySourceId::new(format!("{}:{}/{key}", Self::KIND, transit.mount())),
            transit,
            key: key.to_owned(),
        })
    }

    /// Why the source could not be asked, as a [`KeySource`] says it.
    fn unasked(&self, error: Error) -> Error {
        let kind = match error.kind() {
            ErrorKind::Unauthenticated => ErrorKind::PermissionDenied,
            ErrorKind::NotFound => ErrorKind::InvalidConfig,
            _ => return error.with("key_source", self.id.as_str()),
        };
        let moved = Error::new(kind, error.message().to_owned()).with("key_source", self.id.as_str());
        let moved = error.context().fold(moved, |moved, (name, value)| moved.with(name, value));
        match error.hint() {
            Some(hint) => moved.with_hint(hint.to_owned()),
            None => moved.with_hint("name the key as `vault-transit:KEY@MOUNT`; without a mount it is `transit`"),
        }
    }

    async fn open(&self, context: &[u8], ciphertext: &str) -> Result<Zeroizing<[u8; 32]>> {
        let plaintext = self.transit.decrypt(&self.key, ciphertext, context).await.map_err(|error| {
            if error.kind() != ErrorKind::Corrupt {
                return self.unasked(error);
            }
            // Another server's key, another store's slot and a changed slot look the same from here.
            Error::new(
                ErrorKind::Unauthenticated,
                "the transit key does not open the key slot: the server has another key of this name, or the slot was changed",
            )
            .with("key_source", self.id.as_str())
        })?;
        let mut key = Zeroizing::new([0; 32]);
        if plaintext.len() != key.len() {
            return Err(self.damaged());
        }
        key.copy_from_slice(plaintext.expose_secret());
        Ok(key)
    }

    fn damaged(&self) -> Error {
        Error::new(ErrorKind::Corrupt, "the key slot was changed or belongs to another store")
            .with("key_source", self.id.as_str())
            .with_hint("put back a backup of the store")
    }
}

#[async_trait]
impl KeySource for TransitKeySource {
    fn id(&self) -> &KeySourceId {
        &self.id
    }

    fn fits(&self, slot_source: &str) -> bool {
        slot_source == self.id.as_str()
    }

    /// Four requests, because a store that nobody can open again must not come about: first whether the key is there
    /// and the token may decrypt, at last whether what was made opens, and with this context alone.
    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>> {
        match self.transit.decrypt(&self.key, NO_CIPHERTEXT, context).await {
            // The key is there: otherwise encrypting could make one, which a mistyped name must not.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(self.unasked(error)),
            Ok(_) => return Err(self.unbound("opens what was never made")),
        }
        let encrypted = self.transit.encrypt(&self.key, key, context).await;
        let ciphertext = encrypted.map_err(|error| self.unasked(error))?;
        if *self.open(context, &ciphertext).await? != *key {
            return Err(self.unbound("gives back another key"));
        }
        let other = [context, b"\0"].concat();
        match self.transit.decrypt(&self.key, &ciphertext, &other).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(self.unasked(error)),
            // Vault before 1.9 does not know associated data, and says nothing.
            Ok(_) => return Err(self.unbound("does not bind associated data")),
        }
        Ok([&HEADER, ciphertext.as_bytes()].concat())
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let ciphertext = wrapped.strip_prefix(&HEADER).ok_or_else(|| self.damaged())?;
        let ciphertext = std::str::from_utf8(ciphertext).map_err(|_| self.damaged())?;
        self.open(context, ciphertext).await
    }
}

impl TransitKeySource {
    fn unbound(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("the server's transit engine {what}"))
            .with("key_source", self.id.as_str())
            .with_hint("Vault 1.9 and newer and OpenBao can protect a store")
    }
}

impl fmt::Debug for TransitKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitKeySource({})", self.id)
    }
}

/// Version 1, wrapped by a transit key; the server's text follows.
const HEADER: [u8; 2] = [1, 3];

/// Has the form of a ciphertext and is none.
const NO_CIPHERTEXT: &str = "vault:v1:AAAA";
