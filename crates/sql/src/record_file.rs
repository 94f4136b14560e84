//! The file in the user's state directory in which the newest state of a store is remembered.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// What came of the attempt to open a record.
pub(crate) enum Opened {
    Writable(File),
    ReadOnly(File, String),
    Unmade(String),
}

/// Opens or makes a record, with its directory.
pub(crate) fn open_record(path: &Path) -> Result<Opened> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    if let Err(error) = made {
        return match status(directory) {
            Ok(None) => Ok(Opened::Unmade(format!(
                "the state directory `{}` can't be made ({error})",
                directory.display()
            ))),
            Ok(Some(_)) => Err(unreadable(error, "the state directory", directory, "700")),
            // Nobody can say that there is nothing.
            Err(error) => Err(unreadable(error, "the state directory", directory, "700")),
        };
    }
    let opened = reading_options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let error = match opened {
        Ok(file) => return Ok(Opened::Writable(file)),
        Err(error) => error,
    };
    match status(path) {
        Ok(None) => Ok(Opened::Unmade(format!(
            "the state directory `{}` can't be written to ({error})",
            directory.display()
        ))),
        Ok(Some(record)) => match reading_options().open(path) {
            Ok(file) if record.is_file() => {
                let why = format!(
                    "the record of the newest generation, `{}`, can't be written ({error})",
                    path.display()
                );
                Ok(Opened::ReadOnly(file, why))
            }
            Ok(_) => Err(unreadable(error, "the record of the store's newest generation", path, "600")),
            Err(error) => Err(unreadable(error, "the record of the store's newest generation", path, "600")),
        },
        Err(error) => Err(unreadable(error, "the state directory", directory, "700")),
    }
}

/// A link could lead to the record of another store, and to open a pipe could wait forever.
pub(crate) fn reading_options() -> OpenOptions {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.cast_signed());
    options
}

/// What stands at the path itself; `None` when it is certain that nothing does.
fn status(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn unreadable(error: io::Error, what: &str, path: &Path, mode: &str) -> Error {
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    let (kind, hint) = if is_denied {
        let hint = format!(
            "`chmod {mode} {}`, as its owner; another `KEYFOB_STATE_DIR` would trust the store file as it is",
            path.display()
        );
        (ErrorKind::PermissionDenied, hint)
    } else {
        let hint = "look at who put it there, and remove it if you trust the store file as it is".to_owned();
        (ErrorKind::InvalidConfig, hint)
    };
    let message = format!("{what} can't be read, so an older copy of the store file would not be noticed");
    Error::new(kind, message)
        .with("path", path.display().to_string())
        .with_hint(hint)
        .with_source(error)
}

/// A record that is open and fails.
pub(crate) fn unusable(error: io::Error, what: &str) -> Error {
    let message = format!("the record of the store's newest generation can't be {what}");
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

/// A holder needs less than a millisecond; one that needs longer is stopped, and nobody should stop with it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(1);

/// An advisory lock on the whole file, for as long as this lives.
pub(crate) struct Lock<'f>(&'f File);

impl<'f> Lock<'f> {
    /// Waits for a lock that only excludes writers.
    pub(crate) fn shared(file: &'f File) -> Result<Self> {
        Self::new(file, FlockOperation::NonBlockingLockShared)
    }

    /// Waits for a lock that excludes everybody.
    pub(crate) fn exclusive(file: &'f File) -> Result<Self> {
        Self::new(file, FlockOperation::NonBlockingLockExclusive)
    }

    fn new(file: &'f File, operation: FlockOperation) -> Result<Self> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::io::retry_on_intr(|| flock(file, operation)) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(LOCK_INTERVAL),
                Err(error) => return Err(unusable(error.into(), "locked")),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // The lock goes with the process at the latest.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}
