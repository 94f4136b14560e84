//! The newest generation, remembered outside the store's file.
//!
//! A copy of the whole file is intact in itself, however old it is. What tells it apart is this small record in the
//! user's state directory: it is written after every commit and only ever forward, so that a store whose generation
//! is lower than the remembered one has been replaced.
//!
//! Each path has a record of its own: a copy of a store at another path is no replacement of it. What counts is the path
//! and not what a link there leads to: a link can replace a file as well as another file can.
//!
//! A directory that can't be made is a warning: whoever runs without a home must be able to run. A record that is there
//! and can't be read is an error: else to take away a permission would be enough to switch the check off.
//!
//! A kill between a commit and the record leaves the record behind, never ahead: that is no harm, and the next open
//! mends it. For that reason the record needs no sync of its own. It is 112 bytes long and written in one go, in place.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::Mac;
use keyfob_core::adapter::OpenedRecord;
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, StoreId};
use sha2::{Digest as _, Sha256};

use crate::integrity::keyed;
use crate::keyring::Keyring;
use crate::record_file::RECORD;
use crate::rows::{Digest, Head};

const MAGIC: &[u8; 8] = b"KEYFOBG1";
const BODY: usize = 8 + 16 + 16 + 8 + 32;
const LEN: usize = BODY + 32;

/// The record of one store.
pub(crate) struct Remembered {
    store: StoreId,
    /// Where it lies; `None` when nothing is remembered.
    path: Option<PathBuf>,
    file: Option<File>,
    warning: Option<String>,
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
    /// Opens or makes the record of the store at `path` in `directory`. A directory or record that can't be made is no
    /// error, but a [warning](Self::warning).
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidConfig` when there is a directory or a record that can't be read.
    pub(crate) fn open(directory: Option<&Path>, store: StoreId, path: &Path) -> Result<Self> {
        let record = directory.map(|directory| directory.join(file_name(store, path)));
        let opened = match &record {
            None => OpenedRecord::Unmade("there is no state directory".to_owned()),
            Some(record) => RECORD.open(record)?,
        };
        let (file, warning) = match opened {
            OpenedRecord::Writable(file) => (Some(file), None),
            OpenedRecord::ReadOnly(file, why) => (
                Some(file),
                Some(format!(
                    "{why}: after the next write an older copy of the whole store file may not be noticed"
                )),
            ),
            OpenedRecord::Unmade(why) => (
                None,
                Some(format!("{why}: an older copy of the whole store file would not be noticed")),
            ),
        };
        if let Some(warning) = &warning {
            tracing::warn!(target: "keyfob_sql", store = %path.display(), "{warning}");
        }
        Ok(Self {
            store,
            path: record.filter(|_| file.is_some()),
            file,
            warning,
            authentic: Mutex::default(),
        })
    }

    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The newest generation that is remembered of this store under any other path, if that is above `generation`.
    pub(crate) fn newer_elsewhere(&self, generation: u64, ring: &Keyring) -> Option<u64> {
        let own = self.path.as_deref()?;
        let prefix = format!("{}-", self.store);
        let others = fs::read_dir(own.parent()?).ok()?.filter_map(|entry| {
            let entry = entry.ok()?;
            let is_another = entry.path() != own && entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes());
            // A record that says nothing is no evidence.
            let file = is_another
                .then(|| RECORD.open_existing(&entry.path()).ok().flatten())
                .flatten()?;
            let bytes = read_record(&file).ok()?;
            let record = self.check(bytes.as_ref(), &mut None, ring).ok()??;
            Some(record.generation)
        });
        others.max().filter(|newest| *newest > generation)
    }

    /// What is remembered, if anything is. To be read *before* the store is: then the store is never the older one.
    pub(crate) fn read(&self, ring: &Keyring) -> Result<Option<Record>> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut authentic = self.authentic();
        let bytes = read_record(file)?;
        match self.check(bytes.as_ref(), &mut authentic, ring) {
            // A write by another process may have been seen in half.
            Err(_) => {
                let _lock = RECORD.lock_shared(file)?;
                let bytes = read_record(file)?;
                self.check(bytes.as_ref(), &mut authentic, ring)
            }
            record => record,
        }
    }

    /// Remembers that the store has come to `head`. The store is durable by now, so a failure is not the caller's:
    /// it is logged, and the record stays behind.
    pub(crate) fn remember(&self, head: &Head, ring: &Keyring) {
        if let Some(file) = &self.file
            && let Err(error) = self.write(file, head, ring)
        {
            tracing::warn!(store = %self.store, %error, "the generation of the store can't be remembered");
        }
    }

    fn write(&self, file: &File, head: &Head, ring: &Keyring) -> Result<()> {
        let key = &ring.key(head.kek)?.memory;
        let mut authentic = self.authentic();
        let _lock = RECORD.lock_exclusive(file)?;
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
        file.write_all_at(&bytes, 0)
            .map_err(|error| RECORD.unusable(error, "written"))?;
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

/// `ID-PATH.generation`, with eight bytes of the digest of the path, in which the directories are the real ones.
fn file_name(store: StoreId, path: &Path) -> String {
    let in_real_directory = path.file_name().and_then(|name| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
        Some(parent.join(name))
    });
    let path = in_real_directory
        .or_else(|| std::path::absolute(path).ok())
        .unwrap_or_else(|| path.to_owned());
    let digest: Digest = Sha256::digest(path.as_os_str().as_bytes()).into();
    let path: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{store}-{path}.generation")
}

/// `None` for a record that was never written.
fn read_record(file: &File) -> Result<Option<[u8; LEN]>> {
    let mut bytes = [0; LEN + 1];
    let filled = RECORD.read(file, &mut bytes)?;
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
        let remembered = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db")).unwrap();
        assert!(remembered.read(&ring).unwrap().is_none());
        for (write, expected) in [(3, 3), (2, 3), (3, 3), (4, 4)] {
            remembered.remember(&head(&ring, write), &ring);
            let other = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db")).unwrap();
            let record = other.read(&ring).unwrap().unwrap();
            assert_eq!((record.generation, record.mac), (expected, Some([expected as u8; 32])));
        }
    }

    #[test]
    fn every_changed_byte_is_seen_and_a_changed_key_is_not_damage() {
        let directory = tempfile::tempdir().unwrap();
        let ring = ring();
        let remembered = Remembered::open(Some(directory.path()), STORE, Path::new("/s.db")).unwrap();
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
            let remembered = Remembered::open(directory, STORE, Path::new("/s.db")).unwrap();
            remembered.remember(&head(&ring, 1), &ring);
            assert!(remembered.read(&ring).unwrap().is_none());
            assert!(remembered.warning().unwrap().contains("would not be noticed"));
        }
    }
}
