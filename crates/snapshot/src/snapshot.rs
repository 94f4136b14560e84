//! A snapshot that was opened with its key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Metadata, Result, Secret, SecretName, SecretValue};
use keyfob_envelope::{KeyEncryptionKey, KeySlot, KeySource, RawKey};

use crate::archive::{Archive, Opened};
use crate::blocking::blocking;
use crate::error::{at, corrupt};
use crate::id::SnapshotId;
use crate::index::Location;
use crate::manifest::{Base, Manifest};
use crate::record::Record;

/// The scheme of a snapshot as a store.
pub(crate) const SCHEME: &str = "snapshot";

/// A snapshot that was opened with its key. Its manifest, and those of the snapshots that it builds on, are proven; values are
/// proven when they are read, or all at once by [`verify`](Self::verify).
///
/// Cheap to clone. The files stay open, so that a snapshot that is deleted meanwhile can be read to the end.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) manifest: Manifest,
    pub(crate) locations: Vec<Location>,
    pub(crate) own: Opened,
    pub(crate) bases: Vec<Opened>,
}

/// What was found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The secrets that were decrypted and compared.
    pub secrets: usize,
    /// The files that were read, the snapshot's own included.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Snapshot {
    /// Opens the snapshot in the file at `path`, and those that it builds on in the same directory.
    pub(crate) async fn open(
        path: &Path,
        path_of: impl Fn(SnapshotId) -> std::path::PathBuf,
        key: &dyn KeySource,
    ) -> Result<Self> {
        let path = path.to_owned();
        let archive = blocking({
            let path = path.clone();
            move || Archive::open(&path)
        })
        .await?;
        let slots = &archive.manifest.slots;
        let unlocked = KeySlot::unlock_all(slots, key, archive.manifest.summary.id.0).await;
        let mut keys = unlocked.map_err(|error| at(locked(error), &path))?;
        let kek = keys.swap_remove(0);
        let (own, manifest, locations) = blocking(move || archive.authenticate(kek)).await?;
        let mut bases = Vec::with_capacity(manifest.base_slots.len());
        let chain_key = chain_key(&own.key, own.id);
        for (base, slot) in manifest.summary.bases.iter().zip(&manifest.base_slots) {
            let opened = open_base(path_of(base.id), *base, slot, &chain_key).await;
            bases.push(opened.map_err(|error| error.with("needed_by", own.id.to_string()))?);
        }
        Ok(Self(Arc::new(Inner {
            manifest,
            locations,
            own,
            bases,
        })))
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.0.own.id
    }

    /// What it says of itself, proven.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Reads every byte and decrypts every secret, of this snapshot and of what it needs of others.
    ///
    /// # Errors
    /// `Corrupt` for the first thing that is not as it was written, `Unavailable` when a file can't be read.
    pub async fn verify(&self) -> Result<Verified> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.verify()).await
    }

    /// Reads one secret.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, and `Unavailable` when a file can't be read.
    pub async fn secret(&self, name: &SecretName) -> Result<Secret> {
        let inner = Arc::clone(&self.0);
        let name = name.clone();
        blocking(move || inner.secret(&name)).await
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("id", &self.0.own.id).finish_non_exhaustive()
    }
}

impl Inner {
    fn secret(&self, name: &SecretName) -> Result<Secret> {
        let position = self.manifest.position(name).ok_or_else(|| not_found(name))?;
        let read = self.read(position)?.into_secret(self.metadata(position));
        read.map_err(|error| error.with("name", name.as_str()))
    }

    /// Decrypts a secret.
    pub(crate) fn read(&self, position: usize) -> Result<Record> {
        let block = self.file(position).block(self.locations[position].block)?;
        self.record(position, &block)
    }

    /// What the manifest says of a secret.
    pub(crate) fn metadata(&self, position: usize) -> Metadata {
        let entry = &self.manifest.secrets[position];
        let mut metadata = Metadata::new(entry.name.clone(), SCHEME);
        metadata.version.clone_from(&entry.version);
        metadata.created = entry.created;
        metadata.updated = entry.updated;
        metadata.expires_at = entry.expires_at;
        metadata
    }

    /// The file that holds a secret.
    fn file(&self, position: usize) -> &Opened {
        self.manifest.secrets[position]
            .base
            .map_or(&self.own, |base| &self.bases[base])
    }

    /// Takes a secret out of its decrypted block.
    fn record(&self, position: usize, block: &SecretValue) -> Result<Record> {
        let (entry, location) = (&self.manifest.secrets[position], &self.locations[position]);
        let taken = || {
            let begin = usize::try_from(location.offset).ok()?;
            let length = usize::try_from(location.length).ok()?;
            block.expose_secret().get(begin..)?.get(..length)
        };
        let outside = || corrupt("a secret lies outside of its block");
        let record = taken().ok_or_else(outside).and_then(Record::unpack).and_then(|record| {
            if record.digest(&entry.name) == location.digest {
                Ok(record)
            } else {
                Err(corrupt("a secret of the snapshot is not what was written"))
            }
        });
        record.map_err(|error| at(error, self.file(position).path()).with("name", entry.name.as_str()))
    }

    fn verify(&self) -> Result<Verified> {
        let files = || [&self.own].into_iter().chain(&self.bases);
        for file in files() {
            file.check_digest()?;
        }
        for number in 0..self.own.blocks() {
            let number = u32::try_from(number).map_err(|_| corrupt("the snapshot has too many blocks"))?;
            self.own.block(number)?;
        }
        // In the order of the blocks, so that each is decrypted once.
        let place = |position: &usize| (self.manifest.secrets[*position].base, self.locations[*position].block);
        let mut positions: Vec<usize> = (0..self.locations.len()).collect();
        positions.sort_by_key(place);
        for positions in positions.chunk_by(|one, other| place(one) == place(other)) {
            let block = self.file(positions[0]).block(self.locations[positions[0]].block)?;
            for position in positions {
                self.record(*position, &block)?.into_secret(self.metadata(*position))?;
            }
        }
        Ok(Verified {
            secrets: self.locations.len(),
            files: files().count(),
            bytes: files().map(Opened::length).sum(),
        })
    }
}

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "the snapshot has no such secret").with("name", name.as_str())
}

fn locked(error: Error) -> Error {
    if error.kind() == ErrorKind::Unauthenticated {
        Error::new(ErrorKind::Unauthenticated, "the key does not fit the snapshot")
            .with_hint("use the key that it was made with")
            .with_source(error)
    } else {
        error
    }
}

/// The key that wraps the keys of the bases of a snapshot.
pub(crate) fn chain_key(key: &KeyEncryptionKey, id: SnapshotId) -> RawKey {
    RawKey::new(&key.derive("keyfob snapshot bases", id.0))
}

async fn open_base(path: std::path::PathBuf, base: Base, slot: &KeySlot, chain_key: &RawKey) -> Result<Opened> {
    let kek = slot.unlock(chain_key, base.id.0).await.map_err(|error| at(error, &path))?;
    blocking(move || {
        let archive = Archive::open(&path).map_err(|error| {
            let hint = "the snapshot can't be read without the ones that it builds on: put this file back";
            error.with_hint(hint)
        })?;
        if archive.manifest.summary.id != base.id || archive.digest != base.digest {
            return Err(at(corrupt("the file is not the snapshot that another one builds on"), &path));
        }
        archive.authenticate(kek).map(|(opened, ..)| opened)
    })
    .await
}
