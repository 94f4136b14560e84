//! One write at a time for each name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::RwLock;

use crate::name::SecretName;

/// A lock for each name, within one store.
///
/// Where a service has no request that sets value and metadata together, or that compares and writes, a write is several
/// requests. Within one store they are one: a write takes its name's lock for writing, and a read that joins the answers of
/// several requests takes it for reading.
#[derive(Default)]
pub struct NameLocks(Mutex<HashMap<SecretName, Weak<RwLock<()>>>>);

/// From so many on, names that nobody uses any more are forgotten.
const MANY: usize = 256;

impl NameLocks {
    /// The lock of this name, as long as anybody holds it.
    pub fn of(&self, name: &SecretName) -> Arc<RwLock<()>> {
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

impl fmt::Debug for NameLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameLocks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn a_name_has_one_lock_and_another_name_another() {
        let locks = NameLocks::default();
        let held = locks.of(&name("a"));
        assert!(Arc::ptr_eq(&held, &locks.of(&name("a"))));
        assert!(!Arc::ptr_eq(&held, &locks.of(&name("b"))));
    }

    #[test]
    fn names_that_nobody_uses_are_forgotten() {
        let locks = NameLocks::default();
        let held = locks.of(&name("held"));
        for index in 0..10 * MANY {
            drop(locks.of(&name(&format!("n{index}"))));
        }
        assert!(locks.0.lock().unwrap().len() <= MANY);
        assert!(Arc::ptr_eq(&held, &locks.of(&name("held"))));
    }
}
