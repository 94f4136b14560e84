//! Errors of SQLite → our errors.

use std::path::Path;

use keyfob_core::{Error, ErrorKind};
use rusqlite::ffi;

use crate::error::{SEE_WHETHER_WRITTEN, corrupt};

pub(crate) fn not_a_store() -> Error {
    Error::new(ErrorKind::InvalidConfig, "the file is not a keyfob store")
        .with_hint("check the path; `keyfob init` makes a new store at a path where nothing is")
}

/// Maps an error of SQLite by its code. Its own words are left out but for the fixed text of the code: they can
/// repeat what stands in a row.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn from_sqlite(error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => from_code(failure),
        rusqlite::Error::SqlInputError { error, .. } => from_code(error),
        rusqlite::Error::QueryReturnedNoRows => corrupt("a row of the store is missing"),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => corrupt("a column holds something that was never written there"),
        _ => Error::new(ErrorKind::Other, "the database library refused a request"),
    }
}

/// A commit that failed. When the disk did, the write may turn up after a restart.
pub(crate) fn uncommitted(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::SystemIoFailure) => {
            Error::new(ErrorKind::Timeout, "the disk did not confirm the write").with_hint(SEE_WHETHER_WRITTEN)
        }
        _ => from_sqlite(error),
    }
}

/// A commit to a file that was deleted or replaced meanwhile.
pub(crate) fn written_elsewhere(error: Error) -> Error {
    Error::new(ErrorKind::Timeout, "the store's file was taken away during the write")
        .with_hint(SEE_WHETHER_WRITTEN)
        .with_source(error)
}

fn from_code(failure: ffi::Error) -> Error {
    let (kind, message, hint) = match failure.extended_code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (
            ErrorKind::Unavailable,
            "another process has been writing to the store for too long",
            Some("try again; nothing was changed"),
        ),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_AUTH => (
            ErrorKind::PermissionDenied,
            "the store can't be written",
            Some("its file, the `-wal` and `-shm` files beside it, and its directory must be writable"),
        ),
        ffi::SQLITE_CANTOPEN => (
            ErrorKind::PermissionDenied,
            "the store or a file beside it can't be opened",
            Some("its file, the `-wal` and `-shm` files beside it, and its directory must be readable and writable"),
        ),
        ffi::SQLITE_NOTADB => return not_a_store(),
        ffi::SQLITE_FULL => (ErrorKind::Unavailable, "there is no space left for the store", None),
        ffi::SQLITE_IOERR if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => return damaged(failure),
        ffi::SQLITE_IOERR => (ErrorKind::Unavailable, "the store's file can't be read or written", None),
        ffi::SQLITE_CORRUPT
        | ffi::SQLITE_FORMAT
        | ffi::SQLITE_MISMATCH
        | ffi::SQLITE_CONSTRAINT
        // A table or a column is not there.
        | ffi::SQLITE_ERROR
        | ffi::SQLITE_SCHEMA => return damaged(failure),
        ffi::SQLITE_TOOBIG => (ErrorKind::InvalidInput, "this is too large for the database", None),
        _ => (ErrorKind::Other, "the database library refused a request", None),
    };
    let error = Error::new(kind, message).with_source(failure);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn damaged(failure: ffi::Error) -> Error {
    corrupt("the store's file is damaged").with_source(failure)
}

/// An error of the file system about `path`.
pub(crate) fn from_io(error: std::io::Error, what: &'static str, path: &Path) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        std::io::ErrorKind::NotADirectory => ErrorKind::InvalidConfig,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, what)
        .with("path", path.display().to_string())
        .with_source(error)
}
