//! What a database must do besides whose record is one root over all buckets.

use keyfob_core::Result;
use keyfob_envelope::{KekId, KeySlot};

use crate::integrity::Buckets;
use crate::rows::{Digest, Head};
use crate::tables::{At, Tables};

/// The tables of a database whose record is one root over all buckets.
pub(crate) trait RootTables: Tables {
    fn head(&self) -> Result<Head>;
    fn slots(&self) -> Result<Vec<KeySlot>>;
    fn buckets(&self) -> Result<Buckets>;

    /// At most `limit` versions whose data key is not wrapped by `kek`, from `after` on.
    fn versions_of_other_keys(&self, kek: KekId, after: Option<&Place>, limit: usize) -> Result<Vec<WrappedVersion>>;

    fn set_wrapped_key(&self, at: At<'_>, wrapped_key: &[u8]) -> Result<()>;
    fn set_head(&self, head: &Head) -> Result<()>;
    /// Replaces all slots.
    fn set_slots(&self, slots: &[KeySlot]) -> Result<()>;
    /// Writes a bucket's digest; the empty one removes the row.
    fn set_bucket(&self, bucket: u16, digest: &Digest) -> Result<()>;
    /// Removes every secret, version and bucket.
    fn clear(&self) -> Result<()>;
}

/// An owned [`At`].
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) bucket: u16,
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl Place {
    pub(crate) fn at(&self) -> At<'_> {
        At {
            bucket: self.bucket,
            name: &self.name,
            number: self.number,
        }
    }
}

/// A version to be wrapped again.
pub(crate) struct WrappedVersion {
    pub(crate) place: Place,
    pub(crate) wrapped_key: Vec<u8>,
}
