//! Reading, locking and replacing the file.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::dotenv::Document;
use crate::error::io_error;

/// A larger file is no `.env` file.
pub(super) const MAX_BYTES: u64 = 16 << 20;
const OWNER_ONLY: u32 = 0o600;
/// A holder needs milliseconds; one that needs longer is stopped.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const LOCK_INTERVAL: Duration = Duration::from_millis(2);

/// The file as it was at one moment.
pub(super) struct Snapshot {
    pub(super) document: Document,
    pub(super) identity: Identity,
    /// Permission bits.
    pub(super) mode: u32,
}

/// Which state of the file: differs between any two states that keyfob or a program with another clock tick wrote.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }

    pub(super) fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let (seconds, nanoseconds) = self.modified;
        let numbers = [
            self.device.to_be_bytes(),
            self.inode.to_be_bytes(),
            seconds.to_be_bytes(),
            nanoseconds.to_be_bytes(),
            self.size.to_be_bytes(),
        ];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number);
        }
        bytes
    }
}

/// Reads the file without a lock: it is only ever replaced as a whole. `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Snapshot>> {
    if !is_there(path)? {
        return Ok(None);
    }
    match File::open(path) {
        Ok(mut file) => snapshot(&mut file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(error, "can't open the `.env` file", path)),
    }
}

/// What to do when there is no file to lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Leave,
}

/// The file while no other keyfob writes it.
///
/// The lock is on the file itself, so that nothing lies beside it: a holder replaces the file, and who waited finds
/// that the path has become another file and begins again.
pub(super) struct Locked {
    /// Holds the lock; it goes when the file is closed, also by a crash.
    file: File,
    /// Where the file really is, behind links.
    target: PathBuf,
    /// It was made for the lock and is still empty.
    created: bool,
}

impl Locked {
    /// Waits for the lock.
    pub(super) fn acquire(path: &Path, missing: Missing) -> Result<Option<Self>> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let exists = is_there(path)?;
            if !exists && missing == Missing::Leave {
                return Ok(None);
            }
            let file = match open_for_lock(path, exists) {
                Ok(file) => file,
                // It went or came in between.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound if exists) => continue,
                Err(error) => return Err(io_error(error, "can't open the `.env` file for writing", path)),
            };
            match file.try_lock() {
                Ok(()) => {
                    if let Some(target) = same_file(&file, path)? {
                        let created = !exists && file.metadata().is_ok_and(|metadata| metadata.len() == 0);
                        return Ok(Some(Self { file, target, created }));
                    }
                }
                Err(TryLockError::WouldBlock) => sleep(LOCK_INTERVAL),
                Err(TryLockError::Error(error)) => return Err(io_error(error, "can't lock the `.env` file", path)),
            }
            if Instant::now() > deadline {
                return Err(
                    Error::new(ErrorKind::Unavailable, "another process keeps the `.env` file locked")
                        .with("path", path.display().to_string()),
                );
            }
        }
    }

    pub(super) fn read(&mut self) -> Result<Snapshot> {
        snapshot(&mut self.file, &self.target)
    }

    /// Replaces the file as a whole, durably: who reads sees all of it or nothing, also after a power failure.
    pub(super) fn replace(mut self, text: &str) -> Result<Identity> {
        let written = write_beside(&self.file, &self.target, text);
        self.created &= written.is_err();
        written
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.created && matches!(same_file(&self.file, &self.target), Ok(Some(_))) {
            // An empty file that stays reads like none.
            let _ = std::fs::remove_file(&self.target);
        }
    }
}

fn open_for_lock(path: &Path, exists: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(!exists)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
}

/// Whether there is something at `path`, which must be a file: a pipe would wait for its writer.
fn is_there(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::new(ErrorKind::InvalidConfig, "not a regular file")
            .with("path", path.display().to_string())
            .with_hint("give the path of a `.env` file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(error, "can't look at the `.env` file", path)),
    }
}

/// Where `path` leads, if that is still `file`.
fn same_file(file: &File, path: &Path) -> Result<Option<PathBuf>> {
    let look = || -> io::Result<Option<PathBuf>> {
        let target = std::fs::canonicalize(path)?;
        let (ours, theirs) = (file.metadata()?, std::fs::metadata(&target)?);
        Ok(((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())).then_some(target))
    };
    match look() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map_err(|error| io_error(error, "can't look at the `.env` file", path)),
    }
}

fn snapshot(file: &mut File, path: &Path) -> Result<Snapshot> {
    let failed = |error| io_error(error, "can't read the `.env` file", path);
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len().min(MAX_BYTES) as usize + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidConfig, "the file is larger than 16 MiB")
            .with("path", path.display().to_string())
            .with_hint("give the path of a `.env` file"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::new(ErrorKind::Corrupt, "the `.env` file is not UTF-8 text")
            .with("path", path.display().to_string())
            .with("line", line.to_string())
            .with_hint("save it as UTF-8")
    })?;
    let document =
        Document::parse(text).map_err(|error| error.into_error(ErrorKind::Corrupt).with("path", path.display().to_string()))?;
    Ok(Snapshot {
        document,
        identity: Identity::of(&metadata),
        mode: metadata.permissions().mode() & 0o7777,
    })
}

fn write_beside(present: &File, target: &Path, text: &str) -> Result<Identity> {
    if text.len() as u64 > MAX_BYTES {
        return Err(
            Error::new(ErrorKind::InvalidInput, "the `.env` file would grow beyond 16 MiB")
                .with("path", target.display().to_string()),
        );
    }
    let directory = target.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<Identity> {
        let before = present.metadata()?;
        // Made with owner permissions; wider ones come when the owner is right.
        let mut temporary = tempfile::Builder::new()
            .prefix(".keyfob-")
            .suffix(".tmp")
            .tempfile_in(directory)?;
        temporary.write_all(text.as_bytes())?;
        let file = temporary.as_file();
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.permissions().mode() & 0o7777))?;
        // Inode numbers come back at once and the clock ticks slowly: without this, two states could look the same.
        let (old, new) = (before.modified()?, made.modified()?);
        if new <= old {
            file.set_modified(old + Duration::from_nanos(1))?;
        }
        file.sync_all()?;
        let identity = Identity::of(&file.metadata()?);
        temporary.persist(target)?;
        File::open(directory)?.sync_all()?;
        Ok(identity)
    };
    write().map_err(|error| io_error(error, "can't replace the `.env` file", target))
}
