//! What one transaction may believe.

use keyfob_envelope::KeySlot;

use crate::integrity::Buckets;
use crate::rows::Head;

/// A head, key slots and digests of buckets that were found authentic.
pub(crate) struct Verified {
    pub(crate) head: Head,
    pub(crate) slots: Vec<KeySlot>,
    pub(crate) buckets: Buckets,
}
