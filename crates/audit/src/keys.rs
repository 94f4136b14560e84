//! The keys of a log: one that signs, one that proves signatures, one that masks names.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keyfob_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::line::{Event, Line};
use crate::permissions::failed;

/// The key with which a log's writer signs checkpoints (Ed25519). Whoever has it can make a log that verifies: it belongs to
/// the writing process alone.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when the system gives no random numbers.
    pub fn generate() -> Result<Self> {
        Self::from_seed(&*random()?)
    }

    /// Makes a key file, for its owner only, with a new key. There must be no file yet.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system says.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self> {
        let seed = random()?;
        create(path.as_ref(), SIGNING, &seed)?;
        Self::from_seed(&seed)
    }

    /// Reads a key file. It must belong to the user or root, and nobody else may access it.
    ///
    /// # Errors
    /// `InvalidConfig` when it is no such file, or what the file system says.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_seed(&*read(path.as_ref(), SIGNING)?)
    }

    /// The key that proves what this one signs.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| Error::new(ErrorKind::Other, "can't make a signing key"))
    }

    /// The signature over a line of a log.
    pub(crate) fn sign(&self, body: &[u8]) -> String {
        BASE64URL_NOPAD.encode(self.0.sign(&message(body)).as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().id())
    }
}

/// Refuses a log whose last signed line is not of `key`, which is to sign the next one, or tells it where accesses need not be durable. Says
/// whether it is.
pub(crate) fn check_key(signed: &[u8], key: &SigningKey, place: &str, is_durable: bool) -> Result<bool> {
    let Ok(line) = Line::parse(signed) else { return Ok(false) };
    let own = key.public_key();
    if line.signed.is_some_and(|(body, signature)| own.proves(body, signature)) {
        return Ok(true);
    }
    let by = match &line.event {
        Event::Begin { key, .. } | Event::Checkpoint { key, .. } | Event::Expired { key, .. } => key.as_ref(),
        _ => "",
    };
    let error = match by == own.id() {
        true => Error::new(ErrorKind::Corrupt, "the last signature of the audit log is not right")
            .with_hint("`keyfob audit verify` shows what is wrong; keep the log as evidence and begin another one"),
        false => Error::new(
            ErrorKind::InvalidConfig,
            "the audit log is signed with another key than the one that is set",
        )
        .with("signed_by", by.to_owned())
        .with("set", own.id())
        .with_hint("set the key that has signed it (`audit.key_file`), or begin a log of its own for this key"),
    };
    let error = error.with("log", place.to_owned());
    if is_durable {
        return Err(error);
    }
    tracing::warn!(target: "keyfob", %error, "the audit log is written on all the same, and `keyfob audit verify` needs the public keys of both from now on");
    Ok(false)
}

/// The key with which everybody can prove a log's checkpoints. Not secret, but it must be the right one: auditors keep it
/// where the log's writer can't change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The short name under which a log's lines say which key has signed.
    #[must_use]
    pub fn id(&self) -> String {
        HEXLOWER.encode(&digest::digest(&digest::SHA256, &self.0).as_ref()[..8])
    }

    pub(crate) fn proves(&self, body: &[u8], signature: &str) -> bool {
        // One text for one signature: the decoder takes no other spelling.
        BASE64URL_NOPAD.decode(signature.as_bytes()).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ED25519, &self.0)
                .verify(&message(body), &signature)
                .is_ok()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.trim()
            .strip_prefix(PUBLIC)
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "this is not the public key of an audit log")
                    .with_hint(format!("it is one line that begins with `{PUBLIC}`"))
            })
    }
}

/// The key of the HMAC (SHA-256) that stands in names' places. Whoever has it can find out whether a name that they guess is
/// in the log.
pub struct NameKey(hmac::Key);

impl NameKey {
    /// Makes a key file, for its owner only, with a new key. There must be no file yet.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system says.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self> {
        let bytes = random()?;
        create(path.as_ref(), NAMES, &bytes)?;
        Ok(Self::new(&bytes))
    }

    /// Reads a key file. It must belong to the user or root, and nobody else may access it.
    ///
    /// # Errors
    /// `InvalidConfig` when it is no such file, or what the file system says.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&*read(path.as_ref(), NAMES)?))
    }

    /// Takes the key itself.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// What stands in the place of `name`, for [`AuditLayer::mask_names`](keyfob_core::AuditLayer::mask_names) and for the
    /// name of a filter.
    #[must_use]
    pub fn mask(&self, name: &str) -> String {
        format!(
            "hmac:{}",
            BASE64URL_NOPAD.encode(hmac::sign(&self.0, name.as_bytes()).as_ref())
        )
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey([REDACTED])")
    }
}

