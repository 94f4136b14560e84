//! What goes wrong with the files of snapshots.

use std::io;
use std::path::Path;

use keyfob_core::{Error, ErrorKind};

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

pub(crate) fn cut_off() -> Error {
    corrupt("the snapshot is cut off")
}

/// Says in which file.
pub(crate) fn at(error: Error, path: &Path) -> Error {
    error.with("path", path.display().to_string())
}

/// An error of the file system.
pub(crate) fn failed(what: &'static str, path: &Path, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        // The file was longer when it was opened.
        io::ErrorKind::UnexpectedEof => return at(cut_off().with_source(source), path),
        _ => ErrorKind::Unavailable,
    };
    at(Error::new(kind, format!("can't {what}")).with_source(source), path)
}
