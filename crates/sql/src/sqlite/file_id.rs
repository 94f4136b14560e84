//! Whether a store's file is still where it was opened.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keyfob_core::{Error, ErrorKind, Result};

use super::error::from_io;

pub(super) const NOT_A_FILE: &str = "the store is not a regular file";

/// Device and inode: which file stands at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// Whether `path` still leads to this file. A connection goes on with a file that was deleted or replaced,
    /// and what is written there is lost.
    pub(super) fn check_still_at(self, path: &Path) -> Result<()> {
        let refuse = |kind, message, hint| {
            let store = path.display().to_string();
            Err(Error::new(kind, message).with("store", store).with_hint(hint))
        };
        match fs::metadata(path) {
            Ok(metadata) if Self::of(&metadata) == self => Ok(()),
            Ok(metadata) if metadata.is_file() => refuse(
                ErrorKind::Corrupt,
                "another file was put in the place of the store's",
                "if that was on purpose, open the store again: start this program anew",
            ),
            Ok(_) => refuse(ErrorKind::InvalidConfig, NOT_A_FILE, "put the store's file back"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => refuse(
                ErrorKind::Unavailable,
                "the store's file is gone",
                "put it back, or put back a backup with `keyfob backup restore FILE`",
            ),
            Err(error) => Err(from_io(error, "can't look at the store's file", path)),
        }
    }
}
