//! The file of a snapshot while it is written: under another name, readable by its owner only.

use std::fs::File;
use std::io::Write as _;
use std::time::SystemTime;

use keyfob_core::{Error, ErrorKind, Result, Secret, SecretName, SecretValue};
use keyfob_envelope::{Context, KeyEncryptionKey, KeySlot, KeySource};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::document::{self, MAX_BYTES};
use crate::error::failed;
use crate::id::{Digest, SnapshotId};
use crate::index::{self, Location};
use crate::layout::{self, BLOCK, PADDING, Trailer};
use crate::manifest::{Base, Keeps, Manifest, SecretEntry, Summary};
use crate::pack::Packer;
use crate::record::Record;
use crate::snapshot::{Snapshot, chain_key};

/// A snapshot that is being written.
pub(crate) struct Draft {
    file: NamedTempFile,
    written: u64,
    hash: Sha256,
    id: SnapshotId,
    key: KeyEncryptionKey,
    slots: Vec<KeySlot>,
    packer: Packer,
    /// What of the block that is being filled is not sealed yet.
    block: Zeroizing<Vec<u8>>,
    blocks: Vec<u64>,
    secrets: Vec<SecretEntry>,
    locations: Vec<Location>,
    bases: Option<Bases>,
}

/// What a snapshot may build on: its parent, and what that builds on.
struct Bases {
    parent: Snapshot,
    /// The parent first.
    all: Vec<(Base, KeySlot)>,
}

/// What the manifest says besides the secrets.
pub(crate) struct About {
    pub(crate) store: String,
    pub(crate) location: String,
    pub(crate) prefix: String,
    pub(crate) keeps: Keeps,
    pub(crate) whole: bool,
    pub(crate) note: Option<String>,
    pub(crate) begun: SystemTime,
    pub(crate) finished: SystemTime,
}

impl Draft {
    pub(crate) async fn begin(
        file: NamedTempFile,
        key_source: &dyn KeySource,
        parent: Option<Snapshot>,
        compresses: bool,
    ) -> Result<Self> {
        let (id, key) = (SnapshotId::generate()?, KeyEncryptionKey::generate()?);
        let slots = vec![key.protect(key_source, id.0).await?];
        let bases = match parent {
            Some(parent) => Some(Bases::new(parent, &key, id).await?),
            None => None,
        };
        let mut draft = Self {
            file,
            written: 0,
            hash: Sha256::new(),
            id,
            key,
            slots,
            packer: Packer::new(compresses),
            block: Zeroizing::default(),
            blocks: Vec::new(),
            secrets: Vec::new(),
            locations: Vec::new(),
            bases,
        };
        draft.write(&layout::header(id))?;
        Ok(draft)
    }

    /// Takes the next secret, in the order of names.
    pub(crate) fn add(&mut self, secret: &Secret) -> Result<()> {
        let name = &secret.metadata.name;
        let record = Record::new(secret)?;
        let digest = record.digest(name);
        let known = self.bases.as_ref().and_then(|bases| bases.find(name, digest));
        let (base, location) = match known {
            Some((base, location)) => (Some(base), location),
            None => {
                let packed = record.pack(&mut self.packer);
                (None, self.append(&packed, digest)?)
            }
        };
        self.locations.push(location);
        self.secrets.push(SecretEntry {
            name: name.clone(),
            version: secret.metadata.version.clone(),
            created: secret.metadata.created,
            updated: secret.metadata.updated,
            expires_at: secret.metadata.expires_at,
            base,
        });
        Ok(())
    }

