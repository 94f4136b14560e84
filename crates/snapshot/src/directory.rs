//! The directory that snapshots are kept in.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfob_core::{Clock, Error, ErrorKind, Result, SystemClock};
use keyfob_envelope::KeySource;
use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;

use crate::archive::Archive;
use crate::blocking::blocking;
use crate::error::{at, corrupt, failed};
use crate::id::SnapshotId;
use crate::manifest::{Manifest, Summary};
use crate::snapshot::Snapshot;

/// A directory that snapshots are kept in: one file each, `ID.snapshot`.
///
/// Several processes may use it at once.
#[derive(Clone)]
pub struct SnapshotDirectory {
    path: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A snapshot in a directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listed {
    /// Which one: the name of its file.
    pub id: SnapshotId,
    /// Its file.
    pub path: PathBuf,
    /// What it says of itself, or why that can't be read.
    pub summary: Result<Summary>,
}

/// What begins the name of a file that is not finished.
const UNFINISHED: &str = ".keyfob-snapshot-";
const EXTENSION: &str = "snapshot";
const LOCK: &str = "lock";

impl SnapshotDirectory {
    /// The directory at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Takes the time of day from here; the default is [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a snapshot.
    #[must_use]
    pub fn path_of(&self, id: SnapshotId) -> PathBuf {
        self.path.join(format!("{id}.{EXTENSION}"))
    }

    /// The snapshots, oldest first and those that can't be read last, without a key: nothing is proven. A directory that does
    /// not exist has none.
    ///
    /// # Errors
    /// `PermissionDenied` and `Unavailable` of the directory.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let directory = self.clone();
        blocking(move || directory.listed()).await
    }

    /// All that a snapshot says of itself, without a key: nothing is proven.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, and those of the file system.
    pub async fn manifest(&self, id: SnapshotId) -> Result<Manifest> {
        let directory = self.clone();
        blocking(move || directory.archive(id).map(|archive| archive.manifest)).await
    }

    /// Compares the file of a snapshot with the digest at its end, without a key. That finds damage, and nothing that
    /// somebody changed on purpose: [`Snapshot::verify`] does.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, and those of the file system.
    pub async fn check(&self, id: SnapshotId) -> Result<()> {
        let directory = self.clone();
        blocking(move || directory.archive(id)?.check_digest()).await
    }