const PUBLIC: &str = "keyfob-audit-public-key:";
const SIGNING: &str = "keyfob-audit-signing-key:";
const NAMES: &str = "keyfob-audit-name-key:";

type Secret = Zeroizing<[u8; 32]>;

/// What is signed: the line, and for what, so that the signature is worth nothing for anything else.
fn message(body: &[u8]) -> Vec<u8> {
    [b"keyfob audit log v1\n", body].concat()
}

fn random() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| Error::new(ErrorKind::Other, "the system gives no random numbers"))?;
    Ok(bytes)
}

/// A random number for a log.
pub(crate) fn log_id() -> Result<String> {
    Ok(HEXLOWER.encode(&random()?[..16]))
}

fn create(path: &Path, prefix: &str, key: &Secret) -> Result<()> {
    let text = Zeroizing::new(format!(
        "{prefix}{}\n",
        Zeroizing::new(BASE64URL_NOPAD.encode(&**key)).as_str()
    ));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::new(
            ErrorKind::AlreadyExists,
            "there is already a file where the key file should go",
        )
        .with("file", path.display().to_string())
        .with_hint("use that key, or name another file"),
        _ => failed("write the key file", path, source),
    })
}

fn read(path: &Path, prefix: &str) -> Result<Secret> {
    // To open a pipe of that name would wait for a writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|source| failed("open the key file", path, source))?;
    let facts = file.metadata().map_err(|source| failed("read the key file", path, source))?;
    let user = rustix::process::geteuid().as_raw();
    let refuse = |message: String, hint: String| {
        Err(Error::new(ErrorKind::InvalidConfig, message)
            .with("file", path.display().to_string())
            .with_hint(hint))
    };
    if !facts.is_file() {
        return refuse(
            "the key file is not a regular file".to_owned(),
            "name a file that holds the key".to_owned(),
        );
    }
    if facts.uid() != user && facts.uid() != 0 {
        let message = format!("the key file belongs to user {}, not to user {user} or root", facts.uid());
        return refuse(message, "whoever owns the file can change the key: make a new one".to_owned());
    }
    if facts.mode() & 0o077 != 0 {
        let message = format!(
            "other users may access the key file, its mode is {:04o}",
            facts.mode() & 0o7777
        );
        let hint = format!(
            "if nobody can have read it, `chmod 600 {}`; if somebody can, make a new key",
            path.display()
        );
        return refuse(message, hint);
    }
    // Room from the start, so that no copy is left behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(200)
        .read_to_string(&mut text)
        .map_err(|source| failed("read the key file", path, source))?;
    let decoded = text
        .trim()
        .strip_prefix(prefix)
        .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
        .map(Zeroizing::new);
    match decoded.as_deref().map(|bytes| <[u8; 32]>::try_from(bytes.as_slice())) {
        Some(Ok(bytes)) => Ok(Zeroizing::new(bytes)),
        _ => refuse(
            "the file does not hold such a key".to_owned(),
            format!("it is one line that begins with `{prefix}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_its_owners_alone_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = SigningKey::create_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(SigningKey::from_file(&path).unwrap().public_key(), key.public_key());
        assert_eq!(SigningKey::create_file(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(NameKey::from_file(&path).unwrap_err().kind(), ErrorKind::InvalidConfig);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(SigningKey::from_file(&path).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn a_signature_holds_for_its_text_and_its_key() {
        let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let signature = one.sign(b"text");
        assert!(one.public_key().proves(b"text", &signature));
        assert!(!one.public_key().proves(b"texT", &signature));
        assert!(!other.public_key().proves(b"text", &signature));
        let text = one.public_key().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), one.public_key());
        assert!(format!("keyfob-audit-public-key:{text}").parse::<PublicKey>().is_err());
    }

    #[test]
    fn the_same_name_has_the_same_mask_under_the_same_key_only() {
        let (one, other) = (NameKey::new(&[1; 32]), NameKey::new(&[2; 32]));
        assert_eq!(one.mask("db"), one.mask("db"));
        assert_ne!(one.mask("db"), one.mask("db2"));
        assert_ne!(one.mask("db"), other.mask("db"));
        assert!(!format!("{one:?}").contains('1'));
    }
}
