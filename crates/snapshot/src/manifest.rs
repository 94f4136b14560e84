//! What a snapshot says of itself without a key.

use std::time::SystemTime;

use keyfob_core::{Capabilities, SecretName, Version};
use keyfob_envelope::KeySlot;

use crate::id::{Digest, SnapshotId};

/// What is known of a snapshot without its key.
///
/// It is authenticated: whoever opens the snapshot with the key notices every change. Read without the key it is what the
/// file says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// The snapshot as a whole.
    pub summary: Summary,
    /// Its secrets, in the byte order of names, each once.
    pub secrets: Vec<SecretEntry>,
    /// Wraps the key of this snapshot.
    pub(crate) slots: Vec<KeySlot>,
    /// The key slots of the bases, in their order. What is wrapped there opens with a key of this snapshot.
    pub(crate) base_slots: Vec<KeySlot>,
    /// The length of each block.
    pub(crate) blocks: Vec<u64>,
}

/// A snapshot as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Which one.
    pub id: SnapshotId,
    /// When the first secret was about to be read. A snapshot shows each secret as it was at some moment between this and
    /// [`finished`](Self::finished), and not all of them at the same one.
    pub begun: SystemTime,
    /// When the last secret had been read.
    pub finished: SystemTime,
    /// The scheme of the store, for example `sqlite`.
    pub store: String,
    /// Where the store is.
    pub location: String,
    /// All names begin with this text.
    pub prefix: String,
    /// What the store keeps besides values. What it doesn't keep is not known to be absent, and is left alone by a restore.
    pub keeps: Keeps,
    /// Whether it has every secret under the prefix, and not only chosen ones.
    pub whole: bool,
    /// Why it was made, in the words of whoever made it.
    pub note: Option<String>,
    /// The snapshots that hold values of this one; none when it stands alone.
    pub bases: Vec<Base>,
    /// How many secrets it has.
    pub secrets: usize,
    /// The value of how many of them is in its own file.
    pub own: usize,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// What a store keeps besides values and versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keeps {
    /// Descriptions.
    pub description: bool,
    /// Tags.
    pub tags: bool,
    /// Expiries.
    pub expiry: bool,
}

impl Keeps {
    /// What a store with these capabilities keeps.
    pub(crate) fn of(can: &Capabilities) -> Self {
        Self {
            description: can.description,
            tags: can.tags,
            expiry: can.expiry,
        }
    }
}

/// A snapshot that another one builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Base {
    /// Which one.
    pub id: SnapshotId,
    /// The SHA-256 of its file without the last 32 bytes, which repeat it.
    pub digest: Digest,
}

/// What the manifest says of one secret: not its value, description or tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretEntry {
    /// Its name.
    pub name: SecretName,
    /// The store's token for the version that was current.
    pub version: Option<Version>,
    /// When that version was made.
    pub created: Option<SystemTime>,
    /// When the value or the metadata were last changed.
    pub updated: Option<SystemTime>,
    /// When it expires.
    pub expires_at: Option<SystemTime>,
    /// Which of [`Summary::bases`] holds the value; `None` for this snapshot's own file.
    pub base: Option<usize>,
}

impl Manifest {
    /// What it says of one secret.
    #[must_use]
    pub fn secret(&self, name: &SecretName) -> Option<&SecretEntry> {
        self.position(name).map(|position| &self.secrets[position])
    }

    pub(crate) fn position(&self, name: &SecretName) -> Option<usize> {
        self.secrets.binary_search_by(|entry| entry.name.cmp(name)).ok()
    }
}
