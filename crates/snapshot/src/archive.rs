//! The file of one snapshot, to be read.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use keyfob_core::{Result, SecretValue};
use keyfob_envelope::{Context, KeyEncryptionKey};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::document::{self, MAX_BYTES};
use crate::error::{at, corrupt, cut_off, failed};
use crate::id::{Digest, SnapshotId};
use crate::index::{self, Location};
use crate::layout::{self, HEADER, TRAILER, Trailer, WRAPPED_KEY};
use crate::manifest::Manifest;
use crate::pack::unpack;

/// A file as it says it is: nothing is proven yet.
pub(crate) struct Archive {
    file: SnapshotFile,
    pub(crate) manifest: Manifest,
    /// The SHA-256 that the file says it has.
    pub(crate) digest: Digest,
    /// Header and manifest as they stand in the file.
    covered: Vec<u8>,
    /// Where the sealed index begins, and its length.
    index: (u64, u64),
}

/// A file whose manifest is proven to be what was written with this key. The blocks are proven one by one, when they are
/// read.
pub(crate) struct Opened {
    file: SnapshotFile,
    pub(crate) id: SnapshotId,
    pub(crate) digest: Digest,
    pub(crate) key: KeyEncryptionKey,
    /// Where each block begins, and where the last one ends.
    bounds: Vec<u64>,
}

impl Archive {
    /// # Errors
    /// `Corrupt` for anything that is no whole snapshot, `NotFound`, `PermissionDenied`, `Unavailable`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = SnapshotFile::open(path)?;
        Self::read(file).map_err(|error| at(error, path))
    }

    fn read(file: SnapshotFile) -> Result<Self> {
        let mut header = [0; HEADER];
        let mut trailer = [0; TRAILER];
        let middle = file.length.checked_sub((HEADER + TRAILER) as u64).ok_or_else(cut_off)?;
        file.read(0, &mut header)?;
        let id = layout::read_header(&header)?;
        file.read(file.length - TRAILER as u64, &mut trailer)?;
        let trailer = Trailer::read(&trailer)?;
        let wrong_lengths = || corrupt("the lengths in the snapshot are wrong: it is cut off or damaged");
        let before_manifest = middle.checked_sub(trailer.manifest).ok_or_else(wrong_lengths)?;
        let blocks = before_manifest.checked_sub(trailer.index).ok_or_else(wrong_lengths)?;
        let length = usize::try_from(trailer.manifest).ok().filter(|length| *length <= MAX_BYTES);
        let mut covered = vec![0; HEADER + length.ok_or_else(wrong_lengths)?];
        covered[..HEADER].copy_from_slice(&header);
        file.read(HEADER as u64 + before_manifest, &mut covered[HEADER..])?;
        let mut packed = &covered[HEADER..];
        let json = unpack(&mut packed, MAX_BYTES)?;
        let manifest = document::from_json(&json, file.length)?;
        let sum = manifest.blocks.iter().try_fold(0_u64, |sum, block| sum.checked_add(*block));
        if manifest.summary.id != id || !packed.is_empty() || sum != Some(blocks) {
            return Err(corrupt("the snapshot and its manifest do not fit together"));
        }
        Ok(Self {
            index: (HEADER as u64 + blocks, trailer.index),
            digest: trailer.digest,
            file,
            manifest,
            covered,
        })
    }

    /// Compares the file with the digest at its end. That finds damage, and not what somebody changed on purpose.
    pub(crate) fn check_digest(&self) -> Result<()> {
        self.file.check_digest(self.digest)
    }

    /// The bytes, whatever they mean.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes(self.file)
    }

    /// Proves the manifest.
    ///
    /// # Errors
    /// `Corrupt` when header, manifest or index are not what was written with this key.
    pub(crate) fn authenticate(self, key: KeyEncryptionKey) -> Result<(Opened, Manifest, Vec<Location>)> {
        let id = self.manifest.summary.id;
        let (begin, length) = self.index;
        let context = layout::index_context(id, &self.covered);
        let index = self.file.open_sealed(&key, &context, begin, length)?;
        let locations = index::decode(&index, self.manifest.secrets.len()).map_err(|error| at(error, &self.file.path))?;
        let mut bounds = vec![HEADER as u64];
        for block in &self.manifest.blocks {
            bounds.push(bounds[bounds.len() - 1] + block);
        }
        let opened = Opened {
            file: self.file,
            id,
            digest: self.digest,
            key,
            bounds,
        };
        Ok((opened, self.manifest, locations))
    }
}

impl Opened {
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    pub(crate) fn length(&self) -> u64 {
        self.file.length
    }

    /// Decrypts one block.
    pub(crate) fn block(&self, number: u32) -> Result<SecretValue> {
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| self.bounds.get(number..)?.first_chunk());
        let &[begin, end] = place.ok_or_else(|| at(corrupt("the snapshot lacks a block"), self.path()))?;
        self.file
            .open_sealed(&self.key, &layout::block_context(self.id, number), begin, end - begin)
    }

    pub(crate) fn check_digest(&self) -> Result<()> {
        self.file.check_digest(self.digest)
    }
}

/// The bytes of a snapshot's file.
pub(crate) struct Bytes(SnapshotFile);

impl Bytes {
    pub(crate) fn read(&self, begin: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read(begin, &mut bytes)?;
        Ok(bytes)
    }
}

/// An opened file of a snapshot.
struct SnapshotFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl SnapshotFile {
    fn open(path: &Path) -> Result<Self> {
        let cannot = |source| failed("open the snapshot", path, source);
        // Without NONBLOCK a pipe of that name would make us wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|source| cannot(source.into()))?);
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(at(corrupt("the snapshot is not a regular file"), path));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            length: metadata.len(),
        })
    }

    fn read(&self, begin: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(bytes, begin);
        read.map_err(|source| failed("read the snapshot", &self.path, source))
    }

    fn open_sealed(&self, key: &KeyEncryptionKey, context: &Context<'_>, begin: u64, length: u64) -> Result<SecretValue> {
        let length = usize::try_from(length).map_err(|_| at(cut_off(), &self.path))?;
        let mut sealed = vec![0; length];
        self.read(begin, &mut sealed)?;
        let opened = match sealed.split_at_checked(WRAPPED_KEY) {
            Some((wrapped_key, ciphertext)) => key.open(context, wrapped_key, ciphertext),
            None => Err(cut_off()),
        };
        opened.map_err(|error| {
            let what = match error.kind() {
                keyfob_core::ErrorKind::Corrupt => corrupt("the snapshot is damaged or was tampered with").with_source(error),
                _ => error,
            };
            at(what, &self.path).with_hint("take another snapshot: nothing of this one is restored")
        })
    }

    fn check_digest(&self, digest: Digest) -> Result<()> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut place = 0;
        let end = self.length.saturating_sub(Digest::BYTES as u64);
        while place < end {
            let rest = usize::try_from(end - place).unwrap_or(usize::MAX).min(buffer.len());
            self.read(place, &mut buffer[..rest])?;
            hash.update(&buffer[..rest]);
            place += rest as u64;
        }
        let length = self
            .file
            .metadata()
            .map_err(|source| failed("read the snapshot", &self.path, source))?
            .len();
        if Digest::of(hash) == digest && length == self.length {
            Ok(())
        } else {
            Err(at(
                corrupt("the bytes of the snapshot are not those that were written"),
                &self.path,
            )
            .with_hint("take another snapshot: nothing of this one is restored"))
        }
    }
}
