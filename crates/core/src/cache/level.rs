//! The second level as the first one uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::shared::SharedCache;
use crate::name::SecretName;

/// A [`SharedCache`], and from when on this process believes what it says.
///
/// A write can end and a change can be told of while the second level can't be reached. So each of them is also remembered
/// here: an answer that may have left the store before is not believed, whatever the second level still has.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) cache: Arc<dyn SharedCache>,
    forgotten: Mutex<Forgotten>,
}

/// Moments of the timer: what was asked for at or before them is not believed.
#[derive(Debug, Default)]
struct Forgotten {
    all: Duration,
    names: HashMap<SecretName, Duration>,
}

/// How many names are remembered one by one. When there are more, all names share the latest moment.
const NAMES: usize = 4096;

impl Level {
    pub(super) fn new(cache: Arc<dyn SharedCache>) -> Self {
        Self {
            cache,
            forgotten: Mutex::default(),
        }
    }

    /// Whether this name's answer, asked for at this moment, is no older than what this process knows to be forgotten.
    pub(super) fn believes(&self, name: &SecretName, asked_at: Duration) -> bool {
        let forgotten = self.forgotten();
        asked_at > forgotten.all && forgotten.names.get(name).is_none_or(|moment| asked_at > *moment)
    }

    pub(super) fn disbelieve(&self, name: &SecretName, now: Duration) {
        let mut forgotten = self.forgotten();
        if forgotten.names.len() >= NAMES && !forgotten.names.contains_key(name) {
            forgotten.names.clear();
            forgotten.all = now;
        }
        forgotten.names.insert(name.clone(), now);
    }

    pub(super) fn disbelieve_all(&self, now: Duration) {
        let mut forgotten = self.forgotten();
        forgotten.names.clear();
        forgotten.all = now;
    }

    fn forgotten(&self) -> MutexGuard<'_, Forgotten> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::shared::{SharedAnswer, SharedEntry, SharedRead};

    #[derive(Debug)]
    struct Nothing;

    #[async_trait::async_trait]
    impl SharedCache for Nothing {
        async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
            reads.iter().map(|_| SharedAnswer::default()).collect()
        }
        async fn keep(&self, _: Vec<SharedEntry<'_>>) {}
        async fn close(&self, _: &SecretName) {}
        async fn forget(&self, _: &SecretName) {}
    }

    #[test]
    fn what_was_forgotten_stays_forgotten_however_many_names_there_are() {
        let level = Level::new(Arc::new(Nothing));
        let at = Duration::from_millis;
        let name = |number: usize| SecretName::new(format!("name/{number}")).unwrap();
        for number in 0..3 * NAMES {
            level.disbelieve(&name(number), at(10 + number as u64));
            assert!(level.forgotten().names.len() <= NAMES);
        }
        for number in 0..3 * NAMES {
            assert!(!level.believes(&name(number), at(10 + number as u64)), "{number}");
            assert!(level.believes(&name(number), at(10 + 3 * NAMES as u64)), "{number}");
        }
        level.disbelieve_all(at(1 << 20));
        assert!(!level.believes(&name(0), at(1 << 20)));
        assert!(level.believes(&name(0), at((1 << 20) + 1)));
    }
}