    /// Finds a snapshot by its id, by the beginning of an id that only one has, or as `latest`: the newest that is
    /// [whole](Summary::whole), since what a restore makes of chosen names is not what is meant.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when several begin like that, or it is no beginning of an id.
    pub async fn find(&self, selector: &str) -> Result<SnapshotId> {
        let listed = self.list().await?;
        let none = || {
            let error = Error::new(ErrorKind::NotFound, "there is no such snapshot").with("snapshot", selector);
            error.with("path", self.path.display().to_string())
        };
        if selector == "latest" {
            let readable = listed.iter().filter_map(|listed| listed.summary.as_ref().ok());
            return readable
                .filter(|summary| summary.whole)
                .max_by_key(|summary| summary.begun)
                .map(|summary| summary.id)
                .ok_or_else(none);
        }
        let begins = selector.to_ascii_lowercase();
        if begins.is_empty() || !begins.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a snapshot is named by its id, or the beginning of it, or `latest`",
            )
            .with("snapshot", selector.escape_debug().to_string()));
        }
        let mut found = listed.iter().filter(|listed| listed.id.to_string().starts_with(&begins));
        match (found.next(), found.next()) {
            (Some(found), None) => Ok(found.id),
            (None, _) => Err(none()),
            (Some(_), Some(_)) => {
                let message = "the ids of several snapshots begin like that";
                Err(Error::new(ErrorKind::InvalidInput, message)
                    .with("snapshot", selector)
                    .with_hint("give more of the id"))
            }
        }
    }

    /// Opens a snapshot, and those that it builds on.
    ///
    /// # Errors
    /// `NotFound` when it, or one that it builds on, is not there; `Unauthenticated` when the key does not fit; `Corrupt` when
    /// a manifest is not what was written; those of the key source and of the file system.
    pub async fn open_snapshot(&self, id: SnapshotId, key: &dyn KeySource) -> Result<Snapshot> {
        let snapshot = Snapshot::open(&self.path_of(id), |base| self.path_of(base), key).await?;
        if snapshot.id() == id {
            Ok(snapshot)
        } else {
            Err(renamed(&self.path_of(id)))
        }
    }

    /// Deletes snapshots, all of them or, when one of them can't be deleted, none.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another snapshot that stays builds on one of them, or may do so because it can't be read;
    /// those of the file system.
    pub async fn delete(&self, ids: &BTreeSet<SnapshotId>) -> Result<()> {
        let (directory, ids) = (self.clone(), ids.clone());
        blocking(move || directory.delete_files(&ids)).await
    }

    /// Makes the directory, for its owner only, and refuses one that others may write to.
    pub(crate) fn prepare(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|source| failed("make the directory of snapshots", &self.path, source))?;
        let facts =
            fs::metadata(&self.path).map_err(|source| failed("look at the directory of snapshots", &self.path, source))?;
        if facts.mode() & 0o022 != 0 {
            let shown = self.path.display();
            let message = format!(
                "other users may change the snapshots, the mode of their directory is {:04o}",
                facts.mode() & 0o7777
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message)
                .with("path", shown.to_string())
                .with_hint(format!("`chmod go-w {shown}`, or use a directory that is yours alone")));
        }
        Ok(())
    }

    /// A new file with mode 0600, under a random name, which is removed when it is dropped.
    pub(crate) fn unfinished(&self) -> Result<NamedTempFile> {
        let cannot = |source| failed("write the snapshot", &self.path, source);
        loop {
            let file = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempfile_in(&self.path)
                .map_err(cannot)?;
            // Whoever finds a file of this kind that nobody holds may remove it.
            rustix::fs::flock(file.as_file(), FlockOperation::LockExclusive).map_err(|source| cannot(source.into()))?;
            // Somebody may have done so before it was held.
            if file.as_file().metadata().map_err(cannot)?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    /// Gives a finished file its name, if all that it builds on is still there.
    pub(crate) fn publish(&self, file: NamedTempFile, summary: &Summary) -> Result<()> {
        let _lock = self.lock()?;
        for base in &summary.bases {
            if !self.archive(base.id).is_ok_and(|archive| archive.digest == base.digest) {
                let message = "a snapshot was deleted while another one was made that builds on it";
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with("snapshot", base.id.to_string())
                    .with_hint("make the snapshot again"));
            }
        }
        let path = self.path_of(summary.id);
        let persisted = file.persist_noclobber(&path).map_err(|error| error.error);
        persisted.map_err(|source| failed("write the snapshot", &path, source))?;
        self.remove_unfinished();
        self.sync()
    }

    pub(crate) fn archive(&self, id: SnapshotId) -> Result<Archive> {
        let path = self.path_of(id);
        let archive = Archive::open(&path)?;
        if archive.manifest.summary.id == id {
            Ok(archive)
        } else {
            Err(renamed(&path))
        }
    }

    fn listed(&self) -> Result<Vec<Listed>> {
        let cannot = |source| failed("read the directory of snapshots", &self.path, source);
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(cannot(source)),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let path = entry.map_err(cannot)?.path();
            let id = path
                .file_stem()
                .and_then(OsStr::to_str)
                .and_then(|stem| stem.parse::<SnapshotId>().ok());
            let Some(id) = id.filter(|id| path == self.path_of(*id)) else {
                continue;
            };
            match self.archive(id) {
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                archive => listed.push(Listed {
                    id,
                    path,
                    summary: archive.map(|archive| archive.manifest.summary),
                }),
            }
        }
        listed.sort_by_key(|listed| {
            let begun = listed.summary.as_ref().ok().map(|summary| summary.begun);
            (begun.is_none(), begun, listed.id)
        });
        Ok(listed)
    }

    fn delete_files(&self, ids: &BTreeSet<SnapshotId>) -> Result<()> {
        for id in ids {
            fs::symlink_metadata(self.path_of(*id)).map_err(|source| failed("find the snapshot", &self.path_of(*id), source))?;
        }
        let _lock = self.lock()?;
        for kept in self.listed()?.iter().filter(|listed| !ids.contains(&listed.id)) {
            let refuse = |message: &'static str, hint: &'static str| {
                Err(Error::new(ErrorKind::Conflict, message)
                    .with("needed_by", kept.id.to_string())
                    .with_hint(hint))
            };
            match &kept.summary {
                Ok(summary) => {
                    if let Some(base) = summary.bases.iter().find(|base| ids.contains(&base.id)) {
                        return refuse(
                            "another snapshot builds on the one that is to be deleted",
                            "delete both, or keep both",
                        )
                        .map_err(|error: Error| error.with("snapshot", base.id.to_string()));
                    }
                }
                Err(_) => {
                    return refuse(
                        "another snapshot can't be read, and may build on the one that is to be deleted",
                        "delete the damaged one first, or with it",
                    );
                }
            }
        }
        // The newest first: what is killed in the middle leaves none without what it builds on.
        let mut files: Vec<(bool, Option<std::time::SystemTime>, PathBuf)> = Vec::new();
        for listed in self.listed()?.into_iter().filter(|listed| ids.contains(&listed.id)) {
            let begun = listed.summary.as_ref().ok().map(|summary| summary.begun);
            files.push((begun.is_none(), begun, listed.path));
        }
        files.sort();
        for (_, _, path) in files.iter().rev() {
            fs::remove_file(path).map_err(|source| failed("delete the snapshot", path, source))?;
        }
        self.remove_unfinished();
        self.sync()
    }

    /// Removes what those left behind who were killed while they wrote.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
            let Ok(file) = File::open(entry.path()) else { continue };
            // Whoever still writes holds it. It is held until it is gone, so that nobody who has just begun takes it for theirs.
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // What can't be removed now is tried again the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Nobody else publishes or deletes while this is held.
    fn lock(&self) -> Result<File> {
        let path = self.path.join(LOCK);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(|source| failed("lock the directory of snapshots", &path, source))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|source| failed("lock the directory of snapshots", &path, source.into()))?;
        Ok(file)
    }

    fn sync(&self) -> Result<()> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|source| failed("write the directory of snapshots", &self.path, source))
    }
}

impl fmt::Debug for SnapshotDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotDirectory").field(&self.path).finish()
    }
}

fn renamed(path: &Path) -> Error {
    at(corrupt("the file of the snapshot has the name of another"), path)
}
