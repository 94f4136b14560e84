//! One write at a time for each name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::RwLock;
use tracing::instrument::WithSubscriber as _;

use crate::error::{Error, ErrorKind, Result};
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

    /// Runs a write that is several requests alone among those of its name, and to its end even when the caller stops
    /// waiting. `store` is the scheme, for the error.
    ///
    /// # Errors
    /// Those of `write`; `Timeout` when it ended in the middle, as it does when the runtime goes.
    pub async fn alone<T: Send + 'static>(
        &self,
        name: &SecretName,
        store: &'static str,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let lock = self.of(name);
        let guarded = async move {
            let _alone = lock.write_owned().await;
            write.await
        };
        match tokio::spawn(guarded.with_current_subscriber()).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the write was interrupted")
                .with("name", name.as_str())
                .with("store", store)
                .with_hint("read the secret to see whether it was written")),
        }
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

    #[tokio::test]
    async fn a_write_goes_on_when_nobody_waits_for_it_and_others_wait_for_its_end() {
        let locks = Arc::new(NameLocks::default());
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
        let first = {
            let locks = Arc::clone(&locks);
            tokio::spawn(async move {
                let write = async move {
                    begin.send(()).unwrap();
                    goes_on.await.unwrap();
                    Ok(1)
                };
                locks.alone(&name("a"), "memory", write).await
            })
        };
        begun.await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(locks.of(&name("a")).try_read().is_err(), "it still writes");
        go_on.send(()).unwrap();
        assert_eq!(locks.alone(&name("a"), "memory", async { Ok(2) }).await.unwrap(), 2);

        let error = locks.alone(&name("a"), "memory", panics()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }

    async fn panics() -> Result<()> {
        std::panic::resume_unwind(Box::new(()))
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
