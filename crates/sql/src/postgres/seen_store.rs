//! Which store was seen at an address, remembered outside of it.
//!
//! Two stores that one key opens are each authentic in themselves. Whoever runs the database can put one in the place of the
//! other, and an application would get the other's values under its own names. So the first store that a key opens at an address
//! is the one that it means there, as long as there is a state directory.
//!
//! The file is named by address and key: two databases that are reached through one address in turn, as through a tunnel, have
//! keys of their own, and do not get in each other's way.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use keyfob_core::adapter::OpenedRecord;
use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KeySourceId, StoreId};
use sha2::{Digest as _, Sha256};

use crate::record_file::RECORD;
use crate::rows::Digest;

/// What was seen at an address.
pub(super) struct SeenStore;

impl SeenStore {
    /// Refuses another store than the one that `key` opened at `location` before; remembers the first.
    ///
    /// # Errors
    /// `Corrupt` for another store; `PermissionDenied` or `InvalidConfig` when there is a file that can't be read.
    pub(super) fn check(directory: &Path, location: &str, key: &KeySourceId, store: StoreId) -> Result<()> {
        let path = path(directory, location, key);
        let found = match RECORD.open(&path)? {
            OpenedRecord::Writable(file) => {
                let _lock = RECORD.lock_exclusive(&file)?;
                let found = read(&file)?;
                if found.is_empty() {
                    return write(&file, store);
                }
                found
            }
            OpenedRecord::ReadOnly(file, _) => read(&file)?,
            // The memory of its rows warns.
            OpenedRecord::Unmade(_) => return Ok(()),
        };
        if found.is_empty() || found == line(store) {
            return Ok(());
        }
        let message = "another store stands where keyfob saw one before";
        Err(Error::new(ErrorKind::Corrupt, message)
            .with("seen_before", found.trim_end().to_owned())
            .with("found", store.to_string())
            .with("store", location.to_owned())
            .with_hint(format!(
                "if it was exchanged or made anew on purpose, remove `{}`",
                path.display()
            )))
    }

    /// Remembers a store that was put there on purpose.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn replace(directory: &Path, location: &str, key: &KeySourceId, store: StoreId) -> Result<()> {
        let OpenedRecord::Writable(file) = RECORD.open(&path(directory, location, key))? else {
            return Ok(());
        };
        write(&file, store)
    }
}

fn read(file: &File) -> Result<String> {
    let mut bytes = [0; 64];
    let length = file.read_at(&mut bytes, 0).map_err(|error| RECORD.unusable(error, "read"))?;
    Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
}

fn write(file: &File, store: StoreId) -> Result<()> {
    file.write_all_at(line(store).as_bytes(), 0)
        .map_err(|error| RECORD.unusable(error, "written"))
}

/// All are of one length: one takes the whole place of another.
fn line(store: StoreId) -> String {
    format!("{store}\n")
}

/// `ADDRESS-KEY.store`, with eight bytes of the digest of each.
fn path(directory: &Path, location: &str, key: &KeySourceId) -> PathBuf {
    let short = |text: &str| -> String {
        let digest: Digest = Sha256::digest(text.as_bytes()).into();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    };
    // Every use of a passphrase has an id of its own.
    let key = match key.as_str().split_once(':') {
        Some(("passphrase", _)) => "passphrase",
        _ => key.as_str(),
    };
    directory.join(format!("{}-{}.store", short(location), short(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StoreId = StoreId([1; 16]);
    const OTHER: StoreId = StoreId([2; 16]);

    #[test]
    fn the_first_store_at_an_address_is_the_one_that_a_key_means() {
        let directory = tempfile::tempdir().unwrap();
        let check = |location: &str, key: &str, store| {
            SeenStore::check(directory.path(), location, &KeySourceId::new(key), store).map_err(|error| error.kind())
        };
        assert_eq!(check("here", "key:1", ONE), Ok(()));
        assert_eq!(check("here", "key:1", ONE), Ok(()));
        assert_eq!(check("here", "key:1", OTHER), Err(ErrorKind::Corrupt));
        assert_eq!(check("here", "key:2", OTHER), Ok(()), "another key means another");
        assert_eq!(check("there", "key:1", OTHER), Ok(()), "another address is another");
        assert_eq!(check("here", "passphrase:01", ONE), Ok(()));
        assert_eq!(check("here", "passphrase:02", OTHER), Err(ErrorKind::Corrupt));
        SeenStore::replace(directory.path(), "here", &KeySourceId::new("key:1"), OTHER).unwrap();
        assert_eq!(check("here", "key:1", OTHER), Ok(()));
        assert_eq!(check("here", "key:1", ONE), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn a_directory_that_can_t_be_made_remembers_nothing_and_a_damaged_file_is_another_store() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeySourceId::new("key:1");
        let check = |store| SeenStore::check(directory.path(), "here", &key, store).map_err(|error| error.kind());
        std::fs::write(path(directory.path(), "here", &key), "01").unwrap();
        assert_eq!(check(ONE), Err(ErrorKind::Corrupt));
        let below_a_file = directory.path().join("file");
        std::fs::write(&below_a_file, "").unwrap();
        let error = SeenStore::check(&below_a_file.join("state"), "here", &key, ONE);
        assert!(error.is_ok(), "{error:?}");
    }
}
