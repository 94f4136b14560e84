//! One write at a time for each name, and no read in the middle of it.
//!
//! AWS has no request that sets value, description and tags together, so a write can be several. Within this store they
//! are one: a read that joins value and metadata waits for a write of the same name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keyfob_core::SecretName;
use tokio::sync::RwLock;

#[derive(Default)]
pub(super) struct NameLocks(Mutex<HashMap<SecretName, Weak<RwLock<()>>>>);

impl NameLocks {
    /// The lock of this name, as long as anybody holds it.
    pub(super) fn of(&self, name: &SecretName) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= MANY {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// From so many on, names that nobody uses any more are forgotten.
const MANY: usize = 256;
