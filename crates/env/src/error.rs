//! Errors of the operating system as ours.

use std::io;
use std::path::Path;

use keyfob_core::{Error, ErrorKind};

/// What the system said about the file at `path`. An `io::Error` names a cause, never content.
pub(crate) fn io_error(error: io::Error, message: &'static str, path: &Path) -> Error {
    let (kind, hint) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::InvalidConfig, Some("the directory must exist")),
        io::ErrorKind::NotADirectory => (
            ErrorKind::InvalidConfig,
            Some("what stands for a directory in the path is none"),
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            Some("check who owns the file and its directory, and their modes"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::PermissionDenied, Some("the file system is read-only")),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (ErrorKind::Unavailable, Some("make room on the disk")),
        io::ErrorKind::FileTooLarge => (
            ErrorKind::Unavailable,
            Some("the size of files is limited here (`ulimit -f`)"),
        ),
        _ => (ErrorKind::Other, None),
    };
    let error = Error::new(kind, message)
        .with("path", path.display().to_string())
        .with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
