//! One write at a time for each name, and no read in the middle of it.
//!
//! Secret Manager has no request that sets value and annotations together, so a write can be several. Within this store they
//! are one: a read that joins value and annotations waits for a write of the same name.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use keyfob_core::SecretName;
use tokio::sync::RwLock;

/// Locks that names share.
pub(super) struct NameLocks([Arc<RwLock<()>>; 64]);

impl NameLocks {
    pub(super) fn of(&self, name: &SecretName) -> Arc<RwLock<()>> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Arc::clone(&self.0[hasher.finish() as usize % self.0.len()])
    }
}

impl Default for NameLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}
