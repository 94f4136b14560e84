//! The newest generation, remembered outside the store's file.
//!
//! A copy of the whole file is intact in itself, however old it is. What tells it apart is this small record in the
//! user's state directory: it is written after every commit and only ever forward, so that a store whose generation
//! is lower than the remembered one has been replaced.
//!
//! Each path has a record of its own: a copy of a store at another path is no replacement of it.
//!
//! A kill between a commit and the record leaves the record behind, never ahead: that is no harm, and the next open
//! mends it. For that reason the record needs no sync of its own. It is 112 bytes long and written in one go, in place.

use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::Mac;
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, StoreId};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::integrity::keyed;
use crate::keyring::Keyring;
use crate::rows::{Digest, Head};

const MAGIC: &[u8; 8] = b"KEYFOBG1";
const BODY: usize = 8 + 16 + 16 + 8 + 32;
const LEN: usize = BODY + 32;

/// The record of one store.
pub(crate) struct Remembered {
    store: StoreId,
    file: Result<File, String>,
    /// The bytes that were last found authentic, so that reading them again needs no MAC.
    authentic: Mutex<Option<[u8; LEN]>>,
}

/// What the record says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) generation: u64,
    /// The root's MAC at that generation; `None` when nothing vouches for it, because the key that authenticated
    /// the record has been changed since.
    pub(crate) mac: Option<Digest>,
}

impl Remembered {
    /// Opens or makes the record of the store at `path` in `directory`. A directory that can't be used is no error, but a
    /// [warning](Self::warning).
    pub(crate) fn open(directory: Option<&Path>, store: StoreId, path: &Path) -> Self {
        let file = match directory {
            None => Err("there is no state directory: an older copy of the whole store file would not be noticed".to_owned()),
            Some(directory) => open_file(directory, &file_name(store, path)).map_err(|error| {
                format!(
                    "the state directory `{}` can't be used ({error}): an older copy of the whole store file would not be noticed",
                    directory.display()
                )
            }),
        };
        Self {
            store,
            file,
            authentic: Mutex::default(),
        }
    }

    pub(crate) fn warning(&self) -> Option<&str> {
        self.file.as_ref().err().map(String::as_str)
    }

    /// What is remembered, if anything is. To be read *before* the store is: then the store is never the older one.
    pub(crate) fn read(&self, ring: &Keyring) -> Result<Option<Record>> {
        let Ok(file) = &self.file else { return Ok(None) };
        let mut authentic = self.authentic();
        let bytes = read_record(file)?;
        match self.check(bytes.as_ref(), &mut authentic, ring) {
            // A write by another process may have been seen in half.
            Err(_) => {
                let _lock = Lock::new(file, FlockOperation::LockShared)?;
                let bytes = read_record(file)?;
                self.check(bytes.as_ref(), &mut authentic, ring)
            }
            record => record,
        }
    }

    /// Remembers that the store has come to `head`. The store is durable by now, so a failure is not the caller's:
    /// it is logged, and the record stays behind.
    pub(crate) fn remember(&self, head: &Head, ring: &Keyring) {
        if let Ok(file) = &self.file
            && let Err(error) = self.write(file, head, ring)
        {
            tracing::warn!(store = %self.store, %error, "the generation of the store can't be remembered");
        }
    }

    fn write(&self, file: &File, head: &Head, ring: &Keyring) -> Result<()> {
        let key = &ring.key(head.kek)?.memory;
        let mut authentic = self.authentic();
        let _lock = Lock::new(file, FlockOperation::LockExclusive)?;
        let present = read_record(file)?;
        let (present_kek, present_generation) = match &present {
            Some(present) if self.check(Some(present), &mut authentic, ring).is_ok() => (kek(present), generation(present)),
            _ => (None, 0),
        };
        let is_newer = head.generation > present_generation;
        let is_under_new_key = head.generation == present_generation && present_kek != Some(head.kek);
        if !is_newer && !is_under_new_key {
            return Ok(());
        }
        let bytes = encode(self.store, head, key);
        file.write_all_at(&bytes, 0).map_err(|error| unusable(error, "written"))?;
        *authentic = Some(bytes);
        Ok(())
    }

    fn check(&self, bytes: Option<&[u8; LEN]>, authentic: &mut Option<[u8; LEN]>, ring: &Keyring) -> Result<Option<Record>> {
        let Some(bytes) = bytes else { return Ok(None) };
        let is_ours = bytes.starts_with(MAGIC) && bytes[8..24] == *self.store.as_bytes();
        let (Some(kek), true) = (kek(bytes), is_ours) else {
            return Err(damaged());
        };
        let generation = generation(bytes);
        if !ring.has(kek) {
            return Ok(Some(Record { generation, mac: None }));
        }
        if authentic.as_ref() != Some(bytes) {
            let mut mac = keyed(&ring.key(kek)?.memory);
            mac.update(&bytes[..BODY]);
            mac.verify_slice(&bytes[BODY..]).map_err(|_| damaged())?;
            *authentic = Some(*bytes);
        }
        let mac = bytes[48..BODY].try_into().ok();
        Ok(Some(Record { generation, mac }))
    }

