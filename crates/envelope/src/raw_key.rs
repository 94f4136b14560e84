//! A key source that is 32 bytes: from a key file, or from text such as `KEYFOB_KEY`.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER_PERMISSIVE};
use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::crypto::{self, Cipher, ENCRYPTED_KEY, KeyBytes, NONCE};
use crate::ids::KekId;
use crate::kek::KeyEncryptionKey;
use crate::key_file;
use crate::source::{KeySource, KeySourceId};

/// A key of 32 random bytes.
///
/// Its id is `key:` and a fingerprint, the same wherever the bytes come from: a key can move from a file to
/// `KEYFOB_KEY` and goes on working. The fingerprint tells nothing about a random key.
///
/// `Debug` shows the id.
pub struct RawKey {
    id: KeySourceId,
    wrapping: Box<Cipher>,
    shared: KeyBytes,
}

impl RawKey {
    /// Takes the bytes. They must be random: nothing slows down guessing them.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let fingerprint = crypto::derive_key(key, &[b"keyfob/1 raw key id"]);
        let mut id = "key:".to_owned();
        HEXLOWER_PERMISSIVE.encode_append(&fingerprint[..8], &mut id);
        Self {
            id: KeySourceId::new(id),
            wrapping: Box::new(crypto::cipher(&crypto::derive_key(key, &[b"keyfob/1 raw key wrap"]))),
            shared: crypto::derive_key(key, &[b"keyfob/1 raw key shared"]),
        }
    }

    /// The key-encryption key that everybody who has this key gets, without a slot. It can't be changed to another key, so
    /// it is for what is short-lived and shared: seal with a [`child`](KeyEncryptionKey::child) of it.
    #[must_use]
    pub fn shared_key(&self) -> KeyEncryptionKey {
        let mut id = [0; 16];
        id.copy_from_slice(&crypto::derive_key(&self.shared, &[b"keyfob/1 shared key id"])[..16]);
        KeyEncryptionKey::new(KekId(id), self.shared.clone())
    }

    /// A new random key, kept nowhere.
    ///
    /// # Errors
    /// `Unavailable` when the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        crypto::random_secret().map(|key| Self::new(&key))
    }

    /// Reads a key from text: 64 hexadecimal digits, or 32 bytes in base64 (standard or URL alphabet, padding as you
    /// like). One newline may follow.
    ///
    /// # Errors
    /// `InvalidConfig` for anything else. The message tells the text's length, nothing of its content.
    pub fn parse(text: &str) -> Result<Self> {
        parse_bytes(text.as_bytes()).map(|key| Self::new(&key))
    }

    /// Reads a key file: text as for [`parse`](Self::parse).
    ///
    /// The file must be a regular one that belongs to this process's user or to root, and that nobody else may read
    /// or write. A symbolic link is followed, because that is how orchestrators mount files; what is judged is what it
    /// leads to. The checks are made on the opened file, so that it can't be exchanged in between.
    ///
    /// # Errors
    /// `NotFound` when there is none, `PermissionDenied` when it can't be opened, `InvalidConfig` when it breaks one
    /// of these rules or holds no key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = key_file::read(path)?;
        let key = parse_bytes(text.as_bytes()).map_err(|error| error.with("file", path.display().to_string()))?;
        Ok(Self::new(&key))
    }

    /// Makes a new random key and a key file that holds it in base64, readable by its owner only (mode 0600).
    ///
    /// Missing directories are made with mode 0700. The file appears complete or not at all, and is on the disk when
    /// this returns.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something of that name, which is left alone; `PermissionDenied`, `NotFound` and
    /// `Other` when it can't be written; `Unavailable` when the operating system gives no random bytes.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self> {
        let key = crypto::random_secret::<32>()?;
        let mut text = Zeroizing::new([0; 45]);
        data_encoding::BASE64.encode_mut(&*key, &mut text[..44]);
        text[44] = b'\n';
        key_file::create(path.as_ref(), &*text)?;
        Ok(Self::new(&key))
    }

    pub(crate) fn wrap_with(&self, nonce: &[u8; NONCE], context: &[u8], key: &[u8; 32]) -> Vec<u8> {
        let mut wrapped = Vec::with_capacity(HEADER.len() + ENCRYPTED_KEY);
        wrapped.extend_from_slice(&HEADER);
        let associated = [&HEADER, context].concat();
        crypto::encrypt_key(&self.wrapping, nonce, &associated, key, &mut wrapped);
        wrapped
    }
}

#[async_trait]
impl KeySource for RawKey {
    fn id(&self) -> &KeySourceId {
        &self.id
    }

    fn fits(&self, slot_source: &str) -> bool {
        slot_source == self.id.as_str()
    }

    async fn wrap(&self, context: &[u8], key: &[u8; 32]) -> Result<Vec<u8>> {
        Ok(self.wrap_with(&crypto::random()?, context, key))
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let damaged = || {
            Error::new(ErrorKind::Corrupt, "the key slot was changed or belongs to another store")
                .with("key", self.id.as_str())
                .with_hint("put back a backup of the store")
        };
        let encrypted = wrapped.strip_prefix(&HEADER).ok_or_else(damaged)?;
        let associated = [&HEADER, context].concat();
        crypto::decrypt_key(&self.wrapping, &associated, encrypted).map_err(|_| damaged())
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawKey({}, [REDACTED])", self.id)
    }
}

/// Version 1, wrapped by a raw key.
const HEADER: [u8; 2] = [1, 1];

fn parse_bytes(text: &[u8]) -> Result<KeyBytes> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let hint =
        "a key is 32 random bytes as 44 base64 characters or 64 hexadecimal digits, for example from `openssl rand -base64 32`";
    if text.is_empty() {
        return Err(Error::new(ErrorKind::InvalidConfig, "the key is empty").with_hint(hint));
    }
    let encoding: &Encoding = match text {
        _ if text.len() == 64 => &HEXLOWER_PERMISSIVE,
        _ if text.iter().any(|byte| matches!(byte, b'-' | b'_')) => &BASE64URL_NOPAD,
        _ => &BASE64_NOPAD,
    };
    let digits = text.strip_suffix(b"=").unwrap_or(text);
    let mut key = KeyBytes::default();
    // The error of the decoder would tell where in the key it stopped: left out.
    if encoding.decode_len(digits.len()) == Ok(32) && encoding.decode_mut(digits, &mut *key).is_ok() {
        return Ok(key);
    }
    let message = format!(
        "the key is not 32 bytes in base64 or hexadecimal, it has {} characters",
        text.len()
    );
    Err(Error::new(ErrorKind::InvalidConfig, message).with_hint(hint))
}
