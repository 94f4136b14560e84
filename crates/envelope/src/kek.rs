//! The key-encryption key: seals and opens values under data keys of their own.

use std::fmt;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result, SecretValue};
use zeroize::Zeroizing;

use crate::context::{AssociatedData, Context, slot_context};
use crate::crypto::{self, Cipher, KeyBytes, NONCE};
use crate::ids::{KekId, StoreId};
use crate::sealed::{FORMAT, Sealed, WrappedKey, check_ciphertext};
use crate::slot::KeySlot;
use crate::source::KeySource;

/// A random key that encrypts the data keys of a store's values.
///
/// Cheap to clone; wiped when the last clone goes. `Debug` shows the id. The key itself leaves only through
/// [`protect`](Self::protect), encrypted.
///
/// One key seals at most 2³² values, re-wrapped data keys included: the nonces are random. `FORMAT.md` says why.
#[derive(Clone)]
pub struct KeyEncryptionKey(Arc<Inner>);

struct Inner {
    id: KekId,
    secret: KeyBytes,
    /// Of the key that is derived from `secret` for wrapping. Expanded once: a read then pays for the data key only.
    wrapping: Cipher,
}

impl KeyEncryptionKey {
    /// A new random key with a new random id.
    ///
    /// # Errors
    /// `Unavailable` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        Ok(Self::new(KekId::generate()?, crypto::random_secret()?))
    }

    pub(crate) fn new(id: KekId, secret: KeyBytes) -> Self {
        let wrapping = crypto::cipher(&crypto::derive_key(&secret, &[b"keyfob/1 wrap data keys"]));
        Self(Arc::new(Inner { id, secret, wrapping }))
    }

    /// Names this key in what it wrapped.
    #[must_use]
    pub fn id(&self) -> KekId {
        self.0.id
    }

    /// Encrypts a value under a new random data key, and the data key under this key.
    ///
    /// # Errors
    /// `InvalidInput` for a value of 64 GiB or more, `Unavailable` when the operating system gives no random bytes.
    pub fn seal(&self, context: &Context<'_>, value: &SecretValue) -> Result<Sealed> {
        self.seal_with(context, value, &Fresh::generate()?)
    }

    /// Decrypts a value.
    ///
    /// # Errors
    /// `Corrupt` when one of the parts or of the context is not what it was when the value was sealed, or when
    /// another key wrapped the data key ([`kek_of`](crate::kek_of) says which).
    pub fn open(&self, context: &Context<'_>, wrapped_key: &[u8], ciphertext: &[u8]) -> Result<SecretValue> {
        let mut associated = context.associated_data(FORMAT);
        let data_key = self.unwrap_data_key(context, &mut associated, wrapped_key)?;
        let length = check_ciphertext(ciphertext).map_err(|error| located(error, context))?;
        // Exactly as long as the value: a vector that grew would leave a copy behind.
        let mut value = vec![0; length];
        crypto::decrypt(&crypto::cipher(&data_key), associated.of_value(), ciphertext, &mut value)
            .map_err(|_| tampered("the encrypted value or its metadata was changed", context))?;
        Ok(SecretValue::new(value))
    }

    /// Wraps a data key by `new` instead of by this key. The ciphertext stays as it is, and is not looked at.
    ///
    /// Of the context, `metadata` plays no part and may be empty: it is bound to the ciphertext.
    ///
    /// # Errors
    /// `Corrupt` as for [`open`](Self::open), `Unavailable` when the operating system gives no random bytes.
    pub fn rewrap(&self, new: &Self, context: &Context<'_>, wrapped_key: &[u8]) -> Result<Vec<u8>> {
        let mut associated = context.associated_data(FORMAT);
        let data_key = self.unwrap_data_key(context, &mut associated, wrapped_key)?;
        Ok(new.wrap_data_key(&mut associated, &crypto::random()?, &data_key))
    }

    /// Derives a key for another purpose (HKDF-SHA256). The same key, purpose and store always give the same bytes;
    /// different ones give unrelated bytes, which tell nothing about this key.
    #[must_use]
    pub fn derive(&self, purpose: &str, store: StoreId) -> Zeroizing<[u8; 32]> {
        let info: [&[u8]; 4] = [
            b"keyfob/1 purpose",
            self.0.id.as_bytes(),
            store.as_bytes(),
            purpose.as_bytes(),
        ];
        crypto::derive_key(&self.0.secret, &info)
    }

    /// The key-encryption key that everybody who has this one gets for the same purpose and store: for what is encrypted by
    /// many and has no place for a slot, in parts small enough for the number of values that one key may seal.
    #[must_use]
    pub fn child(&self, purpose: &str, store: StoreId) -> Self {
        let derive = |what: &[u8]| {
            let info = [what, self.0.id.as_bytes(), store.as_bytes(), purpose.as_bytes()];
            crypto::derive_key(&self.0.secret, &info)
        };
        let mut id = [0; 16];
        id.copy_from_slice(&derive(b"keyfob/1 child id")[..16]);
        Self::new(KekId(id), derive(b"keyfob/1 child key"))
    }

    /// Has this key wrapped by `source`, for `store` alone.
    ///
    /// # Errors
    /// Those of [`KeySource::wrap`].
    pub async fn protect(&self, source: &dyn KeySource, store: StoreId) -> Result<KeySlot> {
        let name = source.id().as_str().to_owned();
        let context = slot_context(store, self.0.id, &name);
        let wrapped = source.wrap(&context, &self.0.secret).await?;
        Ok(KeySlot {
            kek: self.0.id,
            source: name,
            wrapped,
        })
    }

    pub(crate) fn seal_with(&self, context: &Context<'_>, value: &SecretValue, fresh: &Fresh) -> Result<Sealed> {
        let mut associated = context.associated_data(FORMAT);
        let mut ciphertext = Vec::new();
        crypto::encrypt(
            &crypto::cipher(&fresh.data_key),
            &fresh.value_nonce,
            associated.of_value(),
            value.expose_secret(),
            &mut ciphertext,
        )
        .map_err(|_| {
            located(
                Error::new(ErrorKind::InvalidInput, "a value must be shorter than 64 GiB"),
                context,
            )
        })?;
        let wrapped_key = self.wrap_data_key(&mut associated, &fresh.key_nonce, &fresh.data_key);
        Ok(Sealed { wrapped_key, ciphertext })
    }

    fn wrap_data_key(&self, associated: &mut AssociatedData<'_>, nonce: &[u8; NONCE], data_key: &KeyBytes) -> Vec<u8> {
        let mut wrapped = WrappedKey::header(self.0.id);
        let associated = associated.of_data_key(self.0.id);
        crypto::encrypt_key(&self.0.wrapping, nonce, associated, data_key, &mut wrapped);
        wrapped
    }

    fn unwrap_data_key(
        &self,
        context: &Context<'_>,
        associated: &mut AssociatedData<'_>,
        wrapped_key: &[u8],
    ) -> Result<KeyBytes> {
        let wrapped = WrappedKey::parse(wrapped_key).map_err(|error| located(error, context))?;
        if wrapped.kek != self.0.id {
            return Err(tampered("the data key was wrapped by another key", context)
                .with("wrapped_by", wrapped.kek.to_string())
                .with("tried", self.0.id.to_string()));
        }
        crypto::decrypt_key(&self.0.wrapping, associated.of_data_key(self.0.id), wrapped.encrypted)
            .map_err(|_| tampered("the data key was changed or belongs to another value", context))
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEncryptionKey({}, [REDACTED])", self.0.id)
    }
}

/// What must be new and random for every sealed value.
pub(crate) struct Fresh {
    pub(crate) data_key: KeyBytes,
    pub(crate) key_nonce: [u8; NONCE],
    pub(crate) value_nonce: [u8; NONCE],
}

impl Fresh {
    fn generate() -> Result<Self> {
        Ok(Self {
            data_key: crypto::random_secret()?,
            key_nonce: crypto::random()?,
            value_nonce: crypto::random()?,
        })
    }
}

fn located(error: Error, context: &Context<'_>) -> Error {
    error.with("name", context.name).with("version", context.version.to_string())
}

fn tampered(message: &'static str, context: &Context<'_>) -> Error {
    located(Error::new(ErrorKind::Corrupt, message), context)
        .with_hint("the stored data is damaged or was tampered with: put back a backup, or set this secret anew")
}
