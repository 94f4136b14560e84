//! What was seen of a store, remembered outside of it: the generation of its head and of every bucket.
//!
//! Older rows of a bucket, put back together with their record, are intact in themselves. What tells them apart is that
//! this client has seen a newer generation: in this process, or as long as there is a state directory on this machine.
//!
//! The file has 64 bytes for each bucket, with a MAC of their own, so that a write changes one place and a kill in the
//! middle of it leaves the others whole: no place crosses a page. Each address of a store has a file of its own: a
//! standby may lag behind the primary, but not behind itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::Mac;
use keyfob_core::adapter::OpenedRecord;
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KekId, StoreId};
use sha2::{Digest as _, Sha256};

use super::record::BucketRow;
use crate::integrity::{BUCKETS, keyed};
use crate::keyring::Keyring;
use crate::record_file::RECORD;
use crate::rows::{Digest, Head};

/// What was seen at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: u64,
    /// The beginning of the bucket's digest, or of the head's MAC: two histories of one age differ in it.
    content: [u8; 8],
}

/// Which place: a bucket, or the head behind them.
pub(super) type Place = u16;

/// The place of the head.
pub(super) const HEAD: Place = BUCKETS;

/// What was known when a transaction began, so that what it sees can't rightly be older.
pub(super) type Known = BTreeMap<Place, Mark>;

/// The memory of one store.
pub(super) struct Remembered {
    store: StoreId,
    file: Option<File>,
    warning: Option<String>,
    marks: Mutex<Known>,
}

impl Mark {
    pub(super) fn of_head(head: &Head) -> Self {
        Self::new(head.generation, &head.mac)
    }

    pub(super) fn of_bucket(row: &BucketRow) -> Self {
        Self::new(row.generation, &row.digest)
    }

    fn new(generation: u64, content: &Digest) -> Self {
        let mut beginning = [0; 8];
        beginning.copy_from_slice(&content[..8]);
        Self {
            generation,
            content: beginning,
        }
    }

    /// Refuses what is older than what was known, and what is as old and another.
    pub(super) fn check(&self, place: Place, known: &Known) -> Result<()> {
        let Some(newest) = known.get(&place) else { return Ok(()) };
        let message = if self.generation < newest.generation {
            "older rows were put in the place of the store's"
        } else if self.generation == newest.generation && self.content != newest.content {
            "rows of another copy of the store were put in the place of its own"
        } else {
            return Ok(());
        };
        let place = if place == HEAD { "head".to_owned() } else { place.to_string() };
        Err(Error::new(ErrorKind::Corrupt, message)
            .with("bucket", place)
            .with("generation", self.generation.to_string())
            .with("newest_known", newest.generation.to_string())
            .with_hint(
                "if the database was put back to an earlier time on purpose, remove the store's `.buckets` file from the state \
                 directory of every client, and start them again",
            ))
    }
}

const MAGIC: &[u8; 8] = b"KEYFOBB1";
const PLACE: usize = 64;
const BODY: usize = 32;

