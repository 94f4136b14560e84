//! Files in the user's state directory in which it is remembered what was seen elsewhere, so that something older can't be put in its
//! place.
//!
//! A directory that can't be made is no error: whoever runs without a home must be able to run. A file that is there and can't be read is
//! one: else to take away a permission would be enough to switch the check off.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// What is remembered in a file of the [state directory](crate::Environment::state_directory), in the words of its errors.
#[derive(Debug, Clone, Copy)]
pub struct Remembering {
    /// The file, for example "the record of the store's newest generation".
    pub record: &'static str,
    /// What happens without it, for example "an older copy of the store file would not be noticed".
    pub unnoticed: &'static str,
    /// What has to be trusted without it, for example "the store file".
    pub trusted: &'static str,
}

/// What came of the attempt to open a record.
#[derive(Debug)]
pub enum OpenedRecord {
    /// It is there, or was made.
    Writable(File),
    /// It is there and can't be written, because of this.
    ReadOnly(File, String),
    /// It is not there and can't be made, because of this.
    Unmade(String),
}

impl Remembering {
    /// Opens or makes a record, with its directory, for its owner alone.
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidConfig` when there is a directory or a record that can't be read.
    pub fn open(&self, path: &Path) -> Result<OpenedRecord> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        if let Err(error) = made {
            return match status(directory) {
                Ok(None) => Ok(OpenedRecord::Unmade(format!(
                    "the state directory `{}` can't be made ({error})",
                    directory.display()
                ))),
                Ok(Some(_)) => Err(self.unreadable(error, "the state directory", directory, "700")),
                // Nobody can say that there is nothing.
                Err(error) => Err(self.unreadable(error, "the state directory", directory, "700")),
            };
        }
        let opened = reading_options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let error = match opened {
            Ok(file) => return Ok(OpenedRecord::Writable(file)),
            Err(error) => error,
        };
        match status(path) {
            Ok(None) => Ok(OpenedRecord::Unmade(format!(
                "the state directory `{}` can't be written to ({error})",
                directory.display()
            ))),
            Ok(Some(record)) => match reading_options().open(path) {
                Ok(file) if record.is_file() => {
                    let why = format!("{}, `{}`, can't be written ({error})", self.record, path.display());
                    Ok(OpenedRecord::ReadOnly(file, why))
                }
                Ok(_) => Err(self.unreadable(error, self.record, path, "600")),
                Err(error) => Err(self.unreadable(error, self.record, path, "600")),
            },
            Err(error) => Err(self.unreadable(error, "the state directory", directory, "700")),
        }
    }

    /// Opens a record that is there, and makes nothing.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_existing(&self, path: &Path) -> Result<Option<File>> {
        let directory = path.parent().unwrap_or(Path::new("."));
        match reading_options().open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) => match status(path) {
                Ok(None) => Ok(None),
                Ok(Some(_)) => Err(self.unreadable(error, self.record, path, "600")),
                Err(error) => Err(self.unreadable(error, "the state directory", directory, "700")),
            },
        }
    }

    /// Waits for a lock on a record that only excludes writers.
    ///
    /// # Errors
    /// `Unavailable` after a second.
    pub fn lock_shared<'f>(&self, file: &'f File) -> Result<RecordLock<'f>> {
        self.lock(file, FlockOperation::NonBlockingLockShared)
    }

    /// Waits for a lock on a record that excludes everybody.
    ///
    /// # Errors
    /// `Unavailable` after a second.
    pub fn lock_exclusive<'f>(&self, file: &'f File) -> Result<RecordLock<'f>> {
        self.lock(file, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock<'f>(&self, file: &'f File, operation: FlockOperation) -> Result<RecordLock<'f>> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::io::retry_on_intr(|| flock(file, operation)) {
                Ok(()) => return Ok(RecordLock(file)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(LOCK_INTERVAL),
                Err(error) => return Err(self.unusable(error.into(), "locked")),
            }
        }
    }

    /// Reads a record from its beginning, no more of it than `bytes` hold, and says how many were there.
    ///
    /// # Errors
    /// `Unavailable` when it can't be read.
    pub fn read(&self, file: &File, bytes: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unusable(error, "read")),
            }
        }
        Ok(filled)
    }

    /// The error of a record that is open and can't be `what`, for example "written".
    #[must_use]
    pub fn unusable(&self, error: io::Error, what: &str) -> Error {
        let message = format!("{} can't be {what}", self.record);
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    }

    fn unreadable(&self, error: io::Error, what: &str, path: &Path, mode: &str) -> Error {
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
        let (kind, hint) = if is_denied {
            let hint = format!(
                "`chmod {mode} {}`, as its owner; another `KEYFOB_STATE_DIR` would trust {} as it is",
                path.display(),
                self.trusted
            );
            (ErrorKind::PermissionDenied, hint)
        } else {
            let hint = format!(
                "look at who put it there, and remove it if you trust {} as it is",
                self.trusted
            );
            (ErrorKind::InvalidConfig, hint)
        };
        let message = format!("{what} can't be read, so {}", self.unnoticed);
        Error::new(kind, message)
            .with("path", path.display().to_string())
            .with_hint(hint)
            .with_source(error)
    }
}

/// A link could lead to the record of something else, and to open a pipe could wait forever.
fn reading_options() -> OpenOptions {
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

/// A holder needs less than a millisecond; one that needs longer is stopped, and nobody should stop with it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(1);

/// An advisory lock on a whole record, for as long as this lives.
#[derive(Debug)]
pub struct RecordLock<'f>(&'f File);

impl Drop for RecordLock<'_> {
    fn drop(&mut self) {
        // The lock goes with the process at the latest.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}
