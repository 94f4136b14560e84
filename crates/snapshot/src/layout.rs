//! What stands where in the file of a snapshot. `FORMAT.md` describes it.

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{Context, StoreId};

use crate::error::{corrupt, cut_off};
use crate::id::{Digest, SnapshotId};

const MAGIC: &[u8; 16] = b"keyfob-snapshot\n";
const VERSION: u8 = 1;

/// Magic, version, id.
pub(crate) const HEADER: usize = MAGIC.len() + 1 + SnapshotId::BYTES;
/// The lengths of index and manifest, and the digest.
pub(crate) const TRAILER: usize = 8 + 8 + Digest::BYTES;

/// A block is filled up to this with secrets, if it has more than one.
pub(crate) const BLOCK: usize = 64 << 10;
/// The length of what is encrypted in a block is a multiple of this.
pub(crate) const PADDING: usize = 4 << 10;

/// The length of a wrapped data key, which stands before each ciphertext.
pub(crate) const WRAPPED_KEY: usize = 78;

pub(crate) fn header(id: SnapshotId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()] = VERSION;
    header[MAGIC.len() + 1..].copy_from_slice(id.as_bytes());
    header
}

/// # Errors
/// `Corrupt` when this is no snapshot, or one of another version.
pub(crate) fn read_header(header: &[u8; HEADER]) -> Result<SnapshotId> {
    let rest = header.strip_prefix(MAGIC).ok_or_else(|| corrupt("this is not a snapshot"))?;
    let (&version, id) = rest.split_first().ok_or_else(cut_off)?;
    if version != VERSION {
        let message = format!("format version {version} of a snapshot is not known, this keyfob knows {VERSION}");
        return Err(Error::new(ErrorKind::Corrupt, message)
            .with_hint("if a newer keyfob wrote this, update this one; if not, it is damaged"));
    }
    Ok(SnapshotId(StoreId(id.try_into().map_err(|_| cut_off())?)))
}

/// The end of a file.
pub(crate) struct Trailer {
    pub(crate) index: u64,
    pub(crate) manifest: u64,
    pub(crate) digest: Digest,
}

impl Trailer {
    /// What the digest covers of it.
    pub(crate) fn lengths(index: u64, manifest: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        bytes[8..].copy_from_slice(&manifest.to_be_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8; TRAILER]) -> Result<Self> {
        let (lengths, digest) = bytes.split_last_chunk().ok_or_else(cut_off)?;
        let &[index, manifest] = lengths.as_chunks::<8>().0 else {
            return Err(cut_off());
        };
        Ok(Self {
            index: u64::from_be_bytes(index),
            manifest: u64::from_be_bytes(manifest),
            digest: Digest(*digest),
        })
    }
}

/// What a block belongs to.
pub(crate) fn block_context(id: SnapshotId, number: u32) -> Context<'static> {
    Context {
        store: id.0,
        name: "keyfob snapshot block",
        version: u64::from(number),
        metadata: b"",
    }
}

/// What the index belongs to: `covered` is the header and the manifest as it stands in the file.
pub(crate) fn index_context(id: SnapshotId, covered: &[u8]) -> Context<'_> {
    Context {
        store: id.0,
        name: "keyfob snapshot index",
        version: 0,
        metadata: covered,
    }
}