impl Remembered {
    /// Opens or makes the file of the store at `location` in `directory`. One that can't be made is no error, but a
    /// [warning](Self::warning).
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidConfig` when there is a directory or a file that can't be read; `Corrupt` when the file
    /// is another store's.
    pub(super) fn open(directory: Option<&Path>, store: StoreId, location: &str) -> Result<Self> {
        let opened = match directory {
            None => OpenedRecord::Unmade("there is no state directory".to_owned()),
            Some(directory) => RECORD.open(&directory.join(file_name(store, location)))?,
        };
        let (file, warning) = match opened {
            OpenedRecord::Writable(file) => (Some(file), None),
            OpenedRecord::ReadOnly(file, why) => (
                Some(file),
                Some(format!(
                    "{why}: after the next write older rows may not be noticed by the next process"
                )),
            ),
            OpenedRecord::Unmade(why) => (
                None,
                Some(format!(
                    "{why}: older rows would be noticed only by a process that has seen newer ones"
                )),
            ),
        };
        if let Some(warning) = &warning {
            tracing::warn!(target: "keyfob_sql", store = location, "{warning}");
        }
        let remembered = Self {
            store,
            file,
            warning,
            marks: Mutex::default(),
        };
        remembered.check_beginning()?;
        Ok(remembered)
    }

    pub(super) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// What is known of these places. To be asked *before* a transaction begins.
    pub(super) fn known(&self, places: impl IntoIterator<Item = Place>, ring: &Keyring) -> Result<Known> {
        let mut known = Known::new();
        for place in places {
            let seen = self.marks().get(&place).copied();
            let written = self.read(place, ring)?;
            let newest = [seen, written].into_iter().flatten().max_by_key(|mark| mark.generation);
            known.extend(newest.map(|mark| (place, mark)));
        }
        Ok(known)
    }

    /// Remembers what was found authentic. The store is durable by now, so a failure is not the caller's: it is logged.
    pub(super) fn remember(&self, seen: impl IntoIterator<Item = (Place, Mark)>, kek: KekId, ring: &Keyring) {
        for (place, mark) in seen {
            let is_news = {
                let mut marks = self.marks();
                let is_news = marks.get(&place).is_none_or(|known| known.generation < mark.generation);
                if is_news {
                    marks.insert(place, mark);
                }
                is_news
            };
            // Nothing has ever been written there: nothing older can be put back.
            let is_new_store = place != HEAD && mark.generation == 0;
            if is_news
                && !is_new_store
                && let Err(error) = self.write(place, mark, kek, ring)
            {
                tracing::warn!(store = %self.store, %error, "what was seen of the store can't be remembered");
            }
        }
    }

    fn read(&self, place: Place, ring: &Keyring) -> Result<Option<Mark>> {
        let Some(file) = &self.file else { return Ok(None) };
        let at = offset(place);
        match self.decode(place, read_place(file, at)?.as_ref(), ring) {
            // A write by another process may have been seen in half.
            Err(_) => {
                let _lock = RECORD.lock_shared(file)?;
                self.decode(place, read_place(file, at)?.as_ref(), ring)
            }
            mark => mark,
        }
    }

    fn write(&self, place: Place, mark: Mark, kek: KekId, ring: &Keyring) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let key = &ring.key(kek)?.memory;
        let _lock = RECORD.lock_exclusive(file)?;
        let present = read_place(file, offset(place))?;
        // What is damaged is replaced by this.
        let present = self.decode(place, present.as_ref(), ring).ok().flatten();
        if present.is_some_and(|present| present.generation >= mark.generation) {
            return Ok(());
        }
        let mut bytes = [0; PLACE];
        bytes[..16].copy_from_slice(kek.as_bytes());
        bytes[16..24].copy_from_slice(&mark.generation.to_be_bytes());
        bytes[24..BODY].copy_from_slice(&mark.content);
        let mac = self.authenticate(place, &bytes, key).finalize().into_bytes();
        bytes[BODY..].copy_from_slice(&mac);
        file.write_all_at(&bytes, offset(place))
            .map_err(|error| RECORD.unusable(error, "written"))
    }

    fn decode(&self, place: Place, bytes: Option<&[u8; PLACE]>, ring: &Keyring) -> Result<Option<Mark>> {
        let Some(bytes) = bytes.filter(|bytes| bytes.iter().any(|byte| *byte != 0)) else {
            return Ok(None);
        };
        let kek = bytes[..16].try_into().map(KekId).map_err(|_| damaged())?;
        let mut mark = Mark {
            generation: 0,
            content: [0; 8],
        };
        mark.generation = bytes[16..24].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        mark.content.copy_from_slice(&bytes[24..BODY]);
        // Under a key that is gone nothing vouches for it: then it still says that there was something newer.
        if let Ok(key) = ring.key(kek) {
            let mac = self.authenticate(place, bytes, &key.memory);
            mac.verify_slice(&bytes[BODY..]).map_err(|_| damaged())?;
        }
        Ok(Some(mark))
    }

    fn authenticate(&self, place: Place, bytes: &[u8; PLACE], key: &Digest) -> hmac::Hmac<Sha256> {
        let mut mac = keyed(key);
        mac.update(b"keyfob-sql postgres seen\0");
        mac.update(self.store.as_bytes());
        mac.update(&place.to_be_bytes());
        mac.update(&bytes[..BODY]);
        mac
    }

    /// The first place says whose file it is.
    fn check_beginning(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut expected = [0; PLACE];
        expected[..8].copy_from_slice(MAGIC);
        expected[8..24].copy_from_slice(self.store.as_bytes());
        match read_place(file, 0)? {
            Some(found) if found == expected => Ok(()),
            Some(_) => Err(damaged()),
            // A file that may only be read and is empty remembers nothing.
            None if self.warning.is_some() => Ok(()),
            None => file
                .write_all_at(&expected, 0)
                .map_err(|error| RECORD.unusable(error, "written")),
        }
    }

    fn marks(&self) -> MutexGuard<'_, Known> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offset(place: Place) -> u64 {
    (u64::from(place) + 1) * PLACE as u64
}

/// `None` where the file ends before.
fn read_place(file: &File, offset: u64) -> Result<Option<[u8; PLACE]>> {
    let mut bytes = [0; PLACE];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(RECORD.unusable(error, "read")),
    }
}

/// `ID-ADDRESS.buckets`, with eight bytes of the digest of the address.
fn file_name(store: StoreId, location: &str) -> String {
    let digest: Digest = Sha256::digest(location.as_bytes()).into();
    let address: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{store}-{address}.buckets")
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "the record of what was seen of the store is damaged")
        .with_hint("if you trust the database as it is, remove the store's `.buckets` file from the state directory")
}

#[cfg(test)]
mod tests {
    use keyfob_envelope::KeyEncryptionKey;

    use super::*;

    const STORE: StoreId = StoreId([5; 16]);

    fn mark(generation: u64) -> Mark {
        Mark::new(generation, &[generation as u8; 32])
    }

    #[test]
    fn it_goes_forward_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let kek = KeyEncryptionKey::generate().unwrap();
        let ring = Keyring::new(STORE, [kek.clone()]);
        let open = || Remembered::open(Some(directory.path()), STORE, "here").unwrap();
        let remembered = open();
        assert!(remembered.known([3, HEAD], &ring).unwrap().is_empty());
        remembered.remember([(3, mark(7)), (HEAD, mark(1))], kek.id(), &ring);
        remembered.remember([(3, mark(6))], kek.id(), &ring);
        for remembered in [remembered, open()] {
            let known = remembered.known([3, 4, HEAD], &ring).unwrap();
            assert_eq!(known, Known::from([(3, mark(7)), (HEAD, mark(1))]));
            assert_eq!(mark(6).check(3, &known).unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(
                Mark::new(7, &[0; 32]).check(3, &known).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
            mark(7).check(3, &known).unwrap();
            mark(8).check(3, &known).unwrap();
            mark(1).check(4, &known).unwrap();
        }
        let elsewhere = Remembered::open(Some(directory.path()), STORE, "there").unwrap();
        assert!(elsewhere.known([3], &ring).unwrap().is_empty());
    }

    #[test]
    fn a_changed_byte_is_damage_to_its_place_only() {
        let directory = tempfile::tempdir().unwrap();
        let kek = KeyEncryptionKey::generate().unwrap();
        let ring = Keyring::new(STORE, [kek.clone()]);
        let open = || Remembered::open(Some(directory.path()), STORE, "here");
        open().unwrap().remember([(0, mark(7)), (1, mark(9))], kek.id(), &ring);
        let path = directory.path().join(file_name(STORE, "here"));
        let good = std::fs::read(&path).unwrap();
        for index in PLACE + 16..2 * PLACE {
            let mut bad = good.clone();
            bad[index] ^= 1;
            std::fs::write(&path, bad).unwrap();
            let remembered = open().unwrap();
            assert_eq!(
                remembered.known([0], &ring).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "byte {index}"
            );
            assert_eq!(remembered.known([1], &ring).unwrap().len(), 1, "byte {index}");
        }
        let mut bad = good;
        bad[9] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(open().is_err_and(|error| error.kind() == ErrorKind::Corrupt));
    }
}
