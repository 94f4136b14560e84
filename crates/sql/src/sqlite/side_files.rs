//! The files that SQLite keeps beside the main one while a store is open: `-wal` and `-shm`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keyfob_core::{Error, ErrorKind};
use rustix::fs::{Access, access};

use super::directory_of;

/// Gives side files whose permissions don't fit the main file's those of its owner, and nobody else any.
///
/// SQLite makes them with the permissions that the main file has at that moment, and a reader that may not write leaves
/// them behind: after `chmod 600` of the main file no write could succeed.
pub(super) fn mend_permissions(main: &Path) {
    let Ok(store) = fs::metadata(main) else { return };
    let wanted = store.mode() & 0o600;
    for path in beside(main) {
        // Only their status: to open and close one here would drop the locks that SQLite holds on it in this process.
        let Ok(status) = fs::symlink_metadata(&path) else { continue };
        let is_narrower = status.mode() & 0o600 != wanted;
        let is_wider = status.mode() & !store.mode() & 0o777 != 0;
        if (is_narrower || is_wider) && status.is_file() && status.uid() == store.uid() {
            // A file of another user stays as it is; what it prevents says so then.
            let _ = fs::set_permissions(&path, Permissions::from_mode(wanted));
        }
    }
}

/// The first of the store's files that this process may not write.
pub(super) fn unwritable(main: &Path) -> Option<PathBuf> {
    let files = [main.to_owned()].into_iter().chain(beside(main));
    files.into_iter().find(|path| path.exists() && !may_write(path))
}

/// Says what SQLite can't: that the directory is what forbids it.
pub(super) fn explain(error: Error, main: &Path) -> Error {
    let directory = directory_of(main);
    if error.kind() != ErrorKind::PermissionDenied || may_write(directory) {
        return error;
    }
    Error::new(
        ErrorKind::PermissionDenied,
        "the store's directory can't be written to, and even to read the store SQLite must make files beside it",
    )
    .with("directory", directory.display().to_string())
    .with_hint("make the directory writable, or read a copy of the store in one that is")
}

fn may_write(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Beside the file that a link leads to, as SQLite does it.
fn beside(main: &Path) -> impl Iterator<Item = PathBuf> {
    let real = fs::canonicalize(main).unwrap_or_else(|_| main.to_owned());
    ["-wal", "-shm"].into_iter().map(move |suffix| {
        let mut path = real.clone().into_os_string();
        path.push(suffix);
        path.into()
    })
}
