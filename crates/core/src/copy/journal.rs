//! What is written down of a copy while it is carried out.

use super::CopyEntry;
use crate::error::Result;

/// Is told of every write of a copy, so that who is killed in the middle leaves behind what was done.
///
/// What was begun and not ended may have been written or not: a comparison of both stores tells. Neither call may take long:
/// all writes wait for it.
pub trait CopyJournal: Send + Sync {
    /// A secret is about to be written; its outcome is the planned one.
    ///
    /// # Errors
    /// Then it is not written, and fails with this error.
    fn begins(&self, planned: &CopyEntry) -> Result<()>;

    /// A write that was begun has ended so.
    fn ended(&self, entry: &CopyEntry);
}

/// Writes nothing down.
#[derive(Debug, Clone, Copy)]
pub struct NoJournal;

impl CopyJournal for NoJournal {
    fn begins(&self, _: &CopyEntry) -> Result<()> {
        Ok(())
    }

    fn ended(&self, _: &CopyEntry) {}
}