    /// Writes the rest. The file is complete and synced, and still under its other name.
    pub(crate) fn finish(mut self, about: About) -> Result<(NamedTempFile, Manifest)> {
        self.seal_block()?;
        let (bases, base_slots) = self.take_bases();
        let secrets = std::mem::take(&mut self.secrets);
        let mut manifest = Manifest {
            summary: Summary {
                id: self.id,
                begun: about.begun,
                finished: about.finished,
                store: about.store,
                location: about.location,
                prefix: about.prefix,
                keeps: about.keeps,
                whole: about.whole,
                note: about.note,
                bases,
                secrets: secrets.len(),
                own: secrets.iter().filter(|secret| secret.base.is_none()).count(),
                bytes: 0,
            },
            secrets,
            slots: std::mem::take(&mut self.slots),
            base_slots,
            blocks: std::mem::take(&mut self.blocks),
        };
        let mut covered = layout::header(self.id).to_vec();
        let json = document::to_json(&manifest)?;
        if json.len() > MAX_BYTES {
            let message = "there are too many secrets for one snapshot";
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("make several, each of another prefix"));
        }
        // Of names and dates, which everybody can read: what their length tells is no secret.
        Packer::new(true).pack(&json, &mut covered);
        let index = index::encode(&self.locations);
        let index = self.write_sealed(&layout::index_context(self.id, &covered), &index)?;
        let packed = &covered[layout::HEADER..];
        self.write(packed)?;
        self.write(&Trailer::lengths(index, packed.len() as u64))?;
        let digest = Digest::of(self.hash.clone());
        self.write(digest.as_bytes())?;
        self.file
            .as_file()
            .sync_all()
            .map_err(|source| failed("write the snapshot", self.file.path(), source))?;
        manifest.summary.bytes = self.written;
        Ok((self.file, manifest))
    }

    /// Puts a packed secret into the block that is being filled, or into the next.
    fn append(&mut self, packed: &[u8], digest: Digest) -> Result<Location> {
        if self.block.len() + packed.len() > BLOCK {
            self.seal_block()?;
        }
        if self.block.is_empty() {
            // It never grows: that would leave a copy behind.
            self.block = Zeroizing::new(Vec::with_capacity(packed.len().next_multiple_of(PADDING).max(BLOCK)));
        }
        let number = |number: usize| {
            let number = u32::try_from(number);
            number.map_err(|source| Error::new(ErrorKind::InvalidInput, "the snapshot gets too large").with_source(source))
        };
        let location = Location {
            block: number(self.blocks.len())?,
            offset: number(self.block.len())?,
            length: number(packed.len())?,
            digest,
        };
        self.block.extend_from_slice(packed);
        Ok(location)
    }

    fn seal_block(&mut self) -> Result<()> {
        let mut block = std::mem::take(&mut *self.block);
        if block.is_empty() {
            return Ok(());
        }
        block.resize(block.len().next_multiple_of(PADDING), 0);
        let number = u32::try_from(self.blocks.len())
            .map_err(|source| Error::new(ErrorKind::InvalidInput, "the snapshot gets too large").with_source(source))?;
        let length = self.write_sealed(&layout::block_context(self.id, number), &SecretValue::new(block))?;
        self.blocks.push(length);
        Ok(())
    }

    /// The bases that a secret is in, with the secrets' numbers for them.
    fn take_bases(&mut self) -> (Vec<Base>, Vec<KeySlot>) {
        let Some(bases) = self.bases.take() else {
            return (Vec::new(), Vec::new());
        };
        let mut numbers = vec![None; bases.all.len()];
        for secret in &self.secrets {
            if let Some(base) = secret.base {
                numbers[base] = Some(0);
            }
        }
        for (number, used) in numbers.iter_mut().flatten().enumerate() {
            *used = number;
        }
        for secret in &mut self.secrets {
            secret.base = secret.base.and_then(|base| numbers[base]);
        }
        let used = bases
            .all
            .into_iter()
            .zip(numbers)
            .filter_map(|(base, number)| number.map(|_| base));
        used.unzip()
    }

    fn write_sealed(&mut self, context: &Context<'_>, value: &SecretValue) -> Result<u64> {
        let sealed = self.key.seal(context, value)?;
        self.write(&sealed.wrapped_key)?;
        self.write(&sealed.ciphertext)?;
        Ok((sealed.wrapped_key.len() + sealed.ciphertext.len()) as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        let file: &mut File = self.file.as_file_mut();
        file.write_all(bytes)
            .map_err(|source| failed("write the snapshot", self.file.path(), source))
    }
}

impl Bases {
    async fn new(parent: Snapshot, key: &KeyEncryptionKey, id: SnapshotId) -> Result<Self> {
        let chain_key = chain_key(key, id);
        let mut all = Vec::with_capacity(1 + parent.0.bases.len());
        for file in [&parent.0.own].into_iter().chain(&parent.0.bases) {
            let base = Base {
                id: file.id,
                digest: file.digest,
            };
            all.push((base, file.key.protect(&chain_key, file.id.0).await?));
        }
        Ok(Self { parent, all })
    }

    /// Where this very content of this secret is already.
    fn find(&self, name: &SecretName, digest: Digest) -> Option<(usize, Location)> {
        let parent = &self.parent.0;
        let position = parent.manifest.position(name)?;
        let location = parent.locations[position];
        let base = parent.manifest.secrets[position].base.map_or(0, |base| base + 1);
        (location.digest == digest).then_some((base, location))
    }
}