    fn authentic(&self) -> MutexGuard<'_, Option<[u8; LEN]>> {
        self.authentic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_file(directory: &Path, name: &str) -> std::io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(name))
}

/// `ID-PATH.generation`, with eight bytes of the digest of the real path.
fn file_name(store: StoreId, path: &Path) -> String {
    let real = fs::canonicalize(path).or_else(|_| {
        // The file may be lost. Its directory is not.
        let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::canonicalize(parent.unwrap_or(Path::new("."))).map(|parent| parent.join(name))
    });
    let real = real.unwrap_or_else(|_| path.to_owned());
    let digest: Digest = Sha256::digest(real.as_os_str().as_bytes()).into();
    let path: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{store}-{path}.generation")
}

/// `None` for a record that was never written.
fn read_record(file: &File) -> Result<Option<[u8; LEN]>> {
    let mut bytes = [0; LEN + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unusable(error, "read")),
        }
    }
    match filled {
        0 => Ok(None),
        LEN => Ok(bytes.first_chunk().copied()),
        _ => Err(damaged()),
    }
}

fn encode(store: StoreId, head: &Head, key: &Digest) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(store.as_bytes());
    bytes[24..40].copy_from_slice(head.kek.as_bytes());
    bytes[40..48].copy_from_slice(&head.generation.to_be_bytes());
    bytes[48..BODY].copy_from_slice(&head.mac);
    let mut mac = keyed(key);
    mac.update(&bytes[..BODY]);
    bytes[BODY..].copy_from_slice(&mac.finalize().into_bytes());
    bytes
}

fn kek(bytes: &[u8; LEN]) -> Option<KekId> {
    bytes[24..40].try_into().ok().map(KekId)
}

fn generation(bytes: &[u8; LEN]) -> u64 {
    bytes[40..48].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the record of the store's newest generation is damaged")
        .with_hint("if you trust the store file as it is, remove its `.generation` file from the state directory")
}

fn unusable(error: std::io::Error, what: &str) -> Error {
    let message = format!("the record of the store's newest generation can't be {what}");
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

/// An advisory lock on the whole file, for as long as this lives.
struct Lock<'f>(&'f File);

impl<'f> Lock<'f> {
    fn new(file: &'f File, operation: FlockOperation) -> Result<Self> {
        rustix::io::retry_on_intr(|| flock(file, operation)).map_err(|error| unusable(error.into(), "locked"))?;
        Ok(Self(file))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // The lock goes with the process at the latest.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_envelope::KeyEncryptionKey;

    const STORE: StoreId = StoreId([5; 16]);

    fn ring() -> Keyring {
        Keyring::new(STORE, [KeyEncryptionKey::generate().unwrap()])
    }

    fn head(ring: &Keyring, generation: u64) -> Head {
        Head {
            format: 1,
            store: STORE,
            kek: ring.keks().next().unwrap().id(),
            generation,
            next_purge: None,
            mac: [generation as u8; 32],
        }
    }

    #[test]
    fn it_goes_forward_and_never_back() {
        let directory = tempfile::tempdir().unwrap();
        let ring = ring();
        let remembered = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db"));
        assert!(remembered.read(&ring).unwrap().is_none());
        for (write, expected) in [(3, 3), (2, 3), (3, 3), (4, 4)] {
            remembered.remember(&head(&ring, write), &ring);
            let other = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db"));
            let record = other.read(&ring).unwrap().unwrap();
            assert_eq!((record.generation, record.mac), (expected, Some([expected as u8; 32])));
        }
    }

    #[test]
    fn every_changed_byte_is_seen_and_a_changed_key_is_not_damage() {
        let directory = tempfile::tempdir().unwrap();
        let ring = ring();
        let remembered = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db"));
        remembered.remember(&head(&ring, 9), &ring);
        let path = directory.path().join(file_name(STORE, Path::new("/s.db")));
        let good = fs::read(&path).unwrap();
        for index in (0..good.len()).filter(|index| !(24..40).contains(index)) {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(remembered.read(&ring).unwrap_err().kind(), ErrorKind::Corrupt, "byte {index}");
        }
        fs::write(&path, &good[..40]).unwrap();
        assert_eq!(remembered.read(&ring).unwrap_err().kind(), ErrorKind::Corrupt);

        fs::write(&path, &good).unwrap();
        let new_ring = self::ring();
        let record = remembered.read(&new_ring).unwrap().unwrap();
        assert_eq!((record.generation, record.mac), (9, None));
        remembered.remember(&head(&new_ring, 9), &new_ring);
        assert!(remembered.read(&new_ring).unwrap().unwrap().mac.is_some());
    }

    #[test]
    fn no_directory_is_a_warning() {
        let ring = ring();
        for directory in [None, Some(Path::new("/dev/null/x"))] {
            let remembered = Remembered::open(directory, STORE, Path::new("/s.db"));
            remembered.remember(&head(&ring, 1), &ring);
            assert!(remembered.read(&ring).unwrap().is_none());
            assert!(remembered.warning().unwrap().contains("would not be noticed"));
        }
    }
}
